//! The language of git's settings files; git-config(1), SYNTAX.
//!
//! Owns a parser that is stricter than git's: what both understand they understand alike (`tests/git_settings.rs` asks
//! git), and what this one does not understand is an error. So there is no BOM, no carriage return, no line that goes on
//! behind a backslash, no dot in a bare section name, and nothing that git's own versions have read differently.

use std::fmt;

/// Settings are short. What is longer is not read.
pub const MOST_BYTES: usize = 256 << 10;

/// One setting as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Section and name, in lower case, with `*` between them where there is a subsection: `remote.*.url`.
    pub kind: String,
    /// The subsection, whose case counts.
    pub subsection: Option<String>,
    /// The value; `None` where there is not even a `=`, which git takes for `true`.
    pub value: Option<String>,
}

/// A line that is not understood, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotUnderstood {
    /// Which.
    pub line: usize,
}

impl Entry {
    /// The key as git prints it.
    pub fn key(&self) -> String {
        match &self.subsection {
            Some(subsection) => self.kind.replacen('*', subsection, 1),
            None => self.kind.clone(),
        }
    }
}

impl fmt::Display for NotUnderstood {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}", self.line)
    }
}

/// Every setting of `text`, in order.
pub fn parse(text: &[u8]) -> Result<Vec<Entry>, NotUnderstood> {
    let text = plain(text)?;
    let mut reader = Reader { rest: text.chars(), line: 1 };
    let mut section = None;
    let mut entries = Vec::new();
    while let Some(letter) = reader.next() {
        match letter {
            '\n' | '\t' | ' ' => {}
            '#' | ';' => reader.skip_line(),
            '[' => section = Some(reader.section()?),
            letter if letter.is_ascii_alphabetic() => {
                let (name, subsection) = section.as_ref().ok_or(reader.lost())?;
                let (key, value) = reader.setting(letter)?;
                let kind = if subsection.is_some() { format!("{name}.*.{key}") } else { format!("{name}.{key}") };
                entries.push(Entry { kind, subsection: subsection.clone(), value });
            }
            _ => return Err(reader.lost()),
        }
    }
    Ok(entries)
}

/// UTF-8 of a sensible size, without control characters but for tabs and ends of lines.
fn plain(text: &[u8]) -> Result<&str, NotUnderstood> {
    let odd = |letter: char| letter.is_control() && !matches!(letter, '\n' | '\t');
    let line_of = |end: usize| 1 + text.iter().take(end).filter(|byte| **byte == b'\n').count();
    if text.len() > MOST_BYTES {
        return Err(NotUnderstood { line: line_of(MOST_BYTES) });
    }
    let text = std::str::from_utf8(text).map_err(|error| NotUnderstood { line: line_of(error.valid_up_to()) })?;
    match text.find(odd) {
        Some(at) => Err(NotUnderstood { line: line_of(at) }),
        None => Ok(text),
    }
}

