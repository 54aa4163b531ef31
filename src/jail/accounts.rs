//! Users of this host, from `/etc/passwd` alone: a static binary loads no name service, and the launcher wants none.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nix::unistd::{getgid, getuid};

use crate::confine::Ids;
use crate::plan::request::Caller;

/// The caller of a run without a daemon: whoever started this process, by its real ids.
pub fn this_caller() -> Caller {
    caller(getuid().as_raw(), getgid().as_raw())
}

/// Whoever has these ids.
pub fn caller(uid: u32, gid: u32) -> Caller {
    let text = passwd();
    let wanted = uid.to_string();
    let line = text.lines().find(|line| line.split(':').nth(2) == Some(&wanted));
    let field = |number| line.and_then(|line| line.split(':').nth(number)).filter(|field| !field.is_empty());
    Caller {
        uid,
        gid,
        name: field(0).map_or(wanted.clone(), str::to_owned),
        // Somebody without an entry has no home; a path that does not exist grants nothing.
        home: real(PathBuf::from(field(5).unwrap_or("/nonexistent"))),
    }
}

/// A home as the kernel knows it: `/home` can be a link, and workspaces are known by real paths. All that is above a home is
/// root's, so nobody else can have put a link there.
fn real(home: PathBuf) -> PathBuf {
    home.canonicalize().unwrap_or(home)
}

/// Home directories of people and services.
pub fn homes() -> Vec<PathBuf> {
    let text = passwd();
    let homes = text.lines().filter_map(|line| line.split(':').nth(5)).filter(|home| home.starts_with('/'));
    let mut tops: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    let homes = homes.map(|home| {
        // The links that matter are few and directly in `/`; looking at every home would wake automounters.
        let top: PathBuf = Path::new(home).components().take(2).collect();
        let rest = Path::new(home).strip_prefix(&top).unwrap_or(Path::new(""));
        let top = tops.entry(top.clone()).or_insert_with(|| real(top));
        if rest.as_os_str().is_empty() { top.clone() } else { top.join(rest) }
    });
    homes.collect()
}

fn passwd() -> String {
    std::fs::read("/etc/passwd").map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Login name.
    pub name: String,
    /// User id.
    pub uid: u32,
    /// Home directory, as written there.
    pub home: PathBuf,
}

/// All users that this host knows by itself.
pub fn users() -> Vec<User> {
    let text = passwd();
    let entry = |line: &str| {
        let fields: Vec<&str> = line.split(':').collect();
        let (name, uid, home) = (fields.first()?, fields.get(2)?.parse().ok()?, fields.get(5)?);
        Some(User { name: (*name).to_owned(), uid, home: PathBuf::from(home) })
    };
    text.lines().filter_map(entry).collect()
}

/// The ids of the user `name`.
pub fn user(name: &str) -> Option<Ids> {
    let text = passwd();
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2).map(str::parse);
    match (fields.next(), fields.next()) {
        (Some(Ok(uid)), Some(Ok(gid))) => Some(Ids { uid, gid }),
        _ => None,
    }
}

/// The id of the group `name`.
pub fn group(name: &str) -> Option<u32> {
    let bytes = std::fs::read("/etc/group").unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().find(|line| line.split(':').next() == Some(name))?;
    line.split(':').nth(2)?.parse().ok()
}

/// Our own effective ids: with which rights we act.
pub fn own_ids() -> Ids {
    Ids { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
}
