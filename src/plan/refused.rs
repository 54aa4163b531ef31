//! A no of ours, and what to do about it.

/// A no, before anything started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Stable word for programs: `egress_not_supported`, `promise_not_kept`, ...
    pub code: &'static str,
    /// One line for people.
    pub message: String,
    /// What to do about it, on its own line.
    pub remedy: Option<String>,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.message)
    }
}

impl std::error::Error for Refused {}
