//! TLS of the bench's own: an authority that the host is told to trust, a server's side and a client's.

use std::fs;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// Files beside the bench's copy of itself.
const AUTHORITY: &str = "ca.pem";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// Makes an authority and a certificate for `name` in `directory`; gives the authority's.
pub fn make(directory: &Path, name: &str) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("there is randomness");
    let authority = params.self_signed(&key).expect("it is well formed").pem();
    let (issuer, own) = (Issuer::new(params, key), KeyPair::generate().expect("there is randomness"));
    let leaf = CertificateParams::new(vec![name.to_owned()]).expect("it is a name");
    let leaf = leaf.signed_by(&own, &issuer).expect("it is well formed").pem();
    for (file, text) in [(AUTHORITY, &authority), (CERTIFICATE, &leaf), (KEY, &own.serialize_pem())] {
        fs::write(directory.join(file), text).expect("it is ours");
    }
    authority
}

fn beside(file: &str) -> PathBuf {
    std::env::current_exe().expect("Linux knows").with_file_name(file)
}

/// What the server says who it is.
pub fn server() -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_file_iter(beside(CERTIFICATE)).expect("it was made");
    let key = PrivateKeyDer::from_pem_file(beside(KEY)).expect("it was made");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("there are some").with_no_client_auth();
    Arc::new(config.with_single_cert(chain.collect::<Result<_, _>>().expect("PEM"), key).expect("they belong together"))
}

/// Speaks TLS to a client.
pub fn accept(config: &Arc<ServerConfig>, stream: TcpStream) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(config.clone()).expect("it is complete"), stream)
}

/// Speaks TLS to `host`, and believes whom programs here are told to believe.
pub fn connect(host: &str, stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let trusted = std::env::var_os("SSL_CERT_FILE").map_or_else(|| beside(AUTHORITY), PathBuf::from);
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(CertificateDer::pem_file_iter(trusted).expect("it is there").flatten());
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("there are some");
    let config = config.with_root_certificates(store).with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).expect("it is a name");
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("it is complete"), stream)
}
