//! Whether a ledger is as its writer left it.
//!
//! Goes through every line of every file once, and compares each with the one before: its number, the hash that it names,
//! its own seal; and at the beginning of each file its number, and what it says of torn ends before it. Owns the
//! judgement; [`Report`] is what it comes to.
//!
//! A chain proves the order and content of what is there. It cannot prove that nothing was cut off at its end, or that all
//! of it was not written anew: for that, somebody must have kept a head elsewhere ([`Anchors`]).

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use super::error::LedgerError;
use super::event::{Event, FORMAT, Note, Torn};
use super::files::Directory;
use super::line::{Flaw, Head, Links, unseal};
use super::scan::{self, Forward, Piece};

mod report;

pub use report::{Break, Report, Sound};

/// Heads that were kept elsewhere.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anchors {
    /// A line that must be there, with this hash.
    pub expect: Option<Head>,
    /// The line before the first one that is there, where older files were moved away.
    pub from: Option<Head>,
}

/// How long a writer that is not disturbed takes at most to finish a line.
pub const PATIENCE: Duration = Duration::from_millis(300);

/// How long between two looks at a line that is not whole.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// Verifies the whole ledger. What is no whole line at its end counts as torn when it still is none after `patience`, for a
/// writer may be in the middle of it.
pub fn verify(directory: &Directory, anchors: Anchors, patience: Duration) -> Result<Report, LedgerError> {
    let mut chain = Chain::new(anchors, patience);
    let mut number = chain.begin(&directory.numbers()?);
    let mut newest = 0;
    while let Some(current) = number {
        newest = current;
        chain.file(directory, current)?;
        // Looked up again: the writer may have begun another one.
        number = directory.numbers()?.into_iter().find(|number| *number > current);
        if let Some(next) = number {
            chain.missing(current + 1, next);
        }
    }
    Ok(chain.end(newest))
}

/// The chain as far as it was gone through.
struct Chain {
    anchors: Anchors,
    patience: Duration,
    report: Report,
    /// The last line, as it is.
    head: Head,
    /// Whether `head` is that of a line that was itself altered: what follows names the hash of the genuine one.
    broken: bool,
    /// Torn ends that no file has named yet.
    torn: Vec<Torn>,
    met_expected: bool,
}

/// Where a line stands.
#[derive(Clone, Copy)]
struct At {
    file: u64,
    line: u64,
}

impl Chain {
    fn new(anchors: Anchors, patience: Duration) -> Chain {
        let head = anchors.from.unwrap_or(Head::NONE);
        let met_expected = anchors.expect.is_none_or(|expected| expected == head);
        Chain { anchors, patience, report: Report::default(), head, broken: false, torn: Vec::new(), met_expected }
    }

    /// The first file. Without a kept head, it has to be the first one of all.
    fn begin(&mut self, numbers: &[u64]) -> Option<u64> {
        let first = numbers.first().copied();
        match first {
            Some(first) if self.anchors.from.is_none() => self.missing(1, first),
            Some(_) => {}
            None => self.report.breaks.push(Break::new(0, 0, "there is no file")),
        }
        first
    }

    fn missing(&mut self, expected: u64, found: u64) {
        match found.saturating_sub(expected) {
            0 => {}
            1 => self.report.breaks.push(Break::new(expected, 0, "the file is missing")),
            count => self.report.breaks.push(Break::new(expected, 0, format!("{count} files are missing from here"))),
        }
    }

    fn file(&mut self, directory: &Directory, number: u64) -> Result<(), LedgerError> {
        let error = |error: io::Error| LedgerError::system("read", directory.path_of(number))(error);
        let file = directory.open(number)?;
        let mut lines = file.try_clone().and_then(|file| Forward::new(file, 0)).map_err(error)?;
        let (mut at, mut torn_since) = (At { file: number, line: 0 }, None);
        self.report.files += 1;
        loop {
            match lines.read().map_err(error)? {
                Piece::Line(line) => {
                    (at.line, torn_since) = (at.line + 1, None);
                    self.line(at, &line);
                }
                // To a file that is followed by another, nothing is written any more.
                Piece::Tail(_)
                    if torn_since.get_or_insert_with(Instant::now).elapsed() < self.patience
                        && directory.numbers()?.last() == Some(&number) =>
                {
                    std::thread::sleep(BETWEEN_LOOKS);
                }
                Piece::Tail(offset) => return self.tail(at, &file, offset).map_err(error),
                Piece::TooLong => {
                    self.breaks(At { line: at.line + 1, ..at }, Flaw::TooLong);
                    self.broken = true;
                    return Ok(());
                }
                Piece::End if at.line == 0 => return self.tail(at, &file, 0).map_err(error),
                Piece::End => return Ok(()),
            }
        }
    }

