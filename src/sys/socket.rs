//! Messages with descriptors over Unix sockets, and who is at the other end. unix(7).

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType};

/// A connected pair of sockets that keep message boundaries and say when the other end is gone.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Sends one message with descriptors. Never raises `SIGPIPE`.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    loop {
        match socket::sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            sent => return sent.map(drop),
        }
    }
}

/// The length of the next message, which stays where it is; 0 when the other end is gone. recv(2), `MSG_PEEK | MSG_TRUNC`.
pub fn next_length(socket: BorrowedFd<'_>) -> Result<usize, Errno> {
    loop {
        match socket::recv(socket.as_raw_fd(), &mut [], MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC) {
            Err(Errno::EINTR) => {}
            peeked => return peeked,
        }
    }
}

/// One message as it arrived.
pub struct Received {
    /// How many bytes of the buffer it filled; 0 when the other end is gone.
    pub length: usize,
    /// Its descriptors, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
}

/// Receives one message. `EMSGSIZE` when it or its descriptors did not fit.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut control = cmsg_space!([RawFd; 16]);
    let mut slices = [IoSliceMut::new(buffer)];
    let message = loop {
        match socket::recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_CMSG_CLOEXEC) {
            Err(Errno::EINTR) => {}
            received => break received?,
        }
    };
    let mut descriptors = Vec::new();
    for item in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = item {
            descriptors.extend(raw.into_iter().map(super::process::adopt));
        }
    }
    if message.flags.intersects(MsgFlags::MSG_TRUNC | MsgFlags::MSG_CTRUNC) {
        return Err(Errno::EMSGSIZE);
    }
    Ok(Received { length: message.bytes, descriptors })
}

/// Sends one message without descriptors if there is room for it now; `EAGAIN` if not. Never raises `SIGPIPE`.
pub fn send_now(socket: BorrowedFd<'_>, bytes: &[u8]) -> Result<(), Errno> {
    socket::send(socket.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT).map(drop)
}

/// Writes what there is room for to a stream, the descriptors with its first byte. Says how many bytes went.
pub fn write_some(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
    let raw: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    socket::sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)
}

/// Who connected, as the kernel noted it then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Process id.
    pub pid: i32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Supplementary group ids.
    pub groups: Vec<u32>,
}

/// Accepts one connection. accept4(2).
pub fn accept(listener: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    socket::accept4(listener.as_raw_fd(), SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK).map(super::process::adopt)
}

/// Who is at the other end of a connection that was accepted. `SO_PEERCRED`, `SO_PEERGROUPS`.
///
/// Of a socket that was connected instead, this would be whoever listens: only ask of those that [`accept`] gave.
pub fn peer(connection: BorrowedFd<'_>) -> Result<Credentials, Errno> {
    let known = socket::getsockopt(&connection, socket::sockopt::PeerCredentials)?;
    let groups = peer_groups(connection)?;
    Ok(Credentials { pid: known.pid(), uid: known.uid(), gid: known.gid(), groups })
}

fn peer_groups(connection: BorrowedFd<'_>) -> Result<Vec<u32>, Errno> {
    let mut groups: Vec<libc::gid_t> = vec![0; 64];
    loop {
        let mut length = libc::socklen_t::try_from(size_of_val(groups.as_slice())).map_err(|_| Errno::ERANGE)?;
        // SAFETY: the buffer is live and `length` bytes long; the kernel writes no more than that, and says how much.
        let returned = unsafe {
            libc::getsockopt(
                connection.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                groups.as_mut_ptr().cast(),
                &mut length,
            )
        };
        let bytes = usize::try_from(length).map_err(|_| Errno::ERANGE)?;
        match super::answer(libc::c_long::from(returned)) {
            // It says how much room it needs, which cannot be less than there was.
            Err(Errno::ERANGE) if bytes > size_of_val(groups.as_slice()) => {
                groups.resize(bytes / size_of::<libc::gid_t>() + 1, 0);
            }
            answered => {
                answered?;
                groups.truncate(bytes / size_of::<libc::gid_t>());
                return Ok(groups);
            }
        }
    }
}
