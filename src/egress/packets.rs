//! Datagrams of the jail's programs: taken with the address that they were sent to, and answered from it. ip(7), ipv6(7).

use std::io::{self, IoSlice, IoSliceMut};
use std::net::IpAddr;
use std::os::fd::AsRawFd;
use std::time::Duration;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg};
use tokio::net::UdpSocket;

/// The largest datagram that is taken from the jail: what networks with large packets have.
pub const LARGEST: usize = 9 << 10;
/// How long to wait when there is no descriptor to spare.
pub const PAUSE: Duration = Duration::from_millis(20);

/// A datagram, who sent it, and to which address.
pub type Question = (Vec<u8>, SockaddrStorage, Option<IpAddr>);

/// The next datagram.
pub fn receive(socket: &UdpSocket) -> io::Result<Question> {
    let mut buffer = vec![0; LARGEST];
    let mut control = nix::cmsg_space!(libc::in6_pktinfo);
    let mut slices = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, Some(&mut control), MsgFlags::MSG_DONTWAIT)?;
    let mut at = None;
    for item in message.cmsgs()? {
        match item {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                at = Some(IpAddr::from(u32::from_be(info.ipi_addr.s_addr).to_be_bytes()));
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => at = Some(IpAddr::from(info.ipi6_addr.s6_addr)),
            _ => {}
        }
    }
    let (length, from) = (message.bytes, message.address.ok_or(io::ErrorKind::InvalidData)?);
    // Of one that did not fit nothing is of use.
    let fits = !message.flags.contains(MsgFlags::MSG_TRUNC);
    let datagram = buffer.get(..length).filter(|_| fits).unwrap_or_default().to_vec();
    Ok((datagram, from, at))
}

/// Sends one, from the address `at`.
pub fn send(socket: &impl AsRawFd, answer: &[u8], to: &SockaddrStorage, at: Option<IpAddr>) -> io::Result<()> {
    let slices = [IoSlice::new(answer)];
    let send = |control: &[ControlMessage<'_>]| {
        sendmsg(socket.as_raw_fd(), &slices, control, MsgFlags::MSG_DONTWAIT, Some(to))
            .map(drop)
            .map_err(io::Error::from)
    };
    match at {
        Some(IpAddr::V4(at)) => {
            let own = libc::in_addr { s_addr: at.to_bits().to_be() };
            let any = libc::in_addr { s_addr: 0 };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: own, ipi_addr: any };
            send(&[ControlMessage::Ipv4PacketInfo(&info)])
        }
        Some(IpAddr::V6(at)) => {
            let own = libc::in6_addr { s6_addr: at.octets() };
            send(&[ControlMessage::Ipv6PacketInfo(&libc::in6_pktinfo { ipi6_addr: own, ipi6_ifindex: 0 })])
        }
        None => send(&[]),
    }
}
