//! What a client can ask for: one type a method. `docs/protocol.md` tells it with examples.
//!
//! Owns names and types. What is asked is judged elsewhere; here it is only well-formed or not.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::id::Id;
use super::text::{Text, each_once};
use crate::profile::narrow::Narrow;

/// No parameters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// `run`: start a command in a jail of its own, or in one that is open.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// The command and its arguments.
    pub argv: Vec<Text>,
    /// The profile; the caller's or the agent's default if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The agent that it is for: names a profile and a workspace in the service's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What the client calls the session it is part of: recorded, and `session.end` ends it. The jail's if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The jail to run in; a new one that ends with the run if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jail: Option<String>,
    /// The directory on the host that the command works in. Not with `jail`, which has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Text>,
    /// Where it starts: a directory of the host in the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cwd: Option<Text>,
    /// Environment variables to set.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "each_once")]
    pub env: BTreeMap<String, Text>,
    /// The client's own environment, from which only what the profile or `pass` names is taken.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "each_once")]
    pub inherit: BTreeMap<String, Text>,
    /// Names to take from `inherit` beyond those of the profile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass: Vec<String>,
    /// A terminal of the command's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tty: Option<Tty>,
    /// Where its input comes from.
    #[serde(default)]
    pub stdin: Stdin,
    /// How many descriptors came along: none; or stdin, stdout and stderr; or those three and, behind them, the command's ends
    /// of three pipes that the client relays itself where the first three cannot be handed over.
    #[serde(default)]
    pub descriptors: usize,
    /// End the run after so many milliseconds; this can only shorten the profile's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Less than the profile grants. Not with `jail`, which was opened with its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrow: Option<Narrow>,
    /// Take this tier instead of the best there is: `root`, `user` or `bare`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
    /// Go on when the client disconnects; `run.attach` shows the output kept.
    #[serde(default)]
    pub detach: bool,
    /// With `run.prepare`: what the client calls the run, a UUID of version 7 that it has just made, so that it need not wait
    /// for the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// `run.begin`: start a run that `run.prepare` has told, with the streams of this connection's client.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunBegin {
    /// Which run.
    pub run: String,
    /// How many descriptors came along, as for `run`.
    #[serde(default)]
    pub descriptors: usize,
    /// How many milliseconds to wait for a run that is not prepared yet: whoever named it is still asking for it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub wait_ms: u64,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `jail.open`: make a jail that stays, for runs with `jail`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JailOpen {
    /// The profile; the caller's or the agent's default if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The agent that it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// What the client calls the session it is part of: recorded with runs in it, and `session.end` closes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The directory on the host that commands work in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Text>,
    /// Close it when nothing ran in it for so many milliseconds; this can only shorten the service's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_ms: Option<u64>,
    /// Close it after so many milliseconds; this can only shorten the service's limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
    /// Close it when this connection ends.
    #[serde(default)]
    pub until_disconnect: bool,
    /// Less than the profile grants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub narrow: Option<Narrow>,
    /// Further directories, which can be read in it. Each is judged as a workspace is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<Mount>,
    /// Take this tier instead of the best there is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<String>,
}

/// A directory beside the workspace, which can be read in the jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// On the host, absolute.
    pub path: Text,
    /// In the jail, absolute: where nothing else is, or an empty directory of the workspace.
    pub at: String,
}

/// `jail.close`: end what runs in it, and take it away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JailClose {
    /// Which jail.
    pub jail: String,
}

/// `session.end`: close the caller's jails of that session, and end their runs of it, with or without a jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SessionEnd {
    /// Which session.
    pub session: String,
}

/// `run.cancel`: give up a `run` of this connection that was not answered yet. It is then answered with an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunCancel {
    /// The `id` of that request.
    pub request: Id,
}

/// A terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tty {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
    /// Whether stderr goes there too.
    #[serde(default = "yes")]
    pub stderr: bool,
}

fn yes() -> bool {
    true
}

/// Where input comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stdin {
    /// There is none.
    #[default]
    None,
    /// `run.stdin` sends it.
    Pipe,
}

/// `run.stdin`: more input, and perhaps its end.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunStdin {
    /// Which run.
    pub run: String,
    /// The bytes.
    #[serde(default)]
    pub data: Text,
    /// Whether that was all.
    #[serde(default)]
    pub close: bool,
}

/// `run.signal`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunSignal {
    /// Which run.
    pub run: String,
    /// `TERM`, `SIGTERM` or 15. `KILL` ends the run with everything that it started.
    pub signal: SignalName,
}

/// A signal, by name or by number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SignalName {
    /// By number.
    Number(i32),
    /// By name, with or without `SIG`.
    Name(String),
}

/// `run.resize`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunResize {
    /// Which run.
    pub run: String,
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// `run.output`: the output kept, from a place on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunOutput {
    /// Which run.
    pub run: String,
    /// From this byte of all output on, counted over all streams in the order in which it came.
    #[serde(default)]
    pub offset: u64,
    /// At most so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Wait for up to so many milliseconds while there is nothing and the run goes on.
    #[serde(default)]
    pub wait_ms: u64,
}

/// `run.attach`: its output so far, as far as it was kept, and from now on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RunAttach {
    /// Which run.
    pub run: String,
}
