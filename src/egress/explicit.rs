//! The gate as a proxy that programs are asked to use, where a jail has no network of its own. RFC 9110, 9112.
//!
//! ```text
//!   request --no word of ours--> 407
//!     '--CONNECT host:port--> judged, dialled --> 200 --> what is said next is held against the name, as behind any gate
//!     '--GET http://host/..--> judged, dialled --> looked into, or written anew for that host; the connection ends with the answer
//! ```
//!
//! Owns the reading of what a proxy is asked. Judging, dialling and relaying are those of every connection.

use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::spawn_local;
use tokio::time::timeout;

use super::budget::Purse;
use super::connection::{self, Target};
use super::dial::Dialled;
use super::first::First;
use super::follow;
use super::gate::Gate;
use super::http::{self, Asks, Begun};
use super::listen::{MOST, accept};
use super::refusal;
use super::relay;
use super::requests::{Requests, without_proxy};
use crate::policy::egress::Denied;
use crate::policy::egress::name::Name;
use crate::verdict::run::Contact;

/// How long a program may take to ask.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest head, and the most fields in one.
const LONGEST: usize = 64 << 10;
const MOST_FIELDS: usize = 128;

/// Serves whoever knows `token`.
pub fn serve(gate: &Rc<Gate>, listener: OwnedFd, token: String) -> io::Result<()> {
    let listener = TcpListener::from_std(listener.into())?;
    let word: Rc<str> = format!("Basic {}", STANDARD.encode(format!("clawjail:{token}"))).into();
    spawn_local(accept(gate.clone(), listener, Arc::new(Semaphore::new(MOST)), move |gate, client, room| {
        let word = word.clone();
        drop(spawn_local(async move {
            attend(&gate, client, &word).await;
            drop(room);
        }));
    }));
    Ok(())
}

/// What a proxy is asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The host, a name or an address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// Whether all that follows is the program's own.
    pub tunnel: bool,
}

/// What came of a head.
#[derive(Debug, PartialEq, Eq)]
pub enum Asked {
    /// It is not all there.
    Unfinished,
    /// Its sender does not know the word.
    Stranger,
    /// It makes no sense to a proxy.
    Malformed,
    /// This, in a head of so many bytes.
    For(Wanted, usize),
}

/// Reads what a program has sent so far.
pub fn read(bytes: &[u8], word: &str) -> Asked {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => return Asked::Unfinished,
        Ok(httparse::Status::Partial) | Err(_) => return Asked::Malformed,
    };
    let mut words = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("proxy-authorization"));
    if words.next().is_none_or(|field| field.value != word.as_bytes()) || words.next().is_some() {
        return Asked::Stranger;
    }
    let (Some(method), Some(target)) = (request.method, request.path) else { return Asked::Malformed };
    let wanted = if method == "CONNECT" {
        host_and_port(target, None).map(|(host, port)| Wanted { host, port, tunnel: true })
    } else {
        let scheme = target.get(..7).filter(|scheme| scheme.eq_ignore_ascii_case("http://"));
        let authority = scheme.and_then(|_| target.get(7..)?.split(['/', '?', '#']).next());
        let found = authority.and_then(|authority| host_and_port(authority, Some(80)));
        found.map(|(host, port)| Wanted { host, port, tunnel: false })
    };
    wanted.map_or(Asked::Malformed, |wanted| Asked::For(wanted, length))
}

/// Host and port of `host:port` or `[address]:port`.
fn host_and_port(text: &str, usual: Option<u16>) -> Option<(String, u16)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, after) = rest.split_once(']')?;
            (inner, after.strip_prefix(':').or((!after.is_empty()).then_some("")))
        }
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(digits) => digits.parse().ok().filter(|_| digits.bytes().all(|byte| byte.is_ascii_digit())),
        None => usual,
    };
    port.filter(|port| *port != 0).map(|port| (host.to_owned(), port))
}

