//! What a service answers: results, errors and notifications, as one line each. `docs/protocol.md` tells it with examples.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::id::Id;
use super::text::encode;
use crate::verdict::Verdict;

/// The version of the protocol. Members are added under the same number.
pub const PROTOCOL: u32 = 1;

/// Answer of `ping`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pong {
    /// Version of clawjail.
    pub version: String,
    /// Version of the protocol.
    pub protocol: u32,
    /// Who the caller is.
    pub user: String,
    /// Their user id.
    pub uid: u32,
    /// `admin`, `operator`, `viewer` or `guest`.
    pub role: String,
    /// The profiles that are granted to them; `*` is any.
    pub profiles: Vec<String>,
    /// The one that is taken when none is named.
    pub default: Option<String>,
}

/// It is done, and there is nothing to say about it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {}

/// Answer of `run`, once the command is about to run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Running {
    /// Names the run, and afterwards its verdict.
    pub run: String,
    /// The profile.
    pub profile: String,
    /// The tier.
    pub tier: String,
    /// Digest of the plan.
    pub plan: String,
    /// Where the command starts, inside.
    pub cwd: String,
    /// Of stdin, stdout and stderr, those that the client has to relay. All false unless it sent six descriptors.
    pub relayed: [bool; 3],
    /// Most bytes of output; the rest is thrown away.
    pub output_limit: Option<u64>,
    /// Most milliseconds that it may take.
    pub wall_ms: Option<u64>,
}

/// Answer of `run.prepare`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Prepared {
    /// Names the run, once `run.begin` has started it, and afterwards its verdict.
    pub run: String,
}

/// Answer of `run.stdin`, once the command's pipe or terminal has taken it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Written {
    /// How many bytes.
    pub written: usize,
}

/// Answer of `ps`: runs that are not over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Runs {
    /// Own ones, or those of all callers for an admin.
    pub runs: Vec<Listed>,
}

/// One run: of `ps`, and the answer of `run.attach`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Listed {
    /// Its id.
    pub run: String,
    /// The jail it runs in, if it is one that stays open.
    pub jail: Option<String>,
    /// Whose it is.
    pub uid: u32,
    /// For which agent.
    pub agent: Option<String>,
    /// Its profile.
    pub profile: String,
    /// The command.
    pub argv: Vec<String>,
    /// When it was asked for, RFC 3339.
    pub time: String,
    /// `waiting`, `running` or `ended`.
    pub state: String,
    /// What its `run.stdin` goes to now: `terminal`, `pipe`, or nothing.
    #[serde(default)]
    pub input: Option<String>,
}

/// Answer of `run.output`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Kept {
    /// What there is, in the order in which it came.
    pub output: Vec<Piece>,
    /// Where `output` begins: later than what was asked for when that is no longer kept.
    pub offset: u64,
    /// Where it ends; what to ask for next.
    pub next: u64,
    /// `waiting`, `running` or `ended`.
    pub state: String,
}

/// Some output of one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Piece {
    /// Which.
    pub stream: Stream,
    /// As text, where it is text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// As base64, where it is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl Piece {
    /// Of these bytes.
    pub fn new(stream: Stream, bytes: &[u8]) -> Piece {
        let text = std::str::from_utf8(bytes).ok();
        let base64 = text.is_none().then(|| encode(bytes));
        Piece { stream, data: text.map(str::to_owned), base64 }
    }
}

/// Answer of `jail.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Jails {
    /// Own ones, or those of all callers for an admin.
    pub jails: Vec<Jail>,
}

/// Answer of `session.end`, once it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SessionEnded {
    /// Jails that were closed.
    pub jails: usize,
    /// Runs that were told to end, those in these jails included.
    pub runs: usize,
}

