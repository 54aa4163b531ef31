//! The messages between a service's supervisor and its recorder, who holds the ledger.
//!
//! ```text
//! supervisor --> recorder   Room   Begun   Append   Ask
//! recorder --> supervisor   Room   Appended   Answered
//! ```
//!
//! There is none that changes or removes a record: a supervisor that was taken over can add what it likes, and nothing else.

use serde::{Deserialize, Serialize};

/// The supervisor's number for what it waits for.
pub type Ticket = u64;

/// From the supervisor to the recorder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToRecorder {
    /// Keep room for so many more records.
    Room(u32),
    /// This run begins. It is recorded as cut short when the supervisor ends before its record came.
    Begun(Box<Beginning>),
    /// Add this verdict, which is JSON.
    Append(Ticket, String, Redeems),
    /// Give answers from the ledger.
    Ask(Ticket, Box<Question>),
}

/// Whether a record takes room that was kept for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Redeems {
    /// It does.
    Room,
    /// Nothing was run, so none was kept.
    Nothing,
}

/// A run that begins, as its record will name it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Beginning {
    /// The verdict's id.
    pub id: String,
    /// When.
    pub time: String,
    /// User id of the caller.
    pub uid: u32,
    /// Group id of the caller.
    pub gid: u32,
    /// The agent.
    pub agent: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// The profile.
    pub profile: String,
    /// The command, without secrets.
    pub argv: Vec<String>,
}

/// What records are asked for; what is not given is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Question {
    /// Id, or the beginning of it.
    pub id: Option<String>,
    /// For this agent.
    pub agent: Option<String>,
    /// With this profile.
    pub profile: Option<String>,
    /// Ended so.
    pub outcome: Option<String>,
    /// Refused, or with a denial.
    pub denied: bool,
    /// Begun then or later, RFC 3339.
    pub since: Option<String>,
    /// Begun before then, RFC 3339.
    pub until: Option<String>,
    /// Asked for by this user.
    pub caller: Option<u32>,
    /// At most so many.
    pub limit: u32,
    /// Where the answer before ended.
    pub place: Option<(u64, u64)>,
}

/// From the recorder to the supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromRecorder {
    /// There is room for so many more; if that is none, why.
    Room(u32, Option<NoRoom>),
    /// The record was written, or could not be; and how often journal, syslog or SIEM could not be told so far.
    Appended(Ticket, Result<Link, NoRoom>, u64),
    /// Records that answer.
    Answered(Ticket, Result<Records, String>),
}

/// Why something cannot be recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoRoom {
    /// One line.
    pub message: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Whether the operator wants runs made nevertheless.
    pub nevertheless: bool,
}

/// Where a record is in the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Number of its line.
    pub seq: Option<u64>,
    /// SHA-256 of the line before.
    pub previous: Option<String>,
    /// SHA-256 of its own.
    pub digest: Option<String>,
}

/// Records that answer a question, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// As they stand in the ledger.
    pub lines: Vec<String>,
    /// From where to go on, if there may be more.
    pub next: Option<(u64, u64)>,
    /// Lines that could not be read.
    pub unreadable: u64,
}
