//! A TOML text of ours with its origin: what a message about it points at.
//!
//! Owns the text of a profile or a policy, who stands behind it, and the way from a place in it to `file:line:column`.
//! Must not open files (`profile::load` does) and must not know what the text means.

use std::borrow::Cow;
use std::fmt;

use toml::de::{DeTable, DeValue};

/// Who stands behind a text. The greater one may rely on nothing that only the lesser one vouches for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Authority {
    /// The caller alone.
    Caller,
    /// Root: built in, or in a directory that only root can write.
    Root,
}

/// One text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Where it is: `built-in:untrusted`, or a path.
    pub source: String,
    /// The TOML.
    pub text: Cow<'static, str>,
    /// Who vouches for it.
    pub authority: Authority,
}

/// A place in a document; lines and columns (in characters) count from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where the document is.
    pub source: String,
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.source, self.line, self.column)
    }
}

/// Something wrong at a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Where.
    pub place: Place,
    /// What, in one line.
    pub what: String,
    /// What to do about it, where that is not plain.
    pub hint: Option<String>,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

impl std::error::Error for Flaw {}

impl Flaw {
    /// Adds what to do about it.
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A spot of a document, by names instead of by offset.
#[derive(Clone, Copy, Debug)]
pub enum Spot<'a> {
    /// The first character.
    Start,
    /// A key, by the path to it.
    Key(&'a [&'a str]),
    /// A value, by the path to its key.
    Value(&'a [&'a str]),
    /// The element of a list that is this string.
    Item(&'a [&'a str], &'a str),
    /// In a list of tables, by the path to it, the one of this number; there a value by the path to its key, or all of it.
    Nth(&'a [&'a str], usize, &'a [&'a str]),
}

impl Document {
    /// A text that is part of the program.
    pub fn built_in(name: &str, text: &'static str) -> Self {
        let source = format!("built-in:{name}");
        Self { source, text: Cow::Borrowed(text), authority: Authority::Root }
    }

    /// Whether it is part of the program.
    pub fn is_built_in(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    /// Whether there is anything but comments in it.
    pub fn is_blank(&self) -> bool {
        self.text.lines().map(str::trim_start).all(|line| line.is_empty() || line.starts_with('#'))
    }

    /// The place of a byte offset.
    pub fn place(&self, offset: usize) -> Place {
        let before = self.text.get(..offset).unwrap_or(&self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).unwrap_or_default().chars().count() + 1;
        Place { source: self.source.clone(), line, column }
    }

    /// Something wrong at a spot. Finding the spot parses the text again, which only a document with a flaw pays for.
    pub fn flaw(&self, spot: Spot<'_>, what: impl Into<String>) -> Flaw {
        let offset = self.offset(spot).unwrap_or(0);
        Flaw { place: self.place(offset), what: what.into(), hint: None }
    }

    fn offset(&self, spot: Spot<'_>) -> Option<usize> {
        let (table, _) = DeTable::parse_recoverable(&self.text);
        let (path, item) = match spot {
            Spot::Start => return Some(0),
            Spot::Nth(path, number, inner) => return nth(table.get_ref(), path, number, inner),
            Spot::Key(path) | Spot::Value(path) => (path, None),
            Spot::Item(path, item) => (path, Some(item)),
        };
        let (last, parents) = path.split_last()?;
        let mut table = table.get_ref();
        for step in parents {
            table = table.get(*step)?.get_ref().as_table()?;
        }
        let (key, value) = table.get_key_value(*last)?;
        let DeValue::Array(items) = value.get_ref() else {
            return Some(if matches!(spot, Spot::Key(_)) { key.span() } else { value.span() }.start);
        };
        let wanted = items.iter().find(|element| element.get_ref().as_str() == item && item.is_some());
        Some(wanted.map_or(if matches!(spot, Spot::Key(_)) { key.span() } else { value.span() }, |e| e.span()).start)
    }
}

/// Where in a list of tables something stands; where there is no such key, the table itself.
fn nth(root: &DeTable<'_>, path: &[&str], number: usize, inner: &[&str]) -> Option<usize> {
    let (last, parents) = path.split_last()?;
    let mut table = root;
    for step in parents {
        table = table.get(*step)?.get_ref().as_table()?;
    }
    let entry = table.get(*last)?.get_ref().as_array()?.get(number)?;
    let mut found = entry;
    for step in inner {
        match found.get_ref().as_table().and_then(|table| table.get(*step)) {
            Some(value) => found = value,
            None => break,
        }
    }
    Some(found.span().start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spot_in_a_list_of_tables_is_found_by_its_number() {
        let document = Document::built_in("x", "[[a.b]]\nc = 1\n[[a.b]]\nd = { e = 2 }\n");
        let at = |spot| document.flaw(spot, "").place.to_string();
        assert_eq!(at(Spot::Nth(&["a", "b"], 1, &["d", "e"])), "built-in:x:4:11");
        assert_eq!(at(Spot::Nth(&["a", "b"], 0, &["c"])), "built-in:x:2:5");
        assert_eq!(at(Spot::Nth(&["a", "b"], 1, &["missing"])), "built-in:x:3:1");
        assert_eq!(at(Spot::Nth(&["a", "b"], 2, &[])), "built-in:x:1:1");
    }

    #[test]
    fn a_column_counts_characters_and_not_bytes() {
        let document = Document::built_in("x", "# \u{e9}\na = \"\u{e9}\u{e9}\" # b\n");
        let place = document.place(document.text.find("# b").expect("it is there"));
        assert_eq!(place.to_string(), "built-in:x:2:10");
    }

    #[test]
    fn a_spot_is_found_by_its_names() {
        let document = Document::built_in("x", "[a]\nb = [\"c\",\n  \"d\"]\ne = 1\n");
        let at = |spot| document.flaw(spot, "").place.to_string();
        assert_eq!(at(Spot::Item(&["a", "b"], "d")), "built-in:x:3:3");
        assert_eq!(at(Spot::Key(&["a", "e"])), "built-in:x:4:1");
        assert_eq!(at(Spot::Value(&["a", "e"])), "built-in:x:4:5");
        assert_eq!(at(Spot::Key(&["no", "such"])), "built-in:x:1:1");
    }
}