/// What is left of the text.
struct Reader<'a> {
    rest: std::str::Chars<'a>,
    line: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<char> {
        let letter = self.rest.next()?;
        self.line += usize::from(letter == '\n');
        Some(letter)
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn lost(&self) -> NotUnderstood {
        NotUnderstood { line: self.line }
    }

    fn skip_line(&mut self) {
        while self.next().is_some_and(|letter| letter != '\n') {}
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.next();
        }
    }

    /// Behind `[`: a bare name, or a bare name and a quoted one.
    fn section(&mut self) -> Result<(String, Option<String>), NotUnderstood> {
        let name = self.word();
        let lost = self.lost();
        let blank = matches!(self.peek(), Some(' ' | '\t'));
        self.skip_blanks();
        let subsection = match self.next() {
            _ if name.is_empty() => return Err(lost),
            Some(']') if !blank => return Ok((name, None)),
            Some('"') if blank => self.subsection()?,
            _ => return Err(lost),
        };
        if self.next() == Some(']') { Ok((name, Some(subsection))) } else { Err(lost) }
    }

    fn subsection(&mut self) -> Result<String, NotUnderstood> {
        let mut name = String::new();
        loop {
            let lost = self.lost();
            match self.next() {
                Some('"') => return Ok(name),
                Some('\\') => match self.next() {
                    Some(letter @ ('"' | '\\')) => name.push(letter),
                    // git takes any other letter as it is; nobody writes that.
                    _ => return Err(lost),
                },
                Some(letter) if !letter.is_control() => name.push(letter),
                _ => return Err(lost),
            }
        }
    }

    /// Letters, digits and dashes, in lower case.
    fn word(&mut self) -> String {
        let mut word = String::new();
        while let Some(letter) = self.peek().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-') {
            word.push(letter.to_ascii_lowercase());
            self.next();
        }
        word
    }

    fn setting(&mut self, first: char) -> Result<(String, Option<String>), NotUnderstood> {
        let key = format!("{}{}", first.to_ascii_lowercase(), self.word());
        self.skip_blanks();
        let lost = self.lost();
        match self.next() {
            None | Some('\n') => Ok((key, None)),
            Some('=') => Ok((key, Some(self.value()?))),
            Some(_) => Err(lost),
        }
    }

    fn value(&mut self) -> Result<String, NotUnderstood> {
        let mut value = String::new();
        // White space that counts only when something follows.
        let mut blanks = String::new();
        let mut quoted = false;
        loop {
            let lost = self.lost();
            match self.next() {
                None | Some('\n') if quoted => return Err(lost),
                None | Some('\n') => return Ok(value),
                Some('#' | ';') if !quoted => {
                    self.skip_line();
                    return Ok(value);
                }
                Some(blank @ (' ' | '\t')) if !quoted => {
                    if !value.is_empty() {
                        blanks.push(blank);
                    }
                }
                // Some versions of git make a space of a tab in the middle, some do not.
                Some(_) if blanks.contains('\t') => return Err(lost),
                Some(letter) => {
                    value.push_str(&std::mem::take(&mut blanks));
                    match letter {
                        '"' => quoted = !quoted,
                        '\\' => value.push(self.escaped().ok_or(lost)?),
                        letter => value.push(letter),
                    }
                }
            }
        }
    }

    fn escaped(&mut self) -> Option<char> {
        Some(match self.next()? {
            'n' => '\n',
            't' => '\t',
            letter @ ('"' | '\\') => letter,
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(text: &str) -> Vec<(String, Option<String>)> {
        let entries = parse(text.as_bytes()).unwrap_or_else(|lost| panic!("{text:?}: {lost}"));
        entries.iter().map(|entry| (entry.key(), entry.value.clone())).collect()
    }

    fn lost(text: &[u8]) -> usize {
        parse(text).map(|entries| panic!("understood: {entries:?}")).unwrap_or_else(|lost| lost.line)
    }

    #[test]
    fn what_git_writes_is_read() {
        let text = "[core]\n\trepositoryformatversion = 0\n\tbare = false\n[remote \"origin\"]\n\turl = ../x\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch \"a/B\"]\n\tremote = origin\n";
        let found = listed(text);
        assert_eq!(found.len(), 5);
        assert_eq!(found[2], ("remote.origin.url".into(), Some("../x".into())));
        assert_eq!(found[4], ("branch.a/B.remote".into(), Some("origin".into())));
    }

    #[test]
    fn names_lose_their_case_and_subsections_keep_it() {
        assert_eq!(listed("[CORE]\nFsMonitor=x"), [("core.fsmonitor".into(), Some("x".into()))]);
        assert_eq!(listed("[Remote \"A\"] URL = B"), [("remote.A.url".into(), Some("B".into()))]);
    }

    #[test]
    fn values_are_quoted_trimmed_and_cut_at_comments_as_git_does() {
        let cases = [
            ("a", "a"),
            ("  a b  ", "a b"),
            ("a ; comment", "a"),
            ("a#b", "a"),
            ("\"a # b\"", "a # b"),
            ("a \"\" ", "a "),
            ("\"\" x", "x"),
            ("\" a \" # c", " a "),
            ("a\\\\b\\\"c\\n\\t", "a\\b\"c\n\t"),
            ("a=b", "a=b"),
            ("", ""),
        ];
        for (written, meant) in cases {
            assert_eq!(listed(&format!("[a]\nk = {written}\n")), [("a.k".into(), Some(meant.into()))], "{written}");
        }
        assert_eq!(listed("[a]\nk\n"), [("a.k".into(), None)]);
    }

    #[test]
    fn what_is_not_plain_is_not_understood() {
        let cases: [(&[u8], usize); 22] = [
            (b"\xef\xbb\xbf[a]\nk=1\n", 1),
            (b"[a]\r\nk=1\r\n", 1),
            (b"[a]\nk=1\\\n2\n", 2),
            (b"[a]\nk=\"1\n", 2),
            (b"[a]\nk=\\b\n", 2),
            (b"[a]\nk=\\x\n", 2),
            (b"[a]\nk=a\tb\n", 2),
            (b"[a.b]\nk=1\n", 1),
            (b"[]\nk=1\n", 1),
            (b"[a \"b]\nk=1\n", 1),
            (b"[a \"b\" ]\nk=1\n", 1),
            (b"[a \"b\\c\"]\nk=1\n", 1),
            (b"[a\n]\nk=1\n", 1),
            (b"[a ]\nk=1\n", 1),
            (b"[a\"b\"]\nk=1\n", 1),
            (b"k=1\n", 1),
            (b"[a]\n1k=1\n", 2),
            (b"[a]\nk x\n", 2),
            (b"[a]\nk # c\n", 2),
            (b"[a]\nk_x = 1\n", 2),
            (b"[a]\nk=\0\n", 2),
            (b"[a]\nk=\xff\n", 2),
        ];
        for (text, line) in cases {
            assert_eq!(lost(text), line, "{:?}", String::from_utf8_lossy(text));
        }
    }

    #[test]
    fn a_huge_file_is_not_read() {
        let mut text = b"[a]\n".to_vec();
        text.resize(MOST_BYTES, b'\n');
        assert!(parse(&text).is_ok());
        text.push(b'\n');
        assert!(parse(&text).is_err());
    }
}
