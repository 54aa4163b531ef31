//! What a filesystem says of an inode beyond stat(2). ioctl_iflags(2), getxattr(2).

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

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

/// Whether the extended attribute `name` of `path` has this one-byte value. `ENODATA`: there is none of that name. getxattr(2).
pub fn has(path: &Path, name: &CStr, value: u8) -> Result<bool, Errno> {
    let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)?;
    let mut found = 0_u8;
    // SAFETY: both strings are NUL-terminated and outlive the call; the kernel writes at most the one byte that is given.
    let length = answer(unsafe {
        libc::getxattr(path.as_ptr(), name.as_ptr(), (&raw mut found).cast(), size_of::<u8>()) as libc::c_long
    })?;
    Ok(length == 1 && found == value)
}
