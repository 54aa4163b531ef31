//! The jail's own network where there is a gate: every address is local, and every connection ends at the gate's sockets.
//!
//! ```text
//!   route    all of IPv4 and IPv6 is local to `lo`; nothing has a way out of the namespace
//!   nat      TCP to anything but the jail itself and port 53 goes to the gate's socket
//!   filter   TCP, what the jail sends to itself, and port 53; all else is denied at once
//!   sockets  of the gate: TCP, and names over UDP and TCP, for IPv4 and IPv6
//! ```
//!
//! The sockets are made here and belong to this namespace for ever; whoever holds them serves it from outside. Without
//! them, or when their holder ends, every connection is refused: the namespace has no other way.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{IpFreebind, Ipv4PacketInfo, Ipv6RecvPacketInfo, Ipv6V6Only};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, listen,
    setsockopt, socket,
};

use super::Failed;
use super::netlink::{Attributes, Batch, NEW, Netlink};

/// The gate's port. Below 1024, so that nothing in the jail can ever take it; on the loopback alone, where no rule of ours
/// changes where a connection goes.
pub const PORT: u16 = 1;
/// The port of name servers.
pub const NAMES: u16 = 53;

/// The jail's address beside its loopback: programs look up names of a family only where they have an address of it.
pub const OWN_V4: [u8; 4] = [198, 18, 0, 1];
/// The same for IPv6.
pub const OWN_V6: [u8; 16] = [0xfd, 0, 0xc1, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// How many connections may wait for the gate.
const WAITING: i32 = 1024;

/// The sockets of a gate, in this order, made in the network that they serve.
pub struct Sockets {
    /// TCP over IPv4, then names over UDP and TCP.
    pub v4: [OwnedFd; 3],
    /// The same over IPv6, where the kernel has it.
    pub v6: Option<[OwnedFd; 3]>,
}

impl Sockets {
    /// In the order in which they are passed on.
    pub fn into_list(self) -> Vec<OwnedFd> {
        self.v4.into_iter().chain(self.v6.into_iter().flatten()).collect()
    }
}

/// Makes this network namespace, of which `lo` is up, one with a gate.
pub fn open() -> Result<Sockets, Failed> {
    let routes = Netlink::open(SockProtocol::NetlinkRoute).map_err(Failed::at("open_routes"))?;
    route(&routes, AddressFamily::Inet, &OWN_V4).map_err(Failed::at("route"))?;
    let has_v6 = match route(&routes, AddressFamily::Inet6, &OWN_V6) {
        Ok(()) => true,
        // A kernel without IPv6 has nothing to be led to the gate either.
        Err(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::EACCES) => false,
        Err(errno) => return Err(Failed::at("route")(errno)),
    };
    redirect().map_err(|errno| Failed {
        step: "redirect",
        errno,
        what: Some("nftables, which a gate needs: the kernel modules nf_tables, nft_chain_nat and nft_redir".into()),
    })?;
    let failed = Failed::at("gate_sockets");
    let v6 = if has_v6 { Some(sockets(AddressFamily::Inet6).map_err(&failed)?) } else { None };
    Ok(Sockets { v4: sockets(AddressFamily::Inet).map_err(&failed)?, v6 })
}

/// The index of `lo`, the first interface of every namespace.
const LOOPBACK: u32 = 1;

/// Gives `lo` the address `own`, and makes every address of the family local to it.
fn route(routes: &Netlink, family: AddressFamily, own: &[u8]) -> Result<(), Errno> {
    let family = family as u8;
    let bits = u8::try_from(own.len() * 8).unwrap_or(u8::MAX);
    let loopback = LOOPBACK.to_ne_bytes();
    // ifaddrmsg: family, bits, flags, scope, index. Nobody else is on `lo` who could have the address already.
    let mut head = vec![family, bits, libc::IFA_F_NODAD as u8, libc::RT_SCOPE_UNIVERSE];
    head.extend_from_slice(&loopback);
    let address = Attributes::after(&head).bytes(libc::IFA_LOCAL, own).bytes(libc::IFA_ADDRESS, own);
    // rtmsg: family, bits of destination and source, service, table, protocol, scope, type, flags.
    let scope = if own.len() == 4 { libc::RT_SCOPE_HOST } else { libc::RT_SCOPE_UNIVERSE };
    let head = [family, 0, 0, 0, libc::RT_TABLE_LOCAL, libc::RTPROT_STATIC, scope, libc::RTN_LOCAL, 0, 0, 0, 0];
    let everything = Attributes::after(&head).bytes(libc::RTA_OIF, &loopback).bytes(libc::RTA_PREFSRC, own);
    let address = Batch::default().ask(libc::RTM_NEWADDR, NEW, &address);
    routes.send(&address)?;
    routes.send(&Batch::default().ask(libc::RTM_NEWROUTE, NEW, &everything))
}

fn sockets(family: AddressFamily) -> Result<[OwnedFd; 3], Errno> {
    Ok([
        make(family, SockType::Stream, PORT)?,
        make(family, SockType::Datagram, NAMES)?,
        make(family, SockType::Stream, NAMES)?,
    ])
}

fn make(family: AddressFamily, kind: SockType, port: u16) -> Result<OwnedFd, Errno> {
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)?;
    if family == AddressFamily::Inet6 {
        setsockopt(&socket, Ipv6V6Only, &true)?;
    }
    let names = kind == SockType::Datagram;
    match (family, names) {
        // Which server was asked is who answers.
        (AddressFamily::Inet6, true) => {
            setsockopt(&socket, Ipv6RecvPacketInfo, &true)?;
            // That every address is local is not enough for IPv6 to answer from one.
            setsockopt(&socket, IpFreebind, &true)?;
        }
        (_, true) => setsockopt(&socket, Ipv4PacketInfo, &true)?,
        (_, false) => {}
    }
    // Names are asked at any address; the gate itself is found on the loopback alone.
    let loopback = port == PORT;
    let address: Box<dyn SockaddrLike> = match (family, loopback) {
        (AddressFamily::Inet6, true) => {
            Box::new(SockaddrIn6::from(std::net::SocketAddrV6::new(std::net::Ipv6Addr::LOCALHOST, port, 0, 0)))
        }
        (AddressFamily::Inet6, false) => {
            Box::new(SockaddrIn6::from(std::net::SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, port, 0, 0)))
        }
        (_, true) => Box::new(SockaddrIn::new(127, 0, 0, 1, port)),
        (_, false) => Box::new(SockaddrIn::new(0, 0, 0, 0, port)),
    };
    bind(socket.as_raw_fd(), address.as_ref())?;
    if kind == SockType::Stream {
        listen(&socket, Backlog::new(WAITING)?)?;
    }
    Ok(socket)
}

