//! A ledger that many short processes write in turn: `clawjail run --ledger`.
//!
//! ```text
//!   stake    open, keep room of one's own beside it, close                         before the run
//!   redeem   open, append; if the disk is full by now, give the own room for it     after it
//! ```
//!
//! Nobody waits for another's run, only for another's append.

use std::fs::File;
use std::time::Duration;

use super::config::Settings;
use super::error::LedgerError;
use super::files::Directory;
use super::line::LONGEST;
use super::room;
use super::writer::Ledger;
use crate::verdict::Verdict;

/// How long somebody else's append may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// The right to add one record.
#[derive(Debug)]
#[must_use]
pub struct Claim {
    settings: Settings,
    /// Has no name and no content, only space.
    room: File,
}

impl Claim {
    /// Makes sure that the ledger can take a record, and keeps room for it.
    pub fn stake(settings: Settings) -> Result<Claim, LedgerError> {
        drop(Ledger::open(settings.clone(), PATIENCE)?);
        let file = Directory::write(&settings.path, settings.access)?.unnamed()?;
        // Twice, for a file may have to be begun as well.
        room::keep_just(&file, 0, 2 * LONGEST as u64).map_err(LedgerError::system("keep room in", &settings.path))?;
        Ok(Claim { settings, room: file })
    }

    /// Adds the record.
    pub fn redeem(self, verdict: &mut Verdict) -> Result<(), LedgerError> {
        let Claim { settings, room } = self;
        match append(&settings, verdict) {
            Err(error) if error.is_full() => {
                drop(room);
                append(&settings, verdict)
            }
            appended => appended,
        }
    }
}

fn append(settings: &Settings, verdict: &mut Verdict) -> Result<(), LedgerError> {
    Ledger::open(settings.clone(), PATIENCE)?.append(verdict)
}
