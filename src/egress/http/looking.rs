//! What a gate has to look into requests with: an authority of the jail's own, whom the host trusts, and secrets.

use std::io;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::{CipherSuite, ClientConfig, RootCertStore, SupportedCipherSuite};

use crate::egress::authority::{Authority, Version};
use crate::egress::roots;
use crate::egress::secrets::Secrets;

/// All that a gate needs to look into requests.
pub struct Looking {
    /// Who vouches for hosts in this jail.
    pub authority: Authority,
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

    /// How a server is spoken to that may choose among these.
    pub fn toward(&self, offers: &[Version]) -> io::Result<ClientConfig> {
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
