//! What a caller asks for, after authentication and before any decision.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Owner;

/// Who asks, as the kernel says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Login name, or the uid in digits.
    pub name: String,
    /// Home directory on the host.
    pub home: PathBuf,
}

/// The directory that the command works in, opened and judged before anything else happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceDirectory {
    /// Its real path on the host, without symbolic links.
    pub path: PathBuf,
    /// Who owns it on disk.
    pub owner: Owner,
    /// Where git finds the hooks of the repository there, relative to it, if its settings name a directory in it.
    pub hooks: Option<String>,
}

/// A directory beside the workspace, which can be read: opened and judged as a workspace is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedDirectory {
    /// Its real path on the host.
    pub path: PathBuf,
    /// Who owns it on disk.
    pub owner: Owner,
    /// Where it is shown.
    pub at: PathBuf,
}

/// One request, as far as the plan depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who.
    pub caller: Caller,
    /// Where.
    pub workspace: WorkspaceDirectory,
    /// What is beside it.
    pub mounts: Vec<MountedDirectory>,
    /// Where the command starts: a host path inside the workspace, or none for the workspace itself.
    pub cwd: Option<PathBuf>,
    /// The caller's own wall limit in milliseconds; it can only shorten the profile's.
    pub timeout_ms: Option<u64>,
}
