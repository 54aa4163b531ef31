//! Reading the lines of one file: forwards, backwards, and the end that may be torn.
//!
//! Owns how bytes become lines, with bounded memory whatever a file holds. Must not judge what a line says.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};

use super::line::{self, Hash, LONGEST};

/// How much is read at once.
const CHUNK: u64 = 64 * 1024;

/// What stands at a place of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// A line, without its newline.
    Line(Vec<u8>),
    /// Bytes up to the end of the file without a newline; where they begin.
    Tail(u64),
    /// More bytes without a newline than a line has.
    TooLong,
    /// Nothing: this is the end.
    End,
}

/// Lines from a place on.
pub struct Forward {
    reader: BufReader<File>,
    offset: u64,
}

impl Forward {
    /// From `offset` on, where a line begins.
    pub fn new(mut file: File, offset: u64) -> io::Result<Forward> {
        file.seek(SeekFrom::Start(offset))?;
        Ok(Forward { reader: BufReader::new(file), offset })
    }

    /// What comes next. After a tail the same place is read again, for it may be a line by then.
    pub fn read(&mut self) -> io::Result<Piece> {
        let mut line = Vec::new();
        let read = self.reader.by_ref().take(LONGEST as u64).read_until(b'\n', &mut line)?;
        if line.pop_if(|last| *last == b'\n').is_some() {
            self.offset += read as u64;
            return Ok(Piece::Line(line));
        }
        match read {
            0 => Ok(Piece::End),
            LONGEST => Ok(Piece::TooLong),
            _ => {
                self.reader.seek(SeekFrom::Start(self.offset))?;
                Ok(Piece::Tail(self.offset))
            }
        }
    }

    /// Where the next line begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }
}

/// Lines from the last one to the first; a torn end is left out.
pub struct Backward {
    file: File,
    /// Where `held` begins in the file.
    start: u64,
    /// What was read and not given out: the line in question is at its end.
    held: Vec<u8>,
    over: bool,
    /// Where the line begins that was given out last.
    at: u64,
}

impl Backward {
    /// From the end of `file`.
    pub fn new(file: File) -> io::Result<Backward> {
        let end = end_of_lines(&file)?;
        Ok(Backward::before(file, end))
    }

    /// From the line on that ends before `offset`, where a line begins.
    pub fn before(file: File, offset: u64) -> Backward {
        // Without the newline of that line, as between any two turns of `line`.
        Backward { file, start: offset.saturating_sub(1), held: Vec::new(), over: offset == 0, at: offset }
    }

    /// Where the line begins that was given out last.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The line before.
    pub fn line(&mut self) -> io::Result<Option<Vec<u8>>> {
        if self.over {
            return Ok(None);
        }
        loop {
            if let Some(at) = self.held.iter().rposition(|byte| *byte == b'\n') {
                let line = self.held.split_off(at + 1);
                self.at = self.start + at as u64 + 1;
                self.held.truncate(at);
                return Ok(Some(line));
            }
            if self.start == 0 {
                (self.over, self.at) = (true, 0);
                return Ok(Some(std::mem::take(&mut self.held)));
            }
            if self.held.len() >= LONGEST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, line::Flaw::TooLong.to_string()));
            }
            self.hold_more()?;
        }
    }

    fn hold_more(&mut self) -> io::Result<()> {
        let length = self.start.min(CHUNK);
        let mut chunk = vec![0; usize::try_from(length).unwrap_or(0)];
        self.file.read_exact_at(&mut chunk, self.start - length)?;
        chunk.append(&mut self.held);
        self.held = chunk;
        self.start -= length;
        Ok(())
    }
}

/// The end of a file that is no whole line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Its SHA-256.
    pub hash: Hash,
    /// Whether a whole line stands in it, followed by something else than a newline: that is no power cut.
    pub holds_whole_line: bool,
}

/// Where the last whole line of a file ends, its newline included.
pub fn end_of_lines(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut chunk = vec![0; CHUNK as usize];
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        let part = chunk.get_mut(..usize::try_from(end - start).unwrap_or(0)).unwrap_or_default();
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// The bytes from `offset` to the end of the file.
pub fn tail(file: &File, offset: u64) -> io::Result<Tail> {
    let (mut state, mut at, mut beginning) = (Sha256::new(), offset, Vec::new());
    let mut chunk = vec![0; CHUNK as usize];
    loop {
        let read = match file.read_at(&mut chunk, at) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read?,
        };
        let part = chunk.get(..read).unwrap_or_default();
        if part.is_empty() {
            break;
        }
        beginning.extend(part.iter().take(2 * LONGEST - beginning.len()));
        state.update(part);
        at += read as u64;
    }
    let holds_whole_line = line::holds_whole_line(&beginning);
    Ok(Tail { offset, bytes: at - offset, hash: Hash::from_state(state), holds_whole_line })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(bytes).expect("room for it");
        file
    }

    fn forwards(bytes: &[u8]) -> (Vec<Vec<u8>>, Piece) {
        let mut reader = Forward::new(file(bytes), 0).expect("a file");
        let mut lines = Vec::new();
        loop {
            match reader.read().expect("a file") {
                Piece::Line(line) => lines.push(line),
                last => return (lines, last),
            }
        }
    }

    fn backwards(bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut reader = Backward::new(file(bytes)).expect("a file");
        std::iter::from_fn(|| reader.line().expect("a file")).collect()
    }

    #[test]
    fn lines_are_the_same_in_both_directions() {
        let long = "x".repeat(LONGEST - 2);
        for text in ["", "a\n", "\n", "a\n\nb\n", "a\nb\ntorn", "torn", &format!("{long}\na\n{long}\n{long}\nb")] {
            let mut lines = forwards(text.as_bytes()).0;
            lines.reverse();
            assert_eq!(lines, backwards(text.as_bytes()), "{:?}", text.get(..20));
        }
    }

    #[test]
    fn a_torn_end_is_no_line_and_is_measured() {
        assert_eq!(forwards(b"a\nbc").1, Piece::Tail(2));
        assert_eq!(forwards(b"a\n").1, Piece::End);
        let end = file(b"a\nbc");
        assert_eq!(end_of_lines(&end).expect("a file"), 2);
        let tail = tail(&end, 2).expect("a file");
        assert_eq!((tail.bytes, tail.hash, tail.holds_whole_line), (2, Hash::of(b"bc"), false));
    }

    #[test]
    fn a_line_without_end_takes_no_more_memory_than_a_line() {
        let endless = vec![b'x'; LONGEST * 3];
        assert_eq!(forwards(&endless).1, Piece::TooLong);
        let mut with_newline = endless.clone();
        with_newline.push(b'\n');
        assert!(Backward::new(file(&with_newline)).expect("a file").line().is_err());
    }
}
