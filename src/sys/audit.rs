//! The kernel's audit records, as whoever may read them gets them. netlink(7), `AUDIT_NLGRP_READLOG`.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, sendto, setsockopt, socket,
    sockopt,
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

/// `AUDIT_GET`.
const GET: u16 = 1000;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;

/// Records of those three kinds, from now on.
#[derive(Debug)]
pub struct Records {
    socket: OwnedFd,
    // For what the kernel is asked, whose answers come apart from records.
    control: OwnedFd,
    // Gets records of all kinds, and has no room for them: what the kernel drops there it counts, at no cost to us.
    tally: OwnedFd,
    // What it had room for all the same.
    kept: u64,
}

/// The state of the host's audit. `struct audit_status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Whether it is on.
    pub enabled: bool,
    /// Whether a daemon takes the records. Where none does, the kernel keeps as many as it has room for, and then counts each one
    /// as lost that it has handed to us.
    pub taken: bool,
    /// How many it has room for.
    pub room: u32,
    /// Records that it has lost since the host started: it had no room for them, or too many came in a second.
    pub lost: u32,
    /// Records that it has not handed over yet.
    pub waiting: u32,
}

impl Records {
    /// Needs CAP_AUDIT_READ on the host, and to be in its first network namespace: elsewhere nothing ever arrives.
    pub fn listen() -> Result<Records, Errno> {
        let socket = open()?;
        // What it cannot have here, it does with less.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &ROOM);
        only_ours(socket.as_fd())?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, READLOG))?;
        let tally = open()?;
        setsockopt(&tally, sockopt::RcvBuf, &1)?;
        bind(tally.as_raw_fd(), &NetlinkAddr::new(0, READLOG))?;
        Ok(Records { socket, control: open()?, tally, kept: 0 })
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

    /// Asks how audit is, under a number that the answer has. Needs CAP_AUDIT_CONTROL on the host; whoever lacks it is told so
    /// in the answer.
    pub fn ask(&self, number: u32) -> Result<(), Errno> {
        let header = [(HEADER as u32).to_ne_bytes(), join(GET, REQUEST), number.to_ne_bytes(), [0; 4]].concat();
        sendto(self.control.as_raw_fd(), &header, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map(drop)
    }

    /// What becomes readable with an answer.
    pub fn answered(&self) -> BorrowedFd<'_> {
        self.control.as_fd()
    }

    /// The next answer, with its number: `EAGAIN` when there is none, and none that says anything where it may not be asked.
    pub fn answer(&self) -> Result<(u32, Option<Status>), Errno> {
        let mut buffer = [0; 256];
        let length = recv(self.control.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT)?;
        let answer = buffer.get(..length).unwrap_or_default();
        let word = |at: usize| Some(u32::from_ne_bytes(answer.get(at * 4..at * 4 + 4)?.try_into().ok()?));
        let kind = answer.get(4..6).and_then(|kind| kind.try_into().ok()).map_or(0, u16::from_ne_bytes);
        // Behind the header of four words: mask, enabled, failure, pid, rate limit, limit, lost, waiting.
        let status = || {
            let [enabled, taken] = [word(5)? != 0, word(7)? != 0];
            Some(Status { enabled, taken, room: word(9)?, lost: word(10)?, waiting: word(11)? })
        };
        Ok((word(2).unwrap_or(0), if kind == GET { status() } else { None }))
    }

    /// Records that were meant for us, and came when there was no room.
    pub fn dropped(&self) -> u64 {
        drops(self.socket.as_fd())
    }

    /// How many records of all kinds there were.
    pub fn all(&mut self) -> u64 {
        loop {
            match recv(self.tally.as_raw_fd(), &mut [0; HEADER], MsgFlags::MSG_DONTWAIT) {
                Ok(_) => self.kept = self.kept.saturating_add(1),
                Err(Errno::ENOBUFS) => {}
                Err(_) => return self.kept.saturating_add(drops(self.tally.as_fd())),
            }
        }
    }
}

fn open() -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkAudit)
}

/// What came to a socket that had no room.
fn drops(socket: BorrowedFd<'_>) -> u64 {
    /// `SK_MEMINFO_DROPS`, and how many words there are.
    const DROPS: usize = 8;
    const WORDS: usize = 9;
    let mut words = [0_u32; WORDS];
    let mut length = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `words`, which lives until the call returns, and the length to `length`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    words.get(DROPS).filter(|_| result == 0).map_or(0, |drops| u64::from(*drops))
}

fn join(first: u16, second: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (first.to_ne_bytes(), second.to_ne_bytes());
    [a, b, c, d]
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
