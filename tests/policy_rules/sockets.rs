//! B18: which sockets there are is decided where they are made, so every family and type is tried.

use crate::trial::{Trial, Want, run, trial};
use crate::{Checks, LOOPBACK};

const FAMILIES: u64 = 46;
const TYPES: [(u64, &str); 4] = [(1, "STREAM"), (2, "DGRAM"), (3, "RAW"), (5, "SEQPACKET")];

/// The exact set of socket families and types.
pub fn all(checks: &mut Checks) {
    let unix: &[&str] = &["default", "namespaced", "loopback", "unix"];
    for sets in [&["default"], &["default", "bare"] as &[&str], LOOPBACK, unix] {
        let has = |name: &str| sets.contains(&name);
        let (mut sockets, mut pairs) = (Vec::new(), Vec::new());
        for (family, (kind, word)) in (0..FAMILIES).flat_map(|family| TYPES.map(|kind| (family, kind))) {
            let socket = match (family, word) {
                (1, _) if has("unix") => Want::Made,
                (2 | 10, "STREAM" | "DGRAM") if has("loopback") => Want::Works,
                (16, "RAW" | "DGRAM") if has("loopback") => Want::Works,
                _ => Want::Denied,
            };
            let pair = match (family, word) {
                (1, "STREAM" | "SEQPACKET") => Want::Works,
                (1, "DGRAM") if has("unix") => Want::Works,
                _ => Want::Denied,
            };
            let ends = [0u32; 2];
            for flags in [0, libc::SOCK_CLOEXEC as u64, libc::SOCK_NONBLOCK as u64, 0xdead_beef_0000_0000] {
                let name = format!("family {family} {word} flags {flags:#x}");
                sockets.push(trial(&name, libc::SYS_socket, &[family, kind | flags, 0], socket));
                let arguments = [family, kind | flags, 0, (&raw const ends) as u64];
                pairs.push(trial(&name, libc::SYS_socketpair, &arguments, pair));
            }
        }
        run(checks, "socket() of every family and type", sets, &sockets);
        run(checks, "socketpair() of every family and type", sets, &pairs);
    }
    let netlink = |protocol, want| trial(format!("netlink {protocol}"), libc::SYS_socket, &[16, 3, protocol], want);
    let mut protocols: Vec<Trial> = (1..23).map(|protocol| netlink(protocol, Want::Denied)).collect();
    protocols.push(trial("udp", libc::SYS_socket, &[2, 2, 17], Want::Works));
    protocols.push(trial("tcp6", libc::SYS_socket, &[10, 1, 6], Want::Works));
    for (name, kind, protocol) in [("ping", 2, 1), ("udplite", 2, 136), ("sctp", 1, 132), ("mptcp", 1, 262)] {
        protocols.push(trial(name, libc::SYS_socket, &[2, kind, protocol], Want::Denied));
    }
    run(checks, "protocols beside TCP, UDP and NETLINK_ROUTE", LOOPBACK, &protocols);
}
