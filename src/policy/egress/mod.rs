//! What may be reached: rules about hosts, and the one judge of them.
//!
//! Owns the rule language and every decision about a name or an address; the gate enforces what is decided here, and
//! `profile explain` asks the same code. What no rule allows is denied, `deny` wins, and what is no part of the public
//! network is denied unless it is named exactly. Pure: resolves no name.

use core::net::IpAddr;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub mod address;
pub mod http;
pub mod name;
pub mod rule;
pub mod set;
pub mod terms;
#[cfg(test)]
mod tests;

use address::{Network, Opened, Special, normal, special};
use http::secret::Secret;
use http::{HttpRule, Look};
use name::Name;
use rule::{Host, Over, Protocol, Rule};
use terms::Terms;

/// The rules of one jail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rules {
    /// What may be reached.
    pub allow: Vec<Rule>,
    /// What may not, whatever is allowed.
    pub deny: Vec<Rule>,
    /// Addresses of names that nobody is asked about. They are judged like any others.
    pub hosts: BTreeMap<Name, Vec<IpAddr>>,
    /// Which requests may be sent to whom: the first rule that fits one counts. Each allows its host, too.
    pub http: Vec<HttpRule>,
    /// What these put into requests, by name.
    pub secrets: BTreeMap<String, Secret>,
    /// In which connections the gate looks.
    pub look: Look,
    /// What is kept to beside them.
    pub terms: Terms,
}

/// Ports of UDP that a profile can allow: the gate has a socket for each.
pub const MOST_UDP_PORTS: usize = 16;

/// Where datagrams go that may come as far as the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Datagrams {
    /// To names that some rule allows over UDP.
    ToNames,
    /// To addresses.
    ToNetwork(Network),
}

/// Yes or no, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Decision<'a> {
    /// This rule allows it.
    Allowed(&'a Rule),
    /// It is denied.
    Denied(Denied),
}

/// Why something is denied, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// The rule, in words.
    pub rule: String,
    /// What to do about it.
    pub remedy: String,
}

/// What comes before a remedy that lets something through: a host that was asked for is not a host that was vouched for.
pub const ONLY_IF: &str = "only if you trust it, ";

impl Denied {
    /// Denied by `rule`; the remedy is to say otherwise there.
    pub fn by(rule: impl Into<String>, remedy: impl Into<String>) -> Denied {
        Denied { rule: rule.into(), remedy: remedy.into() }
    }

    fn by_rule(rule: &Rule) -> Denied {
        Denied::by(
            format!("deny `{}` ({})", rule.text, rule.from),
            format!("{ONLY_IF}have the operator take it out of `deny` in [egress]"),
        )
    }

    fn by_nothing(what: &str) -> Denied {
        Denied::by("nothing allows it", format!("{ONLY_IF}have the operator add `{what}` to `allow` in [egress]"))
    }
}

/// Whether a destination was asked for by a name that is allowed, or by its address alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// By a name that [`Rules::judge_name`] allowed: its addresses need no rule unless they are special.
    ByName,
    /// By its address.
    ByAddress,
}

impl Rules {
    /// Whether nothing can be reached at all.
    pub fn allow_nothing(&self) -> bool {
        self.allow.is_empty() && self.http.is_empty()
    }

    /// Whether a gate with these rules may begin when it is first needed: nobody has to hear from it before, and nothing that it
    /// reads of the host can be missing.
    pub fn let_gate_begin_late(&self) -> bool {
        let Terms { proxy, resolvers, .. } = &self.terms;
        !self.end_tls() && self.secrets.is_empty() && proxy.is_none() && resolvers.is_empty()
    }

    /// Everything that allows a host.
    fn allowing(&self) -> impl Iterator<Item = &Rule> {
        self.allow.iter().chain(self.http.iter().map(|rule| &rule.host))
    }

