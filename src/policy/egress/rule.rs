//! One rule, from text.
//!
//! ```text
//!   rule  = [ "tcp://" | "udp://" ] host [ ":" ports ]
//!   host  = name | "*." name | address | network | "[" address or network of IPv6 "]"
//!   ports = port | first "-" last | "*"
//! ```
//!
//! Without ports an allowed host is reached on 80 and 443, and a denied one on none. Must not judge anything.

use core::net::IpAddr;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::address::{Network, NetworkFlaw};
use super::name::{Name, NameFlaw};

/// A rule, with where it was said and why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rule {
    /// As written.
    pub text: String,
    /// What it is about.
    pub host: Host,
    /// On which ports.
    pub ports: Ports,
    /// Over which protocols.
    pub over: Over,
    /// Why it is there; from the line of the set, or "named by the profile".
    pub why: String,
    /// Who said so: `@github`, or the source of the profile.
    pub from: String,
}

/// What a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Host {
    /// One name.
    Name(Name),
    /// Every name below this one, and not itself.
    Below(Name),
    /// Addresses.
    Network(Network),
}

/// Ports from the first to the last.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Ports(Vec<(u16, u16)>);

/// Over what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Over which protocols a rule speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Over {
    /// One.
    Only(Protocol),
    /// All: a host that is denied without a word on how.
    Any,
}

/// Which list a rule stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum List {
    /// `allow`.
    Allow,
    /// `deny`.
    Deny,
}

/// Why a text is no rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleFlaw {
    /// Control characters or blanks.
    Blank,
    /// Something else than `tcp://` or `udp://`.
    Scheme,
    /// `name@host`.
    User,
    /// A path.
    Path,
    /// `*` somewhere else than as the first label.
    Star,
    /// Brackets that do not match, or around what is no IPv6.
    Brackets,
    /// No port, or none in the order that a range has.
    Port,
    /// A UDP rule without a port.
    NoUdpPort,
    /// The jail's own name.
    Localhost,
    /// Not a name.
    Name(NameFlaw),
    /// Not a network.
    Network(NetworkFlaw),
}

impl fmt::Display for RuleFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RuleFlaw::Blank => f.write_str("it has a blank or a control character"),
            RuleFlaw::Scheme => f.write_str("only `tcp://` and `udp://` can stand before a host"),
            RuleFlaw::User => f.write_str("a user name says nothing about a host"),
            RuleFlaw::Path => f.write_str("it has a path"),
            RuleFlaw::Star => f.write_str("`*` stands for the first labels of a name, as in `*.example.org`"),
            RuleFlaw::Brackets => f.write_str("brackets stand around IPv6 addresses, as in `[2001:db8::1]:443`"),
            RuleFlaw::Port => f.write_str("its port is no number from 1 to 65535, no range and not `*`"),
            RuleFlaw::NoUdpPort => f.write_str("a rule for UDP needs a port"),
            RuleFlaw::Localhost => f.write_str("`localhost` is the jail's own loopback"),
            RuleFlaw::Name(flaw) => flaw.fmt(f),
            RuleFlaw::Network(flaw) => flaw.fmt(f),
        }
    }
}

impl std::error::Error for RuleFlaw {}

impl RuleFlaw {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            RuleFlaw::Path => "rules by method and path stand in [[egress.http]]",
            RuleFlaw::Name(NameFlaw::NotAscii) => {
                "write the name in its ASCII form, which begins with `xn--`: letters that look alike are told apart there"
            }
            RuleFlaw::Name(NameFlaw::Number) => "write all four numbers of an IPv4 address, in decimal",
            _ => {
                "expected a host such as `api.example.org`, `*.example.org:443`, `10.1.2.0/24:5432` or `udp://time.example:123`"
            }
        }
    }
}

