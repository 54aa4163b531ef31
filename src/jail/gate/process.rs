//! A gate's process, as the launcher holds it. What it does is `egress`'s.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use super::super::channel::{Arrived, Channel};
use super::super::forked::close_all_but;
use super::assignment::{Assignment, Starter, Trust};
use crate::confine::Failed;
use crate::policy::egress::Rules;
use crate::policy::egress::http::secret::Source;
use crate::sys::process::{self, Fork};
use crate::verdict::run::Reached;
use crate::wire::gate::{FromGate, ToGate};

/// How long a gate may take to begin, and to say what it did, in milliseconds.
const PATIENCE: (u16, u16) = (10_000, 2_000);

/// The process.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    channel: Channel,
    patience: u16,
    word: Word,
    // Where the kernel says whether it sleeps. Opened before anybody waits for an answer.
    state: Option<File>,
}

/// What it has said that was last asked, or never.
#[derive(Clone, Copy, Debug)]
enum Word {
    /// Nothing so far.
    Nothing,
    /// All that there was by then.
    AllUntil(Instant),
    /// That some of it goes on, or there is something that it was not asked for yet.
    More,
}

impl Process {
    /// Makes it. It confines itself while whatever else is done.
    pub fn begin(starter: &Starter) -> Result<Process, Failed> {
        let failed = Failed::at("begin_gate");
        let (channel, gates) = Channel::pair().map_err(&failed)?;
        let launcher = getpid();
        match process::fork_into(0, None).map_err(&failed)? {
            Fork::Child => {
                drop(channel);
                if close_all_but(&gates).is_err() {
                    process::leave(1);
                }
                let Starter { live, rules, mark, .. } = starter;
                let (rules, mark) = (rules.clone(), mark.clone());
                live(Assignment { channel: gates, rules, becomes: starter.becomes(), launcher, mark })
            }
            Fork::Parent(pid) => {
                let patience = patience(&starter.rules);
                Ok(Process { pid, channel, patience, word: Word::Nothing, state: None })
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

    /// Gives it what it is to serve, and a word to ask for where it is a proxy.
    pub fn open(
        &mut self,
        sockets: &[BorrowedFd<'_>],
        known: Vec<String>,
        token: Option<String>,
    ) -> Result<(), Failed> {
        self.state = File::open(format!("/proc/{}/stat", self.pid)).ok();
        self.say(&ToGate::Open { known, token }, sockets).map_err(Failed::at("open_gate"))
    }

    /// Says which hosts were reached before, by whoever runs next.
    pub fn know(&self, known: Vec<String>) -> Result<(), Failed> {
        self.say(&ToGate::Know(known), &[]).map_err(Failed::at("serve_agent"))
    }

    fn say(&self, message: &ToGate, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        match self.channel.send(message, descriptors) {
            // It could not go on and has ended; why, is what is heard of it, and that it did is for the verdict to say.
            Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Waits until it serves.
    pub fn await_ready(&self) -> Result<(), Failed> {
        let failed = Failed::at("open_gate");
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

    /// From now on there is something to tell, whether or not it has said so.
    pub fn has_something_to_tell(&mut self) {
        self.word = Word::More;
    }

    /// What was reached within this time from now, backwards.
    pub fn reached(&mut self, within: Duration) -> Result<Reached, Errno> {
        if self.has_nothing_to_tell(within) {
            return Ok(Reached::default());
        }
        let within_us = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
        self.channel.send(&ToGate::Tell { within_us }, &[])?;
        let (reached, going) = self.hear_reached()?;
        self.word = if going { Word::More } else { Word::AllUntil(Instant::now()) };
        Ok(*reached)
    }

    /// Whether nothing was reached or tried within this time, as far as can be known without waking it. It says by itself when
    /// there is something; and when it sleeps, it has dealt with all that had come by then.
    fn has_nothing_to_tell(&self, within: Duration) -> bool {
        let all_told = match self.word {
            Word::Nothing => true,
            Word::AllUntil(then) => then.elapsed() > within,
            Word::More => false,
        };
        // In this order: what it said before it went to sleep has arrived.
        all_told && self.is_asleep() && self.is_silent()
    }

    /// Whether it waits for something to happen; proc_pid_stat(5). The kernel takes this back with the first packet.
    fn is_asleep(&self) -> bool {
        let mut start = [0; 64];
        let read = self.state.as_ref().and_then(|file| file.read_at(&mut start, 0).ok());
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
                FromGate::Ready | FromGate::Stirred => {}
                FromGate::Failed(_) | FromGate::Trust { .. } => return Err(Errno::EPROTO),
            }
        }
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

    /// Has it end beside whatever else does; dropped, it has.
    pub fn begin_to_end(&self) {
        let _ = kill(self.pid, Signal::SIGKILL);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Ended already, or ended now: it keeps nothing that anybody still waits for.
        self.begin_to_end();
        let _ = process::wait_for(self.pid);
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
