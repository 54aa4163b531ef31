//! What observers saw of a run, as they report it: raw names, numbers, times.
//!
//! Owns these facts, not what is made of them. Names are bytes that a hostile command may have chosen.

use serde::{Deserialize, Serialize};

/// Something that was denied, counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denied {
    /// What was tried: `create`, `read`, `connect`, `signal`, ...; docs/evidence.md has all of them.
    pub kind: String,
    /// On what: a path inside the jail, a system call, a limit.
    pub what: Vec<u8>,
    /// By what: `broker`, `view`, `landlock`, `seccomp`, `limit`.
    pub mechanism: String,
    /// The rule: a pattern of the profile, or in words; empty where nobody says which.
    pub rule: String,
    /// How often.
    pub count: u64,
    /// When first and last, microseconds after the run began; none where nobody says.
    pub when_us: Option<(u64, u64)>,
    /// Who did it last, if that is known.
    pub by: Option<Process>,
}

/// A process of the jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its pid inside.
    pub pid: u32,
    /// The name that the kernel has for it; at most 15 bytes, which it can choose itself.
    pub name: Vec<u8>,
}

/// A program that a process became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Execution {
    /// The pid inside.
    pub pid: u32,
    /// The pid of the process above it; 0 where that is not known.
    pub parent: u32,
    /// As it was written, and completed where it was relative.
    pub path: Vec<u8>,
    /// The arguments, the first ones where there are many.
    pub argv: Vec<Vec<u8>>,
    /// Whether there were more or longer arguments.
    pub cut: bool,
    /// Microseconds after the run began.
    pub after_us: u64,
    /// How it ended, if it did while somebody looked.
    pub ended: Option<Ending>,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Microseconds after the run began.
    pub after_us: u64,
    /// Status as wait(2) has it, where the kernel tells (Linux 6.15).
    pub status: Option<i32>,
}

/// What became of one name in the workspace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The name, inside.
    pub path: Vec<u8>,
    /// Which.
    pub how: How,
    /// Bytes before, where it was a file.
    pub before: Option<u64>,
    /// Bytes at the end, where it is a file.
    pub after: Option<u64>,
}

/// What became of a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum How {
    /// It is there and was not.
    Created,
    /// It was opened for writing, or something else has its name now.
    Changed,
    /// It was there and is not.
    Removed,
    /// It is what had this name before.
    RenamedFrom(Vec<u8>),
}

/// A socket that something could connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Its address, as text.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Who listens.
    pub pid: u32,
    /// Microseconds after the run began.
    pub after_us: u64,
}

/// What a run did, as far as it was recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observed {
    /// Programs, in the order in which they began.
    pub executions: Vec<Execution>,
    /// How many more there were.
    pub more_executions: u64,
    /// Names in the workspace, sorted.
    pub changes: Vec<Change>,
    /// How many more there were.
    pub more_changes: u64,
    /// Files that were read under names that are sensitive or were asked for, or all; sorted.
    pub reads: Vec<Vec<u8>>,
    /// How many more there were.
    pub more_reads: u64,
    /// Sockets that listened.
    pub listeners: Vec<Listener>,
    /// Denials that were counted together, because there were too many.
    pub more_denials: u64,
}

/// Who watched for denials, and what nobody could see.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// The sources.
    pub sources: Vec<String>,
    /// What none of them sees here, in words.
    pub unseen: Vec<String>,
    /// Limits that nobody counts, in words.
    pub uncounted: Vec<String>,
    /// Denials that were counted and are not listed.
    pub lost: u64,
}

/// A limit, and how near the run came to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peak {
    /// The key in `[limits]`.
    pub limit: String,
    /// The most that it used at once, or in all.
    pub used: u64,
    /// The limit; none if it has none.
    pub most: Option<u64>,
    /// How often something was denied because of it, where that is counted.
    pub reached: u64,
}
