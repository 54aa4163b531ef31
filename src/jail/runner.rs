//! A process on its way to becoming a command, as init sees it.
//!
//! One is made when a run starts. In a jail that stays, one more is made ahead of the next run: it wears what a run
//! wears, has proven it, and waits to be told what to become, so that a run costs an `execve` and little else.
//!
//! ```text
//!   forked --Broken | Failed--> ends
//!     '--Proven--> waits, if made ahead --Assignment--> execve --NotExecuted--> ends
//!                                                         '--its end of the channel closes--> is the command
//! ```

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::unistd::Pid;

use super::channel::{Arrived, Channel};
use super::command::{Assignment, Word, Worn, become_command};
use crate::confine::Failed;
use crate::sys::process::{self, Fork};
use crate::wire::privsep::Finding;

/// Such a process, until it has ended.
pub struct Runner {
    /// Its pid, as init knows it.
    pub pid: Pid,
    /// Why it did not become the command, once it has said so.
    pub last: Option<Word>,
    // None when no more words are to come.
    words: Option<Channel>,
}

/// What one said.
pub enum Heard {
    /// Every promise held. With the listener of its notifying filter, if it has one.
    Proven(Vec<Finding>, Option<OwnedFd>),
    /// A promise did not hold.
    Broken(Vec<Finding>),
    /// It is the command now, or was killed on the way, or has said its last word. Nothing that matters comes after it.
    Nothing,
}

impl Runner {
    /// Makes one that becomes what it is `assigned`, or waits until it is told.
    pub fn fork(worn: Worn<'_>, assigned: Option<Assignment>) -> Result<Runner, Failed> {
        let (mine, theirs) = Channel::pair().map_err(Failed::at("fork_runner"))?;
        match process::fork().map_err(Failed::at("fork"))? {
            Fork::Child => {
                drop(mine);
                become_command(assigned, worn, theirs)
            }
            Fork::Parent(pid) => Ok(Runner { pid, last: None, words: Some(mine) }),
        }
    }

    /// Tells one that was made ahead what to become. It may be gone: whatever runs in the jail can have killed it.
    pub fn assign(&self, assignment: &Assignment) -> Result<(), Errno> {
        let channel = self.words.as_ref().ok_or(Errno::EPIPE)?;
        let stdio = &assignment.stdio;
        channel.send(&(&assignment.command, stdio.terminal), &stdio.descriptors.each_ref().map(AsFd::as_fd))
    }

    /// Whether it is the command now, or was killed on the way.
    pub fn has_become(&self) -> bool {
        self.words.is_none() && self.last.is_none()
    }

    /// Where its words come from, while any may come.
    pub fn words(&self) -> Option<BorrowedFd<'_>> {
        self.words.as_ref().map(AsFd::as_fd)
    }

    /// Waits for its next word.
    pub fn hear(&mut self) -> Result<Heard, Failed> {
        let Some(channel) = &self.words else { return Ok(Heard::Nothing) };
        match channel.receive().map_err(Failed::at("hear_runner"))? {
            Arrived::Message(Word::Proven(findings), mut listener) => Ok(Heard::Proven(findings, listener.pop())),
            Arrived::Message(Word::Broken(findings), _) => {
                self.last = Some(Word::Broken(Vec::new()));
                Ok(Heard::Broken(findings))
            }
            Arrived::Message(last, _) => {
                self.last = Some(last);
                Ok(Heard::Nothing)
            }
            Arrived::Gone => {
                self.words = None;
                Ok(Heard::Nothing)
            }
        }
    }
}
