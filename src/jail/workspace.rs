//! The workspace: opened as the caller, judged before anything else is done with it.
//!
//! A workspace is a directory that holds work and nothing else: not `/`, not a home, not a part of the system; the
//! caller's own; and reached without a link that somebody could have planted.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::fstat;

use super::repository::hooks_directory;
use super::{accounts, folding};
use crate::confine::Ids;
use crate::plan::Owner;
use crate::plan::refused::Refused;
use crate::plan::request::{Caller, WorkspaceDirectory};
use crate::sys::process::set_filesystem_ids;
use crate::sys::resolving::open_resolved;

/// Trees that belong to the system, whatever the caller may do with them.
const SYSTEM_TREES: [&str; 14] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/lost+found",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
];

/// An opened workspace.
#[derive(Debug)]
pub struct Workspace {
    /// Held open, so that what was judged is what is mounted.
    pub descriptor: OwnedFd,
    /// Device and inode, which nothing else can have while the descriptor is open.
    pub identity: (u64, u64),
    /// Its real path and owner.
    pub directory: WorkspaceDirectory,
    /// Where the command starts, if the caller said so: a real path inside.
    pub cwd: Option<PathBuf>,
}

/// A directory that was opened as the caller, and that may be shown.
#[derive(Debug)]
pub struct Judged {
    /// Held open, so that what was judged is what is mounted.
    pub descriptor: OwnedFd,
    /// Device and inode.
    pub identity: (u64, u64),
    /// Its real path.
    pub path: PathBuf,
    /// Who owns it on disk.
    pub owner: Owner,
}

/// Opens `path` with the caller's credentials and refuses what is no workspace.
pub fn open(path: &Path, cwd: Option<&Path>, caller: &Caller, own: Ids) -> Result<Workspace, Refused> {
    let workspace = look_for_hooks(judge(path, caller, own)?, caller, own)?;
    let cwd = cwd.map(|cwd| open_cwd(cwd, &workspace.directory.path, caller, own)).transpose()?;
    Ok(Workspace { cwd, ..workspace })
}

/// Whether `path` leads to `before` still, as it was. What is judged by its place alone is not judged again.
pub fn is_still(before: &Workspace, path: &Path, caller: &Caller, own: Ids) -> Result<bool, Refused> {
    let descriptor = open_directory(path, caller, own, "workspace")?;
    let real = real_path(&descriptor)?;
    let now = look_for_hooks(look(descriptor, real, caller, own)?, caller, own)?;
    Ok(now.identity == before.identity && now.directory == before.directory)
}

fn look_for_hooks(judged: Judged, caller: &Caller, own: Ids) -> Result<Workspace, Refused> {
    let Judged { descriptor, identity, path, owner } = judged;
    let hooks = as_caller(Ids { uid: caller.uid, gid: caller.gid }, own, || Ok(hooks_directory(&descriptor, &path)));
    let hooks = hooks.map_err(|errno| refuse("workspace", &path, errno.desc()))?;
    Ok(Workspace { descriptor, identity, directory: WorkspaceDirectory { path, owner, hooks }, cwd: None })
}

/// Opens `path` with the caller's credentials and refuses what holds anything but work of theirs.
pub fn judge(path: &Path, caller: &Caller, own: Ids) -> Result<Judged, Refused> {
    let descriptor = open_directory(path, caller, own, "workspace")?;
    let real = real_path(&descriptor)?;
    refuse_by_place(&real, caller)?;
    if own.uid != 0 {
        // Root reads no profiles from homes.
        refuse_profiles(&real, caller)?;
    }
    look(descriptor, real, caller, own)
}

/// Judges a directory by what it is, wherever it is.
fn look(descriptor: OwnedFd, real: PathBuf, caller: &Caller, own: Ids) -> Result<Judged, Refused> {
    let stat = fstat(&descriptor).map_err(|errno| refuse("workspace", &real, errno.desc()))?;
    let owner = Owner { uid: stat.st_uid, gid: stat.st_gid };
    if caller.uid != 0 && owner.uid != caller.uid {
        return Err(refused(
            "workspace_not_owned",
            format!("workspace `{}` belongs to uid {}, not to `{}`", real.display(), owner.uid, caller.name),
            "choose a directory of your own",
        ));
    }
    let folds = as_caller(Ids { uid: caller.uid, gid: caller.gid }, own, || folding::folds(&descriptor));
    if folds.map_err(|errno| refuse("workspace", &real, errno.desc()))? {
        return Err(refused(
            "workspace_folds_names",
            format!(
                "workspace `{}` takes names that differ in case for the same, which shields cannot",
                real.display()
            ),
            "choose a directory that tells them apart, on a filesystem such as ext4, xfs or btrfs",
        ));
    }
    Ok(Judged { descriptor, identity: (stat.st_dev, stat.st_ino), path: real, owner })
}

/// A directory in `workspace`, as a real path of the host.
pub fn open_cwd(cwd: &Path, workspace: &Path, caller: &Caller, own: Ids) -> Result<PathBuf, Refused> {
    let path = workspace.join(cwd);
    let real = real_path(&open_directory(&path, caller, own, "cwd")?)?;
    if real.starts_with(workspace) {
        return Ok(real);
    }
    let message = format!("cwd `{}` is outside the workspace `{}`", real.display(), workspace.display());
    Err(refused("cwd_outside", message, "give a directory inside the workspace, or another --workspace"))
}

