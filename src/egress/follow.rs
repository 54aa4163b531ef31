//! Requests without TLS on their way out, one after the other, each judged before any of it is sent, and what comes back.
//!
//! ```text
//!   client --request--> judged, paid for --> server
//!          <--answers------------------------'  '--denied: the server hears the end, what it still answers comes back,
//!          <--403, and the end                      and then the client is told, if that can have one meaning alone
//! ```
//!
//! Answers are not read. So a client that did not wait for the last one is not told: nobody could say where that ends.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::budget::{Meter, Purse};
use super::record::Open;
use super::refusal::{self, forbidden};
use super::relay;
use super::requests::{Flaw, Requests};
use crate::policy::egress::Denied;

/// How long a server may take to end, once it has heard that no more is asked of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The requests that came with the first bytes, as the server gets them, if there may be so many.
pub fn first_requests(requests: &mut Requests, said: &[u8], meter: &Meter) -> Result<Vec<u8>, Denied> {
    let out = requests.feed(said).map_err(by_flaw)?;
    meter.request(requests.count())?;
    Ok(out)
}

fn by_flaw(flaw: Flaw) -> Denied {
    Denied::by(flaw.rule(), "send each request to the host that it is for")
}

/// Why no more requests are passed on.
enum Stop {
    /// The connection broke.
    Broken(io::Error),
    /// One of them is denied.
    Denied(Denied, Sent),
}

/// What a server has of a request that is denied.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sent {
    Nothing,
    Part,
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Broken(error)
    }
}

/// A request that was denied, and how long what comes back may still take.
#[derive(Default)]
struct Turned {
    denied: RefCell<Option<Denied>>,
    patience: Cell<Duration>,
    away: Notify,
}

impl Turned {
    async fn overdue(&self) {
        self.away.notified().await;
        sleep(self.patience.get()).await;
    }
}

/// The client and the server.
type Ends<'a> = (&'a TcpStream, &'a TcpStream);

/// Judges request after request on their way out, and relays what comes back. `begun` has come already.
pub async fn follow(open: &Open, purse: &Purse<'_>, ends: Ends<'_>, requests: &mut Requests, begun: &[u8]) {
    let ((client, server), entry) = (ends, open.entry());
    let (turned, heard) = (Turned::default(), Cell::new(0));
    let out = async {
        match pass(open, purse, ends, requests, begun, &heard).await {
            Ok(()) => relay::end(server),
            Err(Stop::Broken(error)) => Err(error),
            Err(Stop::Denied(denied, sent)) => {
                open.deny(denied.clone());
                let answered = entry.received.get() > heard.get();
                turn_away(&turned, server, denied, (sent, answered))
            }
        }
    };
    let back = async {
        tokio::select! {
            biased;
            () = turned.overdue() => {
                // Where it has said nothing, there is nothing to wait for; else where it ends is not known.
                if turned.patience.get() > Duration::ZERO {
                    return Err(io::ErrorKind::TimedOut.into());
                }
            }
            poured = relay::pour(server, client, &entry.received, |_| Ok(())) => poured?,
        }
        match turned.denied.take() {
            None => relay::end(client),
            Some(denied) => refusal::answer(client, &forbidden(&open.contact(), &denied)).await,
        }
    };
    relay::pass_on(tokio::try_join!(out, back).map(drop), client, server);
}

/// Says to both sides that it is over, if the client can be told why.
fn turn_away(turned: &Turned, server: &TcpStream, denied: Denied, (sent, answered): (Sent, bool)) -> io::Result<()> {
    match (sent, answered) {
        // All that was asked is answered, or nearly.
        (Sent::Nothing, true) => {
            turned.patience.set(PATIENCE);
            relay::end(server)?;
        }
        // It waits for the rest, and has said nothing to what it has.
        (Sent::Part, false) => server.set_zero_linger()?,
        (Sent::Nothing, false) | (Sent::Part, true) => return Err(io::ErrorKind::ConnectionAborted.into()),
    }
    *turned.denied.borrow_mut() = Some(denied);
    turned.away.notify_one();
    Ok(())
}

/// Passes requests on until the client ends, or there may be no more. `heard` is what had come back when the last of them began.
async fn pass(
    open: &Open,
    purse: &Purse<'_>,
    (client, server): Ends<'_>,
    requests: &mut Requests,
    begun: &[u8],
    heard: &Cell<u64>,
) -> Result<(), Stop> {
    let entry = open.entry();
    let send = async |bytes: &[u8], sent: Sent| {
        let paid = purse.meter.send(&purse.account, bytes.len() as u64);
        paid.map_err(|denied| Stop::Denied(denied, sent))?;
        relay::write_all(server, bytes).await?;
        entry.sent.set(entry.sent.get() + bytes.len() as u64);
        Ok::<(), Stop>(())
    };
    send(begun, Sent::Nothing).await?;
    let mut piece = vec![0; 16 << 10];
    loop {
        let length = relay::read(client, &mut piece).await?;
        // Whoever asks again where one request was to be the last, and no answer had said so, is told by the end: it tries again on a
        // connection of its own. RFC 9112, 9.3.1.
        if length == 0 || requests.are_over() {
            return Ok(());
        }
        let (before, sent) = (requests.count(), if requests.are_between() { Sent::Nothing } else { Sent::Part });
        let out = requests.feed(piece.get(..length).unwrap_or_default());
        let out = out.map_err(|flaw| Stop::Denied(by_flaw(flaw), sent))?;
        let more = requests.count() - before;
        purse.meter.request(more).map_err(|denied| Stop::Denied(denied, sent))?;
        send(&out, sent).await?;
        if more > 0 {
            heard.set(entry.received.get());
        }
    }
}
