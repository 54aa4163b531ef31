//! Changing one value in a JSON5 text and leaving everything else in it as it is, comments too.
//!
//! Knows just enough of the syntax to find where things begin and end. Whether the result says what it should is for whoever asked to
//! find out, by reading it with the real parser: what this here has misread is then not written.

use serde_json::Value;

/// Deeper than anybody nests settings.
const DEEPEST: usize = 100;

/// A value, and where it stands.
#[derive(Debug)]
pub struct Node {
    start: usize,
    end: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Object(Vec<Member>),
    Other,
}

#[derive(Debug)]
struct Member {
    key: String,
    start: usize,
    value: Node,
}

/// The text with `value` at `path`. What is missing on the way is made.
pub fn set(text: &str, path: &[String], value: &Value) -> Result<String, String> {
    let top = outline(text)?;
    let mut node = &top;
    let mut left = path;
    while let [key, rest @ ..] = left {
        let Kind::Object(members) = &node.kind else {
            return Err(format!("there is no object to put `{key}` into"));
        };
        // The last one counts where a key is there twice.
        match members.iter().rev().find(|member| member.key == *key) {
            Some(member) => (node, left) = (&member.value, rest),
            None => return Ok(insert(text, node, members, key, &nested(rest, value))),
        }
    }
    let indent = indentation(text, node.start);
    Ok(splice(text, node.start, node.end, &printed(value, &indent)))
}

fn nested(path: &[String], value: &Value) -> Value {
    path.iter().rev().fold(value.clone(), |inner, key| Value::Object([(key.clone(), inner)].into_iter().collect()))
}

fn splice(text: &str, start: usize, end: usize, new: &str) -> String {
    [text.get(..start).unwrap_or_default(), new, text.get(end..).unwrap_or_default()].concat()
}

/// A member more, after the last: on a line of its own if that one is.
fn insert(text: &str, node: &Node, members: &[Member], key: &str, value: &Value) -> String {
    let close = node.end.saturating_sub(1);
    let key = Value::String(key.to_owned());
    let Some(last) = members.last() else {
        let outer = indentation(text, node.start);
        let inner = format!("{outer}  ");
        let new = format!("\n{inner}{key}: {}\n{outer}", printed(value, &inner));
        // What stands between the braces is a comment, or nothing.
        let between = text.get(node.start + 1..close).unwrap_or_default().trim_end();
        return splice(text, node.start + 1 + between.len(), close, &new);
    };
    let after = text.get(last.value.end..close).unwrap_or_default();
    let has_comma = skip_blank(after.as_bytes(), 0).is_ok_and(|at| after.as_bytes().get(at) == Some(&b','));
    let own_line = text.get(..last.start).unwrap_or_default().trim_end_matches([' ', '\t']).ends_with('\n');
    let indent = indentation(text, last.start);
    let body = after.trim_end();
    let new = match own_line {
        true => format!("\n{indent}{key}: {}", printed(value, &indent)),
        // A comment to the end of the line would swallow what follows it.
        false if body.contains("//") => format!("\n{indent}{key}: {}", printed(value, &indent)),
        false => format!(" {key}: {}", printed(value, &indent)),
    };
    let comma = if has_comma { "" } else { "," };
    let trailing = if has_comma && own_line { "," } else { "" };
    let tail = &after[body.len()..];
    let tail = if own_line && tail.is_empty() { "\n" } else { tail };
    splice(text, last.value.end, close, &[comma, body, &new, trailing, tail].concat())
}

/// What a line begins with, where something on it begins.
fn indentation(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or_default();
    let line = before.rsplit('\n').next().unwrap_or_default();
    line.chars().take_while(|letter| matches!(letter, ' ' | '\t')).collect()
}

fn printed(value: &Value, indent: &str) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.replace('\n', &format!("\n{indent}"))
}

