//! Going out through the proxy of the host's network. RFC 9110, section 9.3.6.
//!
//! Owns asking it for a connection, and its credentials, which are read before the gate gives files up and go to it alone. Must
//! not judge: what is asked for was allowed.

use std::fs::OpenOptions;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::relay;
use super::resolver::Resolver;
use crate::policy::egress::terms::{self, ProxyHost};

/// How long it may take to connect.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest head of its answer.
const LONGEST: usize = 8 << 10;
/// The longest `user:password`.
const LONGEST_WORD: u64 = 4 << 10;

/// A proxy, with what it wants to hear.
pub struct Proxy {
    host: ProxyHost,
    port: u16,
    authorization: Option<String>,
}

impl Proxy {
    /// Reads its credentials. A file that others can read is none.
    pub fn read(written: &terms::Proxy) -> io::Result<Proxy> {
        let authorization = written.credentials.as_deref().map(read_credentials).transpose()?;
        Ok(Proxy { host: written.host.clone(), port: written.port, authorization })
    }

    /// A connection to `to`, a host with its port.
    pub async fn connect(&self, resolver: &Resolver, to: &str) -> io::Result<TcpStream> {
        let connected = timeout(PATIENCE, async {
            let stream = self.reach(resolver).await?;
            stream.set_nodelay(true)?;
            self.ask(&stream, to).await?;
            Ok(stream)
        });
        connected.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    async fn reach(&self, resolver: &Resolver) -> io::Result<TcpStream> {
        let addresses = match &self.host {
            ProxyHost::Address(address) => vec![*address],
            ProxyHost::Name(name) => resolver.resolve(name).await?.addresses,
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the proxy has no address");
        for address in addresses {
            match TcpStream::connect(SocketAddr::new(address, self.port)).await {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn ask(&self, stream: &TcpStream, to: &str) -> io::Result<()> {
        let authorization = self.authorization.as_ref().map(|value| format!("Proxy-Authorization: {value}\r\n"));
        let request = format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n{}\r\n", authorization.unwrap_or_default());
        relay::write_all(stream, request.as_bytes()).await?;
        let head = hear(stream).await?;
        match status(&head) {
            Some(200..=299) => Ok(()),
            Some(407) => Err(io::Error::other("the proxy wants other credentials")),
            Some(403) => Err(io::Error::other("the proxy denies it")),
            Some(status) => Err(io::Error::other(format!("the proxy says {status}"))),
            None => Err(io::Error::other("the proxy's answer makes no sense")),
        }
    }
}

/// Reads the head of the answer, and nothing of what may already follow it.
async fn hear(stream: &TcpStream) -> io::Result<Vec<u8>> {
    let (mut head, mut piece) = (Vec::new(), vec![0; 1 << 10]);
    loop {
        let seen = stream.peek(&mut piece).await?;
        let before = head.len();
        head.extend_from_slice(piece.get(..seen).unwrap_or_default());
        let end = end_of_head(&head);
        let wanted = end.map_or(seen, |end| end.saturating_sub(before));
        // They were there to be seen, so they are there to be read.
        let read = relay::read(stream, piece.get_mut(..wanted).unwrap_or_default()).await?;
        head.truncate(before + read);
        match end {
            Some(_) => return Ok(head),
            None if read == 0 || head.len() > LONGEST => return Ok(Vec::new()),
            None => {}
        }
    }
}

fn end_of_head(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4)
}

fn status(head: &[u8]) -> Option<u16> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    response.parse(head).ok().filter(httparse::Status::is_complete).and(response.code)
}

/// What a request carries for whoever the file names.
fn read_credentials(path: &str) -> io::Result<String> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path)?;
    let about = file.metadata()?;
    let owner = about.uid();
    let ours = owner == 0 || owner == nix::unistd::geteuid().as_raw();
    if !about.is_file() || !ours || about.mode() & 0o077 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is not a file that its owner alone can read"));
    }
    let mut word = Vec::new();
    file.take(LONGEST_WORD).read_to_end(&mut word)?;
    let word = word.trim_ascii_end();
    let plain = word.contains(&b':') && !word.iter().any(u8::is_ascii_control);
    if !plain {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not hold `user:password`"));
    }
    Ok(format!("Basic {}", STANDARD.encode(word)))
}

/// A host as a request names it.
pub fn authority(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn credentials_are_read_from_a_file_of_the_owners_alone() {
        let place = tempfile::tempdir().expect("a directory");
        let file = place.path().join("credentials");
        let path = file.to_str().expect("text").to_owned();
        let read = |text: &[u8], mode: u32| {
            fs::write(&file, text).expect("own file");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("own file");
            read_credentials(&path)
        };
        assert_eq!(read(b"user:pass word\n", 0o600).expect("it is one"), "Basic dXNlcjpwYXNzIHdvcmQ=");
        for (text, mode) in
            [(&b"user:word"[..], 0o640), (b"user:word", 0o604), (b"word", 0o600), (b"a:b\r\nX: y", 0o600)]
        {
            assert!(read(text, mode).is_err(), "{text:?} {mode:o}");
        }
        assert!(read_credentials(place.path().to_str().expect("text")).is_err());
    }

    #[test]
    fn an_answer_ends_where_its_head_ends() {
        for (bytes, code) in [
            (&b"HTTP/1.1 200 Connection established\r\n\r\n"[..], Some(200)),
            (b"HTTP/1.0 407 No\r\nProxy-Authenticate: Basic\r\n\r\n", Some(407)),
            (b"HTTP/1.1 200 half\r\n", None),
            (b"SSH-2.0-no proxy\r\n\r\n", None),
            (b"", None),
        ] {
            assert_eq!(status(bytes), code, "{bytes:?}");
        }
        assert_eq!(end_of_head(b"HTTP/1.1 200 x\r\n\r\nhello"), Some(18));
    }

    proptest! {
        #[test]
        fn no_answer_upsets_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = status(&bytes);
            let _ = status(&[b"HTTP/1.1 200 ", &bytes[..], b"\r\n\r\n"].concat());
        }
    }
}
