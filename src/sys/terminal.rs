//! Terminals: window size and the controlling terminal. ioctl_tty(2).

use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;

use super::answer;

/// Rows and columns of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// Reads the window size. `TIOCGWINSZ`.
pub fn size(terminal: BorrowedFd<'_>) -> Result<Size, Errno> {
    let mut window = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `window` is a live local that the kernel fills before returning.
    answer(libc::c_long::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCGWINSZ, &mut window) }))?;
    Ok(Size { rows: window.ws_row, columns: window.ws_col })
}

/// Sets the window size; the kernel sends `SIGWINCH` to the foreground group. `TIOCSWINSZ`.
pub fn resize(terminal: BorrowedFd<'_>, size: Size) -> Result<(), Errno> {
    let window = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: `window` is a live local that the kernel only reads.
    answer(libc::c_long::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &window) })).map(drop)
}

/// Makes `terminal` the controlling terminal of the session that we lead. `TIOCSCTTY`.
pub fn make_controlling(terminal: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: integers only.
    answer(libc::c_long::from(unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSCTTY, 0) })).map(drop)
}

/// Unlocks the slave of a new pseudo-terminal. `TIOCSPTLCK`.
pub fn unlock(master: BorrowedFd<'_>) -> Result<(), Errno> {
    let unlocked: libc::c_int = 0;
    // SAFETY: `unlocked` is a live local that the kernel only reads.
    answer(libc::c_long::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &unlocked) })).map(drop)
}

/// Opens the slave of `master` by descriptor, whatever is mounted at `/dev/pts`. `TIOCGPTPEER`.
pub fn open_peer(master: BorrowedFd<'_>) -> Result<std::os::fd::OwnedFd, Errno> {
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: integers only.
    let fd = answer(libc::c_long::from(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) }))?;
    Ok(super::process::adopt(fd as i32))
}
