//! Requests that the gate looks into, TLS or not.
//!
//! ```text
//!   client --TLS, certificate of the jail's authority--> [here] --TLS, judged by the host's authorities--> server
//!             each request: is it for this host? does a rule allow it? does something that stands for a secret leave?
//!                           then the secret is put in, the head written anew, the body passed on
//! ```
//!
//! Both sides speak the same version, the one that the server chose. A server is never believed without its certificate, and nothing is
//! relayed unseen because something went wrong: then each request is answered with what did.

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::Acceptor;
use rustls::{CipherSuite, ClientConfig, RootCertStore, SupportedCipherSuite};

use super::authority::{Authority, Version};
use super::first::First;
use super::gate::Gate;
use super::roots;
use super::secrets::Secrets;
use crate::policy::egress::http::{Carrier, Look};
use crate::policy::egress::name::Name;
use crate::policy::egress::{Denied, Rules};

mod body;
mod carry;
mod exchange;
pub mod head;
mod rewound;
mod tunnel;
mod upstream;

pub use carry::{Asks, Begun, bounded, serve};

/// All that a gate needs to look into requests.
pub struct Looking {
    authority: Authority,
    store: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    resumption: Resumption,
    /// What is put in, and what must not leave.
    pub secrets: Secrets,
}

/// Whom the jail's programs are to trust, in the forms in which they read it.
pub struct Trust {
    /// For nearly all.
    pub pem: Vec<u8>,
    /// For Java.
    pub jks: Vec<u8>,
}

impl Looking {
    /// Makes an authority and reads whom the host trusts.
    pub fn prepare() -> io::Result<(Prepared, Trust)> {
        let provider = Arc::new(provider());
        let authority = Authority::new(provider.clone())?;
        let roots = roots::of_this_host();
        let all = || roots.iter().chain([authority.certificate()]);
        let trust = Trust { pem: roots::pem(all()), jks: roots::jks(all()) };
        Ok((Prepared { authority, roots, provider }, trust))
    }

    fn toward(&self, offers: &[Version]) -> io::Result<ClientConfig> {
        let config = ClientConfig::builder_with_provider(self.provider.clone());
        let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let mut config = config.with_root_certificates(self.store.clone()).with_no_client_auth();
        config.alpn_protocols = offers.iter().map(|version| version.alpn().to_vec()).collect();
        config.resumption = self.resumption.clone();
        Ok(config)
    }
}

/// What the gate speaks, with whoever may choose: first the cipher of which a byte costs least, as browsers have it. Each byte is
/// deciphered and enciphered here.
fn provider() -> CryptoProvider {
    let mut provider = rustls::crypto::ring::default_provider();
    let costs_least = |suite: &SupportedCipherSuite| {
        [
            CipherSuite::TLS13_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ]
        .contains(&suite.suite())
    };
    provider.cipher_suites.sort_by_key(|suite| !costs_least(suite));
    provider
}

/// What is made first, so that the jail can be told of it while secrets are still being read.
pub struct Prepared {
    authority: Authority,
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Prepared {
    /// With the secrets.
    pub fn with(self, secrets: Secrets) -> Looking {
        let Prepared { authority, roots, provider } = self;
        let store = Arc::new(roots::store(&roots));
        Looking { authority, store, provider, resumption: Resumption::in_memory_sessions(64), secrets }
    }
}

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
fn offers(said: &[u8]) -> Vec<Version> {
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
