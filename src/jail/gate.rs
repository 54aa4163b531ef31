//! A jail's gate, as the launcher holds it. What a gate does is `egress`'s; it runs in a process of its own, which lives no
//! longer than the jail.

use std::cell::{Cell, OnceCell, RefCell};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::channel::{Arrived, Channel};
use super::contacts::Memory;
use super::opening::{close_all_but, unguessable};
use crate::confine::identity::errno_of;
use crate::confine::{Failed, Ids};
use crate::plan::compile::{FIRST_THROW_AWAY_UID, THROW_AWAY_UIDS};
use crate::policy::egress::Rules;
use crate::policy::egress::http::secret::Source;
use crate::sys::process::{self, Fork};
use crate::verdict::run::{Decision, Met, Reached};
use crate::wire::gate::{FromGate, ToGate};

/// How long a gate may take to begin, and to say what it did.
const PATIENCE: (u16, u16) = (10_000, 2_000);

/// What a new process lives as, if it is to be a gate. Told from above, for what a gate does is no business of a launcher's.
pub type Live = fn(Assignment) -> !;

/// What a gate is for.
pub struct Assignment {
    /// How it speaks with the launcher.
    pub channel: Channel,
    /// What may be reached.
    pub rules: Rules,
    /// The ids that it takes; none when it has none but the caller's already.
    pub becomes: Option<Ids>,
    /// Whom it must not outlive.
    pub launcher: Pid,
    /// What is in everything that stands for a secret in this jail, if it has any.
    pub mark: Option<String>,
}

/// Whom a jail's programs trust, in the forms in which they read it.
#[derive(Debug, Default)]
pub struct Trust {
    /// For nearly all.
    pub pem: Vec<u8>,
    /// For Java.
    pub jks: Vec<u8>,
}

/// Where programs find a gate that is a proxy: a port of the host's loopback, and a word that others there do not know.
#[derive(Debug)]
pub struct Door {
    /// The port.
    pub port: u16,
    listener: OwnedFd,
    token: String,
}

impl Door {
    /// Opens one.
    pub fn open() -> Result<Door, Failed> {
        let failed = |error: std::io::Error| Failed::at("open_door")(errno_of(&error));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let token = unguessable().map_err(Failed::at("open_door"))?;
        Ok(Door { port, listener: listener.into(), token })
    }

    /// As programs are told of it.
    pub fn url(&self) -> String {
        format!("http://clawjail:{}@127.0.0.1:{}", self.token, self.port)
    }
}

/// A gate.
#[derive(Debug)]
pub struct Gate {
    process: Pid,
    channel: Channel,
    // Where the hosts that are reached are remembered, if they are.
    memory: Option<Memory>,
    // Until it serves there, where it is a proxy.
    door: RefCell<Option<Door>>,
    mark: Option<String>,
    patience: u16,
    word: Cell<Word>,
    // Where the kernel says whether it sleeps. Opened before anybody waits for an answer.
    state: OnceCell<File>,
}

/// What a gate has said that was last asked, or never.
#[derive(Clone, Copy, Debug)]
enum Word {
    /// Nothing so far.
    Nothing,
    /// All that there was by then.
    AllUntil(Instant),
    /// That some of it goes on.
    More,
}

impl Gate {
    /// Makes one for the jail of `init`. It confines itself while the jail is still being built.
    pub fn begin(
        live: Live,
        rules: &Rules,
        own: Ids,
        init: Pid,
        memory: Memory,
        door: Option<Door>,
    ) -> Result<Gate, Failed> {
        let failed = Failed::at("begin_gate");
        let (channel, gates) = Channel::pair().map_err(&failed)?;
        let launcher = getpid();
        let mark = (!rules.secrets.is_empty()).then(mark).transpose().map_err(&failed)?;
        match process::fork_into(0, None).map_err(&failed)? {
            Fork::Child => {
                drop(channel);
                if close_all_but(&gates).is_err() {
                    process::leave(1);
                }
                let becomes = (own.uid == 0).then(|| ids(init));
                live(Assignment { channel: gates, rules: rules.clone(), becomes, launcher, mark })
            }
            Fork::Parent(process) => {
                let memory = rules.terms.first_contact.map(|_| memory);
                let patience = patience(rules);
                Ok(Gate {
                    process,
                    channel,
                    memory,
                    door: RefCell::new(door),
                    mark,
                    patience,
                    word: Cell::new(Word::Nothing),
                    state: OnceCell::new(),
                })
            }
        }
    }

