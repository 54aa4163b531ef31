//! The jail's own network where there is a gate: every address is local, and every connection ends at the gate's sockets.
//!
//! ```text
//!   route    all of IPv4 and IPv6 is local to `lo`; nothing has a way out of the namespace
//!   filter   TCP, what the jail sends to itself, port 53, and datagrams that a rule may allow; all else is denied at once
//!   lead     TCP to anything but the jail itself goes to the gate's socket, which has the address that was meant
//!   sockets  of the gate: TCP, names over UDP and TCP, UDP for each port of a rule and ICMP to refuse it, for IPv4 and IPv6
//!   log      what the filter denied, for the gate to read
//! ```
//!
//! The sockets are made here and belong to this namespace for ever; whoever holds them serves it from outside. Without
//! them, or when their holder ends, a connection is refused, or answered by a server of the jail's own that listens on every
//! address: the namespace has no other way.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::sockopt::{
    IpFreebind, IpTransparent, Ipv4PacketInfo, Ipv6RecvPacketInfo, Ipv6V6Only, Mark, RcvBuf, TcpCongestion,
};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockProtocol, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, listen,
    setsockopt, socket,
};

use super::Failed;
use super::known::{MARK, NAMES, OWN_V4, OWN_V6, PORT};
use super::netlink::{Attributes, Batch, NEW, Netlink};
use super::redirect::{self, Led};
use crate::policy::egress::Rules;
use crate::sys::interface;

/// No packet of the jail goes further than memory, where nothing is ever lost or late: what paces packets for networks would only
/// make them wait. Every kernel has this one, and lets everybody have it.
const CONGESTION: &str = "reno";
/// What may be under way to a program that does not read: it is a copy away from the gate, and the kernel would let it be 32 MiB.
const WINDOW: u32 = 1 << 20;

/// How many connections may wait for the gate.
const WAITING: i32 = 1024;

/// The sockets of a gate, in this order, made in the network that they serve.
pub struct Sockets {
    /// TCP over IPv4, then names over UDP and TCP, then UDP for each port of a rule.
    pub v4: Vec<OwnedFd>,
    /// The same over IPv6, where the kernel has it.
    pub v6: Option<Vec<OwnedFd>>,
    /// Where the kernel tells what the filter denied, if it can.
    pub log: Option<OwnedFd>,
    /// How connections come.
    pub led: Led,
}

impl Sockets {
    /// In the order in which they are passed on.
    pub fn into_list(self) -> Vec<OwnedFd> {
        self.v4.into_iter().chain(self.v6.into_iter().flatten()).chain(self.log).collect()
    }
}

/// Makes this network namespace, of which `lo` is up, one with a gate for these rules. Connections come to it in the first of these
/// `ways` that the kernel has.
pub fn open(rules: &Rules, ways: &[Led]) -> Result<Sockets, Failed> {
    let routes = Netlink::open(SockProtocol::NetlinkRoute).map_err(Failed::at("open_routes"))?;
    route(&routes, AddressFamily::Inet, &OWN_V4).map_err(Failed::at("route"))?;
    let has_v6 = match route(&routes, AddressFamily::Inet6, &OWN_V6) {
        Ok(()) => true,
        // A kernel without IPv6 has nothing to be led to the gate either.
        Err(Errno::EAFNOSUPPORT | Errno::EOPNOTSUPP | Errno::EACCES) => false,
        Err(errno) => return Err(Failed::at("route")(errno)),
    };
    let redirect::Installed { led, log } = redirect::install(&rules.datagrams(), ways).map_err(|errno| Failed {
        step: "redirect",
        errno,
        what: Some(
            "nftables, which a gate needs: the kernel module nf_tables with nft_tproxy, or nft_chain_nat and nft_redir"
                .into(),
        ),
    })?;
    let failed = Failed::at("gate_sockets");
    // More of them were refused before anything was made.
    let ports = rules.udp_ports().unwrap_or_default();
    let of = |family| sockets(family, led, &ports).map_err(&failed);
    let v6 = if has_v6 { Some(of(AddressFamily::Inet6)?) } else { None };
    Ok(Sockets { v4: of(AddressFamily::Inet)?, v6, log, led })
}

// Of linux/rtnetlink.h.
const RTAX_WINDOW: u16 = 3;
const RTAX_CC_ALGO: u16 = 16;

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
    let metrics = Attributes::new().bytes(RTAX_WINDOW, &WINDOW.to_ne_bytes()).text(RTAX_CC_ALGO, CONGESTION);
    let everything = Attributes::after(&head).bytes(libc::RTA_OIF, &loopback).bytes(libc::RTA_PREFSRC, own);
    let everything = everything.nested(libc::RTA_METRICS, metrics);
    routes.send(&Batch::default().ask(libc::RTM_NEWADDR, NEW, &address).ask(libc::RTM_NEWROUTE, NEW, &everything))
}

fn sockets(family: AddressFamily, led: Led, ports: &[u16]) -> Result<Vec<OwnedFd>, Errno> {
    let of_all = [(SockType::Stream, PORT), (SockType::Datagram, NAMES), (SockType::Stream, NAMES)];
    // The resolver has that port.
    let of_rules = ports.iter().filter(|port| **port != NAMES).map(|port| (SockType::Datagram, *port));
    let served = of_all.into_iter().chain(of_rules).map(|(kind, port)| make(family, led, kind, port));
    let refusals = (!ports.is_empty()).then(|| make_refusing(family));
    served.chain(refusals).collect()
}

/// A socket that tells senders of datagrams that these go nowhere. The filter knows it by its mark, which nothing in the jail may set.
fn make_refusing(family: AddressFamily) -> Result<OwnedFd, Errno> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let protocol = if family == AddressFamily::Inet { SockProtocol::Icmp } else { SockProtocol::IcmpV6 };
    let socket = socket(family, SockType::Raw, flags, protocol)?;
    setsockopt(&socket, Mark, &MARK)?;
    // It speaks from the address that was sent to, as above.
    if family == AddressFamily::Inet6 {
        interface::let_send_from_anywhere(socket.as_fd())?;
    }
    // Nobody reads what comes, so as little of it is kept as can be.
    setsockopt(&socket, RcvBuf, &0)?;
    Ok(socket)
}

fn make(family: AddressFamily, led: Led, kind: SockType, port: u16) -> Result<OwnedFd, Errno> {
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
    if (kind, port, led) == (SockType::Stream, PORT, Led::Whole) {
        // What lets its connections have addresses of others.
        setsockopt(&socket, IpTransparent, &true)?;
    }
    let address: Box<dyn SockaddrLike> = match family {
        AddressFamily::Inet6 => {
            Box::new(SockaddrIn6::from(std::net::SocketAddrV6::new(std::net::Ipv6Addr::UNSPECIFIED, port, 0, 0)))
        }
        _ => Box::new(SockaddrIn::new(0, 0, 0, 0, port)),
    };
    bind(socket.as_raw_fd(), address.as_ref())?;
    if kind == SockType::Stream {
        // Connections have it from their listener.
        setsockopt(&socket, TcpCongestion, &CONGESTION.into())?;
        listen(&socket, Backlog::new(WAITING)?)?;
    }
    Ok(socket)
}
