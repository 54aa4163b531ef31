//! Network interfaces by ioctl, netdevice(7), and what the kernel sets of sockets that nix does not wrap, ipv6(7).

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

use super::answer;
use super::socket::set_number;

/// Lets a socket for IPv6, also a raw one, send from addresses that no interface has. `IPV6_FREEBIND`.
pub fn let_send_from_anywhere(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    set_number(socket, libc::IPPROTO_IPV6, libc::IPV6_FREEBIND, 1)
}

/// Sets `IFF_UP` on the interface `name` of this network namespace. `SIOCSIFFLAGS`.
pub fn bring_up(name: &CStr) -> Result<(), Errno> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero: names are shorter than IFNAMSIZ.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.to_bytes()) {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: `request` is a live ifreq that the kernel only reads for this request.
    answer(libc::c_long::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &request) })).map(drop)
}
