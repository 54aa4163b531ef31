//! What a gate is for, and what it takes to make one.

use nix::unistd::Pid;

use super::super::channel::Channel;
use crate::confine::Ids;
use crate::plan::compile::{FIRST_THROW_AWAY_UID, THROW_AWAY_UIDS};
use crate::policy::egress::Rules;

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

/// What is needed to begin one.
#[derive(Debug)]
pub struct Starter {
    /// What it lives as.
    pub live: Live,
    /// What may be reached.
    pub rules: Rules,
    /// Whose ids the launcher has.
    pub own: Ids,
    /// The jail's first process.
    pub init: Pid,
    /// What is in everything that stands for a secret, if there is any.
    pub mark: Option<String>,
}

impl Starter {
    /// The ids that it takes.
    pub fn becomes(&self) -> Option<Ids> {
        (self.own.uid == 0).then(|| ids(self.init))
    }
}

/// Ids that no jail has, and no other living gate: init's pid is its own, and the range lies behind that of the jails.
fn ids(init: Pid) -> Ids {
    let offset = u32::try_from(init.as_raw()).unwrap_or(0) % THROW_AWAY_UIDS;
    let id = FIRST_THROW_AWAY_UID + THROW_AWAY_UIDS + offset;
    Ids { uid: id, gid: id }
}
