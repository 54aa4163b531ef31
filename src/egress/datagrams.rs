//! Conversations over UDP, where a rule for `udp://` allows them.
//!
//! ```text
//!   datagram --of a conversation--> paid for --> sent from its own socket outside
//!     '--of none--> judged --> resolved --> each address judged --> a socket that hears that address alone
//!     |                      '--no--> whoever sent it is told that nobody is there
//!   answer --> back to who asked, from the address that was asked
//! ```
//!
//! Owns the conversations of a jail and their bounds. What comes faster than it can be sent is lost, as datagrams are. What is
//! inside of them is not looked at.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, connect, socket};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::sync::mpsc::{self, Receiver, Sender};
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

use super::budget::{Account, Purse};
use super::dial::{self, NoWay};
use super::gate::Gate;
use super::names::Meaning;
use super::packets::{PAUSE, receive, send};
use super::record::Open;
use super::unreachable::Unreachable;
use crate::policy::egress::name::Name;
use crate::policy::egress::rule::Protocol;
use crate::policy::egress::{Asked, Decision, Denied};
use crate::verdict::run::{self, Attempt, Contact};

/// Conversations at once.
const MOST: usize = 256;
/// Datagrams of one that wait to be sent.
const WAITING: usize = 16;
/// The largest answer: as large as they can be.
const LARGEST: usize = 64 << 10;
/// How long nobody may say anything before it is over.
const SILENCE: Duration = Duration::from_secs(60);

/// Who asks whom: the jail's socket, the address that it sends to, and the port.
type Pair = (SocketAddr, IpAddr, u16);

/// The conversations that go on.
pub type Talking = Rc<RefCell<HashMap<Pair, Sender<Vec<u8>>>>>;

/// What a conversation is with.
enum Target {
    Name(Name),
    Address(IpAddr),
}

/// Serves one socket, on `port`, for as long as the gate lives.
pub async fn serve(gate: Rc<Gate>, inside: UdpSocket, port: u16, (talking, refusals): (Talking, Rc<Unreachable>)) {
    let inside = Rc::new(inside);
    loop {
        let received = inside.async_io(Interest::READABLE, || receive(&inside)).await;
        let Ok((datagram, from, at)) = received else {
            sleep(PAUSE).await;
            continue;
        };
        let (Some(from), Some(at)) = (address_of(&from), at) else { continue };
        // Nobody outside is meant by one to the jail's own loopback.
        if at.is_loopback() || datagram.is_empty() {
            continue;
        }
        let pair = (from, at, port);
        if let Some(going) = talking.borrow().get(&pair) {
            let _ = going.try_send(datagram);
            continue;
        }
        if talking.borrow().len() >= MOST {
            refusals.tell(from, at, port);
            continue;
        }
        let (said, hears) = mpsc::channel(WAITING);
        let _ = said.try_send(datagram);
        talking.borrow_mut().insert(pair, said);
        let (gate, inside) = (gate.clone(), inside.clone());
        let (talking, refusals) = (talking.clone(), refusals.clone());
        spawn_local(async move {
            talk(&gate, (&inside, &refusals), pair, hears).await;
            talking.borrow_mut().remove(&pair);
        });
    }
}

fn address_of(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = storage.as_sockaddr_in().map(|v4| SocketAddr::from((v4.ip(), v4.port())));
    v4.or(storage.as_sockaddr_in6().map(|v6| SocketAddr::from((v6.ip(), v6.port()))))
}

/// One conversation, to its end.
async fn talk(gate: &Gate, (inside, refusals): (&UdpSocket, &Unreachable), pair: Pair, mut hears: Receiver<Vec<u8>>) {
    let (from, at, port) = pair;
    let target = match gate.names.borrow().meaning(at) {
        Meaning::Name(name) => Target::Name(name.clone()),
        Meaning::Address(address) => Target::Address(address),
        Meaning::Nothing => return refusals.tell(from, at, port),
    };
    let mut contact = contact(&target, port);
    match begin(gate, &target, port, &mut contact).await {
        Ok((outside, account)) => {
            let open = gate.records.open(contact);
            let purse = Purse { meter: &gate.meter, account };
            let ended = relay(&open, &purse, (inside, &outside), pair, &mut hears).await;
            match ended {
                Ok(()) => {}
                // Nothing more of it leaves, and it is not begun again with each datagram.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => loop {
                    refusals.tell(from, at, port);
                    if !timeout(SILENCE, hears.recv()).await.is_ok_and(|said| said.is_some()) {
                        break;
                    }
                },
                Err(error) => {
                    refusals.tell(from, at, port);
                    open.learn(|contact| {
                        contact.decision = run::Decision::Failed;
                        contact.rule = format!("cannot talk to it: {error}");
                    });
                }
            }
        }
        Err(no_way) => {
            note(gate, no_way, contact);
            refusals.tell(from, at, port);
        }
    }
}

