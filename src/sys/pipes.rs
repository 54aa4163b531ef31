//! What is in a pipe. pipe(7), ioctl_list(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Waits until there are bytes in `pipe`, and says how many; none when all who could write are gone. FIONREAD.
pub fn await_bytes(pipe: BorrowedFd<'_>) -> Result<usize, Errno> {
    loop {
        match poll(&mut [PollFd::new(pipe, PollFlags::POLLIN)], PollTimeout::NONE) {
            Err(Errno::EINTR) => {}
            polled => {
                polled?;
                break;
            }
        }
    }
    let mut bytes: libc::c_int = 0;
    // SAFETY: the kernel writes one int through the pointer, which is to a live local.
    Errno::result(unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &mut bytes) })?;
    usize::try_from(bytes).map_err(|_| Errno::EINVAL)
}
