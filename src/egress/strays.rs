//! What the jail's kernel denied by itself: datagrams that no rule lets through, pings, and whatever else is no TCP.
//!
//! Owns the reading of what it tells, for the verdict. nfnetlink_log. Must not answer: who sent it was told by the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use tokio::io::Interest;

use super::gate::Gate;
use super::names::Meaning;
use crate::policy::egress::ONLY_IF;
use crate::sys::readiness;
use crate::verdict::run::{self, Attempt, Contact};

/// What one message can hold; a snapshot is small.
const LARGEST: usize = 16 << 10;
/// Of linux/netfilter/nfnetlink_log.h.
const PACKET: u16 = 4 << 8;
const PAYLOAD: u16 = 9;
const UDP: u8 = 17;

/// What was denied: an address, and a port where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Where it was to go.
    pub to: IpAddr,
    /// The port; 0 of what is no UDP.
    pub port: u16,
    /// The protocol's number.
    pub protocol: u8,
}

/// Notes what is told for as long as the gate lives.
pub async fn serve(gate: Rc<Gate>, log: OwnedFd) {
    let Ok(log) = readiness::watch(Rc::new(log)) else { return };
    let mut buffer = vec![0; LARGEST];
    loop {
        let Ok(mut ready) = log.ready(Interest::READABLE).await else { return };
        match recv(log.get_ref().as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => {
                read(buffer.get(..length).unwrap_or_default()).into_iter().for_each(|stray| note(&gate, stray))
            }
            Err(Errno::EAGAIN) => ready.clear_ready(),
            // Some were not told, for want of room.
            Err(Errno::ENOBUFS | Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

fn note(gate: &Gate, stray: Stray) {
    let Stray { to, port, protocol } = stray;
    let (name, address) = match gate.names.borrow().meaning(to) {
        Meaning::Name(name) => (Some(name.to_string()), None),
        Meaning::Address(address) => (None, Some(address)),
        Meaning::Nothing => return,
    };
    let host = name.clone().or(address.map(|address| SocketAddr::new(address, port).to_string()));
    let host = host.unwrap_or_default();
    let host = if name.is_some() { format!("{host}:{port}") } else { host };
    let (rule, remedy) = if protocol == UDP {
        (
            "nothing allows it over UDP",
            format!("use TCP, or, {ONLY_IF}have the operator add `udp://{host}` to `allow` in [egress]"),
        )
    } else {
        ("built in: neither TCP nor UDP", "nothing opens it".to_owned())
    };
    gate.records.note(Contact {
        name,
        address: address.map(|address| address.to_string()),
        port,
        decision: run::Decision::Denied,
        rule: rule.to_owned(),
        remedy: Some(remedy),
        ..Contact::of(Attempt::Send)
    });
}

/// The packets of a datagram of the kernel's.
pub fn read(mut datagram: &[u8]) -> Vec<Stray> {
    let mut strays = Vec::new();
    while let Some((length, rest)) = datagram.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        let kind = rest.first_chunk::<2>().map_or(0, |kind| u16::from_ne_bytes(*kind));
        // A header of 16 bytes, and four that say which family and group.
        let body = datagram.get(..length).and_then(|message| message.get(20..)).unwrap_or_default();
        if kind == PACKET {
            strays.extend(payload(body).and_then(packet));
        }
        datagram = datagram.get(length.next_multiple_of(4).max(16)..).unwrap_or_default();
    }
    strays
}

/// The attribute that holds the packet.
fn payload(mut attributes: &[u8]) -> Option<&[u8]> {
    while let Some(([a, b, c, d], _)) = attributes.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([*a, *b]));
        if u16::from_ne_bytes([*c, *d]) == PAYLOAD {
            return attributes.get(4..length);
        }
        attributes = attributes.get(length.next_multiple_of(4).max(4)..).unwrap_or_default();
    }
    None
}

/// Where a packet was to go.
fn packet(bytes: &[u8]) -> Option<Stray> {
    let first = bytes.first()?;
    let (to, protocol, behind) = match first >> 4 {
        4 => {
            let to = bytes.get(16..)?.first_chunk::<4>()?;
            (IpAddr::from(Ipv4Addr::from(*to)), *bytes.get(9)?, usize::from(first & 15) * 4)
        }
        6 => {
            let to = bytes.get(24..)?.first_chunk::<16>()?;
            (IpAddr::from(Ipv6Addr::from(*to)), *bytes.get(6)?, 40)
        }
        _ => return None,
    };
    let port = bytes.get(behind + 2..).and_then(<[u8]>::first_chunk::<2>).map(|port| u16::from_be_bytes(*port));
    Some(Stray { to, port: port.filter(|_| protocol == UDP).unwrap_or(0), protocol })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(packet: &[u8]) -> Vec<u8> {
        let attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(value.len() + 4).expect("small");
            let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), value].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let body = [vec![2, 0, 0, 1], attribute(1, &[0; 4]), attribute(10, b"prefix\0"), attribute(9, packet)].concat();
        let length = u32::try_from(body.len() + 16).expect("small");
        [&length.to_ne_bytes()[..], &PACKET.to_ne_bytes(), &[0; 10], &body].concat()
    }

    fn over_v4(protocol: u8) -> Vec<u8> {
        let mut packet =
            vec![0x46, 0, 0, 40, 0, 0, 0, 0, 64, protocol, 0, 0, 198, 18, 0, 1, 93, 184, 216, 34, 0, 0, 0, 0];
        packet.extend([0x9c, 0x40, 1, 0xbb, 0, 8, 0, 0]);
        packet
    }

    #[test]
    fn each_packet_is_found_with_where_it_was_to_go() {
        let to: IpAddr = "93.184.216.34".parse().expect("an address");
        let udp = Stray { to, port: 443, protocol: 17 };
        let mut over_v6 = vec![0x60, 0, 0, 0, 0, 8, 17, 64];
        over_v6.extend([0; 16]);
        over_v6.extend("2a0c:2::34".parse::<Ipv6Addr>().expect("an address").octets());
        over_v6.extend([0x9c, 0x40, 0, 123, 0, 8, 0, 0]);
        let v6 = Stray { to: "2a0c:2::34".parse().expect("an address"), port: 123, protocol: 17 };
        let both = [message(&over_v4(17)), message(&over_v6)].concat();
        assert_eq!(read(&both), [udp, v6]);
        assert_eq!(read(&message(&over_v4(1))), [Stray { port: 0, protocol: 1, ..udp }]);
        assert_eq!(read(&message(&[0x45, 0])), []);
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..300), at in 0usize..60, byte in any::<u8>()) {
            let _ = read(&bytes);
            let mut damaged = message(&over_v4(17));
            damaged[at] = byte;
            let _ = read(&damaged);
        }
    }
}
