//! What setup says of what it does.

use std::path::Path;

/// Why it was not done.
pub enum Problem {
    /// It cannot be, and perhaps what to do about it.
    Refused(String, Option<String>),
    /// Something did not work.
    Failed(String),
}

impl Problem {
    /// Something did not work with `path`.
    pub fn failed(what: &str, path: &Path, error: &std::io::Error) -> Problem {
        Problem::Failed(format!("cannot {what} `{}`: {error}", path.display()))
    }
}

/// Whether things are done, or only told.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Done.
    Do,
    /// Told.
    Tell,
}

/// What was done so far, as lines.
pub struct Report {
    /// Whether anything is done.
    pub mode: Mode,
    /// The lines.
    pub text: String,
    /// How many changes.
    pub changes: usize,
}

impl Report {
    /// A change: `done` or `would` be done to `what`.
    pub fn change(&mut self, done: &str, would: &str, what: &str) {
        self.changes += 1;
        match self.mode {
            Mode::Do => self.say(&format!("{done:<9} {what}")),
            Mode::Tell => self.say(&format!("would {would} {what}")),
        }
    }

    /// A line.
    pub fn say(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}