/// Refuses to show something at `below` in the workspace where no directory is: making one there is the caller's business.
pub fn refuse_no_place(workspace: &Workspace, below: &Path, caller: &Caller, own: Ids) -> Result<(), Refused> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_BENEATH;
    let caller_ids = Ids { uid: caller.uid, gid: caller.gid };
    let how = OpenHow::new().flags(flags).resolve(resolve);
    let opened = as_caller(caller_ids, own, || open_resolved(&workspace.descriptor, below, how));
    opened.map(drop).map_err(|errno| {
        let message = format!("nothing can be shown at `{}` in the workspace: {}", below.display(), errno.desc());
        refused("mount_unusable", message, "make a directory there first")
    })
}

fn open_directory(path: &Path, caller: &Caller, own: Ids, what: &str) -> Result<OwnedFd, Refused> {
    let path = &resolve_top(path);
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    let caller_ids = Ids { uid: caller.uid, gid: caller.gid };
    let opened =
        as_caller(caller_ids, own, || open_resolved(AT_FDCWD, path, OpenHow::new().flags(flags).resolve(resolve)));
    opened.map_err(|errno| match errno {
        Errno::ELOOP => through_link(path, what),
        Errno::ENOENT => refuse(what, path, "it does not exist"),
        Errno::ENOTDIR => refuse(what, path, "it is not a directory"),
        Errno::EACCES => refuse(what, path, "you may not enter it"),
        errno => refuse(what, path, errno.desc()),
    })
}

/// Follows a link that stands directly in `/`, where only root can put one (`/home -> /var/home`); no other is followed.
fn resolve_top(path: &Path) -> PathBuf {
    let mut components = path.components();
    let (Some(Component::RootDir), Some(Component::Normal(top))) = (components.next(), components.next()) else {
        return path.to_path_buf();
    };
    match Path::new("/").join(top).canonicalize() {
        Ok(real) if !components.as_path().as_os_str().is_empty() => real.join(components.as_path()),
        Ok(real) => real,
        Err(_) => path.to_path_buf(),
    }
}

/// Opens with the credentials of `caller`, if they are not our own.
pub fn as_caller<T>(caller: Ids, own: Ids, open: impl FnOnce() -> Result<T, Errno>) -> Result<T, Errno> {
    if caller == own {
        return open();
    }
    set_filesystem_ids(caller.uid, caller.gid)?;
    let opened = open();
    set_filesystem_ids(own.uid, own.gid)?;
    opened
}

/// The path by which the kernel knows an open directory; proc_pid_fd(5).
fn real_path(descriptor: &OwnedFd) -> Result<PathBuf, Refused> {
    let link = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
    std::fs::read_link(&link).map_err(|error| refuse("workspace", Path::new(&link), &error.to_string()))
}

fn refuse_by_place(real: &Path, caller: &Caller) -> Result<(), Refused> {
    let hint = "choose a directory that holds the work and nothing else, such as `~/work/project`";
    let no = |why: &str| Err(refused("workspace_forbidden", format!("workspace `{}` is {why}", real.display()), hint));
    if real == Path::new("/") {
        return no("the root of the filesystem");
    }
    if let Some(tree) = SYSTEM_TREES.iter().find(|tree| real.starts_with(tree)) {
        return no(&format!("part of the system tree `{tree}`"));
    }
    let home =
        accounts::homes().into_iter().chain([caller.home.clone()]).find(|home| real == home && home != Path::new("/"));
    if home.is_some() {
        return no("a home directory");
    }
    if caller.home.starts_with(real) {
        return no("above your home directory");
    }
    if real.components().count() == 2 {
        return no("a top-level directory");
    }
    Ok(())
}

/// A command that could write its caller's profiles would choose what the next run may do.
fn refuse_profiles(real: &Path, caller: &Caller) -> Result<(), Refused> {
    let settings = caller.home.join(".config");
    let profiles = settings.canonicalize().unwrap_or(settings).join("clawjail");
    if !profiles.starts_with(real) && !real.starts_with(&profiles) {
        return Ok(());
    }
    let message =
        format!("workspace `{}` has to do with `{}`, where profiles are read", real.display(), profiles.display());
    Err(refused("workspace_forbidden", message, "choose a directory that holds the work and nothing else"))
}

fn through_link(path: &Path, what: &str) -> Refused {
    let mut walked = PathBuf::new();
    for component in path.components() {
        walked.push(component);
        if let Ok(target) = std::fs::read_link(&walked) {
            let message = format!("{what} `{}` goes through the symbolic link `{}`", path.display(), walked.display());
            let real = path.canonicalize().unwrap_or(target);
            return refused(
                "workspace_link",
                message,
                &format!("if you trust the link, give the real path: `{}`", real.display()),
            );
        }
    }
    refuse(what, path, "it goes through a symbolic link")
}

fn refuse(what: &str, path: &Path, why: &str) -> Refused {
    refused("workspace_unusable", format!("cannot use {what} `{}`: {why}", path.display()), "")
}

fn refused(code: &'static str, message: String, remedy: &str) -> Refused {
    Refused { code, message, remedy: (!remedy.is_empty()).then(|| remedy.to_owned()) }
}

/// A path from bytes of a request.
pub fn path_of(text: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(text))
}