    fn line(&mut self, at: At, line: &[u8]) {
        self.report.lines += 1;
        match unseal(line) {
            Ok(links) => {
                self.links(at, &links);
                self.event(at, &links, line);
            }
            Err(flaw) => {
                self.breaks(at, flaw);
                // What it was before cannot be known; the next line may still name its true hash.
                self.head = self.head.after(line);
                self.broken = true;
            }
        }
        self.expected(at);
    }

    fn links(&mut self, at: At, links: &Links) {
        let expected = self.head.seq.saturating_add(1);
        if links.seq > expected {
            self.breaks(at, format!("is number {}: {} lines before it are missing", links.seq, links.seq - expected));
        } else if links.seq < expected {
            self.breaks(at, format!("is number {} after number {}: lines are out of order", links.seq, self.head.seq));
        } else if links.previous != self.head.hash && !self.broken {
            self.breaks(at, "does not name the hash of the line before: that one is not the one it was written after");
        }
        self.head = Head { seq: links.seq, hash: links.hash };
        self.broken = false;
    }

    fn event(&mut self, at: At, links: &Links, line: &[u8]) {
        let note = links.event.is_some().then(|| serde_json::from_slice::<Note>(line).map(|note| note.event));
        match note {
            Some(Ok(Event::FileBegun { format, file, torn, .. })) => return self.begun(at, format, file, &torn),
            Some(Ok(Event::RecordsLost { count, .. })) => self.report.lost = self.report.lost.saturating_add(count),
            Some(Err(_)) => self.breaks(at, "tells of something that this version does not know"),
            None => self.report.verdicts += 1,
        }
        if at.line == 1 {
            self.breaks(at, "does not begin a file, and is the first of one");
        }
    }

    fn begun(&mut self, at: At, format: u32, file: u64, torn: &[Torn]) {
        if at.line != 1 || file != at.file || format != FORMAT {
            self.breaks(at, format!("begins file {file} in format {format}, not this one in format {FORMAT}"));
        }
        let named = std::mem::take(&mut self.torn);
        if named != torn {
            self.breaks(at, "names other torn ends of files before it than there are");
        }
        self.report.torn.extend(named);
    }

    /// The end of a file that is no whole line.
    fn tail(&mut self, at: At, file: &File, offset: u64) -> io::Result<()> {
        let tail = scan::tail(file, offset)?;
        if tail.holds_whole_line {
            self.breaks(At { line: at.line + 1, ..at }, "is followed by something else than a newline");
        }
        self.torn.push(Torn { file: at.file, offset, bytes: tail.bytes, sha256: tail.hash.to_string() });
        Ok(())
    }

    fn expected(&mut self, at: At) {
        let Some(expected) = self.anchors.expect.filter(|expected| expected.seq == self.head.seq) else { return };
        if expected.hash != self.head.hash {
            self.breaks(at, format!("is not the line {expected} that was expected"));
        }
        self.met_expected = true;
    }

    fn breaks(&mut self, at: At, what: impl ToString) {
        self.report.breaks.push(Break::new(at.file, at.line, what.to_string()));
    }

    fn end(mut self, newest: u64) -> Report {
        if let Some(expected) = self.anchors.expect.filter(|_| !self.met_expected) {
            let what =
                format!("line {expected} was expected and is missing: the newest one is number {}", self.head.seq);
            self.report.breaks.push(Break::new(newest, 0, what));
        }
        self.report.head = self.head;
        self.report.unnamed = self.torn;
        self.report
    }
}