    /// Whom the jail's programs are to trust. Asked once, of a gate that ends TLS.
    pub fn trust(&self) -> Result<Trust, Failed> {
        let failed = Failed::at("hear_trust");
        match self.hear(PATIENCE.0).map_err(&failed)? {
            FromGate::Trust { pem, jks } => Ok(Trust { pem, jks }),
            FromGate::Failed(failure) => {
                Err(Failed { step: "hear_trust", errno: Errno::from_raw(failure.errno), what: failure.what })
            }
            FromGate::Ready | FromGate::Stirred | FromGate::Reached { .. } => Err(failed(Errno::EPROTO)),
        }
    }

    /// What is in everything that stands for a secret in this jail.
    pub fn mark(&self) -> Option<&str> {
        self.mark.as_deref()
    }

    /// Gives it the sockets in the jail's network.
    pub fn open(&self, sockets: &[OwnedFd]) -> Result<(), Failed> {
        let failed = Failed::at("open_gate");
        // Nobody else is to hold it: when the gate ends, connections to it are refused.
        let door = self.door.take();
        let sockets: Vec<_> = sockets.iter().chain(door.as_ref().map(|door| &door.listener)).map(AsFd::as_fd).collect();
        let token = door.as_ref().map(|door| door.token.clone());
        match self.channel.send(&ToGate::Open { known: self.known()?, token }, &sockets) {
            // It could not go on and has ended; why, is what is heard of it.
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(failed(errno)),
        }
    }

    /// Waits until it serves them.
    pub fn await_ready(&self) -> Result<(), Failed> {
        let failed = Failed::at("open_gate");
        if let Ok(file) = File::open(format!("/proc/{}/stat", self.process)) {
            let _ = self.state.set(file);
        }
        match self.hear(self.patience).map_err(&failed)? {
            FromGate::Ready => Ok(()),
            FromGate::Failed(failure) => Err(Failed {
                step: "open_gate",
                errno: Errno::from_raw(failure.errno),
                what: Some(failure.what.map_or(failure.step.clone(), |what| format!("{}: {what}", failure.step))),
            }),
            FromGate::Stirred | FromGate::Reached { .. } | FromGate::Trust { .. } => Err(failed(Errno::EPROTO)),
        }
    }

    fn known(&self) -> Result<Vec<String>, Failed> {
        self.memory.as_ref().map_or_else(|| Ok(Vec::new()), Memory::known)
    }

    /// Whether it is a proxy, and not yet open.
    pub fn has_door(&self) -> bool {
        self.door.borrow().is_some()
    }

    /// From now on it is for the agent of `memory`: a jail can be made before anybody knows for whom.
    pub fn serve_agent(&mut self, memory: Memory) -> Result<(), Failed> {
        let Some(own) = &mut self.memory else { return Ok(()) };
        *own = memory;
        match self.channel.send(&ToGate::Know(own.known()?), &[]) {
            // That it has ended is for the verdict to say.
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(Failed::at("serve_agent")(errno)),
        }
    }

    /// What was reached within this time from now, backwards. A gate that does not say has ended, and nothing could be
    /// reached since.
    pub fn reached(&self, within: Duration) -> Reached {
        if self.has_nothing_to_tell(within) {
            return Reached::default();
        }
        let within_us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        let told = self.channel.send(&ToGate::Tell { within_us }, &[]).and_then(|()| self.hear_reached());
        match told {
            Ok((reached, going)) => {
                self.word.set(if going { Word::More } else { Word::AllUntil(Instant::now()) });
                self.remember(*reached)
            }
            Err(_) => Reached { lost: true, ..Reached::default() },
        }
    }

