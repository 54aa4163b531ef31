//! Sizes, times and shares, each written with its unit.
//!
//! Owns parsing and printing. Parsing is strict: no unit, a sign, a fraction of a byte or an overflow is an error that
//! says what was expected.

use serde::{Deserialize, Serialize};

/// A number of bytes. Written `512M`, `1G`, `64K`, `4096B`; the units are powers of 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Bytes(pub u64);

/// A stretch of time, in milliseconds. Written `500ms`, `30s`, `5m`, `2h`, `1d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub u64);

/// A share of processor time, in thousandths of one processor. Written `0.5`, `2.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Cpus(pub u32);
