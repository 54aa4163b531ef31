//! Building the view: a root of the jail's own, in which only what the plan lists exists. mount_namespaces(7).
//!
//! Everything goes by descriptor: sources are opened once, targets are resolved below the new root and never through a
//! link, so nothing can be swapped between a look and a mount.

use std::collections::BTreeMap;
use std::ffi::{CString, OsStr};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat, readlinkat};
use nix::mount::{MntFlags, umount2};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat, mkdirat};
use nix::unistd::{UnlinkatFlags, chdir, fchdir, pivot_root, symlinkat, unlinkat};

use super::{Failed, Ids};
use crate::plan::{Entry, HostPath, Missing, Rights};
use crate::sys::mounts::{self, Depth, NO_DEV, NO_EXEC, NO_SUID, READ_ONLY};
use crate::sys::process::set_filesystem_ids;
use crate::sys::resolving::open_resolved;

/// Where the view's own structure is kept: directories and small files only.
const ROOT_BYTES: u64 = 1 << 20;
/// What masks files, while the view is built.
const EMPTY_FILE: &str = ".empty-file";
/// What masks directories, while the view is built.
const EMPTY_DIRECTORY: &str = ".empty-directory";

/// The new root while it is being filled.
pub struct Root {
    /// Its top, by which everything in it is reached.
    top: OwnedFd,
    /// An empty unreadable file, for masking files.
    empty_file: OwnedFd,
    /// An empty unreadable directory, for masking directories.
    empty_directory: OwnedFd,
}

/// With whose credentials host paths are opened.
#[derive(Clone, Copy, Debug)]
pub struct Opener {
    /// The caller's.
    pub caller: Ids,
    /// Our own.
    pub own: Ids,
}