    /// Whether nothing was reached or tried within this time, as far as can be known without waking the gate. It says by itself when
    /// there is something; and when it sleeps, it has dealt with all that had come by then.
    fn has_nothing_to_tell(&self, within: Duration) -> bool {
        let all_told = match self.word.get() {
            Word::Nothing => true,
            Word::AllUntil(then) => then.elapsed() > within,
            Word::More => false,
        };
        // In this order: what it said before it went to sleep has arrived.
        all_told && self.is_asleep() && self.is_silent()
    }

    /// Whether the process waits for something to happen; proc_pid_stat(5). The kernel takes this back with the first packet.
    fn is_asleep(&self) -> bool {
        let mut start = [0; 64];
        let read = self.state.get().and_then(|file| file.read_at(&mut start, 0).ok());
        let known = start.get(..read.unwrap_or(0)).unwrap_or_default();
        let mut behind_name = known.rsplit(|byte| *byte == b')');
        behind_name.next().is_some_and(|rest| rest.starts_with(b" S "))
    }

    /// Whether it has said nothing that was not heard, and is still there.
    fn is_silent(&self) -> bool {
        let mut watched = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::ZERO) == Ok(0)
    }

    fn hear_reached(&self) -> Result<(Box<Reached>, bool), Errno> {
        loop {
            match self.hear(PATIENCE.1)? {
                FromGate::Reached { reached, going } => return Ok((reached, going)),
                // Said before it was asked.
                FromGate::Stirred => {}
                FromGate::Ready | FromGate::Failed(_) | FromGate::Trust { .. } => return Err(Errno::EPROTO),
            }
        }
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

    fn hear(&self, patience: u16) -> Result<FromGate, Errno> {
        let mut watched = [PollFd::new(self.channel.as_fd(), PollFlags::POLLIN)];
        loop {
            match poll(&mut watched, PollTimeout::from(patience)) {
                Ok(0) => return Err(Errno::ETIMEDOUT),
                Err(Errno::EINTR) => {}
                polled => {
                    polled?;
                    break;
                }
            }
        }
        match self.channel.receive()? {
            Arrived::Message(message, _) => Ok(message),
            Arrived::Gone => Err(Errno::EPIPE),
        }
    }
}

impl Gate {
    /// Has it end beside whatever else does; dropped, it has.
    pub fn begin_to_end(&self) {
        let _ = kill(self.process, Signal::SIGKILL);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        // Ended already, or ended now: it keeps nothing that anybody still waits for.
        self.begin_to_end();
        let _ = process::wait_for(self.process);
    }
}

/// How long a gate may take to begin: it may have to wait for those who know secrets.
fn patience(rules: &Rules) -> u16 {
    let waits = rules.secrets.values().map(|secret| match secret.source {
        Source::Command { timeout_ms, .. } => timeout_ms,
        Source::File(_) | Source::Environment(_) | Source::Credential(_) => 0,
    });
    u16::try_from(waits.sum::<u64>().saturating_add(PATIENCE.0.into())).unwrap_or(u16::MAX)
}

/// What nobody could have guessed, in the letters that base64 leaves alone.
fn mark() -> Result<String, Errno> {
    Ok(format!("clawjail{}{}", unguessable()?, unguessable()?))
}

/// Ids that no jail has, and no other living gate: init's pid is its own, and the range lies behind that of the jails.
fn ids(init: Pid) -> Ids {
    let offset = u32::try_from(init.as_raw()).unwrap_or(0) % THROW_AWAY_UIDS;
    let id = FIRST_THROW_AWAY_UID + THROW_AWAY_UIDS + offset;
    Ids { uid: id, gid: id }
}
