//! Where programs find a gate that is a proxy.

use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;

use super::super::unguessable::unguessable;
use crate::confine::Failed;
use crate::confine::identity::errno_of;

/// A port of the host's loopback, and a word that others there do not know.
#[derive(Debug)]
pub struct Door {
    /// The port.
    pub port: u16,
    /// What is to be served.
    pub listener: OwnedFd,
    /// The word.
    pub token: String,
}

impl Door {
    /// Opens one.
    pub fn open() -> Result<Door, Failed> {
        let failed = |error: std::io::Error| Failed::at("open_door")(errno_of(&error));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let token = unguessable().map_err(Failed::at("open_door"))?;
        Ok(Door { port, listener: listener.into(), token })
    }

    /// As programs are told of it.
    pub fn url(&self) -> String {
        format!("http://clawjail:{}@127.0.0.1:{}", self.token, self.port)
    }
}