/// Where the parts of a text are, or what is wrong with it.
pub fn outline(text: &str) -> Result<Node, String> {
    let bytes = text.as_bytes();
    let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut reader = Reader { text, bytes, at: start };
    let node = reader.value(0)?;
    reader.blank()?;
    if reader.at < bytes.len() { Err(reader.wrong("more after the end")) } else { Ok(node) }
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> String {
        let line = self.bytes.iter().take(self.at).filter(|byte| **byte == b'\n').count() + 1;
        format!("{what} in line {line}")
    }

    fn blank(&mut self) -> Result<(), String> {
        self.at = skip_blank(self.bytes, self.at).map_err(|()| self.wrong("a comment without an end"))?;
        Ok(())
    }

    fn next(&mut self) -> Result<u8, String> {
        self.blank()?;
        self.bytes.get(self.at).copied().ok_or_else(|| self.wrong("an end that is too early"))
    }

    fn value(&mut self, depth: usize) -> Result<Node, String> {
        if depth > DEEPEST {
            return Err(self.wrong("more nesting than is looked at"));
        }
        let first = self.next()?;
        let start = self.at;
        let kind = match first {
            b'{' => Kind::Object(self.members(depth)?),
            b'[' => self.items(depth)?,
            b'"' | b'\'' => {
                self.quoted(first)?;
                Kind::Other
            }
            b'}' | b']' | b',' | b':' => return Err(self.wrong("a value is missing")),
            _ => {
                self.bare();
                Kind::Other
            }
        };
        Ok(Node { start, end: self.at, kind })
    }

    fn members(&mut self, depth: usize) -> Result<Vec<Member>, String> {
        self.at += 1;
        let mut members = Vec::new();
        loop {
            let first = self.next()?;
            if first == b'}' {
                self.at += 1;
                return Ok(members);
            }
            let start = self.at;
            let key = self.key(first)?;
            if self.next()? != b':' {
                return Err(self.wrong("a key without `:`"));
            }
            self.at += 1;
            members.push(Member { key, start, value: self.value(depth + 1)? });
            self.comma(b'}')?;
        }
    }

    fn items(&mut self, depth: usize) -> Result<Kind, String> {
        self.at += 1;
        while self.next()? != b']' {
            self.value(depth + 1)?;
            self.comma(b']')?;
        }
        self.at += 1;
        Ok(Kind::Other)
    }

    /// A comma, or the end that needs none.
    fn comma(&mut self, end: u8) -> Result<(), String> {
        match self.next()? {
            b',' => self.at += 1,
            other if other == end => {}
            _ => return Err(self.wrong("a comma is missing")),
        }
        Ok(())
    }

    fn key(&mut self, first: u8) -> Result<String, String> {
        let start = self.at;
        if matches!(first, b'"' | b'\'') {
            self.quoted(first)?;
            let written = self.text.get(start..self.at).unwrap_or_default();
            return json5::from_str::<String>(written).map_err(|_| self.wrong("a key that cannot be read"));
        }
        self.bare();
        if self.at == start { Err(self.wrong("a key is missing")) } else { Ok(self.text[start..self.at].to_owned()) }
    }

    fn quoted(&mut self, quote: u8) -> Result<(), String> {
        self.at += 1;
        while let Some(byte) = self.bytes.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == quote {
                return Ok(());
            }
        }
        Err(self.wrong("a text without an end"))
    }

    /// A number, a word.
    fn bare(&mut self) {
        let ends = |byte: &u8| byte.is_ascii_whitespace() || b"{}[],:\"'/".contains(byte);
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
    }
}

/// Past spaces and comments.
fn skip_blank(bytes: &[u8], mut at: usize) -> Result<usize, ()> {
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let spaces = rest.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0x0b).count();
        at += spaces;
        let rest = rest.get(spaces..).unwrap_or_default();
        if rest.starts_with(b"//") {
            at += rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        } else if rest.starts_with(b"/*") {
            at += 2 + rest.get(2..).and_then(|rest| rest.windows(2).position(|pair| pair == b"*/")).ok_or(())? + 2;
        } else if rest.starts_with(b"\xc2\xa0") {
            at += 2;
        } else {
            return Ok(at);
        }
    }
}

#[cfg(test)]
#[path = "edit_tests.rs"]
mod tests;
