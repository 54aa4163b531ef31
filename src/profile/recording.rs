//! How much of what a command does is recorded.
//!
//! Owns the three words. What each of them costs is measured by `cargo bench --bench evidence` and stated in docs/evidence.md.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of what a command does is recorded. Each has all of those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Recording {
    /// Nothing but what was denied, as far as it is seen without asking about what is allowed.
    #[default]
    Off,
    /// Commands: path, arguments, parent, end, time; and sockets that listen.
    Commands,
    /// Names in the workspace that are created, changed, removed or renamed, too, and every path that is opened for reading,
    /// so that hidden paths that a command asks for are denials in the record.
    Full,
}

impl Recording {
    /// As a profile spells it.
    pub fn word(self) -> &'static str {
        match self {
            Recording::Off => "off",
            Recording::Commands => "commands",
            Recording::Full => "full",
        }
    }
}
