//! Typed messages over a seqpacket socket.
//!
//! A message too large for a socket buffer travels in a memfd, which the receiver copies before it decodes. What does not
//! decode, or comes with descriptors that its kind does not have, is an error for the whole conversation.

use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::sys::socket;
use crate::wire::privsep::{INLINE_BYTES, MOST_BYTES};

/// First byte of a datagram that holds the message itself.
const INLINE: u8 = 0;
/// First byte of a datagram whose first descriptor holds the message.
const IN_MEMFD: u8 = 1;

/// One end of a conversation.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
}

/// What came.
pub enum Arrived<T> {
    /// A message and its descriptors.
    Message(T, Vec<OwnedFd>),
    /// The other end is gone.
    Gone,
}

impl Channel {
    /// Speaks over `socket`.
    pub fn new(socket: OwnedFd) -> Channel {
        Channel { socket }
    }

    /// Two connected ends.
    pub fn pair() -> Result<(Channel, Channel), Errno> {
        let (one, other) = socket::pair()?;
        Ok((Channel::new(one), Channel::new(other)))
    }

    /// Makes [`Channel::receive`] say `EAGAIN` instead of waiting, for use in an event loop.
    pub fn never_wait(&self) -> Result<(), Errno> {
        fcntl(&self.socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map(drop)
    }

    /// Takes [`Channel::never_wait`] back.
    pub fn wait_again(&self) -> Result<(), Errno> {
        fcntl(&self.socket, FcntlArg::F_SETFL(OFlag::empty())).map(drop)
    }

    /// Sends `message` with `descriptors`.
    pub fn send<T: Serialize>(&self, message: &T, descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let bytes = postcard::to_extend(message, vec![INLINE]).map_err(|_| Errno::EINVAL)?;
        if bytes.len() > MOST_BYTES {
            return Err(Errno::E2BIG);
        }
        if bytes.len() <= INLINE_BYTES {
            return socket::send(self.socket.as_fd(), &bytes, descriptors);
        }
        let body = in_memfd(bytes.get(1..).unwrap_or_default())?;
        let mut all = vec![body.as_fd()];
        all.extend_from_slice(descriptors);
        socket::send(self.socket.as_fd(), &[IN_MEMFD], &all)
    }

    /// Sends a small `message` if there is room for it now; `EAGAIN` if not.
    pub fn send_now<T: Serialize>(&self, message: &T) -> Result<(), Errno> {
        let bytes = postcard::to_extend(message, vec![INLINE]).map_err(|_| Errno::EINVAL)?;
        if bytes.len() > INLINE_BYTES { Err(Errno::E2BIG) } else { socket::send_now(self.socket.as_fd(), &bytes) }
    }

    /// Waits for a message.
    pub fn receive<T: DeserializeOwned>(&self) -> Result<Arrived<T>, Errno> {
        let length = again_after_reset(|| socket::next_length(self.socket.as_fd()))?;
        if length > INLINE_BYTES + 1 {
            return Err(Errno::EMSGSIZE);
        }
        let mut buffer = vec![0; length.max(1)];
        let received = again_after_reset(|| socket::receive(self.socket.as_fd(), &mut buffer))?;
        let mut descriptors = received.descriptors;
        let body = match buffer.get(..received.length).and_then(<[u8]>::split_first) {
            None => return Ok(Arrived::Gone),
            Some((&INLINE, body)) => body.to_vec(),
            Some((&IN_MEMFD, [])) if !descriptors.is_empty() => out_of_memfd(descriptors.remove(0))?,
            Some(_) => return Err(Errno::EBADMSG),
        };
        let message = postcard::from_bytes(&body).map_err(|_| Errno::EBADMSG)?;
        Ok(Arrived::Message(message, descriptors))
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The other end closed without reading all of ours. The kernel says that first and once, before what the other end had
/// sent, which may be the reason.
fn again_after_reset<T>(mut call: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    match call() {
        Err(Errno::ECONNRESET) => call(),
        answer => answer,
    }
}

fn in_memfd(bytes: &[u8]) -> Result<OwnedFd, Errno> {
    let memory = memfd_create(c"clawjail-message", MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(bytes).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(file.into())
}

/// Copies the message before it is looked at: the sender could change it afterwards.
fn out_of_memfd(memory: OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut file = std::fs::File::from(memory);
    let mut bytes = Vec::new();
    let most = u64::try_from(MOST_BYTES).unwrap_or(u64::MAX);
    let read = file.rewind().and_then(|()| file.take(most).read_to_end(&mut bytes));
    read.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))?;
    Ok(bytes)
}
