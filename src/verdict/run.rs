//! What is known of a run: what was enforced on it, how it ended, what it used, what it was denied.
//!
//! The facts that launcher and init report and that a verdict is made from. Owns the types; `wire` carries them, and
//! nothing here knows how.

use serde::{Deserialize, Serialize};

use super::observed::{Denied, Observed, Peak, Watch};
use crate::host::Tier;
use crate::plan::Keeping;
use crate::profile::promise::Promise;
use crate::profile::recording::Recording;

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
    /// How much is recorded of what it does.
    pub recording: Recording,
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
    /// What was denied, but for what the gate denied.
    pub denials: Vec<Denied>,
    /// Who watched for that.
    pub watch: Watch,
    /// What it did, as far as it was recorded.
    pub observed: Box<Observed>,
    /// How near it came to its limits.
    pub peaks: Vec<Peak>,
    /// What the gate saw.
    pub reached: Reached,
}

/// What a gate saw of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Connections and lookups, the oldest first.
    pub contacts: Vec<Contact>,
    /// How many more there were, which are not listed.
    pub omitted: u64,
    /// Whether the gate was there to the end.
    pub lost: bool,
}

/// One connection that a gate made or denied, or a name that it did not look up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// What the command did.
    pub what: Attempt,
    /// The host by name, if it was asked for by one.
    pub name: Option<String>,
    /// The address that it has outside, or that was asked for.
    pub address: Option<String>,
    /// The port; 0 of a lookup.
    pub port: u16,
    /// What was seen of the protocol above TCP.
    pub spoken: Option<String>,
    /// The first requests, where the gate looked into them; of a request, that one.
    pub listed: Vec<Requested>,
    /// How many requests there were.
    pub requests: u64,
    /// What became of it.
    pub decision: Decision,
    /// By which rule, in words.
    pub rule: String,
    /// What to do about it, if it was denied.
    pub remedy: Option<String>,
    /// Bytes from the jail.
    pub sent: u64,
    /// Bytes to the jail.
    pub received: u64,
    /// Microseconds since the gate began.
    pub after_us: u64,
    /// Microseconds that it lasted, so far if it is not over.
    pub lasted_us: u64,
    /// How often the same was denied.
    pub count: u64,
    /// Whether this agent had reached the host before.
    pub met: Met,
}

impl Contact {
    /// One of which nothing is known yet.
    pub fn of(what: Attempt) -> Contact {
        Contact {
            what,
            name: None,
            address: None,
            port: 0,
            spoken: None,
            listed: Vec::new(),
            requests: 0,
            decision: Decision::Allowed,
            rule: String::new(),
            remedy: None,
            sent: 0,
            received: 0,
            after_us: 0,
            lasted_us: 0,
            count: 1,
            met: Met::Before,
        }
    }
}

/// What a command did that a gate saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Attempt {
    /// It connected over TCP.
    Connect,
    /// It asked for the address of a name.
    LookUp,
    /// It sent a datagram.
    Send,
    /// It sent a request, on a connection that was made.
    Request,
}

/// A request that a gate saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Requested {
    /// Its method.
    pub method: String,
    /// Its path, without what follows a `?`; not all of one that is long.
    pub path: String,
    /// The status of the answer, if there was one.
    pub status: Option<u16>,
    /// What became of it.
    pub decision: Decision,
}

/// Whether an agent had reached a host before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Met {
    /// It had, or nobody keeps count.
    Before,
    /// It had not, and the verdict says so.
    Flagged,
    /// It had not, and nobody wants to be told.
    Quietly,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decision {
    /// Connected.
    Allowed,
    /// Not connected, because of a rule.
    Denied,
    /// Allowed, and the host could not be reached.
    Failed,
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
