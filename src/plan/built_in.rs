//! The built-in profiles, resolved when this program was built.
//!
//! Reading TOML is the largest part of what a short run costs, and the built-in texts cannot change any more. They are
//! used only where no directory of the host could say anything else; `tests/shipped.rs` holds them against the texts.

use crate::profile::Profile;
use crate::profile::load::Sources;

macro_rules! resolved {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".profile")))),+] };
}

const RESOLVED: &[(&str, &[u8])] = resolved!("base", "offline", "readonly", "skill-test", "trusted", "untrusted");

/// The built-in profile `name`, if `sources` has no directory that could hold another of that name or other sets.
pub fn profile(name: &str, sources: &Sources) -> Option<Profile> {
    if !sources.dirs.is_empty() {
        return None;
    }
    let (_, bytes) = RESOLVED.iter().find(|(known, _)| *known == name)?;
    // What does not decode is read from its text instead.
    postcard::from_bytes(bytes).ok()
}
