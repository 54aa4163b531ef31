//! The jail's own certificate authority.
//!
//! Owns its key, which is made here and never leaves this process, and the certificates that it gives to the hosts of one jail. Nobody
//! but that jail's programs trusts it, and it ends with the gate.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::sign::any_ecdsa_type;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ResolvesServerCert;
use rustls::sign::{CertifiedKey, SigningKey, SingleCertAndKey};

use crate::policy::egress::name::Name;

/// What is spoken inside TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    /// HTTP/1.1, or 1.0.
    One,
    /// HTTP/2.
    Two,
}

impl Version {
    /// As TLS calls it, RFC 7301.
    pub fn alpn(self) -> &'static [u8] {
        match self {
            Version::One => b"http/1.1",
            Version::Two => b"h2",
        }
    }
}

/// Clocks of jail and host are one; those of test suites jump.
const BEFORE: Duration = Duration::from_secs(24 * 3600);
/// How long the authority is good, and a certificate of a host: longer than a jail lives, and shorter than clients mind.
const AUTHORITY: Duration = Duration::from_secs(365 * 24 * 3600);
const HOST: Duration = Duration::from_secs(30 * 24 * 3600);
/// After that a host gets a new one.
const STALE: Duration = Duration::from_secs(7 * 24 * 3600);
/// Certificates that are kept; then all are made anew.
const MOST: usize = 1024;

/// What was issued: when, and as TLS wants it.
type Issued = (Instant, Arc<ServerConfig>);

/// An authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
    host_key: KeyPair,
    signing: Arc<dyn SigningKey>,
    provider: Arc<CryptoProvider>,
    serial: Cell<u64>,
    issued: RefCell<BTreeMap<(Name, Version), Issued>>,
}

impl Authority {
    /// A new one.
    pub fn new(provider: Arc<CryptoProvider>) -> io::Result<Authority> {
        let mut random = [0; 16];
        provider.secure_random.fill(&mut random).map_err(|_| io::Error::other("no randomness"))?;
        let (first, second) = random.split_at(8);
        let number = |bytes: &[u8]| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let key = KeyPair::generate().map_err(io::Error::other)?;
        let mut params = params(Vec::new(), &format!("clawjail {:016x}", number(first)), AUTHORITY)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key).map_err(io::Error::other)?.der().clone();
        let host_key = KeyPair::generate().map_err(io::Error::other)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(host_key.serialize_der()));
        let signing = any_ecdsa_type(&private).map_err(io::Error::other)?;
        let issuer = Issuer::new(params, key);
        let serial = Cell::new(number(second) >> 1);
        Ok(Authority { issuer, certificate, host_key, signing, provider, serial, issued: RefCell::default() })
    }

    /// Its certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// What a client is told that connects to `name` and is to speak `version`.
    pub fn serve_as(&self, name: &Name, version: Version) -> io::Result<Arc<ServerConfig>> {
        let key = (name.clone(), version);
        let mut issued = self.issued.borrow_mut();
        if let Some((_, config)) = issued.get(&key).filter(|(when, _)| when.elapsed() < STALE) {
            return Ok(config.clone());
        }
        if issued.len() >= MOST {
            issued.clear();
        }
        let config = Arc::new(self.issue(name, version)?);
        issued.insert(key, (Instant::now(), config.clone()));
        Ok(config)
    }

    fn issue(&self, name: &Name, version: Version) -> io::Result<ServerConfig> {
        // A name of more than 64 bytes is no common name; the alternative name is what counts.
        let common = if name.as_str().len() > 64 { "host" } else { name.as_str() };
        let mut params = params(vec![name.to_string()], common, HOST)?;
        params.serial_number = Some(SerialNumber::from(self.serial.get()));
        self.serial.set(self.serial.get().wrapping_add(1) & (u64::MAX >> 1));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.host_key, &self.issuer).map_err(io::Error::other)?;
        let certified = CertifiedKey::new(vec![certificate.der().clone()], self.signing.clone());
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
        let config = ServerConfig::builder_with_provider(self.provider.clone());
        let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let mut config = config.with_no_client_auth().with_cert_resolver(resolver);
        config.alpn_protocols = vec![version.alpn().to_vec()];
        // Ours, which begins with what costs least.
        config.ignore_client_order = true;
        Ok(config)
    }
}

fn params(names: Vec<String>, common: &str, good_for: Duration) -> io::Result<CertificateParams> {
    let mut params = CertificateParams::new(names).map_err(io::Error::other)?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + now.saturating_sub(BEFORE);
    params.not_after = epoch + (now + good_for);
    let mut who = DistinguishedName::new();
    who.push(DnType::OrganizationName, "clawjail");
    who.push(DnType::CommonName, common);
    params.distinguished_name = who;
    Ok(params)
}

#[cfg(test)]
mod tests {
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};
    use rustls::{RootCertStore, client::WebPkiServerVerifier};

    use super::*;

    fn name(text: &str) -> Name {
        Name::parse(text).expect("a name")
    }

    #[test]
    fn what_it_issues_is_good_for_that_host_and_for_those_who_trust_it() {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let [one, other] = [(), ()].map(|()| Authority::new(provider.clone()).expect("an authority"));
        let verifier = |authority: &Authority| {
            let mut roots = RootCertStore::empty();
            roots.add(authority.certificate().clone()).expect("an authority's certificate");
            WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone()).build().expect("a verifier")
        };
        let config = one.serve_as(&name("a.example"), Version::One).expect("a certificate");
        assert!(Arc::ptr_eq(&config, &one.serve_as(&name("a.example"), Version::One).expect("the same")));
        let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&one.host_key, &one.issuer).expect("a certificate").der().clone();
        let verify = |authority: &Authority, host: &'static str| {
            let host = ServerName::try_from(host).expect("a name");
            verifier(authority).verify_server_cert(&leaf, &[], &host, &[], UnixTime::now()).is_ok()
        };
        assert!(verify(&one, "a.example"));
        assert!(!verify(&one, "b.example"));
        assert!(!verify(&other, "a.example"));
    }
}
