//! The folder of a skill, looked at without running anything of it.
//!
//! Owns the rules (`policies/openclaw/skill.toml`) and the walk. Whatever cannot be looked at is a finding; there is no way to end
//! with less looked at than is said.

use std::time::Instant;

use serde::Serialize;

pub mod decoded;
pub mod folder;
pub mod needles;
pub mod package;
pub mod rules;
pub mod shape;
pub mod text;
pub mod unicode;

use rules::Severity;

/// One thing that was found, as OpenClaw shows it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Which rule found it.
    pub rule_id: String,
    /// Why that is bad.
    pub message: String,
    /// Where, relative to the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// In which line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What stands there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evidence: Option<String>,
}

/// The time was up before everything was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfTime;

/// Until when.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// Whether there is time left.
    pub fn check(self) -> Result<(), OutOfTime> {
        if Instant::now() < self.0 { Ok(()) } else { Err(OutOfTime) }
    }
}
