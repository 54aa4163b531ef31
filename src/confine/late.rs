//! Shielding in a view that is in use: what has appeared in the workspace since, and what was written anew, for whoever
//! renames a file over another takes away what was mounted there (rename(2), "mount point" in other namespaces).
//!
//! [`View`] is the launcher's hold on a jail's view. It looks through a descriptor of the view's top; to mount something
//! there a process must be in the jail's mount namespace, and [`View::enter`] is for one that does nothing else.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, SFlag};

use super::identity::errno_of;
use super::shields::{Shielded, is_file_or_directory, leads_away};
use super::{Failed, mounts};
use crate::plan::Effect;
use crate::sys::mounts as sys_mounts;
use crate::sys::process::{self, namespaces};

/// A jail's view, held from outside.
#[derive(Debug)]
pub struct View {
    top: OwnedFd,
    mounts: OwnedFd,
    // Where that is not the launcher's own: only in there may it mount anything.
    users: Option<OwnedFd>,
}

/// The namespaces in which a view is: init opens them before it has one.
pub fn open_namespaces() -> Result<Vec<OwnedFd>, Failed> {
    let open = |path| {
        File::open(path).map(OwnedFd::from).map_err(|error| Failed::on("open_namespace", path)(errno_of(&error)))
    };
    Ok(vec![open("/proc/self/ns/mnt")?, open("/proc/self/ns/user")?])
}

/// The top of the view that this process is in.
pub fn open_top() -> Result<OwnedFd, Failed> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    openat(AT_FDCWD, "/", flags, Mode::empty()).map_err(Failed::at("open_top"))
}

/// What something is covered with, whichever it is.
pub struct Cover {
    file: OwnedFd,
    directory: OwnedFd,
}

impl View {
    /// From what init opened: its top, then its namespaces.
    pub fn of(top: OwnedFd, mounts: OwnedFd, users: Option<OwnedFd>) -> View {
        View { top, mounts, users }
    }

    /// Whether `path` leads to something that nothing is mounted over, in the view.
    pub fn shows(&self, path: &Path, workspace: Option<&Path>) -> Result<bool, Errno> {
        find_open(self.top.as_fd(), path, workspace).map(|found| found.is_some())
    }

    /// Makes covers for `count` things, in a mount namespace that this process makes for it, and enters the jail's. This
    /// process must not do anything else after that.
    pub fn enter(&self, count: usize) -> Result<Vec<Cover>, Failed> {
        if let Some(users) = &self.users {
            setns(users, CloneFlags::CLONE_NEWUSER).map_err(Failed::at("enter_users"))?;
        }
        process::unshare(namespaces::MOUNT).map_err(Failed::at("unshare"))?;
        let stock = mounts::begin()?;
        let cover = || {
            let [file, directory] = [SFlag::S_IFREG, SFlag::S_IFDIR].map(|kind| mounts::make_cover(&stock, kind));
            Ok(Cover { file: file?, directory: directory? })
        };
        let covers = (0..count).map(|_| cover()).collect::<Result<_, _>>().map_err(Failed::at("make_covers"))?;
        // The top and the working directory become those of the jail's view.
        setns(&self.mounts, CloneFlags::CLONE_NEWNS).map_err(Failed::at("enter_view"))?;
        Ok(covers)
    }
}

/// Shields `one` in the view that this process has entered.
pub fn shield(one: &Shielded, cover: Cover, workspace: Option<&Path>) -> Result<(), Failed> {
    let failed = Failed::on("shield_late", &one.path);
    let top = open_top()?;
    let Some(target) = find_open(top.as_fd(), &one.path, workspace).map_err(&failed)? else { return Ok(()) };
    match (one.effect, mounts::kind_of(target.as_fd()).map_err(&failed)?) {
        (Effect::Hide, SFlag::S_IFDIR) => sys_mounts::attach(cover.directory.as_fd(), target.as_fd()),
        (Effect::Hide, _) => sys_mounts::attach(cover.file.as_fd(), target.as_fd()),
        (Effect::Protect | Effect::Vet, _) => mounts::freeze(target.as_fd()),
    }
    .map_err(failed)
}

/// What `path` leads to, if there is something to be shielded, and nothing is mounted there.
fn find_open(
    top: std::os::fd::BorrowedFd<'_>,
    path: &Path,
    workspace: Option<&Path>,
) -> Result<Option<OwnedFd>, Errno> {
    let target = match mounts::follow_inside(top, path) {
        Ok(target) => target,
        // What we cannot reach, commands cannot either.
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES | Errno::ENAMETOOLONG) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let is_open = is_file_or_directory(target.as_fd())?
        && !sys_mounts::is_mount_root(target.as_fd())?
        && !leads_away(top, path, target.as_fd(), workspace)?;
    Ok(is_open.then_some(target))
}