/// Makes the new root and mounts it over the old one's top; the process still stands in the old one.
pub fn begin() -> Result<Root, Failed> {
    let failed = Failed::at("begin_view");
    mounts::make_all_private().map_err(&failed)?;
    let context = mounts::open_filesystem(c"tmpfs").map_err(&failed)?;
    context.set(c"mode", c"0755").map_err(&failed)?;
    context.set(c"size", &decimal(ROOT_BYTES)).map_err(&failed)?;
    let top = context.mount(NO_SUID | NO_DEV).map_err(&failed)?;
    let old = openat(nix::fcntl::AT_FDCWD, "/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(&failed)?;
    mounts::attach(top.as_fd(), old.as_fd()).map_err(&failed)?;
    let empty_file = make_empty_file(top.as_fd()).map_err(&failed)?;
    let empty_directory = make_empty_directory(top.as_fd()).map_err(&failed)?;
    Ok(Root { top, empty_file, empty_directory })
}

fn make_empty_file(top: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    drop(openat(top, EMPTY_FILE, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC, Mode::empty())?);
    openat(top, EMPTY_FILE, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

fn make_empty_directory(top: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    mkdirat(top, EMPTY_DIRECTORY, Mode::empty())?;
    openat(top, EMPTY_DIRECTORY, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

/// Puts `entries` into the root, parents first. `trees` holds the mounts that the launcher made for some paths.
pub fn fill(
    root: &Root,
    entries: &BTreeMap<PathBuf, Entry>,
    trees: &BTreeMap<PathBuf, OwnedFd>,
    ids: Ids,
    opener: Opener,
) -> Result<(), Failed> {
    let mut filling = Filling { root, ids, opener, directory: None };
    for (path, entry) in entries {
        let placed = match (entry, trees.get(path)) {
            (Entry::Host(_), Some(tree)) => filling.attach(path, tree.as_fd()),
            (entry, _) => filling.place(path, entry),
        };
        placed.map_err(Failed::on("mounts", path))?;
    }
    Ok(())
}

/// Fails unless the view shows at `path` what has this device and inode: a source that is opened by its path may have been
/// swapped since it was judged. `ESTALE` then.
pub fn must_be(root: &Root, path: &Path, identity: (u64, u64)) -> Result<(), Failed> {
    let failed = Failed::on("must_be", path);
    let stat = open_inside(top(root), path).and_then(fstat).map_err(&failed)?;
    if (stat.st_dev, stat.st_ino) == identity { Ok(()) } else { Err(failed(Errno::ESTALE)) }
}

/// Makes the structure read-only, becomes it and lets go of the old root.
pub fn enter(root: Root) -> Result<(), Failed> {
    let failed = Failed::at("enter_view");
    // Mounts of them go on without a name, so the view shows none of ours.
    unlinkat(&root.top, EMPTY_FILE, UnlinkatFlags::NoRemoveDir).map_err(&failed)?;
    unlinkat(&root.top, EMPTY_DIRECTORY, UnlinkatFlags::RemoveDir).map_err(&failed)?;
    mounts::add_attributes(root.top.as_fd(), READ_ONLY, Depth::One).map_err(&failed)?;
    fchdir(&root.top).map_err(&failed)?;
    // The old root ends up mounted over the new one, from where it is detached; pivot_root(2), NOTES.
    pivot_root(".", ".").map_err(&failed)?;
    umount2(".", MntFlags::MNT_DETACH).map_err(&failed)?;
    chdir("/").map_err(&failed)
}

/// Opens a host path as the caller would, without following a last link or any magic one.
pub fn open_host(host: &HostPath, opener: Opener) -> Result<OwnedFd, Errno> {
    let path = &host.source;
    let resolve = match host.missing {
        Missing::Unlinked => ResolveFlag::RESOLVE_NO_SYMLINKS,
        Missing::Skip | Missing::Fail => ResolveFlag::RESOLVE_NO_MAGICLINKS,
    };
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC).resolve(resolve);
    if opener.caller == opener.own {
        return open_resolved(nix::fcntl::AT_FDCWD, path.as_path(), how);
    }
    set_filesystem_ids(opener.caller.uid, opener.caller.gid)?;
    let opened = open_resolved(nix::fcntl::AT_FDCWD, path.as_path(), how);
    set_filesystem_ids(opener.own.uid, opener.own.gid)?;
    opened
}

/// Mount attributes for rights: never set-user-id, never devices, and no more than was granted.
pub fn attributes(rights: Rights) -> u64 {
    let mut attributes = NO_SUID | NO_DEV;
    if !rights.write {
        attributes |= READ_ONLY;
    }
    if !rights.execute {
        attributes |= NO_EXEC;
    }
    attributes
}

/// Filling one root. Entries come sorted, so the directory that was needed last is mostly the one that is needed next.
struct Filling<'a> {
    root: &'a Root,
    ids: Ids,
    opener: Opener,
    directory: Option<(PathBuf, OwnedFd)>,
}

impl Filling<'_> {
    fn place(&mut self, path: &Path, entry: &Entry) -> Result<(), Errno> {
        match entry {
            Entry::Host(host) => self.place_host_path(path, host),
            Entry::Private { size, execute, mode } => self.place_private(path, *size, *execute, *mode),
            Entry::Proc => {
                let tree = mounts::open_filesystem(c"proc")?.mount(READ_ONLY | NO_SUID | NO_DEV | NO_EXEC)?;
                self.attach(path, tree.as_fd())
            }
            Entry::Terminals => self.place_terminals(path),
            Entry::Device => self.place_device(path),
            Entry::Directory => make_directories(self.root, path).map(drop),
            Entry::File { content } => {
                let Ids { uid, gid } = self.ids;
                let content = content.replace("{uid}", &uid.to_string()).replace("{gid}", &gid.to_string());
                self.write_file(path, content.as_bytes())
            }
            Entry::Trust { content, .. } => self.write_file(path, content),
            Entry::Over { same_as } => self.lay_over(path, Path::new(same_as)),
            Entry::Link { target } => self.make_link(path, OsStr::new(target)),
            Entry::Masked => self.mask(path),
        }
    }

    fn place_host_path(&mut self, path: &Path, host: &HostPath) -> Result<(), Errno> {
        let source = match (open_host(host, self.opener), host.missing) {
            (Ok(source), _) => source,
            (Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES), Missing::Skip | Missing::Unlinked)
            | (Err(Errno::ELOOP), Missing::Unlinked) => return Ok(()),
            (Err(errno), _) => return Err(errno),
        };
        if kind_of(source.as_fd())? == SFlag::S_IFLNK {
            let target = readlinkat(source.as_fd(), "")?;
            return self.make_link(path, &target);
        }
        let tree = mounts::clone_tree(source.as_fd(), Depth::Recursive)?;
        mounts::add_attributes(tree.as_fd(), attributes(host.rights), Depth::Recursive)?;
        self.attach(path, tree.as_fd())
    }

    fn place_private(&mut self, path: &Path, size: u64, execute: bool, mode: u32) -> Result<(), Errno> {
        let context = mounts::open_filesystem(c"tmpfs")?;
        context.set(c"size", &decimal(size))?;
        // An inode costs the kernel about 1 KiB that `size` does not count.
        context.set(c"nr_inodes", &decimal((size / 4096).clamp(1024, 1 << 20)))?;
        context.set(c"mode", &octal(mode))?;
        context.set(c"uid", &decimal(self.ids.uid.into()))?;
        context.set(c"gid", &decimal(self.ids.gid.into()))?;
        let exec = if execute { 0 } else { NO_EXEC };
        let tree = context.mount(NO_SUID | NO_DEV | exec)?;
        self.attach(path, tree.as_fd())
    }

    fn place_terminals(&mut self, path: &Path) -> Result<(), Errno> {
        let context = mounts::open_filesystem(c"devpts")?;
        context.set(c"ptmxmode", c"0666")?;
        context.set(c"mode", c"0620")?;
        let tree = context.mount(NO_SUID | NO_EXEC)?;
        self.attach(path, tree.as_fd())
    }

    fn place_device(&mut self, path: &Path) -> Result<(), Errno> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let source = openat(nix::fcntl::AT_FDCWD, path, flags, Mode::empty())?;
        // A device name that leads elsewhere is not the device; refuse it.
        if kind_of(source.as_fd())? != SFlag::S_IFCHR {
            return Err(Errno::ENOTTY);
        }
        let tree = mounts::clone_tree(source.as_fd(), Depth::One)?;
        mounts::add_attributes(tree.as_fd(), NO_SUID | NO_EXEC, Depth::One)?;
        self.attach(path, tree.as_fd())
    }

    fn mask(&mut self, path: &Path) -> Result<(), Errno> {
        let (directory, name) = self.directory_and_name(path)?;
        match open_below(directory, Path::new(name)) {
            Ok(target) => cover(self.root, target.as_fd()),
            // Not every kernel has every file; what is not there needs no mask.
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    fn write_file(&mut self, path: &Path, content: &[u8]) -> Result<(), Errno> {
        let (directory, name) = self.directory_and_name(path)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        let file = openat(directory, name, flags, Mode::from_bits_truncate(0o444))?;
        std::fs::File::from(file).write_all(content).map_err(|error| super::identity::errno_of(&error))
    }

    /// Shows the file `same_as` of the view where `path` leads, too. What the host does not have there is not made up.
    fn lay_over(&mut self, path: &Path, same_as: &Path) -> Result<(), Errno> {
        let target = match follow_inside(self.root.top.as_fd(), path) {
            Ok(target) if kind_of(target.as_fd())? == SFlag::S_IFREG => target,
            Ok(_) | Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES | Errno::ELOOP) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        let same = open_inside(self.root.top.as_fd(), same_as)?;
        let tree = mounts::clone_tree(same.as_fd(), Depth::One)?;
        mounts::add_attributes(tree.as_fd(), READ_ONLY | NO_SUID | NO_DEV | NO_EXEC, Depth::One)?;
        mounts::attach(tree.as_fd(), target.as_fd())
    }

    fn make_link(&mut self, path: &Path, target: &OsStr) -> Result<(), Errno> {
        let (directory, name) = self.directory_and_name(path)?;
        match symlinkat(target, directory, name) {
            // A host tree that the profile grants may bring the same link along.
            Err(Errno::EEXIST) => Ok(()),
            made => made,
        }
    }

    /// Mounts `tree` at `path`, on a mount point of its kind that is made if it is not there.
    fn attach(&mut self, path: &Path, tree: BorrowedFd<'_>) -> Result<(), Errno> {
        let kind = kind_of(tree)?;
        let (directory, name) = self.directory_and_name(path)?;
        let target =
            if kind == SFlag::S_IFDIR { make_directory(directory, name)? } else { make_mount_point(directory, name)? };
        mounts::attach(tree, target.as_fd())
    }

    fn directory_and_name<'a>(&mut self, path: &'a Path) -> Result<(BorrowedFd<'_>, &'a OsStr), Errno> {
        let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::EINVAL)?;
        if self.directory.as_ref().is_none_or(|(known, _)| known.as_os_str() != parent.as_os_str()) {
            self.directory = Some((parent.to_path_buf(), make_directories(self.root, parent)?));
        }
        let directory = self.directory.as_ref().map(|(_, directory)| directory.as_fd());
        directory.map(|directory| (directory, name)).ok_or(Errno::EINVAL)
    }
}

