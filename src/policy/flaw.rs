//! What the TOML reader says, in our words.
//!
//! Owns the way from an error of the `toml` crate to one line with a place and a "did you mean". Must not judge what a
//! text means; that is the reader of its kind.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::document::{Document, Flaw};
use super::names::{cut, did_you_mean, nearest, shown};

impl Document {
    /// Reads the text as a `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Flaw> {
        toml::from_str(&self.text).map_err(|error| explain(self, &error))
    }
}

/// Turns a reader's error into a flaw of `document`.
pub fn explain(document: &Document, error: &toml::de::Error) -> Flaw {
    let span = error.span().unwrap_or(0..0);
    let (what, hint) = reword(document, error.message(), &span);
    Flaw { place: document.place(span.start), what, hint }
}

/// The path of keys that leads to the entry which an error is about, so that it can be left out.
pub fn entry_at(document: &Document, offset: usize) -> Vec<String> {
    let (root, _) = DeTable::parse_recoverable(&document.text);
    let mut path = Vec::new();
    descend(root.get_ref(), offset, &mut path);
    path
}

/// The table that an entry is in, as a reader names it: `` in [limits]``, or nothing at the top.
fn inside(table: &[String]) -> String {
    if table.is_empty() { String::new() } else { format!(" in [{}]", table.join(".")) }
}

/// The table whose header is the last before `offset`. Of a key that is there twice only the first is kept, so a second
/// one cannot be found by descending.
fn last_header(document: &Document, offset: usize) -> Vec<String> {
    let before = document.text.get(..offset).unwrap_or_default();
    if before.ends_with('[') {
        return Vec::new();
    }
    let header = before.lines().map(str::trim).rfind(|line| line.starts_with('['));
    let last = header.unwrap_or_default().trim_start_matches('[');
    last.split(']')
        .next()
        .unwrap_or_default()
        .split('.')
        .map(|key| key.trim().to_owned())
        .filter(|key| !key.is_empty())
        .collect()
}

fn descend(table: &DeTable<'_>, offset: usize, path: &mut Vec<String>) {
    let covers = |span: Range<usize>| span.start <= offset && offset <= span.end;
    for (key, value) in table {
        if covers(key.span()) {
            path.push(key.get_ref().to_string());
            return;
        }
        if let DeValue::Table(inner) = value.get_ref() {
            let before = path.len();
            path.push(key.get_ref().to_string());
            descend(inner, offset, path);
            if path.len() > before + 1 || covers(value.span()) {
                return;
            }
            path.truncate(before);
        } else if covers(value.span()) {
            path.push(key.get_ref().to_string());
            return;
        }
    }
}

fn reword(document: &Document, message: &str, span: &Range<usize>) -> (String, Option<String>) {
    let path = entry_at(document, span.start);
    let (key, table) = path.split_last().map_or(("", &[][..]), |(key, table)| (key.as_str(), table));
    let quoted = quoted_words(message);
    let (first, known) = quoted.split_first().map_or(("", &[][..]), |(first, known)| (*first, known));
    let suggestion = nearest(first, known.iter().copied());
    let hint = (suggestion.is_none() && !known.is_empty()).then(|| format!("expected one of {}", listed(known)));
    let (first, meant) = (shown(first), did_you_mean(suggestion.as_deref()));
    if message.starts_with("unknown field") {
        return (format!("unknown key `{first}`{}{meant}", inside(table)), hint);
    }
    if message.starts_with("unknown variant") {
        return (format!("unknown value `{first}` for `{}`{}{meant}", shown(key), inside(table)), hint);
    }
    if message.starts_with("duplicate key") {
        let key = document.text.get(span.clone()).unwrap_or_default();
        return (format!("duplicate key `{}`{}", shown(key), inside(&last_header(document, span.start))), None);
    }
    (one_line(message), None)
}

/// The words between backticks.
fn quoted_words(message: &str) -> Vec<&str> {
    message.split('`').skip(1).step_by(2).collect()
}

fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

/// The reader's message in one line, lower case, without a period.
fn one_line(message: &str) -> String {
    let lines: Vec<&str> = message.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let joined = lines
        .join(": ")
        .replace("expected a sequence", "expected a list")
        .replace("expected a map", "expected a table")
        .replace("type: sequence", "type: list")
        .replace("type: map", "type: table");
    let line = cut(joined.trim_end_matches('.'), 300);
    let mut letters = line.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}
