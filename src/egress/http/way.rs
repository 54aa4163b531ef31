//! Whether a connection is looked into, by what the rules say of its host and what its client said first.

use std::rc::Rc;

use rustls::server::Acceptor;

use super::looking::Looking;
use crate::egress::authority::Version;
use crate::egress::first::First;
use crate::egress::gate::Gate;
use crate::policy::egress::http::{Carrier, Look};
use crate::policy::egress::name::Name;
use crate::policy::egress::{Denied, Rules};

/// What is to be done with a connection to a host by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is looked into.
    Into(Carrier),
    /// It is no business of ours.
    Past,
    /// Nothing but requests may be sent there, and this is something else.
    NoRequests,
}

/// Who looks into a connection that began like this, and by what it comes; nobody where that is no business of ours.
pub fn look(
    gate: &Gate,
    name: &Name,
    port: u16,
    spoken: Option<First>,
    said: &[u8],
) -> Result<Option<(Carrier, Rc<Looking>)>, Denied> {
    match (way(&gate.rules, name, port, spoken, said), &gate.looking) {
        (Way::Past, _) => Ok(None),
        (Way::Into(over), Some(looking)) => Ok(Some((over, looking.clone()))),
        (Way::NoRequests | Way::Into(_), _) => Err(Denied::by(
            format!("[[egress.http]] `{name}` allows requests alone"),
            "speak HTTP to it, or have the operator allow it in `allow` of [egress] without rules for requests",
        )),
    }
}

/// Ports on which TLS is HTTP inside, whatever the client offers.
const WEB: [u16; 1] = [443];

/// What is to be done where the client began like this.
fn way(rules: &Rules, name: &Name, port: u16, spoken: Option<First>, said: &[u8]) -> Way {
    let ruled = rules.for_requests(name, port).next().is_some();
    match spoken {
        Some(First::Tls) if ruled => Way::Into(Carrier::Tls),
        Some(First::Http) if ruled => Way::Into(Carrier::Plain),
        _ if ruled => Way::NoRequests,
        _ if rules.look == Look::IntoRuled => Way::Past,
        Some(First::Http) => Way::Into(Carrier::Plain),
        Some(First::Tls) if WEB.contains(&port) || !offers(said).is_empty() => Way::Into(Carrier::Tls),
        _ => Way::Past,
    }
}

/// The versions of HTTP that a client offers in its first message, which is here as a whole.
pub fn offers(said: &[u8]) -> Vec<Version> {
    let (mut acceptor, mut rest) = (Acceptor::default(), said);
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Vec::new();
        }
    }
    let Ok(Some(accepted)) = acceptor.accept() else { return Vec::new() };
    let hello = accepted.client_hello();
    let offered: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
    [Version::Two, Version::One].into_iter().filter(|version| offered.contains(&version.alpn())).collect()
}
