//! Processes by descriptor, and what the kernel says of them. pidfd_open(2), `ioctl_pidfd`.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;

/// The process `pid`, which must not be a thread but the first of its process.
pub fn open(pid: u32) -> Result<OwnedFd, Errno> {
    // SAFETY: takes and returns integers.
    let descriptor = super::answer(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    // SAFETY: the kernel has just made it for us, so nobody else owns it; descriptors fit in an int.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

/// What the kernel says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    /// The process above it, in our pid namespace; 0 where it has no number there, or the process is gone.
    pub parent: u32,
    /// Its status as wait(2) has it, once it has ended and somebody waited for it (Linux 6.15).
    pub status: Option<i32>,
}

/// `struct pidfd_info` of Linux 6.13, which later ones only add to.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Raw {
    mask: u64,
    group: u64,
    pid: u32,
    process: u32,
    parent: u32,
    ids: [u32; 8],
    status: i32,
}

/// `_IOWR(0xff, 11, struct pidfd_info)`.
const GET_INFO: libc::c_ulong = 0xc040_ff0b;
const PID: u64 = 1;
const EXIT: u64 = 8;

// The number above holds the size of the structure.
const _: () = assert!(size_of::<Raw>() == 0x40);

/// Asks. `ENOTTY` or `EINVAL` before Linux 6.13; `ESRCH` when it is gone and nothing is known any more.
pub fn info(process: BorrowedFd<'_>) -> Result<Info, Errno> {
    let mut raw = Raw { mask: PID | EXIT, ..Raw::default() };
    // SAFETY: GET_INFO reads and writes one structure of the size in its number, and `raw` is one that lives until the call returns.
    let result = unsafe { libc::ioctl(process.as_raw_fd(), GET_INFO as libc::Ioctl, &raw mut raw) };
    Errno::result(result)?;
    Ok(Info { parent: raw.parent, status: (raw.mask & EXIT != 0).then_some(raw.status) })
}

/// Whether this kernel tells how a process ended that others waited for, and wakes whoever waits for that (Linux 6.15).
pub fn tells_of_ends() -> bool {
    // SAFETY: all fields are integers, for which zero is a value.
    let mut names: libc::utsname = unsafe { std::mem::zeroed() };
    // SAFETY: uname writes one `utsname`, and `names` is one that lives until the call returns.
    if unsafe { libc::uname(&raw mut names) } != 0 {
        return false;
    }
    let release = names.release.iter().take_while(|byte| **byte != 0).map(|byte| *byte as u8 as char);
    let release: String = release.collect();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}
