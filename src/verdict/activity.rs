//! What a run did that a gate or an observer saw, as a verdict tells it.
//!
//! Owns these keys and their meaning. Pure: it is told everything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Denial;
use super::evidence::{Command, FileChange, Listening, PeakUse, text};
use super::run::{Attempt, Contact, Decision, Ended, Met, Requested};

/// What a run did, as far as it is seen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Activity {
    /// Connections of the jail, in the order in which they began. Of a jail with several runs at once, those of all of them.
    pub connections: Vec<Connection>,
    /// How many more there were, which are not listed.
    pub unlisted: u64,
    /// Whether the gate ended before the run did: what it did is not known then, and nothing could be reached after.
    pub lost: bool,
    /// Programs that were executed, in the order in which they began; empty with `[record] activity = "off"`.
    #[serde(default)]
    pub commands: Vec<Command>,
    /// How many more there were, which are not listed.
    #[serde(default)]
    pub unlisted_commands: u64,
    /// Names in the workspace that were changed, by path; empty unless `[record] activity = "full"`.
    #[serde(default)]
    pub files: Vec<FileChange>,
    /// How many more there were, which are not listed.
    #[serde(default)]
    pub unlisted_files: u64,
    /// Paths that were opened for reading, sorted; empty unless `[record] activity = "full"`. Where the same name is asked for a
    /// thousand times it is listed once, and what did not exist is not listed.
    #[serde(default)]
    pub reads: Vec<String>,
    /// How many more there were, which are not listed.
    #[serde(default)]
    pub unlisted_reads: u64,
    /// Sockets that listened.
    #[serde(default)]
    pub listening: Vec<Listening>,
    /// How near the run came to its limits.
    #[serde(default)]
    pub peaks: Vec<PeakUse>,
}

/// One connection, or what would have been one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Connection {
    /// The host by name; null when it was asked for by its address.
    pub name: Option<String>,
    /// The address that was connected to, or judged; null when it did not come to that.
    pub address: Option<String>,
    /// The port.
    pub port: u16,
    /// `tcp` or `udp`.
    pub protocol: String,
    /// What was spoken, where it was recognised: `tls`, `http`, `ssh`; `https` where the gate looked into it.
    pub spoken: Option<String>,
    /// The first requests, where the gate looked into them.
    #[serde(default)]
    pub requests: Vec<RequestMade>,
    /// How many more there were, which are not listed.
    #[serde(default)]
    pub requests_unlisted: u64,
    /// `allowed`, `denied`, or `failed` when it was allowed and the host could not be reached.
    pub decision: String,
    /// The rule that decided, or why it failed.
    pub rule: String,
    /// Bytes that the command sent.
    pub sent: u64,
    /// Bytes that it received.
    pub received: u64,
    /// Microseconds from the start of the jail's gate to that of the connection.
    pub after_us: u64,
    /// Microseconds that it lasted, so far when the run ended before it.
    pub lasted_us: u64,
    /// How often the same was denied.
    pub count: u64,
    /// Whether the agent reached this host for the first time, where `first_contact` is `flag`.
    #[serde(default)]
    pub first_contact: bool,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RequestMade {
    /// Its method.
    pub method: String,
    /// Its path, without a query; the first 200 characters of it.
    pub path: String,
    /// The status of the answer; null when there was none.
    pub status: Option<u16>,
    /// `allowed`, `denied`, or `failed` when it was allowed and the host did not answer.
    pub decision: String,
}

impl Activity {
    /// What a gate and observers say that they saw. Lookups are no connections: a denied one is a denial, and another comes to nothing by
    /// itself.
    pub fn of(ended: &Ended) -> Activity {
        let (reached, observed) = (&ended.reached, &ended.observed);
        let connections = reached.contacts.iter().filter(|contact| contact.what != Attempt::LookUp).map(connection);
        Activity {
            connections: connections.collect(),
            unlisted: reached.omitted,
            lost: reached.lost,
            commands: observed.executions.iter().map(Command::of).collect(),
            unlisted_commands: observed.more_executions,
            files: observed.changes.iter().map(FileChange::of).collect(),
            unlisted_files: observed.more_changes,
            reads: observed.reads.iter().map(|path| text(path)).collect(),
            unlisted_reads: observed.more_reads,
            listening: observed.listeners.iter().map(Listening::of).collect(),
            peaks: ended.peaks.iter().map(PeakUse::of).collect(),
        }
    }
}

/// A denial of the gate, as verdicts list denials.
pub fn denial(contact: &Contact) -> Denial {
    let host = contact.name.as_ref().or(contact.address.as_ref()).map_or("", String::as_str);
    // What a name came to matters where that is what was denied.
    let behind = contact.name.as_ref().and(contact.address.as_ref()).map(|address| format!(" ({address})"));
    let (kind, what) = match contact.what {
        Attempt::Send if contact.port == 0 => ("send", host.to_owned()),
        Attempt::Send => ("send", format!("{host}:{}{}", contact.port, behind.unwrap_or_default())),
        Attempt::Connect => ("connect", format!("{host}:{}{}", contact.port, behind.unwrap_or_default())),
        Attempt::LookUp => ("look_up", host.to_owned()),
        Attempt::Request => {
            let request = contact.listed.first().map(|request| (request.method.as_str(), request.path.as_str()));
            let (method, path) = request.unwrap_or_default();
            ("request", format!("{method} {host}:{}{path}", contact.port))
        }
    };
    Denial {
        kind: kind.to_owned(),
        what,
        mechanism: "gate".to_owned(),
        rule: contact.rule.clone(),
        count: contact.count,
        remedy: contact.remedy.clone().unwrap_or_default(),
        first_us: Some(contact.after_us),
        ..Denial::default()
    }
}

fn word(decision: Decision) -> &'static str {
    match decision {
        Decision::Allowed => "allowed",
        Decision::Denied => "denied",
        Decision::Failed => "failed",
    }
}

fn request(request: &Requested) -> RequestMade {
    let Requested { method, path, status, decision } = request.clone();
    RequestMade { method, path, status, decision: word(decision).to_owned() }
}

fn connection(contact: &Contact) -> Connection {
    Connection {
        name: contact.name.clone(),
        address: contact.address.clone(),
        port: contact.port,
        protocol: if contact.what == Attempt::Send { "udp" } else { "tcp" }.to_owned(),
        spoken: contact.spoken.clone(),
        requests: contact.listed.iter().map(request).collect(),
        requests_unlisted: contact.requests.saturating_sub(contact.listed.len() as u64),
        decision: word(contact.decision).to_owned(),
        rule: contact.rule.clone(),
        sent: contact.sent,
        received: contact.received,
        after_us: contact.after_us,
        lasted_us: contact.lasted_us,
        count: contact.count,
        first_contact: contact.met == Met::Flagged,
    }
}
