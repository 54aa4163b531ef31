//! What a gate reads of both its sides, and what must hold of it. Fuzz targets too, as `targets` is.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use clawjail::egress::answers::{self, Looked};
use clawjail::egress::authority::Version;
use clawjail::egress::explicit::{self, Asked};
use clawjail::egress::hello::{self, Hello};
use clawjail::egress::http::{self, head};
use clawjail::egress::requests::Requests;
use clawjail::egress::{first, resolver, strays};
use clawjail::policy::egress::http::Carrier;
use clawjail::policy::egress::name::Name;
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::LocalSet;

fn name(text: &str) -> Name {
    Name::parse(text).expect("it is one")
}

/// What a jail's program asks for names. Nothing but an allowed name has an answer, and no answer holds more than one record.
pub fn question(bytes: &[u8]) {
    let mut looked_up = Vec::new();
    let reply = answers::answer(bytes, |name| {
        looked_up.push(name.to_string());
        match name.as_str() {
            "good.example" => Looked::Up(Ipv4Addr::new(198, 18, 1, 0), Some(Ipv6Addr::LOCALHOST)),
            _ => Looked::Denied,
        }
    });
    let Some(reply) = reply else { return };
    assert!(looked_up.len() <= 1, "{looked_up:?}");
    let count = reply.get(6..8).map(|count| u16::from_be_bytes([count[0], count[1]])).expect("a header");
    let allowed = matches!(looked_up.first().map(String::as_str), None | Some("good.example"));
    assert!(count == 0 || (count == 1 && allowed), "{looked_up:?}: {}", reply.escape_ascii());
}

/// What a name server answers. Addresses are those of the name that was asked for, and not many.
pub fn answer(bytes: &[u8]) {
    if let Some(found) = resolver::understand(bytes, 7, &name("good.example")) {
        assert!(found.addresses.len() <= bytes.len() / 4 + 1 && found.aliases.len() <= 32, "{found:?}");
    }
    // Of another question nothing is understood.
    let other = resolver::understand(bytes, 8, &name("good.example"));
    assert!(other.is_none() || !bytes.starts_with(&[0, 7]), "{other:?}");
}

/// What a TLS client says first. What is known of it stays so, whatever comes behind.
pub fn client_hello(bytes: &[u8]) {
    let mut known = Hello::Unfinished;
    for end in 0..=bytes.len().min(2048) {
        let said = bytes.get(..end).unwrap_or_default();
        let now = hello::read(said);
        assert!(known == Hello::Unfinished || known == now, "{known:?} became {now:?} at {end}");
        known = now;
        let _ = first::tell(said);
    }
}

/// Requests. However they arrive the same comes out, and what comes out comes out of itself again: it can be read in one way.
pub fn requests(bytes: &[u8]) {
    let host = || Requests::to(name("good.example"), 80);
    let mut whole = host();
    let Ok(out) = whole.feed(bytes) else { return };
    let mut pieces = host();
    let fed: Result<Vec<Vec<u8>>, _> = bytes.chunks(3).map(|piece| pieces.feed(piece)).collect();
    assert_eq!(fed.map(|fed| fed.concat()).as_deref(), Ok(out.as_slice()));
    let mut again = host();
    assert_eq!(again.feed(&out).as_deref(), Ok(out.as_slice()), "{}", out.escape_ascii());
    assert_eq!(again.count(), whole.count());
}

/// What the proxy of the tier without namespaces is asked. Whoever does not know the word is a stranger, and what is known stays so.
pub fn asked(bytes: &[u8]) {
    let whole = explicit::read(bytes, "Basic word");
    if let Asked::For(wanted, length) = &whole {
        assert!(wanted.port != 0 && *length <= bytes.len());
        let head = bytes.get(..*length).unwrap_or_default();
        assert!(head.windows(10).any(|ten| ten == b"Basic word"), "{}", head.escape_ascii());
        assert_eq!(explicit::read(head, "Basic word"), whole);
    }
    assert!(!matches!(explicit::read(bytes, "Basic other word"), Asked::For(..)));
}

/// What the kernel tells of datagrams that it denied.
pub fn denied(bytes: &[u8]) {
    assert!(strays::read(bytes).len() <= bytes.len() / 16);
}

/// All that a client of HTTP/2 ever says. The conversation ends with it, and what is sent on of a request is for the host that was
/// connected to, in whichever version, and reads as what it was.
pub fn http2(bytes: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let served = async {
        let stream = TokioIo::new(tokio::io::join(bytes, tokio::io::sink()));
        let under_way = Rc::new(Cell::new(0));
        let service = service_fn(move |request| one_of_many(request, under_way.clone()));
        let ended = tokio::time::timeout(Duration::from_secs(4), http::bounded().serve_connection(stream, service));
        // Whatever came of it is an answer to such bytes.
        let _ = ended.await.expect("it ends when they do");
    };
    LocalSet::new().block_on(&runtime, served);
}

async fn one_of_many(request: Request<Incoming>, under_way: Rc<Cell<usize>>) -> Result<Response<String>, Infallible> {
    under_way.set(under_way.get() + 1);
    assert!(under_way.get() <= 128, "more beside each other than there may be");
    let (parts, mut body) = request.into_parts();
    if let Ok(asked) = head::read(&parts, &name("good.example"), 443) {
        for version in [Version::One, Version::Two] {
            sent_on(&asked, parts.headers.clone(), version);
        }
    }
    while let Some(Ok(_)) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {}
    under_way.set(under_way.get() - 1);
    Ok(Response::new("read".to_owned()))
}

fn sent_on(asked: &head::Asked, fields: hyper::HeaderMap, version: Version) {
    let host = name("good.example");
    let at = head::At { name: &host, port: 443, over: Carrier::Tls, version };
    let sent = head::write(asked, fields, at).expect("what was read can be written").body(()).expect("a request");
    let (parts, ()) = sent.into_parts();
    let again = head::read(&parts, &host, 443).expect("what was written can be read");
    assert_eq!((again.path.as_str(), &again.query), (asked.path.as_str(), &asked.query));
    assert_eq!((&again.method, again.websocket), (&asked.method, asked.websocket));
    assert!(
        !["te", "trailer", "keep-alive", "proxy-authorization"].iter().any(|field| parts.headers.contains_key(*field))
    );
}