/// Mounts something empty and unreadable over `target`.
pub fn cover(root: &Root, target: BorrowedFd<'_>) -> Result<(), Errno> {
    mounts::attach(make_cover(root, kind_of(target)?)?.as_fd(), target)
}

/// Something empty and unreadable to be mounted over what is of this kind.
pub fn make_cover(root: &Root, kind: SFlag) -> Result<OwnedFd, Errno> {
    let empty = if kind == SFlag::S_IFDIR { &root.empty_directory } else { &root.empty_file };
    let tree = mounts::clone_tree(empty.as_fd(), Depth::One)?;
    mounts::add_attributes(tree.as_fd(), READ_ONLY | NO_SUID | NO_DEV | NO_EXEC, Depth::One)?;
    Ok(tree)
}

/// Mounts `target` over itself, read-only.
pub fn freeze(target: BorrowedFd<'_>) -> Result<(), Errno> {
    let tree = mounts::clone_tree(target, Depth::Recursive)?;
    mounts::add_attributes(tree.as_fd(), READ_ONLY, Depth::Recursive)?;
    mounts::attach(tree.as_fd(), target)
}

/// The file `name` as a mount point, made if it is not there.
fn make_mount_point(directory: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    match openat(directory, name, flags, Mode::from_bits_truncate(0o444)) {
        Err(Errno::EEXIST | Errno::EROFS | Errno::EACCES) => open_below(directory, Path::new(name)),
        made => made,
    }
}

