//! Messages to the kernel's network stack: routes and addresses, and nftables. rtnetlink(7).
//!
//! Owns their form, which is nothing but numbers: a header, and attributes that can hold attributes. Knows no rule and no
//! address of ours.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::socket::sockopt::ReceiveTimeout;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt, socket,
};
use nix::sys::time::{TimeVal, TimeValLike};
use std::os::fd::{AsRawFd, OwnedFd};

/// A conversation with one part of the kernel.
pub struct Netlink {
    socket: OwnedFd,
}

/// Bytes of one message, or of what is put into one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes(Vec<u8>);

/// Several messages that are sent at once. Each that wants an answer gets one.
#[derive(Default)]
pub struct Batch {
    bytes: Vec<u8>,
    answers: u32,
}

/// Seconds that the kernel may take to answer; the first use of nftables can load modules.
const PATIENCE: i64 = 10;

/// What a nested attribute is marked by.
const NESTED: u16 = 0x8000;
const REQUEST: u16 = libc::NLM_F_REQUEST as u16;
const ANSWERED: u16 = REQUEST | libc::NLM_F_ACK as u16;
/// Something new, which must not be there yet.
pub const NEW: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;

impl Attributes {
    /// None yet.
    pub fn new() -> Attributes {
        Attributes::default()
    }

    /// With a fixed part in front.
    pub fn after(fixed: &[u8]) -> Attributes {
        Attributes(fixed.to_vec())
    }

    /// One more, of bytes.
    pub fn bytes(mut self, kind: u16, value: &[u8]) -> Attributes {
        // Its length counts its header, and not what fills it up to four bytes.
        let length = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// One more, of a number as networks write it.
    pub fn number(self, kind: u16, value: u32) -> Attributes {
        self.bytes(kind, &value.to_be_bytes())
    }

    /// One more, of text.
    pub fn text(self, kind: u16, value: &str) -> Attributes {
        let mut terminated = value.as_bytes().to_vec();
        terminated.push(0);
        self.bytes(kind, &terminated)
    }

    /// And all of these.
    pub fn and(mut self, more: &Attributes) -> Attributes {
        self.0.extend_from_slice(&more.0);
        self
    }

    /// One more, of attributes.
    pub fn nested(self, kind: u16, inner: Attributes) -> Attributes {
        self.bytes(kind | NESTED, &inner.0)
    }
}

impl Batch {
    /// One more message, to which the kernel answers whether it did it.
    pub fn ask(self, kind: u16, flags: u16, body: &Attributes) -> Batch {
        let asked = self.push(kind, ANSWERED | flags, body);
        Batch { answers: asked.answers + 1, ..asked }
    }

    /// One more message, of which the kernel says only what is wrong with it, before it answers those that are asked.
    pub fn have(self, kind: u16, flags: u16, body: &Attributes) -> Batch {
        self.push(kind, REQUEST | flags, body)
    }

    /// One more message, to which nothing is answered.
    pub fn tell(self, kind: u16, body: &Attributes) -> Batch {
        self.push(kind, REQUEST, body)
    }

    fn push(mut self, kind: u16, flags: u16, body: &Attributes) -> Batch {
        let length = u32::try_from(body.0.len() + 16).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        // Sequence and port: answers come in order, and from nobody else.
        self.bytes.extend_from_slice(&[0; 8]);
        self.bytes.extend_from_slice(&body.0);
        self
    }
}

impl Netlink {
    /// Speaks with `part` of this network namespace.
    pub fn open(part: SockProtocol) -> Result<Netlink, Errno> {
        let socket = socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, part)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&socket, ReceiveTimeout, &TimeVal::seconds(PATIENCE))?;
        Ok(Netlink { socket })
    }

    /// The socket, for somebody who waits for what the kernel says by itself.
    pub fn into_listener(self) -> Result<OwnedFd, Errno> {
        fcntl(&self.socket, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(self.socket)
    }

    /// Sends all of `batch` and waits until each answer has come. The first that is an error is the result.
    pub fn send(&self, batch: &Batch) -> Result<(), Errno> {
        let kernel = NetlinkAddr::new(0, 0);
        sendto(self.socket.as_raw_fd(), &batch.bytes, &kernel, MsgFlags::empty())?;
        let (mut left, mut buffer) = (batch.answers, vec![0; 16 << 10]);
        while left > 0 {
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty())?;
            for errno in answers(buffer.get(..length).unwrap_or_default()) {
                if errno != 0 {
                    return Err(Errno::from_raw(errno));
                }
                left = left.saturating_sub(1);
            }
        }
        Ok(())
    }
}

/// The errno of each answer in a datagram.
fn answers(mut datagram: &[u8]) -> Vec<i32> {
    let mut errnos = Vec::new();
    while let Some((length, rest)) = datagram.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        let kind = rest.first_chunk::<2>().map_or(0, |kind| u16::from_ne_bytes(*kind));
        let errno = datagram.get(16..).and_then(<[u8]>::first_chunk::<4>).map(|errno| i32::from_ne_bytes(*errno));
        if let (libc::NLMSG_ERROR, Some(errno)) = (i32::from(kind), errno) {
            errnos.push(-errno);
        }
        datagram = datagram.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
    }
    errnos
}