fn contact(target: &Target, port: u16) -> Contact {
    let (name, address) = match target {
        Target::Name(name) => (Some(name.to_string()), None),
        Target::Address(address) => (None, Some(address.to_string())),
    };
    Contact { name, address, port, ..Contact::of(Attempt::Send) }
}

fn note(gate: &Gate, no_way: NoWay, contact: Contact) {
    let (decision, rule, remedy, address) = match no_way {
        NoWay::Denied(Denied { rule, remedy }, address) => (run::Decision::Denied, rule, Some(remedy), address),
        NoWay::Failed(what, address) => (run::Decision::Failed, what, None, address),
    };
    let address = address.map(|address| address.to_string()).or(contact.address);
    gate.records.note(Contact { decision, rule, remedy, address, ..contact });
}

/// Judges, resolves, judges again, and makes the socket outside.
async fn begin(gate: &Gate, target: &Target, port: u16, contact: &mut Contact) -> Result<(UdpSocket, Account), NoWay> {
    let deny = |denied| NoWay::Denied(denied, None);
    let (host, addresses) = match target {
        Target::Name(name) => {
            match gate.rules.judge_name(Protocol::Udp, name, port) {
                Decision::Allowed(rule) => contact.rule = format!("allow `{}` ({})", rule.text, rule.from),
                Decision::Denied(denied) => return Err(deny(denied)),
            }
            let found = dial::resolve(&gate.rules, &gate.resolver, Protocol::Udp, name, port).await?;
            (name.to_string(), found)
        }
        Target::Address(address) => {
            if let Some(denied) = dial::judge(&gate.rules, Protocol::Udp, *address, port, Asked::ByAddress) {
                return Err(NoWay::Denied(denied, Some(*address)));
            }
            contact.rule = format!("an address that `allow` names ({address})");
            (address.to_string(), vec![*address])
        }
    };
    let (account, met) = gate.admit(&host).map_err(deny)?;
    gate.meter.request(1).map_err(deny)?;
    contact.met = met;
    let mut last = NoWay::Failed(format!("`{host}` has no address"), None);
    for address in addresses {
        match outside(SocketAddr::new(address, port)) {
            Ok(socket) => {
                contact.address = Some(address.to_string());
                return Ok((socket, account));
            }
            Err(error) => last = NoWay::Failed(format!("cannot send to {address}: {error}"), Some(address)),
        }
    }
    Err(last)
}

/// A socket that hears `to` alone, from a port that the kernel picks.
fn outside(to: SocketAddr) -> io::Result<UdpSocket> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket: OwnedFd = socket(family, SockType::Datagram, flags, None)?;
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    UdpSocket::from_std(std::net::UdpSocket::from(socket))
}

async fn relay(
    open: &Open,
    purse: &Purse<'_>,
    (inside, outside): (&UdpSocket, &UdpSocket),
    (from, at, _): Pair,
    hears: &mut Receiver<Vec<u8>>,
) -> io::Result<()> {
    let (entry, back) = (open.entry(), SockaddrStorage::from(from));
    let mut answer = vec![0; LARGEST];
    loop {
        let turn = async {
            tokio::select! {
                said = hears.recv() => {
                    let Some(said) = said else { return Err(io::ErrorKind::UnexpectedEof.into()) };
                    purse.send(open, said.len())?;
                    // Lost where it cannot be sent, as on any way.
                    if outside.send(&said).await.is_ok() {
                        entry.sent.set(entry.sent.get() + said.len() as u64);
                    }
                }
                heard = outside.recv(&mut answer) => {
                    let length = heard?;
                    let _ = send(inside, answer.get(..length).unwrap_or_default(), &back, Some(at));
                    entry.received.set(entry.received.get() + length as u64);
                }
            }
            io::Result::Ok(())
        };
        match timeout(SILENCE, turn).await {
            Ok(turn) => turn?,
            Err(_) => return Ok(()),
        }
    }
}
