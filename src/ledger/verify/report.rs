//! What a verification comes to.

use std::fmt;

use serde::Serialize;

use super::super::event::Torn;
use super::super::files;
use super::super::line::Head;

/// So many breaks are told one by one.
const TOLD: usize = 20;

/// What was found.
#[derive(Debug)]
pub struct Report {
    /// How many files were read.
    pub files: u64,
    /// How many whole lines.
    pub lines: u64,
    /// How many of them are verdicts.
    pub verdicts: u64,
    /// How many verdicts could not be written when they should have been, as the ledger itself says.
    pub lost: u64,
    /// Torn ends that the chain names.
    pub torn: Vec<Torn>,
    /// Torn ends that it does not name yet: the next writer will.
    pub unnamed: Vec<Torn>,
    /// What is not as it was written.
    pub breaks: Breaks,
    /// The newest line.
    pub head: Head,
}

/// Breaks of the chain: the first few, and how many there are.
#[derive(Debug, Default)]
pub struct Breaks {
    /// The first few.
    pub first: Vec<Break>,
    /// How many there are.
    pub count: u64,
}

/// A place where the chain is broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Break {
    /// Name of the file.
    pub file: String,
    /// The line, counted from 1; 0 if it is not about one.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

/// The judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Sound {
    /// Everything is as it was written.
    Yes,
    /// Everything but the very end, where a line is torn, as power cuts and full disks leave it.
    Torn,
    /// Something is not as it was written.
    No,
}

impl Sound {
    /// For programs.
    pub fn word(self) -> &'static str {
        match self {
            Sound::Yes => "sound",
            Sound::Torn => "torn",
            Sound::No => "tampered",
        }
    }
}

impl Default for Report {
    fn default() -> Self {
        let (torn, unnamed) = (Vec::new(), Vec::new());
        let breaks = Breaks::default();
        Report { files: 0, lines: 0, verdicts: 0, lost: 0, torn, unnamed, breaks, head: Head::NONE }
    }
}

impl Breaks {
    /// One more.
    pub fn push(&mut self, found: Break) {
        self.count += 1;
        if self.first.len() < TOLD {
            self.first.push(found);
        }
    }
}

impl Break {
    /// At a line of a file; 0 for neither.
    pub fn new(file: u64, line: u64, what: impl Into<String>) -> Break {
        let file = if file == 0 { String::new() } else { files::name(file) };
        Break { file, line, what: what.into() }
    }
}

impl fmt::Display for Break {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", _) => write!(f, "{}", self.what),
            (file, 0) => write!(f, "{file}: {}", self.what),
            (file, line) => write!(f, "{file}:{line}: the line {}", self.what),
        }
    }
}

impl Report {
    /// What all of it comes to.
    pub fn sound(&self) -> Sound {
        match (self.breaks.count, self.unnamed.is_empty()) {
            (0, true) => Sound::Yes,
            (0, false) => Sound::Torn,
            _ => Sound::No,
        }
    }
}
