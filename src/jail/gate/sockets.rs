//! The sockets in a jail's network, while the gate that is to serve them has not begun.
//!
//! Owns the waiting for the first that comes. Must not read: whatever comes stays with the kernel until there is a gate.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};

/// Sockets that are listened at.
#[derive(Debug)]
pub struct Listening {
    /// As the gate is to have them.
    pub sockets: Vec<OwnedFd>,
    /// The hosts that were reached before.
    pub known: Vec<String>,
    // Readable as long as one of the sockets is; epoll(7).
    knocks: Epoll,
}

impl Listening {
    /// Begins to listen.
    pub fn at(sockets: Vec<OwnedFd>, known: Vec<String>) -> Result<Listening, Errno> {
        let knocks = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        for socket in &sockets {
            knocks.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, 0))?;
        }
        Ok(Listening { sockets, known, knocks })
    }

    /// What is readable when somebody has come.
    pub fn knocks(&self) -> BorrowedFd<'_> {
        self.knocks.0.as_fd()
    }

    /// Whether somebody has.
    pub fn has_come(&self) -> bool {
        let mut watched = [PollFd::new(self.knocks(), PollFlags::POLLIN)];
        // What cannot be asked counts as a yes: then the gate says what there was.
        poll(&mut watched, PollTimeout::ZERO) != Ok(0)
    }
}
