//! Users of this host, from `/etc/passwd` alone: a static binary loads no name service, and the launcher wants none.

use std::path::PathBuf;

use nix::unistd::{getgid, getuid};

use crate::confine::Ids;
use crate::plan::request::Caller;

/// The caller of a run without a daemon: whoever started this process, by its real ids.
pub fn this_caller() -> Caller {
    caller(getuid().as_raw(), getgid().as_raw())
}

fn caller(uid: u32, gid: u32) -> Caller {
    let text = passwd();
    let wanted = uid.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(&wanted));
    let field = |number| line.and_then(|line| line.split(':').nth(number)).filter(|field| !field.is_empty());
    Caller {
        uid,
        gid,
        name: field(0).map_or(wanted.clone(), str::to_owned),
        // Somebody without an entry has no home; a path that does not exist grants nothing.
        home: PathBuf::from(field(5).unwrap_or("/nonexistent")),
    }
}

/// Home directories of people and services.
pub fn homes() -> Vec<PathBuf> {
    passwd()
        .lines()
        .filter_map(|line| line.split(':').nth(5))
        .filter(|home| home.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

fn passwd() -> String {
    std::fs::read("/etc/passwd").map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Our own effective ids: with which rights we act.
pub fn own_ids() -> Ids {
    Ids { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
}
