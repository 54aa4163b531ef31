//! One connection that is looked into, from its first bytes to its end.
//!
//! ```text
//!   begun --TLS--> server's side: certificate believed? version chosen --> client's side: our certificate --> requests
//!     '--plain---------------------------------------------------------------------------------------------> requests
//! ```

use std::cell::Cell;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::charge::Charge;
use super::connection::{Asks, Connection};
use super::looking::Looking;
use super::rewound::{Here, MUCH, Rewound};
use super::upstream::{Upstream, WINDOWS};
use super::way::offers;
use super::{exchange, notes};
use crate::egress::authority::Version;
use crate::egress::budget::Account;
use crate::egress::gate::Gate;
use crate::egress::record::Open;
use crate::policy::egress::http::Carrier;
use crate::policy::egress::name::Name;
use crate::verdict::run::{Contact, Decision};

/// How long a client may take to agree on keys.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest head, and the most fields in one.
const LONGEST_HEAD: usize = 64 << 10;
const MOST_FIELDS: usize = 128;
/// Requests beside each other on one connection.
const MOST_STREAMS: u32 = 128;

/// A connection that has begun.
pub struct Begun {
    /// The command's end.
    pub client: TcpStream,
    /// The host's.
    pub server: TcpStream,
    /// What the client said so far.
    pub said: Vec<u8>,
    /// To whom.
    pub name: Name,
    /// By what.
    pub over: Carrier,
    /// What it is charged to.
    pub account: Account,
    /// How often it may ask.
    pub asks: Asks,
}

/// Serves one to its end.
pub async fn serve(gate: Rc<Gate>, looking: Rc<Looking>, begun: Begun, contact: Contact) {
    let port = contact.port;
    let spoken = if begun.over == Carrier::Tls { "https" } else { "http" };
    let open = gate.records.open(Contact { spoken: Some(spoken.into()), ..contact });
    let Begun { client, server, said, name, over, account, asks } = begun;
    let gone = Arc::new(Notify::new());
    let charge = Rc::new(Charge { gate, looking: looking.clone(), open, account });
    let make = |upstream, version| {
        let (charge, name, listed) = (charge.clone(), name.clone(), Cell::new(0));
        Rc::new(Connection { charge, name, port, over, version, upstream, asks, listed })
    };
    if over == Carrier::Plain {
        let upstream = Upstream::plain(server, gone.clone()).await;
        return speak(make(upstream, Version::One), Rewound::new(said, client), gone).await;
    }
    let offered = offers(&said);
    let (upstream, version) = Upstream::tls(&looking, server, &name, &offered, gone.clone()).await;
    if let Upstream::Down(why) = &upstream {
        failed(&charge.open, why.clone());
    }
    match accept(&looking, Rewound::new(said, client), &name, version).await {
        Ok(stream) => speak(make(upstream, version), stream, gone).await,
        // Most often it does not trust us: it reads its authorities from somewhere else.
        Err(error) => failed(&charge.open, format!("the command broke TLS with the gate off: {error}")),
    }
}

fn failed(open: &Open, why: String) {
    open.learn(|contact| {
        contact.decision = Decision::Failed;
        contact.rule = why;
    });
}

async fn accept(
    looking: &Looking,
    client: Rewound,
    name: &Name,
    version: Version,
) -> io::Result<tokio_rustls::server::TlsStream<Rewound>> {
    let acceptor = TlsAcceptor::from(looking.authority.serve_as(name, version)?);
    let accepted = timeout(PATIENCE, acceptor.accept(client)).await;
    let mut stream = accepted.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    stream.get_mut().1.set_buffer_limit(Some(MUCH));
    Ok(stream)
}

/// Answers request after request, until one of the two has gone.
async fn speak<S>(connection: Rc<Connection>, stream: S, gone: Arc<Notify>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(stream);
    let answering = connection.clone();
    let service = service_fn(move |request| exchange::answer(answering.clone(), request));
    match connection.version {
        Version::One => {
            let mut builder = http1::Builder::new();
            builder.keep_alive(connection.asks == Asks::Often);
            builder.half_close(true).max_header_size(LONGEST_HEAD).max_headers(MOST_FIELDS);
            let mut served = pin!(builder.serve_connection(io, service).with_upgrades());
            let ended = tokio::select! {
                ended = served.as_mut() => ended,
                () = gone.notified() => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            };
            if ended.is_err_and(|error| error.is_parse()) {
                notes::note_malformed(&connection);
            }
        }
        Version::Two => {
            let mut served = pin!(bounded().serve_connection(io, service));
            let _ = tokio::select! {
                ended = served.as_mut() => ended,
                () = gone.notified() => {
                    served.as_mut().graceful_shutdown();
                    served.await
                }
            };
        }
    }
}

/// HTTP/2 toward a client, with bounds on all that it may have under way.
pub fn bounded() -> http2::Builder<Here> {
    let mut builder = http2::Builder::new(Here);
    builder.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
    let longest = u32::try_from(LONGEST_HEAD).unwrap_or(u32::MAX);
    builder.max_concurrent_streams(MOST_STREAMS).max_header_list_size(longest);
    builder
}
