//! One connection of a jail, from the moment it arrives.
//!
//! ```text
//!   arrived --nothing we gave out--> refused
//!     '--a name--> judged --> dialled --server speaks first--> relayed
//!     |                          '--client: TLS for the name, HTTP for the host, SSH, other--> relayed
//!     |                                            '--for another--> refused
//!     '--an address--> judged --> dialled --> relayed
//! ```
//!
//! Refused is said in the client's own language where it has one: an HTTP answer, a TLS alert; else the connection is reset.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::{Ip6tOriginalDst, OriginalDst};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::budget::{Account, Purse};
use super::dial::{self, Dialled, NoWay};
use super::first::{self, First};
use super::follow;
use super::gate::Gate;
use super::hello::{self, Hello};
use super::http::looking::Looking;
use super::http::{self, Asks};
use super::lookups;
use super::names::Meaning;
use super::record::Open;
use super::refusal::{refuse, reset, turn_away};
use super::relay;
use super::requests::Requests;
use crate::confine::known::NAMES;
use crate::policy::egress::http::Carrier;
use crate::policy::egress::name::Name;
use crate::policy::egress::rule::Protocol;
use crate::policy::egress::{Asked, Decision, Denied};
use crate::verdict::run::{Attempt, Contact};

/// How long a client may take to say what it speaks, once it has begun.
const BEGINNING: Duration = Duration::from_secs(10);
/// Ports on which nothing is spoken but TLS, HTTP and SSH.
const WEB: [u16; 2] = [80, 443];

/// What the jail meant.
pub enum Target {
    /// A host by name.
    Name(Name),
    /// An address.
    Address(IpAddr),
}

/// Serves one connection to its end.
pub async fn serve(gate: Rc<Gate>, client: TcpStream) {
    // Whoever connected to our own socket meant nothing that we could do.
    let Some(destination) = original(&client) else { return reset(client) };
    let port = destination.port();
    if port == NAMES {
        // Whichever name server was meant, it is the gate that answers.
        return drop(lookups::asked_over_tcp(&gate, client).await);
    }
    let target = match gate.names.borrow().meaning(destination.ip()) {
        Meaning::Name(name) => Target::Name(name.clone()),
        Meaning::Address(address) => Target::Address(address),
        Meaning::Nothing => return reset(client),
    };
    let mut contact = contact(&target, port);
    let dialled = match admit(&gate, &target, port, &mut contact) {
        Ok(account) => dial(&gate, &target, port).await.map(|dialled| Dialled { account, ..dialled }),
        Err(no_way) => Err(no_way),
    };
    match dialled {
        Ok(dialled) => carry(&gate, client, dialled, target, contact).await,
        Err(no_way) => turn_away(&gate, client, no_way, contact).await,
    }
}

/// Whether the rules allow it, and what it is charged to if the terms do, too.
pub fn admit(gate: &Gate, target: &Target, port: u16, contact: &mut Contact) -> Result<Account, NoWay> {
    let host = match target {
        Target::Name(name) => {
            judge(gate, name, port, contact).map_err(|denied| NoWay::Denied(denied, None))?;
            name.to_string()
        }
        Target::Address(address) => match dial::judge(&gate.rules, Protocol::Tcp, *address, port, Asked::ByAddress) {
            Some(denied) => return Err(NoWay::Denied(denied, Some(*address))),
            None => address.to_string(),
        },
    };
    gate.admit(&host)
        .map(|(account, met)| {
            contact.met = met;
            account
        })
        .map_err(|denied| NoWay::Denied(denied, None))
}

/// Connects to what was admitted.
pub async fn dial(gate: &Gate, target: &Target, port: u16) -> Result<Dialled, NoWay> {
    match target {
        Target::Name(name) => dial::by_name(gate, name, port).await,
        Target::Address(address) => dial::by_address(gate, *address, port).await,
    }
}

/// Where the client wanted to go when the kernel led it here.
pub fn original(client: &TcpStream) -> Option<SocketAddr> {
    let own = client.local_addr().ok()?;
    // One that was led whole is still for where it was meant to go.
    if own.ip().is_loopback() { translated(client, own) } else { Some(own) }
}

