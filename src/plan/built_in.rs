//! The built-in profiles and system call sets, resolved when this program was built.
//!
//! Reading TOML is the largest part of what a short run costs, and the built-in texts cannot change any more. They are
//! used only where no directory of the host could say anything else; `tests/shipped.rs` holds them against the texts.

use crate::policy::library::{Library, Shelf};
use crate::policy::syscalls::SyscallPolicy;
use crate::profile::Profile;
use crate::profile::load::Sources;
use crate::profile::packed::Packed;

macro_rules! resolved {
    ($kind:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".", $kind)))),+]
    };
}

const PROFILES: &[(&str, &[u8])] =
    resolved!("profile": "base", "offline", "openclaw", "readonly", "skill-test", "trusted", "untrusted");

/// Those that [`super::compile`] and the launcher name; the others are in the profiles already.
const SETS: &[(&str, &[u8])] = resolved!(
    "syscalls": "bare", "bare-direct", "broker", "broker-bare", "brokered", "direct", "broker-git", "gate", "loopback", "namespaced", "proxied", "observe",
    "observe-commands", "observe-full", "observe-writes",
);

/// The built-in profile `name`, if no directory of `sources` can hold another of that name or other sets.
pub fn profile(name: &str, sources: &Sources) -> Option<Profile> {
    packed(name, sources)?.open()
}

/// The same, packed. What does not decode is read from its text instead.
pub fn packed(name: &str, sources: &Sources) -> Option<Packed> {
    if !sources.replaces_nothing() {
        return None;
    }
    let (_, bytes) = PROFILES.iter().find(|(known, _)| *known == name)?;
    Packed::built_in(bytes)
}

/// The built-in system call set `name`, if `library` could not hold another of that name.
pub fn syscalls(name: &str, library: &Library) -> Option<SyscallPolicy> {
    if !library.has_built_in() {
        return None;
    }
    let (_, bytes) = SETS.iter().find(|(known, _)| *known == name)?;
    postcard::from_bytes(bytes).ok()
}
