//! What a filesystem says of an inode beyond stat(2). ioctl_iflags(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::answer;

/// Names in this directory are equal when their case is all that differs; not in libc.
pub const CASE_FOLDED: u32 = 0x4000_0000;

/// The inode's flags (`FS_*_FL`). `ENOTTY` from a filesystem that has none.
pub fn flags(inode: BorrowedFd<'_>) -> Result<u32, Errno> {
    let mut flags: libc::c_int = 0;
    // SAFETY: `flags` is a live local. The request's number says long, but the kernel writes an int; ioctl_iflags(2), BUGS.
    let returned = unsafe { libc::ioctl(inode.as_raw_fd(), libc::FS_IOC_GETFLAGS as libc::Ioctl, &raw mut flags) };
    answer(libc::c_long::from(returned)).map(|_| flags.cast_unsigned())
}
