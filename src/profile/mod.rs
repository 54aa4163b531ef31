//! Profiles: what a caller names.
//!
//! Text becomes [`schema::ProfileFile`] (as typed), then [`Profile`] (resolved: `extends` followed, every `@set` replaced
//! by its members, every default filled in with the strict side). A `Profile` holds no doubt that `plan::compile` would
//! have to settle about the text; what it still does not know is the host and the request.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::policy::egress::Rules;
use crate::policy::syscalls::SyscallPolicy;

pub mod check;
pub mod diff;
pub mod error;
mod expand;
mod lineage;
pub mod lint;
pub mod listing;
pub mod load;
pub mod narrow;
pub mod packed;
pub mod promise;
pub mod recording;
pub mod requests;
pub mod resolve;
pub mod schema;
mod terms;
pub mod typed;
pub mod units;
pub mod usage;

use promise::{Demand, Promise};
use recording::Recording;
use units::{Bytes, Cpus, Span};

/// A profile with nothing left to look up.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Profile {
    /// The name that a caller asked for.
    pub name: String,
    /// One sentence: for whom, and what it may do.
    pub summary: String,
    /// Where it came from, base first: `built-in:base`, `built-in:untrusted`, `/etc/clawjail/profiles/x.toml`.
    pub sources: Vec<String>,
    /// The caller's directory inside the jail.
    pub workspace: Workspace,
    /// What exists in the view and who may do what with it.
    pub filesystem: Filesystem,
    /// Hosts that may be reached; empty means no network at all.
    pub egress: Egress,
    /// What the command inherits.
    pub environment: Environment,
    /// What the jail may use up.
    pub limits: Limits,
    /// Which system calls may be made.
    pub syscalls: SyscallPolicy,
    /// How much of what a command does is recorded.
    pub recording: Recording,
    /// How firmly each promise must be kept. A promise that is not named here is demanded in full.
    pub require: BTreeMap<Promise, Demand>,
}

/// `[workspace]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Workspace {
    /// What the command may do with it.
    pub access: WorkspaceAccess,
    /// Where it stands inside the jail.
    pub at: WorkspaceAt,
}

/// What the command may do with the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkspaceAccess {
    /// It is not there.
    None,
    /// Readable.
    Ro,
    /// Readable and writable.
    Rw,
}

/// Where the workspace stands inside the jail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkspaceAt {
    /// At the path it has on the host (`at = "same"`).
    Same,
    /// At this absolute path.
    Path(String),
}

/// `[filesystem]`, every set replaced by its members, sorted by path, each path once a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filesystem {
    /// Readable (files and directory listings). Absolute, or `~/...` for the caller's home on the host.
    pub read: Vec<Grant>,
    /// Readable and writable. Absolute or `~/...`.
    pub write: Vec<Grant>,
    /// Executable and readable. Absolute, `~/...`, or `@workspace`.
    pub execute: Vec<Grant>,
    /// Not there, whatever else is granted. Absolute, `~/...`, or relative to the workspace; `*` and `**` are globs.
    pub hide: Vec<Grant>,
    /// Readable where granted, never writable, also when absent at start. Same forms as `hide`.
    pub protect: Vec<Grant>,
    /// The private `/tmp`.
    pub tmp: Tmp,
}

/// One path (or pattern) with its reason and where it was said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Grant {
    /// The path or pattern, in the forms that its list allows.
    pub path: String,
    /// Why it is there; from the line of the policy, or "named by the profile".
    pub why: String,
    /// Who said so: `@system`, or the source of the profile.
    pub from: String,
}

/// `tmp = { size, execute }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmp {
    /// Size of the tmpfs.
    pub size: Bytes,
    /// Whether files in it may be executed.
    pub execute: bool,
}

/// `[egress]`, every set replaced by its hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Egress {
    /// What may be reached, and what not.
    pub rules: Rules,
}

/// `[environment]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// Names that are copied from the caller, or asked for by `--pass`.
    pub pass: Vec<String>,
    /// Names and values that are set. `{home}` in a value stands for the caller's home on the host.
    pub set: BTreeMap<String, String>,
}

/// `[limits]`. `None` is the word `"unlimited"`, written out in the profile.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory of the whole jail, page cache of its private tmpfs included; no swap.
    pub memory: Option<Bytes>,
    /// Processor time per wall time; 1.0 is one processor.
    pub cpus: Option<Cpus>,
    /// Processes and threads of the whole jail.
    pub processes: Option<u64>,
    /// Open files of each process.
    pub open_files: u64,
    /// Size of one file.
    pub file_size: Option<Bytes>,
    /// Wall time of a run.
    pub wall: Option<Span>,
    /// Bytes of stdout and stderr together; what is over is read and thrown away, and the verdict says so.
    pub output: Option<Bytes>,
    /// Size of the private home.
    pub disk: Bytes,
    /// Runs a caller may start in a minute (kept by the daemon).
    pub runs_per_minute: Option<u64>,
}
