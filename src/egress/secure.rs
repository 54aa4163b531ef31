//! Asking a name server where nobody on the way can listen or answer: over TLS, and over HTTPS. RFC 7858, 8484.
//!
//! Owns the connection, a new one for each question, and what is asked on it. Whoever is asked has to have a certificate for the
//! name, or for the address, that the profile says; by authorities of the host, read before the gate gives files up.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::roots;
use crate::policy::egress::name::Name;
use crate::policy::egress::terms::{NameServer, Over};

/// The longest answer, and the head of one.
const LONGEST: u64 = 64 << 10;

/// Whom to believe.
pub struct Secure {
    tls: Arc<ClientConfig>,
    https: Arc<ClientConfig>,
}

impl Secure {
    /// Reads the host's authorities.
    pub fn prepare() -> io::Result<Secure> {
        let store = roots::store(&roots::of_this_host());
        let config = |protocol: &[u8]| {
            let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
            let config = config.with_safe_default_protocol_versions().map_err(io::Error::other)?;
            let mut config = config.with_root_certificates(store.clone()).with_no_client_auth();
            config.alpn_protocols = vec![protocol.to_vec()];
            io::Result::Ok(Arc::new(config))
        };
        Ok(Secure { tls: config(b"dot")?, https: config(b"http/1.1")? })
    }

    /// The answer of `server` to `message`.
    pub async fn ask(&self, server: &NameServer, message: &[u8]) -> io::Result<Vec<u8>> {
        match &server.over {
            Over::Plain => Err(io::ErrorKind::Unsupported.into()),
            Over::Tls(name) => over_tls(self.reach(&self.tls, server, name.as_ref()).await?, message).await,
            Over::Https { name, path } => {
                let host = name.as_ref().map_or_else(|| server.at.to_string(), Name::to_string);
                over_https(self.reach(&self.https, server, name.as_ref()).await?, &host, path, message).await
            }
        }
    }

    async fn reach(
        &self,
        config: &Arc<ClientConfig>,
        server: &NameServer,
        name: Option<&Name>,
    ) -> io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(server.at).await?;
        stream.set_nodelay(true)?;
        let name = match name {
            Some(name) => ServerName::try_from(name.to_string()).map_err(io::Error::other)?,
            None => ServerName::from(server.at.ip()),
        };
        TlsConnector::from(config.clone()).connect(name, stream).await
    }
}

async fn over_tls(mut stream: TlsStream<TcpStream>, message: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(message.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), message].concat()).await?;
    stream.flush().await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; length.into()];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

async fn over_https(mut stream: TlsStream<TcpStream>, host: &str, path: &str, message: &[u8]) -> io::Result<Vec<u8>> {
    let kind = "application/dns-message";
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {kind}\r\nAccept: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        message.len()
    );
    stream.write_all(&[head.as_bytes(), message].concat()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    match stream.take(LONGEST).read_to_end(&mut answer).await {
        Ok(_) => {}
        // Many end a connection without a word on it; that all is there is seen by its length.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
    }
    body(&answer).ok_or_else(|| io::Error::other("the name server's answer over HTTPS makes no sense"))
}

/// The body of a good answer, all of which is there.
pub fn body(answer: &[u8]) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = response.parse(answer) else { return None };
    let one = |name: &str| {
        let mut found = response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        found.next().filter(|_| found.next().is_none()).map(|field| field.value)
    };
    let good = response.code == Some(200) && one("content-type") == Some(b"application/dns-message");
    let wanted: usize = std::str::from_utf8(one("content-length")?).ok()?.parse().ok()?;
    answer.get(length..).filter(|body| good && body.len() == wanted).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: application/dns-message\r\n";

    #[test]
    fn only_a_whole_answer_is_one() {
        let answer = |text: &str| body(text.as_bytes());
        assert_eq!(answer(&format!("{HEAD}Content-Length: 3\r\n\r\nabc")).as_deref(), Some(&b"abc"[..]));
        for text in [
            format!("{HEAD}Content-Length: 4\r\n\r\nabc"),
            format!("{HEAD}\r\nabc"),
            format!("{HEAD}Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc"),
            "HTTP/1.1 404 No\r\nContent-Type: application/dns-message\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
            "abc".to_owned(),
        ] {
            assert_eq!(answer(&text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = body(&[HEAD.as_bytes(), &bytes].concat());
        }
    }
}
