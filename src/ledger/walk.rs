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

/// Calls `see` for each whole line, newest first, until it has seen enough. `since`: files whose lines were all written
/// before it are left out.
pub fn newest_first(
    directory: &Directory,
    since: Option<Timestamp>,
    mut see: impl FnMut(&[u8]) -> ControlFlow<()>,
) -> Result<(), LedgerError> {
    let mut ended: Option<Timestamp> = None;
    for number in directory.numbers()?.into_iter().rev() {
        // A file ended when the one after it was begun, and a record is written after its run.
        if since.zip(ended).is_some_and(|(since, ended)| ended < since) {
            break;
        }
        let read = |error: io::Error| LedgerError::system("read", directory.path_of(number))(error);
        let mut lines = Backward::new(directory.open(number)?).map_err(read)?;
        while let Some(line) = lines.line().map_err(read)? {
            if see(&line).is_break() {
                return Ok(());
            }
        }
        ended = resume::begun(directory, number)?.map(|(begun, _)| begun).or(ended);
    }
    Ok(())
}
