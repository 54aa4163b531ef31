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
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::budget::Account;
use super::gate::Gate;
use super::proxy::{self, Proxy};
use super::resolver::Resolver;
use crate::policy::egress::address::normal;
use crate::policy::egress::name::Name;
use crate::policy::egress::rule::{Host, Protocol};
use crate::policy::egress::{Asked, Decision, Denied, ONLY_IF, Rules};

/// How long one address may take, and after what time the next is tried beside it.
const PATIENCE: Duration = Duration::from_secs(20);
const STAGGER: Duration = Duration::from_millis(250);

/// A connection to where it was allowed to go.
pub struct Dialled {
    /// The connection.
    pub stream: TcpStream,
    /// Where to, unless a proxy has found out.
    pub address: Option<IpAddr>,
    /// What it is charged to.
    pub account: Account,
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
pub async fn by_name(gate: &Gate, name: &Name, port: u16) -> Result<Dialled, NoWay> {
    let Gate { rules, resolver, .. } = gate;
    // A network that has a proxy often has no name server that knows what is outside.
    if let Some(proxy) = gate.proxy.as_ref().filter(|_| rules.terms.resolvers.is_empty() && !resolver.knows(name)) {
        return through(proxy, resolver, &format!("{name}:{port}"), None).await;
    }
    let allowed = resolve(rules, resolver, Protocol::Tcp, name, port).await?;
    if let (Some(proxy), Some(address)) = (&gate.proxy, allowed.first()) {
        return through(proxy, resolver, &proxy::authority(*address, port), Some(*address)).await;
    }
    let none = || Err(NoWay::Failed(format!("`{name}` has no address"), None));
    first_of(allowed, port).await.unwrap_or_else(none)
}

/// The addresses of `name` that may be reached, of which there is at least one.
pub async fn resolve(
    rules: &Rules,
    resolver: &Resolver,
    protocol: Protocol,
    name: &Name,
    port: u16,
) -> Result<Vec<IpAddr>, NoWay> {
    let found = resolver.resolve(name).await;
    let found = found.map_err(|error| NoWay::Failed(format!("cannot resolve `{name}`: {error}"), None))?;
    if let Some(denied) = found.aliases.iter().find_map(|alias| rules.judge_alias(protocol, alias, port)) {
        return Err(NoWay::Denied(denied, None));
    }
    let mut last = NoWay::Failed(format!("`{name}` has no address"), None);
    let mut allowed = Vec::new();
    for address in found.addresses {
        match judge(rules, protocol, address, port, Asked::ByName) {
            None => allowed.push(address),
            Some(denied) => last = NoWay::Denied(denied, Some(address)),
        }
    }
    if allowed.is_empty() { Err(last) } else { Ok(allowed) }
}

/// The first of these to answer: each is tried a moment after the one before, for one of the families may lead nowhere. `None`
/// when there are none. RFC 8305.
async fn first_of(addresses: Vec<IpAddr>, port: u16) -> Option<Result<Dialled, NoWay>> {
    let (mut left, mut tried, mut last) = (addresses.into_iter(), JoinSet::new(), None);
    loop {
        match left.next() {
            Some(address) => drop(tried.spawn_local(async move { (address, to(address, port).await) })),
            None if tried.is_empty() => return last,
            None => {}
        }
        let waits = left.len() == 0;
        tokio::select! {
            // Those that are still being tried end with the set.
            done = tried.join_next() => match done {
                Some(Ok((address, Ok(stream)))) => return Some(Ok(Dialled { stream, address: Some(address), account: Account::default() })),
                Some(Ok((address, Err(error)))) => last = Some(Err(no_answer(address, &error))),
                Some(Err(_)) | None => {}
            },
            () = sleep(STAGGER), if !waits => {}
        }
    }
}

fn no_answer(address: IpAddr, error: &io::Error) -> NoWay {
    NoWay::Failed(format!("cannot connect to {address}: {error}"), Some(address))
}

/// Connects to `address`, which is allowed on `port`.
pub async fn by_address(gate: &Gate, address: IpAddr, port: u16) -> Result<Dialled, NoWay> {
    if let Some(proxy) = &gate.proxy {
        return through(proxy, &gate.resolver, &proxy::authority(address, port), Some(address)).await;
    }
    match to(address, port).await {
        Ok(stream) => Ok(Dialled { stream, address: Some(address), account: Account::default() }),
        Err(error) => Err(no_answer(address, &error)),
    }
}

/// A connection that `proxy` makes.
async fn through(proxy: &Proxy, resolver: &Resolver, to: &str, address: Option<IpAddr>) -> Result<Dialled, NoWay> {
    let failed =
        |error: io::Error| NoWay::Failed(format!("cannot connect to {to} through the proxy: {error}"), address);
    let stream = proxy.connect(resolver, to).await.map_err(failed)?;
    Ok(Dialled { stream, address, account: Account::default() })
}

/// Why `address` may not be connected to, if it may not.
pub fn judge(rules: &Rules, protocol: Protocol, address: IpAddr, port: u16, asked: Asked) -> Option<Denied> {
    match rules.judge_address(protocol, address, port, asked) {
        Some(Decision::Denied(denied)) => return Some(denied),
        Some(Decision::Allowed(_)) | None => {}
    }
    // Also where a name led to it: what is named exactly is meant.
    let by_itself = rules.judge_address(protocol, address, port, Asked::ByAddress);
    if matches!(by_itself, Some(Decision::Allowed(rule)) if matches!(&rule.host, Host::Network(network) if network.is_one()))
    {
        return None;
    }
    // A public address can be the host's own, and what listens there may mean to be reached from here alone.
    is_own(address, port).then(|| {
        let remedy = format!("{ONLY_IF}have the operator name it exactly: `{address}:{port}` in `allow` of [egress]");
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

async fn to(address: IpAddr, port: u16) -> io::Result<TcpStream> {
    let stream = timeout(PATIENCE, TcpStream::connect((address, port))).await;
    let stream = stream.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
