//! No capability in any set, and no way to get one back. capabilities(7).

use caps::CapSet;
use nix::errno::Errno;

use super::Failed;
use crate::sys::process;

/// Capability sets are 64 bits wide.
const LAST_POSSIBLE: u64 = 63;

/// Empties the bounding set, so that no `execve` can add a capability. Needs `CAP_SETPCAP`: it comes before the identity.
pub fn empty_bounding_set() -> Result<(), Failed> {
    for capability in 0..=LAST_POSSIBLE {
        match process::drop_from_bounding_set(capability) {
            Ok(()) => {}
            // The first number that this kernel does not know: all before it are gone.
            Err(Errno::EINVAL) => return Ok(()),
            Err(errno) => return Err(failed(errno)),
        }
    }
    Ok(())
}

/// Empties all other sets and locks the bits that would let uid 0 refill them.
pub fn drop_all() -> Result<(), Failed> {
    if process::lock_securebits().is_err() && holds_any() {
        return Err(failed(Errno::EPERM));
    }
    // The ambient set is never more than the permitted and inheritable ones: it goes with them.
    for set in [CapSet::Effective, CapSet::Inheritable, CapSet::Permitted] {
        caps::clear(None, set).map_err(|_| failed(Errno::last()))?;
    }
    if holds_any() { Err(failed(Errno::EPERM)) } else { Ok(()) }
}

/// Whether any capability is left in a set that could be used.
pub fn holds_any() -> bool {
    let sets = [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable];
    sets.into_iter().any(|set| caps::read(None, set).map_or(true, |held| !held.is_empty()))
}

fn failed(errno: Errno) -> Failed {
    Failed { step: "capabilities", errno, what: None }
}
