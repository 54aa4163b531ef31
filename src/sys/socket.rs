//! Messages with descriptors over Unix sockets, and who is at the other end. unix(7).

use std::io::IoSlice;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{self, AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType};

/// A connected pair of sockets that keep message boundaries and say when the other end is gone.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
}

/// Says how many bytes have to be there before somebody is woken for them. socket(7), `SO_RCVLOWAT`.
pub fn wake_from(socket: BorrowedFd<'_>, bytes: libc::c_int) -> Result<(), Errno> {
    set_number(socket, libc::SOL_SOCKET, libc::SO_RCVLOWAT, bytes)
}

/// Sets an option that is a number. setsockopt(2).
pub(super) fn set_number(
    socket: BorrowedFd<'_>,
    level: libc::c_int,
    option: libc::c_int,
    number: libc::c_int,
) -> Result<(), Errno> {
    // SAFETY: `number` outlives the call, which reads as much of it as it is said to have.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const number).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
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

/// Most descriptors of one message that we take.
const MOST_DESCRIPTORS: usize = 48;
/// Room for as many as the kernel lets one message have (253, `SCM_MAX_FD`): what does not fit is cut off and cannot be told
/// from a full table of descriptors. In words, because the kernel aligns its headers to these.
const CONTROL_WORDS: usize = 160;

/// Receives one message. `EMSGSIZE` when it or its descriptors did not fit. recvmsg(2).
///
/// Not by way of `nix`, which does not say what descriptors a message had that was cut off: they would stay open for ever.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Received, Errno> {
    let mut control = [0_u64; CONTROL_WORDS];
    let mut slice = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: plain data for which all zeroes is a valid value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut slice, 1);
    (header.msg_control, header.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control) as _);
    let length = loop {
        // SAFETY: `buffer` and `control` are live and as long as `header` says; the kernel writes no more than that.
        let received = unsafe { libc::recvmsg(socket.as_raw_fd(), &mut header, libc::MSG_CMSG_CLOEXEC) };
        match super::answer(received as libc::c_long) {
            Err(Errno::EINTR) => {}
            answered => break usize::try_from(answered?).map_err(|_| Errno::EIO)?,
        }
    };
    let descriptors = descriptors_of(&header);
    let cut_off = header.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0;
    if cut_off || descriptors.len() > MOST_DESCRIPTORS {
        return Err(Errno::EMSGSIZE);
    }
    Ok(Received { length, descriptors })
}

/// The descriptors that came with a message.
fn descriptors_of(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut found = Vec::new();
    // SAFETY: the kernel has filled `msg_control` with whole items, and `msg_controllen` says how long they are together.
    let mut item = unsafe { libc::CMSG_FIRSTHDR(header) };
    while !item.is_null() {
        // SAFETY: not null, so it is an item of the buffer, which is aligned for it; and nothing else holds a reference.
        let (kind, data, end) = unsafe {
            let own = &*item;
            let begin = item.cast::<u8>();
            ((own.cmsg_level, own.cmsg_type), libc::CMSG_DATA(item), begin.add(own.cmsg_len as usize))
        };
        let bytes = (end as usize).saturating_sub(data as usize);
        for index in 0..bytes / size_of::<RawFd>() {
            if kind == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
                // SAFETY: `index` is below the number of whole descriptors that the item holds.
                let raw = unsafe { data.cast::<RawFd>().add(index).read_unaligned() };
                found.push(super::process::adopt(raw));
            }
        }
        // SAFETY: as above; the next item of the same buffer, or null.
        item = unsafe { libc::CMSG_NXTHDR(header, item) };
    }
    found
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

/// Whether the other end of a connection is gone for good; poll(2), `POLLHUP`. One that only says no more is not.
pub fn is_hung_up(connection: BorrowedFd<'_>) -> bool {
    let mut watched = [PollFd::new(connection, PollFlags::empty())];
    match poll(&mut watched, PollTimeout::ZERO) {
        Ok(_) => watched.iter().any(|watched| watched.revents().is_none_or(|events| !events.is_empty())),
        Err(_) => true,
    }
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
