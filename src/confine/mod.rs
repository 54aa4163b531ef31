//! Confining a process: one file a step.
//!
//! Every step takes what the plan says, makes the calls and returns `{step, errno}` when one fails; no step calls the
//! next. The order is `jail::init`'s to show. These functions run after a fork in a process with one thread; they never
//! log and never panic.

use nix::errno::Errno;

pub mod capabilities;
pub mod descriptors;
pub mod gateway;
pub mod identity;
pub mod known;
pub mod landlock;
pub mod late;
pub mod limits;
pub mod mounts;
pub mod netlink;
pub mod network;
pub mod redirect;
pub mod seccomp;
pub mod shields;

/// A step that did not work. Nothing is executed after one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The step, named as its function.
    pub step: &'static str,
    /// What the kernel said.
    pub errno: Errno,
    /// On what.
    pub what: Option<String>,
}

impl Failed {
    /// A failure of `step` with nothing to point at.
    pub fn at(step: &'static str) -> impl Fn(Errno) -> Failed {
        move |errno| Failed { step, errno, what: None }
    }

    /// A failure of `step` on `what`.
    pub fn on(step: &'static str, what: impl AsRef<std::path::Path>) -> impl Fn(Errno) -> Failed {
        move |errno| Failed { step, errno, what: Some(what.as_ref().to_string_lossy().into_owned()) }
    }
}

/// Who the command will be, once chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ids {
    /// User id, inside and (in the root and bare tiers) outside.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}