// Of linux/netfilter/nf_tables.h; libc has some of these for one of its C libraries alone.
const TABLE: &str = "clawjail";
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const LOCAL_OUT: u32 = 3;
const APPEND: u16 = libc::NLM_F_CREATE as u16 | libc::NLM_F_APPEND as u16;

/// A register of the kernel's rule machine; 0 is the verdict.
const REGISTER: u32 = 1;
const VERDICT: u32 = 0;
const DROP: i32 = 0;
const ACCEPT: i32 = 1;
const RETURN: i32 = -5;

/// What a rule looks at.
#[derive(Clone, Copy)]
enum Look {
    Meta(u32),
    Network { offset: u32, length: u32 },
    Transport { offset: u32, length: u32 },
}

const FAMILY: Look = Look::Meta(15);
const PROTOCOL: Look = Look::Meta(16);
const DESTINATION_PORT: Look = Look::Transport { offset: 2, length: 2 };
const FIRST_OF_V4: Look = Look::Network { offset: 16, length: 1 };
const DESTINATION_V4: Look = Look::Network { offset: 16, length: 4 };
const DESTINATION_V6: Look = Look::Network { offset: 24, length: 16 };

const V4: u8 = 2;
const V6: u8 = 10;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Loads both chains at once: either all of it holds, or nothing does and the jail is not made.
fn redirect() -> Result<(), Errno> {
    let netfilter = Netlink::open(SockProtocol::NetlinkNetFilter)?;
    let port = NAMES.to_be_bytes();
    let mut batch = Batch::default().tell(BATCH_BEGIN, &Attributes::after(&[0, 0, 0, 10]));
    batch = batch.ask(NEW_TABLE, NEW, &inet().text(1, TABLE));
    batch = chain(batch, "filter", "filter", -150, DROP);
    batch = to_itself(batch, "filter", ACCEPT);
    batch = rule(batch, "filter", &[(PROTOCOL, &[TCP])], verdict(ACCEPT));
    batch = rule(batch, "filter", &[(PROTOCOL, &[UDP]), (DESTINATION_PORT, &port)], verdict(ACCEPT));
    batch = chain(batch, "nat", "nat", -100, ACCEPT);
    batch = to_itself(batch, "nat", RETURN);
    batch = rule(batch, "nat", &[(PROTOCOL, &[TCP]), (DESTINATION_PORT, &port)], verdict(RETURN));
    batch = rule(batch, "nat", &[(PROTOCOL, &[TCP])], to_the_gate());
    netfilter.send(&batch.tell(BATCH_END, &Attributes::after(&[0, 0, 0, 10])))
}

