//! Host names in their one form: ASCII, lower case, without a trailing dot.
//!
//! Owns what a name looks like. What could be read as an address is no name here, so that no spelling of an address ever
//! passes for one. Must not know rules.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Name(String);

/// Why a text is no host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameFlaw {
    /// Nothing is written, or nothing between two dots.
    Empty,
    /// More than 253 bytes, or a label of more than 63.
    TooLong,
    /// A letter beyond ASCII.
    NotAscii,
    /// A byte that no name has.
    Byte,
    /// A label that begins or ends with `-`.
    Hyphen,
    /// It ends in a number, as only addresses do.
    Number,
}

impl fmt::Display for NameFlaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameFlaw::Empty => "a part of it is empty",
            NameFlaw::TooLong => "it is longer than a name can be",
            NameFlaw::NotAscii => "it has a letter beyond ASCII",
            NameFlaw::Byte => "it has a character that no host name has",
            NameFlaw::Hyphen => "a part of it begins or ends with `-`",
            NameFlaw::Number => "it ends in a number, but is no address as addresses are written",
        })
    }
}

impl std::error::Error for NameFlaw {}

/// The longest name, and the longest of its parts; RFC 1035.
const LONGEST: (usize, usize) = (253, 63);

impl Name {
    /// Reads a name as a rule, a query, a TLS client or an HTTP request spells it.
    pub fn parse(text: &str) -> Result<Name, NameFlaw> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if !text.is_ascii() {
            return Err(NameFlaw::NotAscii);
        }
        if text.len() > LONGEST.0 {
            return Err(NameFlaw::TooLong);
        }
        for label in text.split('.') {
            check_label(label)?;
        }
        if text.rsplit('.').next().is_some_and(is_number) {
            return Err(NameFlaw::Number);
        }
        Ok(Name(text.to_ascii_lowercase()))
    }

    /// As it is compared and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is at least one label longer than `parent`, and ends in it.
    pub fn is_below(&self, parent: &Name) -> bool {
        self.0.strip_suffix(&parent.0).and_then(|rest| rest.strip_suffix('.')).is_some_and(|rest| !rest.is_empty())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn check_label(label: &str) -> Result<(), NameFlaw> {
    if label.is_empty() {
        return Err(NameFlaw::Empty);
    }
    if label.len() > LONGEST.1 {
        return Err(NameFlaw::TooLong);
    }
    if !label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Err(NameFlaw::Byte);
    }
    if label.starts_with('-') || label.ends_with('-') { Err(NameFlaw::Hyphen) } else { Ok(()) }
}

/// Whether programs would read a last label as part of an address: `1`, `0x7f`, also `0x` alone; inet_aton(3).
fn is_number(label: &str) -> bool {
    let hexadecimal = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
    hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        || label.bytes().all(|byte| byte.is_ascii_digit())
}
