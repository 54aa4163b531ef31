//! What a service answers about files.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::files::{Entry, Facts, Part};
use super::reply::Done;
use super::text::{Text, encode};

/// Answer of `fs.stat`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stat {
    /// `file`, `directory`, `link` or `other`.
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// Permission bits, such as 420 for 0644.
    pub mode: u32,
    /// When its content last changed, milliseconds since 1970.
    pub modified_ms: i64,
    /// Where a link leads, as written in it.
    pub target: Option<Text>,
    /// The beginning of a regular file, where `look` asked for it and it can be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Content>,
}

/// Answer of `fs.write` and `fs.create`: that of `fs.stat` where `look` asked for it, else nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Changed {
    /// It is done, and this is what it is now.
    Seen(Stat),
    /// It is done.
    Done(Done),
}

/// Answer of `fs.read`. Either `data` or `base64` is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Content {
    /// Where the bytes are text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// Where they are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
    /// Bytes of the whole file.
    pub size: u64,
    /// Whether there are none behind these.
    pub end: bool,
}

/// Answer of `fs.list`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Directory {
    /// Sorted by name.
    pub entries: Vec<Listed>,
    /// Whether there are more behind the last.
    pub more: bool,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ListedFile")]
pub struct Listed {
    /// Its name.
    pub name: Text,
    /// `file`, `directory`, `link` or `other`.
    pub kind: String,
    /// Bytes.
    pub size: u64,
}

impl Stat {
    /// `facts` of a file, and what it holds where that was looked at.
    pub fn new(Facts { kind, size, mode, modified_ms, target }: Facts, seen: Option<Part>) -> Stat {
        Stat { kind, size, mode, modified_ms, target: target.map(Text), content: seen.map(Content::from) }
    }
}

impl From<Part> for Content {
    fn from(Part { bytes, size, end }: Part) -> Content {
        Content::new(bytes, size, end)
    }
}

impl From<Entry> for Listed {
    fn from(Entry { name, kind, size }: Entry) -> Listed {
        Listed { name: Text(name), kind, size }
    }
}

impl Content {
    /// `bytes` of a file of `size`; `end`: there are none behind them.
    pub fn new(bytes: Vec<u8>, size: u64, end: bool) -> Content {
        match String::from_utf8(bytes) {
            Ok(text) if is_short_in_json(text.as_bytes()) => Content { data: Some(text), base64: None, size, end },
            Ok(text) => Content { data: None, base64: Some(encode(text.as_bytes())), size, end },
            Err(error) => Content { data: None, base64: Some(encode(error.as_bytes())), size, end },
        }
    }
}

/// Whether text needs no more room in JSON than as base64 or so: a control character needs six bytes there.
fn is_short_in_json(bytes: &[u8]) -> bool {
    let control = bytes.iter().filter(|byte| **byte < b' ' && !b"\n\r\t".contains(byte)).count();
    control <= bytes.len() / 16
}
