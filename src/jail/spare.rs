//! The process that is made ahead of the next run, as init holds it.

use std::os::fd::{BorrowedFd, OwnedFd};

use super::runner::{Heard, Runner};
use crate::confine::Failed;
use crate::wire::privsep::Finding;

/// What a process found, and the listener of its notifying filter.
pub type Proof = (Vec<Finding>, Option<OwnedFd>);

/// There is at most one for each run that has started, so one that something in the jail kills again and again is not made
/// again and again.
pub enum Spare {
    /// None is to be made.
    None,
    /// It is to be made when there is nothing else to do.
    Wanted,
    /// It is there, and has perhaps proven what it wears.
    There(Runner, Option<Proof>),
    /// It found a promise that does not hold. Whoever starts a run is told, and nothing is executed.
    Broken(Vec<Finding>),
}

impl Spare {
    /// Where its words come from, while any may come.
    pub fn words(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Spare::There(runner, _) => runner.words(),
            Spare::None | Spare::Wanted | Spare::Broken(_) => None,
        }
    }

    /// Hears its next word.
    pub fn hear(&mut self) -> Result<(), Failed> {
        let Spare::There(runner, proof) = self else { return Ok(()) };
        match runner.hear()? {
            Heard::Proven(findings, listener) => *proof = Some((findings, listener)),
            Heard::Broken(findings) => *self = Spare::Broken(findings),
            // Killed, or a step of its own failed, which the next run will say of its own process.
            Heard::Nothing => *self = Spare::None,
        }
        Ok(())
    }
}
