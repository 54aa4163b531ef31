//! Going through the verdicts of a ledger: newest first.
//!
//! Owns the order over files. Needs no lock and little memory, and goes on while the ledger is written.

use std::io;
use std::ops::ControlFlow;

use jiff::Timestamp;

use super::error::LedgerError;
use super::files::Directory;
use super::resume;
use super::scan::Backward;

/// Where a line begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Number of the file.
    pub file: u64,
    /// Bytes of it before the line.
    pub offset: u64,
}

/// Calls `see` for each whole line, newest first, until it has seen enough. `since`: files whose lines were all written
/// before it are left out.
pub fn newest_first(
    directory: &Directory,
    since: Option<Timestamp>,
    mut see: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), LedgerError> {
    before(directory, None, since, |_, line| see(line))
}

/// The same, from the line on that is before `place`; and where each one is.
pub fn before(
    directory: &Directory,
    place: Option<Place>,
    since: Option<Timestamp>,
    mut see: impl FnMut(Place, &[u8]) -> ControlFlow<()>,
) -> Result<(), LedgerError> {
    let mut ended: Option<Timestamp> = None;
    let newest = place.map_or(u64::MAX, |place| place.file);
    for number in directory.numbers()?.into_iter().rev().filter(|number| *number <= newest) {
        // A file ended when the one after it was begun, and a record is written after its run.
        if since.zip(ended).is_some_and(|(since, ended)| ended < since) {
            break;
        }
        let read = |error: io::Error| LedgerError::system("read", directory.path_of(number))(error);
        let file = directory.open(number)?;
        let mut lines = match place.filter(|place| place.file == number) {
            Some(place) => Backward::before(file, place.offset),
            None => Backward::new(file).map_err(read)?,
        };
        while let Some(line) = lines.line().map_err(read)? {
            if see(Place { file: number, offset: lines.offset() }, &line).is_break() {
                return Ok(());
            }
        }
        ended = resume::begun(directory, number)?.map(|(begun, _)| begun).or(ended);
    }
    Ok(())
}