    /// Whether a name may be looked up: something about it is allowed, on some port.
    pub fn judge_lookup(&self, name: &Name) -> Decision<'_> {
        let whole = |rule: &&Rule| rule.names(name) && rule.ports.are_all() && rule.over == Over::Any;
        if let Some(rule) = self.deny.iter().find(whole) {
            return Decision::Denied(Denied::by_rule(rule));
        }
        let allowed = self.allowing().find(|rule| rule.names(name));
        allowed.map_or_else(|| Decision::Denied(Denied::by_nothing(name.as_str())), Decision::Allowed)
    }

    /// Whether `name` may be connected to on `port`. Its addresses are judged when they are known.
    pub fn judge_name(&self, protocol: Protocol, name: &Name, port: u16) -> Decision<'_> {
        if let Some(rule) = self.deny.iter().find(|rule| rule.names(name) && rule.covers(protocol, port)) {
            return Decision::Denied(Denied::by_rule(rule));
        }
        let mut named = self.allowing().filter(|rule| rule.names(name));
        let allowed = named.find(|rule| rule.covers(protocol, port));
        allowed.map_or_else(|| Decision::Denied(Denied::by_nothing(&entry(protocol, name, port))), Decision::Allowed)
    }

    /// Whether `address` may be connected to on `port`. `None`: it may, because of the name that led to it.
    pub fn judge_address(&self, protocol: Protocol, address: IpAddr, port: u16, asked: Asked) -> Option<Decision<'_>> {
        let address = normal(address);
        if let Some(rule) = self.deny.iter().find(|rule| rule.holds(address) && rule.covers(protocol, port)) {
            return Some(Decision::Denied(Denied::by_rule(rule)));
        }
        let mut holding = self.allow.iter().filter(|rule| rule.holds(address) && rule.covers(protocol, port));
        let what = entry(protocol, shown(address), port);
        match (special(address), asked) {
            (Some(special), _) => Some(match holding.find(|rule| opens(rule, special)) {
                Some(rule) => Decision::Allowed(rule),
                None => Decision::Denied(by_special(special, &what)),
            }),
            (None, Asked::ByName) => None,
            (None, Asked::ByAddress) => Some(match holding.next() {
                Some(rule) => Decision::Allowed(rule),
                None => Decision::Denied(Denied::by_nothing(&what)),
            }),
        }
    }

    /// Why a name that an allowed one stands for may not be reached, if a rule denies it.
    pub fn judge_alias(&self, protocol: Protocol, alias: &Name, port: u16) -> Option<Denied> {
        self.deny.iter().find(|rule| rule.names(alias) && rule.covers(protocol, port)).map(Denied::by_rule)
    }

    /// Ports of UDP that some rule allows, each once; `None` when they are more than [`MOST_UDP_PORTS`].
    pub fn udp_ports(&self) -> Option<Vec<u16>> {
        let ranges = self.udp().flat_map(|rule| rule.ports.ranges());
        let mut ports = BTreeSet::new();
        for (first, last) in ranges {
            ports.extend((*first..=*last).take(MOST_UDP_PORTS + 1));
        }
        (ports.len() <= MOST_UDP_PORTS).then(|| ports.into_iter().collect())
    }

    /// Which datagrams may come as far as the gate, which judges each conversation.
    pub fn datagrams(&self) -> BTreeSet<(Datagrams, u16)> {
        let to = |rule: &Rule| match &rule.host {
            Host::Name(_) | Host::Below(_) => Datagrams::ToNames,
            Host::Network(network) => Datagrams::ToNetwork(*network),
        };
        let ports =
            |rule: &Rule| rule.ports.ranges().iter().flat_map(|(first, last)| *first..=*last).collect::<Vec<_>>();
        self.udp().flat_map(|rule| ports(rule).into_iter().map(move |port| (to(rule), port))).collect()
    }

    /// Whether some rule allows `name` over UDP.
    pub fn name_has_udp(&self, name: &Name) -> bool {
        self.udp().any(|rule| rule.names(name))
    }

    fn udp(&self) -> impl Iterator<Item = &Rule> {
        self.allow.iter().filter(|rule| rule.over == Over::Only(Protocol::Udp))
    }
}

/// Whether a rule names a special range closely enough. One for the whole network, say, does not.
fn opens(rule: &Rule, special: &Special) -> bool {
    let Host::Network(network) = &rule.host else { return false };
    match special.opened {
        Opened::Never => false,
        Opened::ByAddress => network.is_one(),
        Opened::ByNetwork => network.lies_in(&special.network),
    }
}

fn by_special(special: &Special, what: &str) -> Denied {
    let rule = format!("built in: {} ({})", special.what, special.network);
    match special.opened {
        Opened::Never => Denied::by(rule, "nothing opens it"),
        Opened::ByAddress | Opened::ByNetwork => {
            Denied::by(rule, format!("{ONLY_IF}have the operator name it exactly: `{what}` in `allow` of [egress]"))
        }
    }
}

/// The rule that would allow just this.
fn entry(protocol: Protocol, host: impl std::fmt::Display, port: u16) -> String {
    match protocol {
        Protocol::Tcp => format!("{host}:{port}"),
        Protocol::Udp => format!("udp://{host}:{port}"),
    }
}

fn shown(address: IpAddr) -> String {
    if address.is_ipv6() { format!("[{address}]") } else { address.to_string() }
}
