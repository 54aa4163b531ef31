//! What a ledger says about itself, between the verdicts.
//!
//! Owns the lines that are no verdict. They are links of the same chain.

use serde::{Deserialize, Serialize};

/// Version of the format of files and events.
pub const FORMAT: u32 = 1;

/// A line that is no verdict.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// When, RFC 3339, UTC.
    pub time: String,
    /// Number of the line.
    pub seq: u64,
    /// SHA-256 of the line before.
    pub previous: String,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line of every file.
    FileBegun {
        /// [`FORMAT`].
        format: u32,
        /// Number of the file; that of its name.
        file: u64,
        /// Why.
        because: Because,
        /// Ends of earlier files that are no whole line, and that no file has named before.
        torn: Vec<Torn>,
    },
    /// Verdicts that could not be written when they should have been.
    RecordsLost {
        /// How many.
        count: u64,
        /// When the first one was, RFC 3339.
        since: String,
        /// What the system said, the last time.
        why: String,
    },
}

/// Why a file was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// There was none.
    First,
    /// The one before was long enough.
    Size,
    /// The one before was old enough.
    Age,
    /// The one before ends in a torn line.
    Torn,
    /// The one before could not be synced: what was written to it last may be lost when power is.
    SyncFailed,
}

/// The end of a file that is no whole line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Torn {
    /// Number of the file.
    pub file: u64,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// SHA-256 of it.
    pub sha256: String,
}
