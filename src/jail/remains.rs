//! Clearing up after a launcher that was killed.
//!
//! Whoever survives clears up: the launcher when its supervisor is gone, the supervisor when its launcher is. What the
//! launcher made is found by its pid, which is in every name.

use nix::unistd::Pid;

use super::{cgroup, descendants, opening, survey};

/// Ends what is left of the launcher `pid` and removes what it had made. Its orphans are ours: we are a subreaper.
pub fn clear_up_after(pid: Pid) {
    // Nobody is left to tell if any of this fails; the verdict says already that the launcher died.
    let _ = descendants::end_all();
    cgroup::remove_all(&survey::controllers(), &opening::group_name(pid));
    opening::remove_private_of(pid);
}
