//! The kernel's audit records, as whoever may read them gets them. netlink(7), `AUDIT_NLGRP_READLOG`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket, sockopt,
};

/// `AUDIT_NLGRP_READLOG`.
const READLOG: u32 = 1;
/// Bytes that may wait for us.
const ROOM: usize = 8 << 20;
/// Bytes of one record: the kernel cuts longer ones, and a path of 4,096 bytes takes twice that where it is not text.
const LONGEST: usize = 16 << 10;
/// `struct nlmsghdr`.
const HEADER: usize = 16;

/// A filter of the system calls, `AUDIT_SECCOMP`.
pub const SECCOMP: u16 = 1326;
/// Something that Landlock denied, `AUDIT_LANDLOCK_ACCESS`.
pub const ACCESS: u16 = 1423;
/// A domain of Landlock, `AUDIT_LANDLOCK_DOMAIN`.
pub const DOMAIN: u16 = 1424;

/// Records of those three kinds, from now on.
#[derive(Debug)]
pub struct Records {
    socket: OwnedFd,
}

impl Records {
    /// Needs CAP_AUDIT_READ on the host, and to be in its first network namespace: elsewhere nothing ever arrives.
    pub fn listen() -> Result<Records, Errno> {
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkAudit)?;
        // What it cannot have here, it does with less.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &ROOM);
        only_ours(socket.as_fd())?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, READLOG))?;
        Ok(Records { socket })
    }

    /// What becomes readable with the next one.
    pub fn ready(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next one, with its kind: `EAGAIN` when there is none, `ENOBUFS` when some were lost.
    pub fn next(&self) -> Result<(u16, Vec<u8>), Errno> {
        let mut buffer = vec![0; LONGEST];
        let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
        buffer.truncate(length);
        let kind = buffer.get(4..6).and_then(|kind| kind.try_into().ok()).map_or(0, u16::from_ne_bytes);
        let record = buffer.get(HEADER..).unwrap_or_default().to_vec();
        Ok((kind, record))
    }
}

/// Has the kernel keep other records from us: the kind is the third word of 16 bits of each, which the machine of a filter reads in
/// network order.
fn only_ours(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    const LOAD_HALF: u16 = 0x28;
    const IF_EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    let equal =
        |kind: u16, jump: u8| libc::sock_filter { code: IF_EQUAL, jt: jump, jf: 0, k: kind.swap_bytes().into() };
    let equal = |kind: u16, jump: u8| {
        if cfg!(target_endian = "little") {
            equal(kind, jump)
        } else {
            libc::sock_filter { k: kind.into(), ..equal(kind, jump) }
        }
    };
    let mut filter = [
        libc::sock_filter { code: LOAD_HALF, jt: 0, jf: 0, k: 4 },
        equal(ACCESS, 3),
        equal(DOMAIN, 2),
        equal(SECCOMP, 1),
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: 0 },
        libc::sock_filter { code: RETURN, jt: 0, jf: 0, k: u32::MAX },
    ];
    let program = libc::sock_fprog { len: 6, filter: filter.as_mut_ptr() };
    // SAFETY: `program` and the six instructions that it points to live until the call returns; the kernel copies them.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    Errno::result(result).map(drop)
}
