//! Where a ledger ends: what a writer goes on from.
//!
//! Owns finding the newest whole line and whatever a crash left after it. Looks at the end alone; the rest is `verify`'s.

use jiff::Timestamp;

use super::error::LedgerError;
use super::event::{Event, Note, Torn};
use super::files::Directory;
use super::line::{Head, unseal};
use super::scan::{self, Backward, Forward, Piece};

/// The end of a ledger.
#[derive(Debug)]
pub struct End {
    /// The newest line.
    pub head: Head,
    /// Number of the newest file; 0 if there is none.
    pub number: u64,
    /// The file to go on with; `None` if another has to be begun.
    pub file: Option<Continued>,
    /// What is torn and in no chain yet, oldest first.
    pub torn: Vec<Torn>,
}

/// A file that can be gone on with.
#[derive(Debug)]
pub struct Continued {
    /// Its length.
    pub size: u64,
    /// When it was begun.
    pub begun: Timestamp,
}

/// Finds the end.
pub fn find(directory: &Directory) -> Result<End, LedgerError> {
    let numbers = directory.numbers()?;
    let mut end = End { head: Head::NONE, number: numbers.last().copied().unwrap_or(0), file: None, torn: Vec::new() };
    for number in numbers.into_iter().rev() {
        let torn = torn_end(directory, number)?;
        let last = last_line(directory, number)?;
        let whole = torn.is_none();
        end.torn.extend(torn);
        // Without a line it says nothing of the file before, whose end then is in no chain either.
        let Some(head) = last else { continue };
        end.head = head;
        if whole && number == end.number {
            end.file = Some(continued(directory, number)?);
        }
        break;
    }
    end.torn.reverse();
    Ok(end)
}

/// What is after the last whole line; for a file without any, all of it.
fn torn_end(directory: &Directory, number: u64) -> Result<Option<Torn>, LedgerError> {
    let file = directory.open(number)?;
    let path = directory.path_of(number);
    let tail = scan::end_of_lines(&file)
        .and_then(|offset| scan::tail(&file, offset))
        .map_err(LedgerError::system("read", &path))?;
    if tail.holds_whole_line {
        return Err(LedgerError::altered(path, "something that is no line stands after its last line"));
    }
    let torn = Torn { file: number, offset: tail.offset, bytes: tail.bytes, sha256: tail.hash.to_string() };
    Ok((tail.bytes > 0 || tail.offset == 0).then_some(torn))
}

fn last_line(directory: &Directory, number: u64) -> Result<Option<Head>, LedgerError> {
    let path = directory.path_of(number);
    let last = Backward::new(directory.open(number)?).and_then(|mut lines| lines.line());
    let Some(line) = last.map_err(LedgerError::system("read", &path))? else { return Ok(None) };
    let links = unseal(&line).map_err(|flaw| LedgerError::altered(path, format!("its last line {flaw}")))?;
    Ok(Some(Head { seq: links.seq, hash: links.hash }))
}

fn continued(directory: &Directory, number: u64) -> Result<Continued, LedgerError> {
    let file = directory.open(number)?;
    let path = directory.path_of(number);
    let size = file.metadata().map_err(LedgerError::system("read", &path))?.len();
    let first = begun(directory, number)?;
    match first {
        Some((begun, file)) if file == number => Ok(Continued { size, begun }),
        _ => Err(LedgerError::altered(path, "its first line does not begin this file")),
    }
}

/// When a file was begun, and the number that its first line gives it; `None` if that is not what its first line says.
pub fn begun(directory: &Directory, number: u64) -> Result<Option<(Timestamp, u64)>, LedgerError> {
    let first = Forward::new(directory.open(number)?, 0).and_then(|mut lines| lines.read());
    let first = first.map_err(LedgerError::system("read", directory.path_of(number)))?;
    let Piece::Line(line) = first else { return Ok(None) };
    let note = unseal(&line).ok().and_then(|_| serde_json::from_slice::<Note>(&line).ok());
    Ok(note.and_then(|note| match note.event {
        Event::FileBegun { file, .. } => Some((note.time.parse().ok()?, file)),
        Event::RecordsLost { .. } => None,
    }))
}