/// The head of a message about tables for both families.
fn inet() -> Attributes {
    Attributes::after(&[1, 0, 0, 0])
}

fn chain(batch: Batch, name: &str, kind: &str, priority: i32, policy: i32) -> Batch {
    let hook = Attributes::new().number(1, LOCAL_OUT).bytes(2, &priority.to_be_bytes());
    let chain = inet().text(1, TABLE).text(3, name).nested(4, hook).bytes(5, &policy.to_be_bytes()).text(7, kind);
    batch.ask(NEW_CHAIN, NEW, &chain)
}

/// What the jail sends to itself: its loopback and its own address.
fn to_itself(mut batch: Batch, chain: &str, code: i32) -> Batch {
    let mut loopback = [0; 16];
    if let Some(last) = loopback.last_mut() {
        *last = 1;
    }
    let own: [(u8, Look, &[u8]); 4] = [
        (V4, FIRST_OF_V4, &[127]),
        (V4, DESTINATION_V4, &OWN_V4),
        (V6, DESTINATION_V6, &loopback),
        (V6, DESTINATION_V6, &OWN_V6),
    ];
    for (family, look, value) in own {
        batch = rule(batch, chain, &[(FAMILY, &[family]), (look, value)], verdict(code));
    }
    batch
}

/// A rule that does `then` with what has every value in `when`.
fn rule(batch: Batch, chain: &str, when: &[(Look, &[u8])], then: Attributes) -> Batch {
    let mut expressions = Attributes::new();
    for (look, value) in when {
        let equal = Attributes::new().number(1, REGISTER).number(2, 0).nested(3, Attributes::new().bytes(1, value));
        expressions = expressions.nested(1, look.load()).nested(1, expression("cmp", equal));
    }
    batch.ask(NEW_RULE, APPEND, &inet().text(1, TABLE).text(2, chain).nested(4, expressions.and(&then)))
}

impl Look {
    fn load(self) -> Attributes {
        let payload = |base, offset, length| {
            expression(
                "payload",
                Attributes::new().number(1, REGISTER).number(2, base).number(3, offset).number(4, length),
            )
        };
        match self {
            Look::Meta(key) => expression("meta", Attributes::new().number(1, REGISTER).number(2, key)),
            Look::Network { offset, length } => payload(1, offset, length),
            Look::Transport { offset, length } => payload(2, offset, length),
        }
    }
}

fn expression(name: &str, data: Attributes) -> Attributes {
    Attributes::new().text(1, name).nested(2, data)
}

fn verdict(code: i32) -> Attributes {
    let code = Attributes::new().nested(2, Attributes::new().bytes(1, &code.to_be_bytes()));
    Attributes::new().nested(1, expression("immediate", Attributes::new().number(1, VERDICT).nested(2, code)))
}

fn to_the_gate() -> Attributes {
    let port = Attributes::new().bytes(1, &PORT.to_be_bytes());
    let load = expression("immediate", Attributes::new().number(1, REGISTER).nested(2, port));
    let redirect = expression("redir", Attributes::new().number(1, REGISTER));
    Attributes::new().nested(1, load).nested(1, redirect)
}