async fn attend(gate: &Rc<Gate>, client: TcpStream, word: &str) {
    let Ok((asked, said)) = timeout(PATIENCE, hear(&client, word)).await else { return refusal::reset(client) };
    let (wanted, length) = match asked {
        Asked::For(wanted, length) => (wanted, length),
        Asked::Stranger => {
            let no = b"HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=\"clawjail\"\r\n\
                       Content-Length: 0\r\nConnection: close\r\n\r\n";
            return say(&client, no).await;
        }
        Asked::Malformed | Asked::Unfinished => {
            return say(&client, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").await;
        }
    };
    let port = wanted.port;
    let target = match (wanted.host.parse::<IpAddr>(), Name::parse(&wanted.host)) {
        (Ok(address), _) => Target::Address(address),
        (Err(_), Ok(name)) => Target::Name(name),
        (Err(_), Err(_)) => {
            let denied = Denied::by("built in: a host that is neither a name nor an address", "name one");
            let contact =
                Contact { name: Some(wanted.host), port, ..Contact::of(crate::verdict::run::Attempt::Connect) };
            return refusal::refuse(gate, client, &denied, contact, &said).await;
        }
    };
    let mut contact = connection::contact(&target, port);
    let dialled = match connection::admit(gate, &target, port, &mut contact) {
        Ok(account) => connection::dial(gate, &target, port).await.map(|dialled| Dialled { account, ..dialled }),
        Err(no_way) => Err(no_way),
    };
    match dialled {
        Ok(dialled) if wanted.tunnel => {
            // What came behind the head without waiting for the answer is nobody's.
            if said.len() == length && relay::write_all(&client, b"HTTP/1.1 200 OK\r\n\r\n").await.is_ok() {
                connection::carry(gate, client, dialled, target, contact).await;
            }
        }
        Ok(dialled) => forward(gate, client, dialled, target, contact, said).await,
        Err(no_way) => refusal::refuse_asked(gate, client, no_way, contact, &said).await,
    }
}

async fn hear(client: &TcpStream, word: &str) -> (Asked, Vec<u8>) {
    let (mut said, mut piece) = (Vec::new(), vec![0; 8 << 10]);
    loop {
        match relay::read(client, &mut piece).await {
            Ok(length) if length > 0 => said.extend_from_slice(piece.get(..length).unwrap_or_default()),
            Ok(_) | Err(_) => return (Asked::Malformed, said),
        }
        match read(&said, word) {
            Asked::Unfinished => {}
            asked => return (asked, said),
        }
    }
}

async fn say(client: &TcpStream, answer: &[u8]) {
    let _ = relay::write_all(client, answer).await.and_then(|()| relay::end(client));
}

/// One request without TLS, and the connection's end with its answer: the next can be for another host.
async fn forward(
    gate: &Rc<Gate>,
    client: TcpStream,
    dialled: Dialled,
    target: Target,
    contact: Contact,
    said: Vec<u8>,
) {
    let Dialled { stream: server, address, account } = dialled;
    let purse = Purse { meter: &gate.meter, account };
    let address = address.map(|address| address.to_string()).or(contact.address);
    let contact = Contact { address, spoken: Some("http".into()), ..contact };
    let _ = client.set_nodelay(true);
    let mut requests = match target {
        Target::Name(name) => match http::look(gate, &name, contact.port, Some(First::Http), &said) {
            Ok(None) => Requests::only_one(name, contact.port),
            Ok(Some((over, looking))) => {
                let begun = Begun { client, server, said, name, over, account: purse.account, asks: Asks::Once };
                return http::serve(gate.clone(), looking, begun, contact).await;
            }
            Err(denied) => return refusal::refuse(gate, client, &denied, contact, &said).await,
        },
        Target::Address(address) => {
            let Some(said) = without_proxy(&said) else { return refusal::reset(client) };
            let rule = format!("an address that `allow` names ({address})");
            let open = gate.records.open(Contact { rule, ..contact });
            let paid = purse.request(&open, 1).and_then(|()| purse.send(&open, said.len()));
            if paid.is_ok() && relay::write_all(&server, &said).await.is_ok() {
                open.entry().sent.set(said.len() as u64);
                connection::finish(open, &purse, &client, &server).await;
            }
            return;
        }
    };
    match follow::first_requests(&mut requests, &said, &gate.meter) {
        Ok(out) => {
            let open = gate.records.open(contact);
            follow::follow(&open, &purse, (&client, &server), &mut requests, &out).await;
        }
        Err(denied) => refusal::refuse(gate, client, &denied, contact, &said).await,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORD: &str = "Basic abc";

    fn asked(line: &str) -> Asked {
        read(format!("{line} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: {WORD}\r\n\r\n").as_bytes(), WORD)
    }

    fn wanted(line: &str) -> Option<(String, u16, bool)> {
        match asked(line) {
            Asked::For(Wanted { host, port, tunnel }, _) => Some((host, port, tunnel)),
            _ => None,
        }
    }

    #[test]
    fn a_proxy_is_asked_in_two_ways() {
        for (line, host, port, tunnel) in [
            ("CONNECT a.example:443", "a.example", 443, true),
            ("CONNECT [2001:db8::1]:443", "2001:db8::1", 443, true),
            ("GET http://a.example/x", "a.example", 80, false),
            ("POST HTTP://a.example:81?x", "a.example", 81, false),
            ("GET http://[2001:db8::1]/", "2001:db8::1", 80, false),
        ] {
            assert_eq!(wanted(line), Some((host.to_owned(), port, tunnel)), "{line}");
        }
        for line in [
            "CONNECT a.example",
            "CONNECT a.example:0",
            "CONNECT a.example:+1",
            "GET /x",
            "GET ftp://a.example/",
            "GET https://a.example/",
        ] {
            assert_eq!(asked(line), Asked::Malformed, "{line}");
        }
    }

    #[test]
    fn whoever_does_not_know_the_word_gets_nothing() {
        for fields in [
            "",
            "Proxy-Authorization: Basic abd\r\n",
            "Proxy-Authorization: Basic abc\r\nProxy-Authorization: Basic abc\r\n",
        ] {
            let request = format!("CONNECT a.example:443 HTTP/1.1\r\n{fields}\r\n");
            assert_eq!(read(request.as_bytes(), WORD), Asked::Stranger, "{fields}");
        }
        assert_eq!(read(b"CONNECT a.exa", WORD), Asked::Unfinished);
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&bytes, WORD);
        }
    }
}