/// The directory `name`, made if it is not there.
fn make_directory(directory: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    match mkdirat(directory, name, Mode::from_bits_truncate(0o755)) {
        Ok(()) | Err(Errno::EEXIST | Errno::EROFS | Errno::EACCES) => open_below(directory, Path::new(name)),
        Err(errno) => Err(errno),
    }
}

/// The directory `path` of the view, made with its parents if it is not there.
fn make_directories(root: &Root, path: &Path) -> Result<OwnedFd, Errno> {
    match open_inside(top(root), path) {
        Err(Errno::ENOENT) => {}
        found => return found,
    }
    let mut directory = open_inside(top(root), Path::new("/"))?;
    for component in path.components().skip(1) {
        directory = make_directory(directory.as_fd(), component.as_os_str())?;
    }
    Ok(directory)
}

/// Opens a path of the view by name only, through no link.
pub fn open_inside(top: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    resolve_inside(top, path, ResolveFlag::RESOLVE_NO_SYMLINKS)
}

/// Opens what a path of the view leads to, following links as a process inside would.
pub fn follow_inside(top: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    resolve_inside(top, path, ResolveFlag::RESOLVE_NO_MAGICLINKS)
}

fn resolve_inside(top: BorrowedFd<'_>, path: &Path, resolve: ResolveFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve | ResolveFlag::RESOLVE_IN_ROOT);
    open_resolved(top, relative(path), how)
}

/// Opens a name in a directory of the view, through no link.
fn open_below(directory: BorrowedFd<'_>, name: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_BENEATH;
    open_resolved(directory, name, OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve))
}

/// Opens a path of the view itself, even if it is a link.
pub fn open_link_inside(top: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW;
    open_resolved(
        top,
        relative(path),
        OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS),
    )
}

/// The root's top, for walks.
pub fn top(root: &Root) -> BorrowedFd<'_> {
    root.top.as_fd()
}

/// A path of the view, relative to its top.
pub fn relative(path: &Path) -> &Path {
    match path.strip_prefix("/") {
        Ok(rest) if !rest.as_os_str().as_bytes().is_empty() => rest,
        _ => Path::new("."),
    }
}

/// What `descriptor` is: a directory, a file, a link, ...
pub fn kind_of(descriptor: BorrowedFd<'_>) -> Result<SFlag, Errno> {
    Ok(SFlag::from_bits_truncate(fstat(descriptor)?.st_mode) & SFlag::S_IFMT)
}

/// Device, inode and number of names of what `name` in `directory` is, without following it.
pub fn names_of(directory: BorrowedFd<'_>, name: &OsStr) -> Result<(u64, u64, u64), Errno> {
    let stat = fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok((stat.st_dev, stat.st_ino, stat.st_nlink))
}

fn decimal(number: u64) -> CString {
    CString::new(number.to_string()).unwrap_or_default()
}

fn octal(number: u32) -> CString {
    CString::new(format!("{number:o}")).unwrap_or_default()
}