impl Rule {
    /// Reads one entry of `list`.
    pub fn parse(text: &str, list: List, why: &str, from: &str) -> Result<Rule, RuleFlaw> {
        if text.chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
            return Err(RuleFlaw::Blank);
        }
        let (over, rest) = protocol(text)?;
        if rest.contains('@') {
            return Err(RuleFlaw::User);
        }
        let (host, port) = split(rest)?;
        let host = read_host(host)?;
        let ports = match (port, list, over) {
            (Some(port), ..) => Ports::parse(port)?,
            (None, List::Deny, _) => Ports::all(),
            (None, List::Allow, Some(Protocol::Udp)) => return Err(RuleFlaw::NoUdpPort),
            (None, List::Allow, _) => Ports(vec![(80, 80), (443, 443)]),
        };
        let over = match (over, list) {
            (Some(protocol), _) => Over::Only(protocol),
            (None, List::Allow) => Over::Only(Protocol::Tcp),
            (None, List::Deny) => Over::Any,
        };
        Ok(Rule { text: text.to_owned(), host, ports, over, why: why.to_owned(), from: from.to_owned() })
    }

    /// Whether it speaks about this name, whatever the port.
    pub fn names(&self, name: &Name) -> bool {
        match &self.host {
            Host::Name(own) => own == name,
            Host::Below(parent) => name.is_below(parent),
            Host::Network(_) => false,
        }
    }

    /// Whether it speaks about this address, whatever the port.
    pub fn holds(&self, address: IpAddr) -> bool {
        matches!(&self.host, Host::Network(network) if network.holds(address))
    }

    /// Whether it speaks about this port.
    pub fn covers(&self, protocol: Protocol, port: u16) -> bool {
        (self.over == Over::Any || self.over == Over::Only(protocol)) && self.ports.hold(port)
    }
}

impl Protocol {
    /// As rules and records spell it.
    pub fn word(self) -> &'static str {
        match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        }
    }
}

impl Ports {
    fn all() -> Ports {
        Ports(vec![(0, u16::MAX)])
    }

    fn parse(text: &str) -> Result<Ports, RuleFlaw> {
        if text == "*" {
            return Ok(Ports::all());
        }
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last { Err(RuleFlaw::Port) } else { Ok(Ports(vec![(first, last)])) }
    }

    /// Whether `port` is among them.
    pub fn hold(&self, port: u16) -> bool {
        self.0.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    /// Whether none is missing.
    pub fn are_all(&self) -> bool {
        self.0 == Ports::all().0
    }

    /// First and last of each range.
    pub fn ranges(&self) -> &[(u16, u16)] {
        &self.0
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_all() {
            return f.write_str("every port");
        }
        let ranges = self.0.iter().map(
            |(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        );
        f.write_str(&ranges.collect::<Vec<_>>().join(" and "))
    }
}

fn protocol(text: &str) -> Result<(Option<Protocol>, &str), RuleFlaw> {
    match text.split_once("://") {
        None => Ok((None, text)),
        Some(("tcp", rest)) => Ok((Some(Protocol::Tcp), rest)),
        Some(("udp", rest)) => Ok((Some(Protocol::Udp), rest)),
        Some(_) => Err(RuleFlaw::Scheme),
    }
}

/// The host, and what follows the last colon that belongs to no address.
fn split(text: &str) -> Result<(&str, Option<&str>), RuleFlaw> {
    if let Some(rest) = text.strip_prefix('[') {
        let (inner, after) = rest.split_once(']').ok_or(RuleFlaw::Brackets)?;
        if !inner.contains(':') {
            return Err(RuleFlaw::Brackets);
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((inner, Some(port))),
            None if after.is_empty() => Ok((inner, None)),
            None => Err(RuleFlaw::Brackets),
        };
    }
    match text.split_once(':') {
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

fn read_host(text: &str) -> Result<Host, RuleFlaw> {
    let looks_like_an_address = text.contains(':') || text.parse::<IpAddr>().is_ok();
    if let Some((before, _)) = text.split_once('/') {
        // A slash after an address counts bits; after a name it begins a path.
        let address = before.contains(':') || before.parse::<IpAddr>().is_ok();
        return if address {
            Network::parse(text).map(Host::Network).map_err(RuleFlaw::Network)
        } else {
            Err(RuleFlaw::Path)
        };
    }
    if looks_like_an_address {
        return Network::parse(text).map(Host::Network).map_err(RuleFlaw::Network);
    }
    let (below, name) = match text.strip_prefix("*.") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if name.contains('*') {
        return Err(RuleFlaw::Star);
    }
    let name = Name::parse(name).map_err(RuleFlaw::Name)?;
    if name.as_str() == "localhost" || name.as_str().ends_with(".localhost") {
        return Err(RuleFlaw::Localhost);
    }
    Ok(if below { Host::Below(name) } else { Host::Name(name) })
}

fn port(text: &str) -> Result<u16, RuleFlaw> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| plain && *port != 0).ok_or(RuleFlaw::Port)
}
