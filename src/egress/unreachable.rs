//! Telling whoever sent a datagram that it goes nowhere, as a router would. RFC 792, 4443.
//!
//! Owns the messages. They are sent in the jail's own network, by sockets that were made there, and nothing of the host is in them: a
//! program that has connected its socket hears `ECONNREFUSED` with its next call, and does not wait.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;

use nix::sys::socket::SockaddrStorage;

use super::packets;

/// Sockets for such messages, in the jail's network: of IPv4, and of IPv6 where there is any.
#[derive(Debug, Default)]
pub struct Unreachable {
    sockets: Vec<OwnedFd>,
}

const UDP: u8 = 17;

impl Unreachable {
    /// By these.
    pub fn by(sockets: Vec<OwnedFd>) -> Unreachable {
        Unreachable { sockets }
    }

    /// Tells `from` that `at` cannot be reached on `port`. One that does not fit now is a datagram without an answer.
    pub fn tell(&self, from: SocketAddr, at: IpAddr, port: u16) {
        let (socket, message) = match (from, at) {
            (SocketAddr::V4(from), IpAddr::V4(at)) => {
                (self.sockets.first(), v4(udp_head(from.port(), port), from.ip().octets(), at.octets()))
            }
            (SocketAddr::V6(from), IpAddr::V6(at)) => {
                (self.sockets.get(1), v6(udp_head(from.port(), port), from.ip().octets(), at.octets()))
            }
            _ => return,
        };
        let to = SockaddrStorage::from(SocketAddr::new(from.ip(), 0));
        if let Some(socket) = socket {
            let _ = packets::send(socket, &message, &to, Some(at));
        }
    }
}

/// The head of the datagram that is spoken of: its ports, and no length or sum that anybody looks at.
fn udp_head(from: u16, to: u16) -> [u8; 8] {
    let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
    [a, b, c, d, 0, 8, 0, 0]
}

/// Destination unreachable, port unreachable.
fn v4(udp: [u8; 8], from: [u8; 4], to: [u8; 4]) -> Vec<u8> {
    let head = [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, UDP, 0, 0][..], &from, &to].concat();
    let mut message = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &head, &udp].concat();
    let sum = checksum(&message).to_be_bytes();
    if let Some(place) = message.get_mut(2..4) {
        place.copy_from_slice(&sum);
    }
    message
}

/// The same; the kernel makes the sum.
fn v6(udp: [u8; 8], from: [u8; 16], to: [u8; 16]) -> Vec<u8> {
    let head = [&[0x60, 0, 0, 0, 0, 8, UDP, 64][..], &from, &to].concat();
    [&[1, 4, 0, 0, 0, 0, 0, 0][..], &head, &udp].concat()
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        let (high, low) = (pair.first().copied().unwrap_or(0), pair.get(1).copied().unwrap_or(0));
        u32::from(u16::from_be_bytes([high, low]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_holds_the_heads_of_the_datagram_and_its_sum_is_right() {
        let message = v4(udp_head(4660, 123), [198, 18, 0, 1], [198, 19, 0, 7]);
        assert_eq!(message.len(), 8 + 20 + 8);
        assert_eq!(checksum(&message), 0, "a sum over all of it, itself included, is zero");
        assert_eq!(message[8 + 9], UDP);
        assert_eq!(message[8 + 12..8 + 20], [198, 18, 0, 1, 198, 19, 0, 7]);
        assert_eq!(message[28..32], [0x12, 0x34, 0, 123]);
        assert_eq!(v6(udp_head(1, 2), [1; 16], [2; 16]).len(), 8 + 40 + 8);
    }
}
