//! Secrets that a gate puts into requests: where they come from, and what stands for them in the jail.
//!
//! Owns the words about them, never a value.

use serde::{Deserialize, Serialize};

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// The environment variable in which the command finds what stands for it.
    pub env: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// A file that nobody else may read.
    File(String),
    /// A variable of clawjail's own environment.
    Environment(String),
    /// A credential that systemd gave to the service.
    Credential(String),
    /// What a program says.
    Command {
        /// The program, by its whole path, and its arguments.
        argv: Vec<String>,
        /// How long it may take, in milliseconds.
        timeout_ms: u64,
    },
}

/// How a plan's environment writes what stands for the secret `name`, until there is a jail.
pub fn stand_in(name: &str) -> String {
    format!("{{placeholder:{name}}}")
}
