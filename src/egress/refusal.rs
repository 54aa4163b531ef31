//! What is said to a client that gets no further: an HTTP answer, a TLS alert, or the end.

use std::io;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::dial::NoWay;
use super::first::{self, First};
use super::gate::Gate;
use super::relay;
use crate::policy::egress::Denied;
use crate::verdict::run::{self, Contact};

/// How long a client that is refused may take to say what language to refuse it in, and to hear it.
const LAST_WORD: Duration = Duration::from_millis(40);

/// Records that there is no way, and says so.
pub async fn turn_away(gate: &Gate, client: TcpStream, no_way: NoWay, contact: Contact) {
    let mut said = vec![0; 2048];
    let length = match &no_way {
        NoWay::Denied(..) => timeout(LAST_WORD, relay::read(&client, &mut said)).await.ok().and_then(Result::ok),
        NoWay::Failed(..) => None,
    };
    said.truncate(length.unwrap_or(0));
    refuse_asked(gate, client, no_way, contact, &said).await;
}

/// The same, where it is known what was said.
pub async fn refuse_asked(gate: &Gate, client: TcpStream, no_way: NoWay, mut contact: Contact, said: &[u8]) {
    let (denied, address) = match no_way {
        NoWay::Denied(denied, address) => (denied, address),
        NoWay::Failed(what, address) => {
            contact.decision = run::Decision::Failed;
            contact.rule = what;
            contact.address = address.map(|address| address.to_string()).or(contact.address);
            gate.records.note(contact);
            return reset(client);
        }
    };
    contact.address = address.map(|address| address.to_string()).or(contact.address);
    refuse(gate, client, &denied, contact, said).await;
}

/// Records the refusal, and says it in the client's language.
pub async fn refuse(gate: &Gate, client: TcpStream, denied: &Denied, contact: Contact, said: &[u8]) {
    let answer = match first::tell(said) {
        First::Tls => Some(vec![21, 3, 3, 0, 2, 2, 49]),
        First::Http => Some(forbidden(&contact, denied)),
        First::Undecided | First::Ssh | First::Other => None,
    };
    gate.records.note(deny(contact, denied));
    match answer {
        None => reset(client),
        Some(text) => drop(self::answer(&client, &text).await),
    }
}

/// Says the last that is said to a client.
pub async fn answer(client: &TcpStream, text: &[u8]) -> io::Result<()> {
    relay::write_all(client, text).await?;
    relay::end(client)?;
    // Closed with something unread, the answer would be lost on its way.
    let mut rest = vec![0; 4096];
    let drained = async { while relay::read(client, &mut rest).await.is_ok_and(|length| length > 0) {} };
    let _ = timeout(LAST_WORD, drained).await;
    Ok(())
}

fn deny(contact: Contact, denied: &Denied) -> Contact {
    let Denied { rule, remedy } = denied.clone();
    Contact { decision: run::Decision::Denied, rule, remedy: Some(remedy), ..contact }
}

/// An answer that a model can act on, and a person read.
pub fn forbidden(contact: &Contact, denied: &Denied) -> Vec<u8> {
    let body = serde_json::json!({
        "error": "denied by clawjail",
        "host": contact.name.as_ref().or(contact.address.as_ref()),
        "port": contact.port,
        "rule": denied.rule,
        "remedy": denied.remedy,
    });
    let body = format!("{body}\n");
    let head = format!(
        "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// Nothing more to say: the kernel tells the other end at once that there is no connection.
pub fn reset(client: TcpStream) {
    // Fails only for one that is gone already.
    let _ = client.set_zero_linger();
}
