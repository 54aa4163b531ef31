//! What systemd is told, and what it gives: `sd_notify(3)` and `sd_listen_fds(3)`, without its library.

use std::os::fd::OwnedFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::sys::process;

/// Where notifications go; nowhere when nobody wants any. Connected at once: later we cannot reach the path.
#[derive(Debug, Default)]
pub struct Notify {
    socket: Option<UnixDatagram>,
}

impl Notify {
    /// Connects to whoever started us, if they listen.
    pub fn connect() -> Notify {
        Notify { socket: std::env::var_os("NOTIFY_SOCKET").and_then(|name| connect(name.as_bytes()).ok()) }
    }

    /// Tells `state`, such as `READY=1`.
    pub fn tell(&self, state: &str) {
        if let Some(socket) = &self.socket {
            // A manager that is gone needs no news.
            let _ = socket.send(state.as_bytes());
        }
    }
}

fn connect(name: &[u8]) -> std::io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.split_first() {
        Some((b'@', abstract_name)) => socket.connect_addr(&SocketAddr::from_abstract_name(abstract_name)?)?,
        _ => socket.connect(std::ffi::OsStr::from_bytes(name))?,
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// The first descriptor that systemd gives by number.
const FIRST_GIVEN: i32 = 3;

/// The listening socket that systemd made for us, if it did.
pub fn given_listener() -> Option<OwnedFd> {
    is_given().then(|| process::adopt(FIRST_GIVEN))
}

/// The first descriptor that is neither one of the standard three nor given by systemd.
pub fn first_not_given() -> u32 {
    if is_given() { 4 } else { 3 }
}

fn is_given() -> bool {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    number("LISTEN_PID") == Some(std::process::id()) && number("LISTEN_FDS") == Some(1)
}
