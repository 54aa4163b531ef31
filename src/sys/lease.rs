//! Leases: certainty that nobody has a file open for writing. `fcntl(2)`, File leases.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

/// `F_SETSIG`, which libc has no name for.
const SET_SIGNAL: libc::c_int = 10;

/// A file that nobody writes while this lives. An open for writing waits until then, or fails where it would not wait.
#[derive(Debug)]
pub struct Unwritten {
    file: OwnedFd,
}

impl Unwritten {
    /// Takes a read lease on `file`, which must be open for reading alone and be our own. `EAGAIN`: somebody has it open for writing,
    /// or mapped so. Whoever waits for it is told by SIGCHLD, which nobody dies of.
    pub fn take(file: OwnedFd) -> Result<Unwritten, Errno> {
        // SAFETY: F_SETSIG takes its argument as a number.
        Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), SET_SIGNAL, libc::SIGCHLD) })?;
        // SAFETY: F_SETLEASE takes its argument as a number.
        Errno::result(unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_RDLCK) })?;
        Ok(Unwritten { file })
    }

    /// The file.
    pub fn file(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&self.file)
    }
}
