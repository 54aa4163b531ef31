//! A jail's gate, as the launcher holds it: a process of its own, which lives no longer than the jail, and begins when it is first
//! needed, as servers do by socket activation (systemd.socket(5)).
//!
//! Most commands that may connect never do, and a process that confines itself costs half a millisecond. Its sockets are there
//! from the beginning. What comes waits in them until there is a gate, and goes nowhere if there never is one.
//!
//! ```text
//!   asleep --sockets--> listening --somebody knocks--> begun --told, asked--> begun ... jail closed --> ended
//!      '-- what may be missing, and is to be known before the run --> begun --sockets--> begun
//! ```

mod assignment;
mod door;
mod process;
mod sockets;

use std::mem;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use self::assignment::Starter;
pub use self::assignment::{Assignment, Live, Trust};
pub use self::door::Door;
use self::process::Process;
use self::sockets::Listening;
use super::contacts::Memory;
use super::unguessable::unguessable;
use crate::confine::{Failed, Ids};
use crate::policy::egress::Rules;
use crate::verdict::run::{Decision, Met, Reached};

/// A gate.
#[derive(Debug)]
pub struct Gate {
    starter: Starter,
    // Where the hosts that are reached are remembered, if they are.
    memory: Option<Memory>,
    // Until it serves there, where it is a proxy.
    door: Option<Door>,
    life: Life,
}

/// How far it has come.
#[derive(Debug)]
enum Life {
    /// It has no sockets yet.
    Asleep,
    /// They are there, and it is not.
    Listening(Listening),
    /// It is there.
    Begun(Process),
    /// It could not begin. Its sockets are closed, so that whoever connects is refused.
    Lost,
}

impl Gate {
    /// One for the jail of `init`. It begins now if anybody has to hear from it before the command can run.
    pub fn new(
        live: Live,
        rules: &Rules,
        (own, init): (Ids, Pid),
        memory: Memory,
        door: Option<Door>,
    ) -> Result<Gate, Failed> {
        let mark = (!rules.secrets.is_empty()).then(mark).transpose().map_err(Failed::at("begin_gate"))?;
        let waits = door.is_none() && rules.let_gate_begin_late();
        let memory = rules.terms.first_contact.map(|_| memory);
        let starter = Starter { live, rules: rules.clone(), own, init, mark };
        let life = if waits { Life::Asleep } else { Life::Begun(Process::begin(&starter)?) };
        Ok(Gate { starter, memory, door, life })
    }

    /// Whom the jail's programs are to trust. Asked once, of a gate that ends TLS.
    pub fn trust(&self) -> Result<Trust, Failed> {
        match &self.life {
            Life::Begun(process) => process.trust(),
            Life::Asleep | Life::Listening(_) | Life::Lost => Err(Failed::at("hear_trust")(Errno::EPROTO)),
        }
    }

    /// What is in everything that stands for a secret in this jail.
    pub fn mark(&self) -> Option<&str> {
        self.starter.mark.as_deref()
    }

    /// Gives it the sockets in the jail's network.
    pub fn open(&mut self, sockets: Vec<OwnedFd>) -> Result<(), Failed> {
        let known = self.known()?;
        match &mut self.life {
            Life::Asleep => {
                let listening = Listening::at(sockets, known).map_err(Failed::at("open_gate"))?;
                self.life = Life::Listening(listening);
                Ok(())
            }
            Life::Begun(process) => {
                // Nobody else is to hold it: when the gate ends, connections to it are refused.
                let door = self.door.take();
                let listener = door.as_ref().map(|door| &door.listener);
                let sockets: Vec<_> = sockets.iter().chain(listener).map(AsFd::as_fd).collect();
                process.open(&sockets, known, door.as_ref().map(|door| door.token.clone()))
            }
            Life::Listening(_) | Life::Lost => Err(Failed::at("open_gate")(Errno::EPROTO)),
        }
    }

    /// Waits until one that has begun serves them.
    pub fn await_ready(&self) -> Result<(), Failed> {
        match &self.life {
            Life::Begun(process) => process.await_ready(),
            Life::Listening(_) => Ok(()),
            Life::Asleep | Life::Lost => Err(Failed::at("open_gate")(Errno::EPROTO)),
        }
    }

    fn known(&self) -> Result<Vec<String>, Failed> {
        self.memory.as_ref().map_or_else(|| Ok(Vec::new()), Memory::known)
    }

    /// Whether it is a proxy, and not yet open.
    pub fn has_door(&self) -> bool {
        self.door.is_some()
    }

    /// From now on it is for the agent of `memory`: a jail can be made before anybody knows for whom.
    pub fn serve_agent(&mut self, memory: Memory) -> Result<(), Failed> {
        let Some(own) = &mut self.memory else { return Ok(()) };
        *own = memory;
        let known = own.known()?;
        match &mut self.life {
            Life::Listening(listening) => listening.known = known,
            Life::Begun(process) => process.know(known)?,
            Life::Asleep | Life::Lost => {}
        }
        Ok(())
    }

    /// What is readable when somebody knocks, as long as it has not begun.
    pub fn knocks(&self) -> Option<BorrowedFd<'_>> {
        match &self.life {
            Life::Listening(listening) => Some(listening.knocks()),
            Life::Asleep | Life::Begun(_) | Life::Lost => None,
        }
    }

    /// Begins, for somebody has knocked. If it cannot, they are refused, and the verdict says that something may be missing.
    pub fn begin(&mut self) {
        let listening = match mem::replace(&mut self.life, Life::Lost) {
            Life::Listening(listening) => listening,
            other => return self.life = other,
        };
        let Listening { sockets, known, .. } = listening;
        let sockets: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        let begun = Process::begin(&self.starter).and_then(|mut process| {
            process.open(&sockets, known, None)?;
            process.has_something_to_tell();
            Ok(process)
        });
        self.life = begun.map_or(Life::Lost, Life::Begun);
    }

    /// What was reached within this time from now, backwards. A gate that does not say has ended, and nothing could be
    /// reached since.
    pub fn reached(&mut self, within: Duration) -> Reached {
        // Somebody may have come and gone before we looked.
        if matches!(&self.life, Life::Listening(listening) if listening.has_come()) {
            self.begin();
        }
        let told = match &mut self.life {
            Life::Asleep | Life::Listening(_) => return Reached::default(),
            Life::Begun(process) => process.reached(within).ok(),
            Life::Lost => None,
        };
        told.map_or(Reached { lost: true, ..Reached::default() }, |reached| self.remember(reached))
    }

    /// Remembers who was met. Whoever cannot be remembered is met again.
    fn remember(&self, reached: Reached) -> Reached {
        let met = reached.contacts.iter().filter(|contact| contact.met != Met::Before);
        let met = met.filter(|contact| contact.decision == Decision::Allowed);
        let hosts: Vec<String> = met.filter_map(|contact| contact.name.clone().or(contact.address.clone())).collect();
        if let (Some(memory), false) = (&self.memory, hosts.is_empty()) {
            let _ = memory.remember(&hosts);
        }
        reached
    }

    /// Has it end beside whatever else does; dropped, it has.
    pub fn begin_to_end(&self) {
        if let Life::Begun(process) = &self.life {
            process.begin_to_end();
        }
    }
}

/// What nobody could have guessed, in the letters that base64 leaves alone.
fn mark() -> Result<String, Errno> {
    Ok(format!("clawjail{}{}", unguessable()?, unguessable()?))
}