/// The same of one that was led here by another address, which is the loopback's.
fn translated(client: &TcpStream, own: SocketAddr) -> Option<SocketAddr> {
    let v4 = || {
        let address = getsockopt(client, OriginalDst).ok()?;
        let ip = u32::from_be(address.sin_addr.s_addr);
        Some(SocketAddr::from((std::net::Ipv4Addr::from_bits(ip), u16::from_be(address.sin_port))))
    };
    let v6 = || {
        let address = getsockopt(client, Ip6tOriginalDst).ok()?;
        let ip = std::net::Ipv6Addr::from(address.sin6_addr.s6_addr);
        Some(SocketAddr::from((ip, u16::from_be(address.sin6_port))))
    };
    let found = if own.is_ipv4() { v4() } else { v6() };
    found.filter(|destination| *destination != own)
}

/// What is known of a connection before it is judged.
pub fn contact(target: &Target, port: u16) -> Contact {
    let (name, address) = match target {
        Target::Name(name) => (Some(name.to_string()), None),
        Target::Address(address) => (None, Some(address.to_string())),
    };
    Contact { name, address, port, ..Contact::of(Attempt::Connect) }
}

fn judge(gate: &Gate, name: &Name, port: u16, contact: &mut Contact) -> Result<(), Denied> {
    match gate.rules.judge_name(Protocol::Tcp, name, port) {
        Decision::Allowed(rule) => {
            contact.rule = format!("allow `{}` ({})", rule.text, rule.from);
            Ok(())
        }
        Decision::Denied(denied) => Err(denied),
    }
}

/// Carries on what was dialled, by what the client says first.
pub async fn carry(gate: &Rc<Gate>, client: TcpStream, dialled: Dialled, target: Target, contact: Contact) {
    let Dialled { stream: server, address, account } = dialled;
    let purse = Purse { meter: &gate.meter, account };
    let contact = Contact { address: address.map(|address| address.to_string()).or(contact.address), ..contact };
    let _ = client.set_nodelay(true);
    let name = match target {
        Target::Name(name) => name,
        Target::Address(address) => return carry_blindly(gate, client, server, address, purse, contact).await,
    };
    let mut said = Vec::new();
    let spoken = listen(&client, &server, &mut said).await;
    let checked = check(spoken, &name, contact.port, &said);
    match checked.and_then(|speech| look(gate, &name, contact.port, (speech, spoken), &said)) {
        Ok(Speech::LookedInto(over, looking)) => {
            let account = purse.account;
            let begun = http::Begun { client, server, said, name, over, account, asks: Asks::Often };
            http::serve(gate.clone(), looking, begun, contact).await;
        }
        Ok(Speech::Requests(mut requests)) => match follow::first_requests(&mut requests, &said, &gate.meter) {
            Ok(out) => {
                let open = gate.records.open(Contact { spoken: Some("http".into()), ..contact });
                follow::follow(&open, &purse, (&client, &server), &mut requests, &out).await;
            }
            Err(denied) => refuse(gate, client, &denied, contact, &said).await,
        },
        Ok(Speech::Any(spoken)) => {
            if let Err(denied) = gate.meter.request(1) {
                return refuse(gate, client, &denied, contact, &said).await;
            }
            let open = gate.records.open(Contact { spoken: spoken.map(str::to_owned), ..contact });
            if purse.send(&open, said.len()).is_err() {
                return reset(client);
            }
            if relay::write_all(&server, &said).await.is_ok() {
                open.entry().sent.set(said.len() as u64);
                finish(open, &purse, &client, &server).await;
            }
        }
        Err(denied) => refuse(gate, client, &denied, contact, &said).await,
    }
}

/// An address that is named is believed to be meant: what is said to it is not looked at.
async fn carry_blindly(
    gate: &Gate,
    client: TcpStream,
    server: TcpStream,
    address: IpAddr,
    purse: Purse<'_>,
    contact: Contact,
) {
    let rule = format!("an address that `allow` names ({address})");
    let open = gate.records.open(Contact { rule, ..contact });
    if purse.request(&open, 1).is_ok() {
        finish(open, &purse, &client, &server).await;
    }
}

