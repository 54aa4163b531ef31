//! What is known of a run: what was enforced on it, how it ended, what it used, what it was denied.
//!
//! The facts that launcher and init report and that a verdict is made from. Owns the types; `wire` carries them, and
//! nothing here knows how.

use serde::{Deserialize, Serialize};

use crate::host::Tier;
use crate::plan::Keeping;
use crate::profile::promise::Promise;

/// What was enforced on a run that started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// Digest of the plan.
    pub plan: String,
    /// The profile's name.
    pub profile: String,
    /// The tier.
    pub tier: Tier,
    /// Where the command starts, inside.
    pub cwd: String,
    /// By what each promise is kept, and what the probe found.
    pub enforcement: Vec<(Promise, Keeping, Vec<Finding>)>,
    /// Most bytes of output.
    pub output: Option<u64>,
    /// Wall limit, milliseconds.
    pub wall_ms: Option<u64>,
    /// Of stdin, stdout and stderr, those that go through the supervisor.
    pub relayed: [bool; 3],
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ended {
    /// How the command's first process ended.
    pub end: End,
    /// Why we ended it, if we did.
    pub cause: Option<Cause>,
    /// Whether the kernel killed something in the jail for lack of memory.
    pub out_of_memory: bool,
    /// What it used.
    pub used: Used,
    /// Names that the broker denied: path inside, what was tried, which shield, how often.
    pub denials: Vec<NameDenial>,
}

/// A name that the broker did not make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameDenial {
    /// Path inside the jail.
    pub path: Vec<u8>,
    /// `create`, `mkdir`, `rename`, `link`, `symlink`.
    pub action: String,
    /// The pattern that denied it.
    pub pattern: String,
    /// How often.
    pub count: u64,
}

/// The end of the command's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// It exited with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
    /// It could not be executed: errno of execve(2).
    NotExecuted(i32),
}

/// Why a run was ended from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// Its wall limit.
    TimedOut,
    /// Its caller went away or asked for it.
    Killed,
}

/// What a run used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// From start to end, microseconds.
    pub wall_us: u64,
    /// In user mode, microseconds.
    pub user_us: u64,
    /// In the kernel, microseconds.
    pub system_us: u64,
    /// Most memory at once, bytes: of the whole jail where a controller tells, of the largest process where not.
    pub peak_memory: u64,
    /// Most processes at once, where a controller counts them.
    pub peak_processes: Option<u64>,
    /// Bytes read from and written to block devices, where a controller counts them.
    pub transferred: Option<(u64, u64)>,
}

/// One thing that the probe tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The promise that it belongs to.
    pub promise: Promise,
    /// What was tried, in a few words.
    pub tried: String,
    /// The errno that came back; 0 when it worked.
    pub errno: i32,
    /// Whether that is what the promise asks for.
    pub held: bool,
}
