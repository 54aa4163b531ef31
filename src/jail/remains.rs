//! Clearing up after a launcher that was killed.
//!
//! Whoever survives clears up: the launcher when its supervisor is gone, the supervisor when its launcher is. What the
//! launcher made is found by its pid, which is in every name. When both were killed at once nobody survives, and what they
//! left waits for [`sweep`].

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{cgroup, descendants, opening, survey};

/// The same for one keeper of several: `living` are the others, whose jails go on.
pub fn clear_up_after_one(pid: Pid, living: &[Pid]) {
    let (controllers, name) = (survey::controllers(), opening::group_name(pid));
    cgroup::end_members(&controllers, &name);
    let _ = descendants::end_all_but(living);
    cgroup::remove_all(&controllers, &name);
    opening::remove_private_of(pid);
}

/// Ends what is left of the launcher `pid` and removes what it had made. Its orphans are ours: we are a subreaper.
pub fn clear_up_after(pid: Pid) {
    // Nobody is left to tell if any of this fails; the verdict says already that the launcher died.
    let (controllers, name) = (survey::controllers(), opening::group_name(pid));
    cgroup::end_members(&controllers, &name);
    let _ = descendants::end_all();
    cgroup::remove_all(&controllers, &name);
    opening::remove_private_of(pid);
}

/// Ends and removes what launchers left that are gone, whoever had started them. Nobody's run waits for this.
pub fn sweep() {
    let controllers = survey::controllers();
    let launchers = cgroup::launchers(&controllers).into_iter().chain(opening::launchers_with_private());
    for pid in launchers.filter(|pid| is_gone(*pid)) {
        let name = opening::group_name(pid);
        let members = cgroup::members(&controllers, &name);
        // With members of another pid namespace, its launcher can be there too, and not gone at all.
        if members.contains(&Pid::from_raw(0)) {
            continue;
        }
        for member in members {
            // Only what a jail started can be in its groups: nobody else may put anything there.
            let _ = kill(member, Signal::SIGKILL);
        }
        // Its number can have been given to a new launcher meanwhile, whose groups have the same name.
        if is_gone(pid) {
            cgroup::remove_all(&controllers, &name);
            opening::remove_private_of(pid);
        }
    }
}

/// Whether the process has ended, reaped or not.
fn is_gone(pid: Pid) -> bool {
    if kill(pid, None) == Err(Errno::ESRCH) {
        return true;
    }
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before can hold anything, also `)`; proc_pid_stat(5).
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X']))
}
