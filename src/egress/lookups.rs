//! Questions for names, over UDP and TCP.
//!
//! Owns their answering: a name that a rule allows has an address that means it here, and nobody else is asked.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{sleep, timeout};

use super::answers::{self, Looked};
use super::gate::Gate;
use super::names::Over;
use super::packets::{PAUSE, receive, send};
use crate::policy::egress::name::Name;
use crate::policy::egress::{Decision, Denied};
use crate::verdict::run::{self, Attempt, Contact};

/// How long somebody who asks over TCP may be silent.
const SILENCE: Duration = Duration::from_secs(10);

/// Answers questions over UDP, from the address at which each was asked.
pub async fn asked_over_udp(gate: &Gate, socket: &UdpSocket) {
    loop {
        let received = socket.async_io(Interest::READABLE, || receive(socket)).await;
        let Ok((question, from, at)) = received else {
            sleep(PAUSE).await;
            continue;
        };
        if let Some(answer) = answers::answer(&question, |name| look_up(gate, name)) {
            // One that does not fit now is asked for again.
            let _ = send(socket, &answer, &from, at);
        }
    }
}

/// Answers the questions of one connection.
pub async fn asked_over_tcp(gate: &Gate, mut client: TcpStream) -> io::Result<()> {
    loop {
        let length = timeout(SILENCE, client.read_u16()).await??;
        let mut question = vec![0; length.into()];
        timeout(SILENCE, client.read_exact(&mut question)).await??;
        let Some(answer) = answers::answer(&question, |name| look_up(gate, name)) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        timeout(SILENCE, client.write_all(&[&length.to_be_bytes()[..], &answer].concat())).await??;
    }
}

fn look_up(gate: &Gate, name: &Name) -> Looked {
    match gate.rules.judge_lookup(name) {
        Decision::Allowed(_) => {
            let over = if gate.rules.name_has_udp(name) { Over::Udp } else { Over::Tcp };
            let given = gate.names.borrow_mut().give(name, over);
            given.map_or(Looked::Full, |(v4, v6)| Looked::Up(v4, gate.has_v6.then_some(v6)))
        }
        Decision::Denied(Denied { rule, remedy }) => {
            gate.records.note(Contact {
                name: Some(name.to_string()),
                decision: run::Decision::Denied,
                rule,
                remedy: Some(remedy),
                ..Contact::of(Attempt::LookUp)
            });
            Looked::Denied
        }
    }
}
