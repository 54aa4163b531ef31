//! What this host can do, as data.
//!
//! Owns the facts that `plan::compile` decides by. Must not look anything up itself: `jail::survey` tries the
//! mechanisms for real and fills this in, and tests fill it in by hand.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where our power comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// Started as root: all namespaces, a throw-away uid for each jail.
    Root,
    /// Unprivileged user namespaces work: the same inside a user namespace.
    User,
    /// Neither: Landlock, seccomp and resource limits alone.
    Bare,
}

impl Tier {
    /// The word that `--tier` takes and a verdict shows.
    pub fn word(self) -> &'static str {
        match self {
            Tier::Root => "root",
            Tier::User => "user",
            Tier::Bare => "bare",
        }
    }

    /// Whether jails of this tier have namespaces of their own, so that a view can be built.
    pub fn has_namespaces(self) -> bool {
        !matches!(self, Tier::Bare)
    }
}

/// Which resource controllers a jail can be given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Controllers {
    /// cgroup v2: a directory under which we may create groups and whose controllers are enabled for children.
    V2 {
        /// The parent of jail groups.
        parent: PathBuf,
        /// Of `memory`, `pids` and `cpu`, those enabled in `cgroup.subtree_control`.
        enabled: Vec<String>,
    },
    /// cgroup v1: the parent of jail groups by controller (`memory`, `pids`, `cpu`).
    V1 {
        /// Controller name to the directory under which jail groups are made.
        parents: Vec<(String, PathBuf)>,
    },
    /// No controller can be had; `why` names the cause.
    None {
        /// The exact cause, for the verdict and for `doctor`.
        why: String,
    },
}

/// Whether the owner of a tree can be shown as another uid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IdmappedMounts {
    /// It can.
    Work,
    /// Not on this filesystem, or not on this kernel.
    NotOfThisFilesystem,
    /// Nowhere: a translation is a user namespace, and no more of these may be made, not by root either.
    NoUserNamespace,
}

/// Facts about the host, found by trying.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// The tier that this process runs in.
    pub tier: Tier,
    /// Newest Landlock ABI that the kernel answers; 0 when Landlock is missing or off.
    pub landlock_abi: u32,
    /// Whether `SECCOMP_FILTER_FLAG_NEW_LISTENER` filters can be installed and `ADDFD_SEND` works (Linux 5.14).
    pub seccomp_notify: bool,
    /// What limits can rest on.
    pub controllers: Controllers,
    /// Whether `mount_setattr(MOUNT_ATTR_IDMAP)` works for the workspace (root tier).
    pub idmapped_mounts: IdmappedMounts,
    /// Processors that are online.
    pub cpus: u32,
}