/// A jail that is open: the answer of `jail.open`, and one of `jail.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Jail {
    /// Its id.
    pub jail: String,
    /// Whose it is.
    pub uid: u32,
    /// For which agent.
    pub agent: Option<String>,
    /// The session it is part of, as its owner called it.
    pub session: Option<String>,
    /// Its profile.
    pub profile: String,
    /// Its tier.
    pub tier: String,
    /// Digest of its plan.
    pub plan: String,
    /// Its workspace on the host.
    pub workspace: String,
    /// Where that is, inside; null where the profile shows none.
    pub at: Option<String>,
    /// When it was opened, RFC 3339.
    pub time: String,
    /// How many runs are in it now.
    pub runs: usize,
}

/// Answer of `top`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct InUse {
    /// Open jails, then runs with a jail of their own.
    pub jails: Vec<Used>,
}

/// What one jail uses now: one of `top`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Used {
    /// Its id, if it is one that stays open.
    pub jail: Option<String>,
    /// Of a run with a jail of its own: the run.
    pub run: Option<String>,
    /// Whose it is.
    pub uid: u32,
    /// For which agent.
    pub agent: Option<String>,
    /// Its profile.
    pub profile: String,
    /// Since when, RFC 3339.
    pub time: String,
    /// How many runs are in it now.
    pub runs: usize,
    /// What runs in it that have ended were denied.
    pub denials: u64,
    /// Bytes of memory; null when its keeper did not say in time.
    pub memory: Option<u64>,
    /// Processes, its init among them.
    pub processes: Option<u64>,
    /// Microseconds of processor time so far; without control groups v2, of processes that are there and those they waited for.
    pub processor_us: Option<u64>,
    /// The command of a run.
    pub argv: Vec<String>,
}

/// Which stream bytes came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// stdout.
    Stdout,
    /// stderr.
    Stderr,
    /// The command's terminal.
    Terminal,
}

#[derive(Serialize)]
struct Success<'a, T> {
    jsonrpc: &'static str,
    id: &'a Id,
    result: &'a T,
}

#[derive(Serialize)]
struct Failure<'a> {
    jsonrpc: &'static str,
    id: Option<&'a Id>,
    error: &'a Fault,
}

#[derive(Serialize)]
struct Notification<'a, T> {
    jsonrpc: &'static str,
    method: &'static str,
    params: &'a T,
}

/// `run.output`: what a command has written. Either `data` or `base64` is there.
#[derive(Serialize, JsonSchema)]
pub struct Output<'a> {
    run: &'a str,
    stream: Stream,
    /// Where the bytes are text.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    /// Where they are not, a character that was cut in two included.
    #[serde(skip_serializing_if = "Option::is_none")]
    base64: Option<String>,
}

/// `run.ended`: the last of a run.
#[derive(Serialize, JsonSchema)]
pub struct Ended<'a> {
    /// Which run.
    pub run: &'a str,
    /// How it was.
    pub verdict: &'a Verdict,
    /// Bytes of output that were not kept for those who attach.
    pub lost: u64,
}

/// The line of a result.
pub fn result<T: Serialize>(id: &Id, result: &T) -> Vec<u8> {
    line(&Success { jsonrpc: "2.0", id, result })
}

/// The line of an error.
pub fn error(id: Option<&Id>, error: &Fault) -> Vec<u8> {
    line(&Failure { jsonrpc: "2.0", id, error })
}

/// The line of a notification.
pub fn notification<T: Serialize>(method: &'static str, params: &T) -> Vec<u8> {
    line(&Notification { jsonrpc: "2.0", method, params })
}

/// The line that carries output: as text where it is text.
pub fn output(run: &str, stream: Stream, bytes: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(bytes).ok();
    let base64 = text.is_none().then(|| encode(bytes));
    notification("run.output", &Output { run, stream, data: text, base64 })
}

#[expect(clippy::expect_used, reason = "names for keys, numbers and text: serde_json refuses none of it")]
fn line<T: Serialize>(message: &T) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).expect("our messages hold nothing that JSON cannot");
    line.push(b'\n');
    line
}
