//! Whether a directory tells names apart by their bytes, as shields do.
//!
//! Where it does not, `.ENVRC` is `.envrc` for everybody on the host, and nobody but the filesystem knows which spellings
//! are one name. A workspace there is refused. On filesystems that may do either and do not say (network, FUSE), a
//! repository that answers to `.GIT` gives it away.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::libc;
use nix::sys::stat::{Mode, fstatat};
use nix::sys::statfs::{FsType, fstatfs};

use crate::sys::attributes;

/// `f_type` of filesystems that always fold: vfat, exfat, hfs, hfs+, and both drivers of ntfs; statfs(2).
const FOLDING: [libc::__fsword_t; 6] = [0x4d44, 0x2011_bab0, 0x4244, 0x482b, 0x5346_544e, 0x7366_746e];

/// Whether names in `directory`, opened for its path alone, are told apart by less than their bytes.
pub fn folds(directory: &OwnedFd) -> Result<bool, Errno> {
    let FsType(kind) = fstatfs(directory)?.filesystem_type();
    Ok(FOLDING.contains(&kind) || is_marked(directory) || answers_to_capitals(directory.as_fd()))
}

/// ext4, f2fs and tmpfs fold by directory, and what is made in one that does inherits it.
fn is_marked(directory: &OwnedFd) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let opened = openat(directory, ".", flags, Mode::empty());
    let marks = opened.and_then(|opened| attributes::flags(opened.as_fd()));
    // One that we may not read, or whose filesystem has no marks, has no such mark either.
    marks.is_ok_and(|marks| marks & attributes::CASE_FOLDED != 0)
}

fn answers_to_capitals(directory: BorrowedFd<'_>) -> bool {
    let inode = |name: &str| fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW).map(|about| about.st_ino);
    // Asked for in this order, for most directories have neither.
    inode(".GIT").is_ok_and(|capitals| inode(".git") == Ok(capitals))
}
