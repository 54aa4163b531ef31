//! The server's side of a connection that is looked into.
//!
//! Owns speaking TLS to it, believing its certificate or not, and sending requests one after the other or beside each other, as its
//! version of HTTP does.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, Notify};
use tokio::task::spawn_local;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::body::Body;
use super::looking::Looking;
use super::rewound::{Here, Rewound};
use crate::egress::authority::Version;
use crate::policy::egress::name::Name;

/// How long a server may take to say who it is.
const PATIENCE: Duration = Duration::from_secs(20);
/// What may be under way on an HTTP/2 connection before somebody reads it: of one stream, and of all.
pub const WINDOWS: (u32, u32) = (1 << 20, 4 << 20);

/// A server that requests can be sent to.
pub enum Upstream {
    /// One after the other. Locked, but its client sends one at a time as well.
    One(Mutex<http1::SendRequest<Body>>),
    /// Beside each other.
    Two(http2::SendRequest<Body>),
    /// It cannot be spoken to, and this is why.
    Down(String),
}

impl Upstream {
    /// To a server without TLS.
    pub async fn plain(stream: TcpStream, gone: Arc<Notify>) -> Upstream {
        begin(stream, Version::One, gone).await
    }

    /// To the server of `name`, which is to choose one of `offers`.
    pub async fn tls(
        looking: &Looking,
        stream: TcpStream,
        name: &Name,
        offers: &[Version],
        gone: Arc<Notify>,
    ) -> (Upstream, Version) {
        let fallback = offers.first().copied().unwrap_or(Version::One);
        match handshake(looking, stream, name, offers).await {
            Err(error) => (Upstream::Down(explain(&error)), fallback),
            Ok(stream) => {
                let chosen = stream.get_ref().1.alpn_protocol();
                let version = if chosen == Some(Version::Two.alpn()) { Version::Two } else { Version::One };
                if version == Version::One && !offers.contains(&Version::One) && !offers.is_empty() {
                    return (Upstream::Down("it does not speak HTTP/2, and the client nothing else".into()), fallback);
                }
                (begin(stream, version, gone).await, version)
            }
        }
    }

    /// Sends a request, and waits for the head of the answer.
    pub async fn send(&self, request: Request<Body>) -> Result<Response<Incoming>, String> {
        let told = |error: hyper::Error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        match self {
            Upstream::Down(why) => Err(why.clone()),
            Upstream::One(sender) => {
                let mut sender = sender.lock().await;
                sender.ready().await.map_err(told)?;
                sender.send_request(request).await.map_err(told)
            }
            Upstream::Two(sender) => {
                let mut sender = sender.clone();
                sender.ready().await.map_err(told)?;
                sender.send_request(request).await.map_err(told)
            }
        }
    }
}

async fn handshake(
    looking: &Looking,
    stream: TcpStream,
    name: &Name,
    offers: &[Version],
) -> io::Result<tokio_rustls::client::TlsStream<Rewound>> {
    let offers = if offers.is_empty() { &[Version::One] } else { offers };
    let config = looking.toward(offers)?;
    let name = ServerName::try_from(name.to_string()).map_err(io::Error::other)?;
    let connected =
        timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, Rewound::new(Vec::new(), stream))).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What went wrong with a server, for people: most often its certificate.
fn explain(error: &io::Error) -> String {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match tls {
        Some(rustls::Error::InvalidCertificate(flaw)) => format!("its certificate is not good: {flaw}"),
        Some(other) => format!("it does not speak TLS as expected: {other}"),
        None => format!("TLS with it failed: {error}"),
    }
}

/// Begins to speak HTTP. `gone` hears when there is nobody any more.
async fn begin<S>(stream: S, version: Version, gone: Arc<Notify>) -> Upstream
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let begun = match version {
        Version::One => {
            let begun = http1::Builder::new().handshake(io).await;
            begun.map(|(sender, connection)| {
                drop(spawn_local(async move {
                    let _ = connection.with_upgrades().await;
                    gone.notify_one();
                }));
                Upstream::One(Mutex::new(sender))
            })
        }
        Version::Two => {
            let mut builder = http2::Builder::new(Here);
            builder.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
            builder.handshake(io).await.map(|(sender, connection)| {
                drop(spawn_local(async move {
                    let _ = connection.await;
                    gone.notify_one();
                }));
                Upstream::Two(sender)
            })
        }
    };
    begun.unwrap_or_else(|error| Upstream::Down(format!("HTTP with it failed: {error}")))
}
