//! Lines out of a stream: one JSON object each, none longer and none deeper than allowed.

/// Most bytes of a line.
pub const MOST_BYTES: usize = 8 << 20;
/// Most brackets open at once. No request of ours needs more than five.
pub const MOST_DEPTH: usize = 32;

/// Bytes that arrived, and the lines in them.
#[derive(Debug)]
pub struct Lines {
    buffer: Vec<u8>,
    // Where the next line begins.
    start: usize,
    // As far as no newline was found.
    searched: usize,
    most: usize,
}

/// A line that is longer than allowed; nothing after it can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

impl Lines {
    /// None yet; a line may have `most` bytes.
    pub fn new(most: usize) -> Lines {
        Lines { buffer: Vec::new(), start: 0, searched: 0, most }
    }

    /// Takes in what arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        if self.buffer.is_empty() {
            // One large frame must not keep its room for ever.
            self.buffer.shrink_to(64 << 10);
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    pub fn next_line(&mut self) -> Result<Option<&[u8]>, TooLong> {
        let rest = self.buffer.get(self.searched..).unwrap_or_default();
        let Some(at) = rest.iter().position(|byte| *byte == b'\n') else {
            self.searched = self.buffer.len();
            return if self.waiting() > self.most { Err(TooLong) } else { Ok(None) };
        };
        let (start, end) = (self.start, self.searched + at);
        if end - start > self.most {
            return Err(TooLong);
        }
        self.start = end + 1;
        self.searched = self.start;
        Ok(self.buffer.get(start..end))
    }

    /// Bytes of a line that has not ended yet.
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.start
    }
}

/// Whether brackets nest no deeper than allowed. Looked at before anything is parsed, because parsers recurse.
pub fn is_shallow(line: &[u8]) -> bool {
    let (mut depth, mut in_text, mut escaped) = (0_usize, false, false);
    for byte in line {
        match (in_text, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_text = !in_text,
            (false, b'{' | b'[') => depth += 1,
            (false, b'}' | b']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MOST_DEPTH {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Vec<String> {
        let mut found = Vec::new();
        while let Ok(Some(line)) = lines.next_line() {
            found.push(String::from_utf8_lossy(line).into_owned());
        }
        found
    }

    #[test]
    fn lines_come_out_whole_however_they_arrive() {
        for step in 1..9 {
            let mut lines = Lines::new(100);
            let mut found = Vec::new();
            for chunk in b"one\n\ntwo\nthree".chunks(step) {
                lines.push(chunk);
                found.extend(all(&mut lines));
            }
            assert_eq!((found, lines.waiting()), (vec!["one".into(), String::new(), "two".into()], 5), "by {step}");
        }
    }

    #[test]
    fn a_line_of_the_most_bytes_is_taken_and_a_longer_one_is_not() {
        let mut lines = Lines::new(4);
        lines.push(b"four\nfive5\n");
        assert_eq!(lines.next_line(), Ok(Some(b"four".as_slice())));
        assert_eq!(lines.next_line(), Err(TooLong));
        let mut unended = Lines::new(4);
        unended.push(b"five5");
        assert_eq!(unended.next_line(), Err(TooLong));
    }

    #[test]
    fn brackets_in_text_do_not_count() {
        assert!(is_shallow(format!("{}{}", "[".repeat(MOST_DEPTH), "]".repeat(MOST_DEPTH)).as_bytes()));
        assert!(!is_shallow("[".repeat(MOST_DEPTH + 1).as_bytes()));
        assert!(is_shallow(format!("\"\\\"{}\"", "[".repeat(99)).as_bytes()));
    }
}
