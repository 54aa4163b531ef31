//! What is recorded of a request, and what its client hears where it is not the server that answers.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Response, StatusCode};

use super::body::Body;
use super::connection::Connection;
use crate::egress::requests::Flaw;
use crate::policy::egress::Denied;
use crate::verdict::run::{Attempt, Contact, Decision, Requested};

/// What a request says of itself, for the record.
pub struct Said {
    method: String,
    path: String,
}

/// Of a path and of a method, as they are recorded.
const LONGEST_PATH: usize = 200;
const LONGEST_METHOD: usize = 16;

impl Said {
    /// Of this head, cut to what a record holds.
    pub fn of(head: &Parts) -> Said {
        let cut = |text: &str, most| text.chars().take(most).collect();
        Said { method: cut(head.method.as_str(), LONGEST_METHOD), path: cut(head.uri.path(), LONGEST_PATH) }
    }
}

/// Lists a request in its connection's record.
pub fn list(connection: &Connection, said: &Said, status: Option<u16>, decision: Decision) {
    let may = connection.may_list();
    connection.charge.open.learn(|contact| {
        contact.requests += 1;
        if may {
            let Said { method, path } = said;
            contact.listed.push(Requested { method: method.clone(), path: path.clone(), status, decision });
        }
    });
}

/// Lists one that is denied, and records why.
pub fn deny(connection: &Connection, said: &Said, denied: &Denied) {
    list(connection, said, Some(StatusCode::FORBIDDEN.as_u16()), Decision::Denied);
    let Said { method, path } = said;
    let requested = Requested {
        method: method.clone(),
        path: path.clone(),
        status: Some(StatusCode::FORBIDDEN.as_u16()),
        decision: Decision::Denied,
    };
    connection.charge.gate.records.note(Contact {
        name: Some(connection.name.to_string()),
        port: connection.port,
        decision: Decision::Denied,
        rule: denied.rule.clone(),
        remedy: Some(denied.remedy.clone()),
        listed: vec![requested],
        ..Contact::of(Attempt::Request)
    });
}

/// Notes that something tried to leave by frames.
pub fn note_placeholder(connection: &Connection) {
    deny(connection, &Said { method: "GET".into(), path: "(a websocket)".into() }, &by_placeholder(None));
}

/// Notes a request that could not be read as one.
pub fn note_malformed(connection: &Connection) {
    let said = Said { method: "?".into(), path: "?".into() };
    deny(connection, &said, &by_flaw(Flaw::Malformed));
}

/// What a client is answered that may not ask for that.
pub fn forbidden(connection: &Connection, said: &Said, denied: &Denied) -> Response<Body> {
    let body = serde_json::json!({
        "error": "denied by clawjail",
        "host": connection.name.as_str(),
        "port": connection.port,
        "method": said.method,
        "path": said.path,
        "rule": denied.rule,
        "remedy": denied.remedy,
    });
    json(StatusCode::FORBIDDEN, &body)
}

/// What it is answered where the host cannot be asked.
pub fn unreachable_host(connection: &Connection, why: &str) -> Response<Body> {
    let body = serde_json::json!({
        "error": "clawjail cannot reach the host",
        "host": connection.name.as_str(),
        "port": connection.port,
        "cause": why,
    });
    json(StatusCode::BAD_GATEWAY, &body)
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    let mut response = Response::new(Body::whole(Bytes::from(format!("{body}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Denied because of how it is written.
pub fn by_flaw(flaw: Flaw) -> Denied {
    Denied::by(flaw.rule(), "send each request to the host that it is for, written plainly")
}

/// Denied because of what stands for a secret, which may leave in this field alone, or nowhere.
pub fn by_placeholder(only: Option<&str>) -> Denied {
    let rule = match only {
        Some(field) => format!("built in: what stands for a secret leaves only in the field `{field}` of this request"),
        None => "built in: what stands for a secret does not leave to this host".to_owned(),
    };
    Denied::by(
        rule,
        "send it only to the host that the profile gives the secret to, or have the operator add `inject` there",
    )
}
