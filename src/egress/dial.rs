//! From an allowed name or address to a connection.
//!
//! Owns the judging of every address before it is connected to. What was judged is what is dialled: no name is resolved in
//! between.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockname, socket};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::resolver::Resolver;
use crate::policy::egress::address::normal;
use crate::policy::egress::name::Name;
use crate::policy::egress::rule::{Host, Protocol};
use crate::policy::egress::{Asked, Decision, Denied, Rules};

/// How long one address may take when there is another, and the last.
const PATIENCE: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(20));

/// A connection to where it was allowed to go.
pub struct Dialled {
    /// The connection.
    pub stream: TcpStream,
    /// Where to.
    pub address: IpAddr,
}

/// Why there is none.
#[derive(Debug)]
pub enum NoWay {
    /// A rule says no; of this address, where it is about one.
    Denied(Denied, Option<IpAddr>),
    /// It may be reached, and cannot be.
    Failed(String, Option<IpAddr>),
}

/// Connects to `name`, which is allowed on `port`.
pub async fn by_name(rules: &Rules, resolver: &Resolver, name: &Name, port: u16) -> Result<Dialled, NoWay> {
    let found = resolver.resolve(name).await;
    let found = found.map_err(|error| NoWay::Failed(format!("cannot resolve `{name}`: {error}"), None))?;
    if let Some(denied) = found.aliases.iter().find_map(|alias| rules.judge_alias(Protocol::Tcp, alias, port)) {
        return Err(NoWay::Denied(denied, None));
    }
    let mut last = NoWay::Failed(format!("`{name}` has no address"), None);
    let mut allowed = Vec::new();
    for address in found.addresses {
        match judge(rules, address, port, Asked::ByName) {
            None => allowed.push(address),
            Some(denied) => last = NoWay::Denied(denied, Some(address)),
        }
    }
    let many = allowed.len();
    for (index, address) in allowed.into_iter().enumerate() {
        let patience = if index + 1 < many { PATIENCE.0 } else { PATIENCE.1 };
        match to(address, port, patience).await {
            Ok(stream) => return Ok(Dialled { stream, address }),
            Err(error) => last = NoWay::Failed(format!("cannot connect to {address}: {error}"), Some(address)),
        }
    }
    Err(last)
}

/// Connects to `address`, if it is allowed on `port`.
pub async fn by_address(rules: &Rules, address: IpAddr, port: u16) -> Result<Dialled, NoWay> {
    if let Some(denied) = judge(rules, address, port, Asked::ByAddress) {
        return Err(NoWay::Denied(denied, Some(address)));
    }
    match to(address, port, PATIENCE.1).await {
        Ok(stream) => Ok(Dialled { stream, address }),
        Err(error) => Err(NoWay::Failed(format!("cannot connect to {address}: {error}"), Some(address))),
    }
}

/// Why `address` may not be connected to, if it may not.
fn judge(rules: &Rules, address: IpAddr, port: u16, asked: Asked) -> Option<Denied> {
    match rules.judge_address(Protocol::Tcp, address, port, asked) {
        Some(Decision::Denied(denied)) => return Some(denied),
        Some(Decision::Allowed(rule)) if matches!(&rule.host, Host::Network(network) if network.is_one()) => {
            return None;
        }
        Some(Decision::Allowed(_)) | None => {}
    }
    // A public address can be the host's own, and what listens there may mean to be reached from here alone.
    is_own(address, port).then(|| {
        let remedy = format!("have the operator name it exactly: `{address}:{port}` in `allow` of [egress]");
        Denied::by("built in: an address of the host itself", remedy)
    })
}

/// Whether packets to `address` would not leave the host: the kernel then sends them from that very address.
fn is_own(address: IpAddr, port: u16) -> bool {
    let address = normal(address);
    let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let route = || -> nix::Result<SockaddrStorage> {
        let socket: OwnedFd = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::from((address, port))))?;
        getsockname(socket.as_raw_fd())
    };
    // Without a route there is no way there either, which dialling finds out.
    let Ok(source) = route() else { return false };
    let v4 = source.as_sockaddr_in().map(|v4| IpAddr::from(v4.ip()));
    v4.or(source.as_sockaddr_in6().map(|v6| v6.ip().into())) == Some(address)
}

async fn to(address: IpAddr, port: u16, patience: Duration) -> io::Result<TcpStream> {
    let stream = timeout(patience, TcpStream::connect((address, port))).await;
    let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
