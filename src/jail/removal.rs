//! Removing what a hostile command left in a private place: any shape of tree, with few descriptors and no recursion.
//!
//! Everything goes by descriptor. A tree can be deeper than the longest path and than our limit of open files, so each
//! directory is first lifted to the top.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// Removes the directory `path`, which is ours, and all that is in it. Links are removed and never followed.
pub fn remove_tree(path: &Path) -> Result<(), Errno> {
    let top = open(AT_FDCWD, path.as_os_str())?;
    let mut lifted = 0;
    loop {
        let entries = entries(top.as_fd())?;
        if entries.is_empty() {
            break;
        }
        for (name, kind) in entries {
            match kind {
                Kind::Directory => {
                    // What a command made unreadable is its own, so we can open it again.
                    fchmodat(&top, name.as_c_str(), Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
                    empty(open(top.as_fd(), OsStr::from_bytes(name.as_bytes()))?, top.as_fd(), &mut lifted)?;
                    unlinkat(&top, name.as_c_str(), UnlinkatFlags::RemoveDir)?;
                }
                Kind::Other => unlinkat(&top, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?,
            }
        }
    }
    unlinkat(AT_FDCWD, path, UnlinkatFlags::RemoveDir)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Directory,
    Other,
}

/// Removes what is in `directory`, and moves the directories in it up to `top`.
fn empty(directory: OwnedFd, top: BorrowedFd<'_>, lifted: &mut u64) -> Result<(), Errno> {
    for (name, kind) in entries(directory.as_fd())? {
        if kind == Kind::Other {
            unlinkat(&directory, name.as_c_str(), UnlinkatFlags::NoRemoveDir)?;
            continue;
        }
        // To be moved, a directory must be writable: its `..` changes.
        fchmodat(&directory, name.as_c_str(), Mode::S_IRWXU, FchmodatFlags::FollowSymlink)?;
        loop {
            *lifted += 1;
            match renameat(&directory, name.as_c_str(), top, format!("lifted-{lifted}").as_str()) {
                // The command had the same idea.
                Err(Errno::EEXIST | Errno::ENOTEMPTY | Errno::ENOTDIR) => {}
                renamed => break renamed?,
            }
        }
    }
    Ok(())
}

fn open(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(parent, name, flags, Mode::empty())
}

fn entries(directory: BorrowedFd<'_>) -> Result<Vec<(CString, Kind)>, Errno> {
    let mut found = Vec::new();
    for entry in Dir::from_fd(open(directory, OsStr::new("."))?)?.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let is_directory = match entry.file_type() {
            Some(kind) => kind == Type::Directory,
            // Not every filesystem says it here.
            None => fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW)?.st_mode & libc::S_IFMT == libc::S_IFDIR,
        };
        let kind = if is_directory { Kind::Directory } else { Kind::Other };
        found.push((name.to_owned(), kind));
    }
    Ok(found)
}
