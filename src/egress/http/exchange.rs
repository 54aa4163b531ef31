//! One request and its answer.
//!
//! Each step may deny: whose request is it, does a rule allow it, does anything that stands for a secret leave, can the secret be
//! had. What is denied is answered here, and the server hears nothing of it.

use std::cell::RefCell;
use std::convert::Infallible;
use std::rc::Rc;

use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, StatusCode};

use super::body::{Body, Finding};
use super::connection::Connection;
use super::head::{self, Asked, At};
use super::notes::{Said, by_flaw, by_placeholder, deny, forbidden, list, unreachable_host};
use super::tunnel;
use crate::egress::needles::Blotter;
use crate::egress::unpack::{Coding, Unreadable};
use crate::policy::egress::Denied;
use crate::policy::egress::http::{self as policy, HttpRule, Judged};
use crate::verdict::run::Decision;

/// Answers one.
pub async fn answer(connection: Rc<Connection>, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let said = Said::of(&head);
    Ok(match pass(&connection, head, body).await {
        Ok(response) => {
            list(&connection, &said, Some(response.status().as_u16()), Decision::Allowed);
            response
        }
        Err(NoAnswer::Denied(denied)) => {
            deny(&connection, &said, &denied);
            forbidden(&connection, &said, &denied)
        }
        Err(NoAnswer::Failed(why)) => {
            list(&connection, &said, None, Decision::Failed);
            unreachable_host(&connection, &why)
        }
    })
}

/// Why a server's answer is not to be had.
enum NoAnswer {
    Denied(Denied),
    Failed(String),
}

impl From<Denied> for NoAnswer {
    fn from(denied: Denied) -> NoAnswer {
        NoAnswer::Denied(denied)
    }
}

async fn pass(connection: &Rc<Connection>, head: Parts, body: Incoming) -> Result<Response<Body>, NoAnswer> {
    let (name, port) = (&connection.name, connection.port);
    let asked = head::read(&head, name, port).map_err(by_flaw)?;
    connection.charge.gate.meter.request(1)?;
    let rule = judge(connection, &asked, &head.headers)?;
    let Parts { mut headers, extensions, .. } = head;
    let inject = rule.and_then(|rule| rule.inject.as_ref());
    if let Some(inject) = inject {
        headers.remove(inject.header.as_str());
    }
    // Everything but that field is looked through, and then it is written.
    if connection.charge.secrets().leave_in(&head::target(&asked), &headers) {
        return Err(by_placeholder(inject.map(|inject| inject.header.as_str())).into());
    }
    let coding = coding_of(connection, &headers)?;
    let blotter = match inject {
        Some(inject) => {
            let blotter = connection.charge.secrets().put_in(inject, &mut headers)?;
            // What is compressed cannot be looked into on its way back.
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            Some(blotter)
        }
        None => None,
    };
    if asked.websocket && connection.charge.secrets().needles().is_some() {
        headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    }
    let at = At { name, port, over: connection.over, version: connection.version };
    let request = head::write(&asked, headers, at).ok_or(NoAnswer::Failed("the request cannot be written".into()))?;
    let found = Rc::new(RefCell::new(Finding::default()));
    let body = Body::out(body, coding, connection.charge.clone(), found.clone());
    let request = request.body(body).map_err(|error| NoAnswer::Failed(error.to_string()))?;
    connection.charge.pay(length_of(request.headers()) + head::target(&asked).len())?;
    let answer = connection.upstream.send(request).await;
    match &*found.borrow() {
        Finding::Nothing => {}
        Finding::Placeholder => return Err(by_placeholder(inject.map(|inject| inject.header.as_str())).into()),
        Finding::Unreadable => return Err(by_coding().into()),
        Finding::Denied(denied) => return Err(denied.clone().into()),
    }
    let answer = answer.map_err(NoAnswer::Failed)?;
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return tunnel::switch(connection, &asked, answer, extensions).map_err(NoAnswer::Failed);
    }
    Ok(give_back(connection, answer, blotter))
}

/// The rule that allows it, where there are rules for its host.
fn judge<'a>(connection: &'a Connection, asked: &Asked, headers: &HeaderMap) -> Result<Option<&'a HttpRule>, Denied> {
    let values = |name: &str| -> Vec<String> {
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let judged = connection.charge.gate.rules.judge_request(&policy::Request {
        name: &connection.name,
        port: connection.port,
        over: connection.over,
        method: asked.method.as_str(),
        path: &asked.path,
        header: &values,
        websocket: asked.websocket,
    });
    match judged {
        Judged::Allowed(rule) => Ok(Some(rule)),
        Judged::Unruled => Ok(None),
        Judged::Denied(denied) => Err(denied),
    }
}

fn give_back(connection: &Rc<Connection>, answer: Response<Incoming>, blotter: Option<Blotter>) -> Response<Body> {
    let (mut head, body) = answer.into_parts();
    head::strip(&mut head.headers);
    // It leads to another protocol, which does not leave here.
    head.headers.remove(header::ALT_SVC);
    if let Some(blotter) = &blotter {
        for value in head.headers.values_mut() {
            if let Ok(blotted) = HeaderValue::from_bytes(&blotter.blot(value.as_bytes())) {
                *value = blotted;
            }
        }
    }
    head.version = Default::default();
    head.extensions.clear();
    connection.charge.received(length_of(&head.headers));
    Response::from_parts(head, Body::back(body, connection.charge.clone(), blotter))
}

fn length_of(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

/// How the body is compressed, where that matters to us. What we could not look into goes nowhere.
fn coding_of(connection: &Connection, headers: &HeaderMap) -> Result<Coding, Denied> {
    match connection.charge.secrets().needles() {
        None => Ok(Coding::Plain),
        Some(_) => Coding::of(headers).map_err(|Unreadable| by_coding()),
    }
}

fn by_coding() -> Denied {
    Denied::by(
        "built in: a body that is compressed in a way in which nobody can look for what stands for a secret",
        "send it as it is, or with `Content-Encoding: gzip`",
    )
}