/// Reads into `said` until it is clear what is spoken, or the server has spoken first (`None`).
async fn listen(client: &TcpStream, server: &TcpStream, said: &mut Vec<u8>) -> Option<First> {
    let mut piece = vec![0; 8 << 10];
    // Whoever is first: to be told that there may be something is not enough, so each is tried.
    tokio::select! {
        biased;
        read = relay::read(client, &mut piece) => {
            said.extend_from_slice(piece.get(..read.unwrap_or(0)).unwrap_or_default());
            if said.is_empty() {
                return None;
            }
        }
        () = has_spoken(server) => return None,
    }
    let beginning = async {
        loop {
            let spoken = first::tell(said);
            let waits = match spoken {
                First::Undecided => true,
                First::Tls => hello::read(said) == Hello::Unfinished,
                First::Http | First::Ssh | First::Other => false,
            };
            if !waits {
                return spoken;
            }
            match relay::read(client, &mut piece).await {
                Ok(length) if length > 0 => said.extend_from_slice(piece.get(..length).unwrap_or_default()),
                // It ended before it had begun.
                Ok(_) | Err(_) => return spoken,
            }
        }
    };
    Some(timeout(BEGINNING, beginning).await.unwrap_or(First::Undecided))
}

/// Waits until there is something to read, or there never will be.
async fn has_spoken(server: &TcpStream) {
    while server.peek(&mut [0]).await.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {}
}

/// What goes on between the two.
enum Speech {
    /// Requests, each of which is judged.
    Requests(Requests),
    /// Bytes.
    Any(Option<&'static str>),
    /// Requests by rule, TLS or not.
    LookedInto(Carrier, Rc<Looking>),
}

/// Whether what a client said first speaks of `name`.
fn check(spoken: Option<First>, name: &Name, port: u16, said: &[u8]) -> Result<Speech, Denied> {
    let no = |rule: &str| Err(Denied::by(format!("built in: {rule}"), "connect to a host by its own name"));
    match spoken {
        None => Ok(Speech::Any(None)),
        Some(First::Tls) => match hello::read(said) {
            Hello::For(Some(asked)) if asked == *name => Ok(Speech::Any(Some("tls"))),
            Hello::For(Some(asked)) => {
                no(&format!("a TLS client that asks for `{asked}` after connecting to `{name}`"))
            }
            Hello::For(None) => no("a TLS client that names no server"),
            Hello::Unfinished | Hello::Malformed => no("a TLS client whose first message makes no sense"),
        },
        Some(First::Http) => Ok(Speech::Requests(Requests::to(name.clone(), port))),
        Some(First::Ssh) => Ok(Speech::Any(Some("ssh"))),
        Some(First::Other) if WEB.contains(&port) => no("neither TLS nor HTTP nor SSH on a port of the web"),
        Some(First::Other) => Ok(Speech::Any(None)),
        Some(First::Undecided) => no("a client that did not say what it speaks"),
    }
}

/// Whether the gate looks into it, where `check` had nothing against it.
fn look(
    gate: &Gate,
    name: &Name,
    port: u16,
    (speech, spoken): (Speech, Option<First>),
    said: &[u8],
) -> Result<Speech, Denied> {
    let looked_into = http::look(gate, name, port, spoken, said)?;
    Ok(looked_into.map_or(speech, |(over, looking)| Speech::LookedInto(over, looking)))
}

/// Relays to the end.
pub async fn finish(open: Open, purse: &Purse<'_>, client: &TcpStream, server: &TcpStream) {
    let entry = open.entry();
    let out = relay::one_way_if(client, server, &entry.sent, |bytes| purse.send(&open, bytes));
    let ended = tokio::try_join!(out, relay::one_way(server, client, &entry.received)).map(drop);
    relay::pass_on(ended, client, server);
}
