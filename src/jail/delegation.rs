//! Under which group of a v2 hierarchy our jails' groups go: cgroups(7), and what systemd says about delegation.
//!
//! ```text
//!   the group that we run in   if it was delegated: its members then move into a leaf of it, as the kernel demands
//!   /sys/fs/cgroup/clawjail    root, where it was not
//! ```
//!
//! A delegated group is its owner's to arrange, and jails under it stay below the limits that its unit has.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access, geteuid};

use crate::host::Controllers;
use crate::sys::attributes;

/// Where every distribution mounts control groups.
pub const CGROUPS: &str = "/sys/fs/cgroup";
/// What a jail can be limited by.
pub const WANTED: [&str; 3] = ["memory", "pids", "cpu"];

/// Our own group where we are root and were given none.
const OWN_PARENT: &str = "clawjail";
/// Where members of a group go that gives controllers to its children.
const LEAF: &str = "clawjail-leaf";
/// Bounds nothing, but counts what is read and written.
const COUNTED: &str = "io";
/// How often members are moved: they can fork in between.
const ATTEMPTS: usize = 8;

/// Who of a group's members may be moved into a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Movable {
    /// All: whoever delegated the group gave it away as a whole.
    Everybody,
    /// This process and those above it, who wait for it or serve it.
    OurLine,
}

/// The group for jails of a process whose own is `own`, and the controllers that its children get.
pub fn parent(own: &str) -> Result<Controllers, String> {
    let top = Path::new(CGROUPS);
    let own = without_leaf(&top.join(own));
    if is_delegated(&own) {
        return give(&own, Movable::Everybody);
    }
    if geteuid().is_root() {
        // The host's own top has no such file, and no member of it is in the way. The top of a container is the container's.
        let movable = if top.join("cgroup.events").exists() { Movable::Everybody } else { Movable::OurLine };
        enable(top, movable);
        let parent = top.join(OWN_PARENT);
        return match fs::create_dir(&parent) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(format!("cannot make {}: {error}", parent.display()))
            }
            _ => give(&parent, Movable::OurLine),
        };
    }
    if access(&own, AccessFlags::W_OK).is_err() {
        return Err(
            "the cgroup is not delegated to this user; start with `systemd-run --user --scope -p Delegate=yes`".into(),
        );
    }
    give(&own, Movable::OurLine)
}

/// The group that we were in before some run of ours made a leaf of it.
fn without_leaf(own: &Path) -> PathBuf {
    match own.parent() {
        Some(parent) if own.file_name() == Some(LEAF.as_ref()) => parent.to_path_buf(),
        _ => own.to_path_buf(),
    }
}

/// systemd marks what it delegates. Root takes only what root was given: who owns a group can undo its children's limits.
fn is_delegated(group: &Path) -> bool {
    let root = geteuid().is_root();
    let mark = if root { c"trusted.delegate" } else { c"user.delegate" };
    let owned = fs::metadata(group).is_ok_and(|about| about.uid() == geteuid().as_raw());
    owned && attributes::has(group, mark, b'1') == Ok(true)
}

fn give(parent: &Path, movable: Movable) -> Result<Controllers, String> {
    let enabled = enable(parent, movable);
    if enabled.is_empty() {
        return Err(format!("no controller can be enabled in {}", parent.display()));
    }
    Ok(Controllers::V2 { parent: parent.to_path_buf(), enabled })
}

/// Enables what can be enabled for children of `group`, and says what is.
fn enable(group: &Path, movable: Movable) -> Vec<String> {
    for name in WANTED.into_iter().chain([COUNTED]) {
        if listed(group, "cgroup.subtree_control", name) || !listed(group, "cgroup.controllers", name) {
            continue;
        }
        let mut attempts = 0;
        while fs::write(group.join("cgroup.subtree_control"), format!("+{name}")).is_err()
            && attempts < ATTEMPTS
            && move_into_leaf(group, movable)
        {
            attempts += 1;
        }
    }
    // What could not be enabled is not there now, whatever the reason.
    let enabled = WANTED.into_iter().filter(|name| listed(group, "cgroup.subtree_control", name));
    enabled.map(str::to_owned).collect()
}

fn listed(group: &Path, file: &str, name: &str) -> bool {
    fs::read_to_string(group.join(file)).unwrap_or_default().split_ascii_whitespace().any(|word| word == name)
}

/// A group with members cannot give controllers to children: they move into a leaf. Says whether anybody moved.
fn move_into_leaf(group: &Path, movable: Movable) -> bool {
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let members: Vec<u32> = members.lines().filter_map(|line| line.parse().ok()).collect();
    let ours = if movable == Movable::OurLine { our_line() } else { Vec::new() };
    // Pid 0 stands for a process that this pid namespace does not show.
    let all_movable = members.iter().all(|pid| *pid != 0 && (movable == Movable::Everybody || ours.contains(pid)));
    if members.is_empty() || !all_movable {
        return false;
    }
    let leaf = group.join(LEAF);
    let _ = fs::create_dir(&leaf);
    // One that has ended meanwhile is in nobody's way.
    members.iter().filter(|pid| fs::write(leaf.join("cgroup.procs"), pid.to_string()).is_ok()).count() > 0
}

/// This process and its ancestors, as far as /proc shows them.
fn our_line() -> Vec<u32> {
    let mut line = vec![std::process::id()];
    while let Some(pid) = line.last().and_then(|pid| parent_of(*pid)).filter(|pid| *pid != 0 && !line.contains(pid)) {
        line.push(pid);
    }
    line
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{our_line, without_leaf};

    #[test]
    fn a_leaf_of_ours_stands_for_the_group_above_it_and_no_other_name_does() {
        for (own, expected) in [
            ("/sys/fs/cgroup/a.scope/clawjail-leaf", "/sys/fs/cgroup/a.scope"),
            ("/sys/fs/cgroup/a.scope", "/sys/fs/cgroup/a.scope"),
            ("/sys/fs/cgroup/not-clawjail-leaf", "/sys/fs/cgroup/not-clawjail-leaf"),
            ("/sys/fs/cgroup/clawjail-leaf/b", "/sys/fs/cgroup/clawjail-leaf/b"),
        ] {
            assert_eq!(without_leaf(Path::new(own)), Path::new(expected));
        }
    }

    #[test]
    fn our_line_is_this_process_and_its_ancestors_and_nobody_else() {
        let mut child = std::process::Command::new("sleep").arg("5").spawn().expect("everyone has sleep");
        let line = our_line();
        let _ = child.kill();
        let _ = child.wait();
        assert_eq!(line.first(), Some(&std::process::id()));
        assert!(line.contains(&std::os::unix::process::parent_id()), "{line:?}");
        assert!(!line.contains(&child.id()), "{line:?}");
    }
}
