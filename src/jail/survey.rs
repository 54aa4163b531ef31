//! What this host can do, found by trying.
//!
//! Fills in [`HostFacts`]. Everything here is quick: it happens before each run.

use std::fs;
use std::path::{Path, PathBuf};

use caps::{CapSet, Capability};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::{AccessFlags, Pid, access, geteuid};

use super::delegation::{self, CGROUPS, WANTED};
use crate::confine::identity::map_into_user_namespace;
use crate::confine::{Failed, Ids, mounts};
use crate::host::{Controllers, HostFacts, IdmappedMounts, Tier};
use crate::sys::process::{self, Fork, How, namespaces};
use crate::sys::{abi, mounts as sys_mounts, seccomp};

/// The best tier that this process can have.
pub fn best_tier(own: Ids) -> Tier {
    if geteuid().is_root()
        && caps::has_cap(None, CapSet::Effective, Capability::CAP_SYS_ADMIN).unwrap_or(false)
        // Root that nobody has confined may do all that a jail is made of; trying would be a part of each run.
        && (!is_confined() || namespaces_work(0, || Ok(())).is_ok())
    {
        return Tier::Root;
    }
    if user_namespaces_work(own).is_ok() { Tier::User } else { Tier::Bare }
}

/// Makes a user namespace and maps an id in it, and builds in it what is at the bottom of a jail: restricted hosts fail at
/// any of these.
pub fn user_namespaces_work(own: Ids) -> Result<(), Failed> {
    namespaces_work(namespaces::USER, || map_into_user_namespace(own))
}

/// Makes a mount and a pid namespace, with `more`, and mounts a proc in it. Whoever is confined from outside enters a root
/// of its own too: a capability is then not enough for it.
fn namespaces_work(more: u64, begin: impl FnOnce() -> Result<(), Failed>) -> Result<(), Failed> {
    match process::fork_into(namespaces::MOUNT | namespaces::PID | more, None).map_err(Failed::at("clone3"))? {
        Fork::Child => {
            let mount_proc = || sys_mounts::open_filesystem(c"proc").and_then(|proc| proc.mount(0)).map(drop);
            let enter = || if is_confined() { mounts::begin().and_then(mounts::enter) } else { Ok(()) };
            let tried = begin().and_then(|()| mount_proc().map_err(Failed::at("mount_proc"))).and_then(|()| enter());
            process::leave(tried.err().map_or(0, |failed| failed.errno as i32))
        }
        Fork::Parent(pid) => match process::wait_for(pid).map_err(Failed::at("wait"))?.how {
            How::Exited(0) => Ok(()),
            How::Exited(errno) => Err(Failed::at("namespaces_work")(nix::errno::Errno::from_raw(errno))),
            How::Signalled(_) => Err(Failed::at("namespaces_work")(nix::errno::Errno::EIO)),
        },
    }
}

/// Whether somebody confines this process, as a container runtime does: by a profile of a security module or by a filter.
fn is_confined() -> bool {
    // What has no name for it says nothing, and `unconfined` is how AppArmor and SELinux say that it is not.
    let label = fs::read_to_string("/proc/self/attr/current").unwrap_or_default();
    seccomp::is_filtered() || !(label.trim_matches(['\0', '\n']).is_empty() || label.starts_with("unconfined"))
}

/// Facts for a jail of `tier`. `idmapped` says whether the workspace could be.
pub fn facts(tier: Tier, controllers: Controllers, idmapped: IdmappedMounts) -> HostFacts {
    HostFacts {
        tier,
        landlock_abi: abi::landlock(),
        seccomp_notify: seccomp::notifications_work(),
        controllers,
        idmapped_mounts: idmapped,
        cpus: processors(),
    }
}

/// How many processors we may use.
fn processors() -> u32 {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else { return 1 };
    let usable = (0..CpuSet::count()).filter(|number| set.is_set(*number).unwrap_or(false)).count();
    u32::try_from(usable).unwrap_or(u32::MAX)
}

/// Which controllers we may make groups in.
pub fn controllers() -> Controllers {
    let memberships = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let v1 = v1_parents(&memberships);
    if !v1.is_empty() {
        return Controllers::V1 { parents: v1 };
    }
    if !Path::new(CGROUPS).join("cgroup.controllers").exists() {
        return Controllers::None { why: "no cgroup controller can be written by this user".into() };
    }
    let own = memberships.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or_default();
    delegation::parent(own).unwrap_or_else(|why| Controllers::None { why })
}

fn v1_parents(memberships: &str) -> Vec<(String, PathBuf)> {
    let of = |wanted: &str| {
        let own = memberships.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let names = fields.next()?;
            names.split(',').any(|name| name == wanted).then(|| fields.next()).flatten()
        })?;
        let mount = Path::new(CGROUPS).join(wanted);
        let parent = mount.join(own.trim_start_matches('/'));
        // In a container the path may be the host's; the mount's own top is then ours.
        let parent = if parent.is_dir() { parent } else { mount };
        access(&parent, AccessFlags::W_OK).is_ok().then(|| (wanted.to_owned(), parent))
    };
    WANTED.into_iter().filter_map(of).collect()
}
