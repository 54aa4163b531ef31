//! The promises: guarantees that a profile asks for, whatever mechanism keeps them on a host.
//!
//! Owns their names, one sentence for each, and how firmly a profile can demand one. Must not know mechanisms.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A guarantee. All are demanded in full unless `[require]` says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Promise {
    /// Only the paths that the profile names can be read, written or executed.
    Filesystem,
    /// Hidden paths cannot be read, protected paths cannot be changed or created.
    Shielded,
    /// No byte leaves but to what `[egress]` allows: no address family reaches the host or the network, no socket of the host can be connected to.
    Network,
    /// No capability, no way to gain privilege, no keyring of the caller.
    Identity,
    /// Only the system calls of the policy.
    Syscalls,
    /// Processes outside can be neither seen nor signalled.
    Processes,
    /// Nothing that the run started outlives it.
    Lifetime,
    /// Memory, processes, processor time, disk and output are bounded.
    Limits,
}

impl Promise {
    /// Every promise, in the order in which they are shown.
    pub const ALL: [Promise; 8] = [
        Promise::Filesystem,
        Promise::Shielded,
        Promise::Network,
        Promise::Identity,
        Promise::Syscalls,
        Promise::Processes,
        Promise::Lifetime,
        Promise::Limits,
    ];

    /// The word used in `[require]`, in plans and in verdicts.
    pub fn word(self) -> &'static str {
        match self {
            Promise::Filesystem => "filesystem",
            Promise::Shielded => "shielded",
            Promise::Network => "network",
            Promise::Identity => "identity",
            Promise::Syscalls => "syscalls",
            Promise::Processes => "processes",
            Promise::Lifetime => "lifetime",
            Promise::Limits => "limits",
        }
    }

    /// What is promised, in one sentence without a period.
    pub fn sentence(self) -> &'static str {
        match self {
            Promise::Filesystem => "only the paths that the profile names can be read, written or executed",
            Promise::Shielded => "hidden paths cannot be read, protected paths cannot be changed or created",
            Promise::Network => "nothing leaves but what [egress] allows: no other network, no socket of the host",
            Promise::Identity => "no capability, no way to gain privilege, no keyring of the caller",
            Promise::Syscalls => "only the system calls of the policy",
            Promise::Processes => "processes outside can be neither seen nor signalled",
            Promise::Lifetime => "nothing that the run started outlives it",
            Promise::Limits => "memory, processes, processor time, disk and output are bounded",
        }
    }
}

/// How firmly a promise is demanded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Demand {
    /// Kept whole, or the run is refused.
    Full,
    /// As far as this host can; the verdict then says `partial` and names what is missing.
    Partial,
}
