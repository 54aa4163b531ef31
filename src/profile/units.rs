//! Sizes, times and shares, each written with its unit.
//!
//! Owns parsing and printing. Parsing is strict: no unit, a sign, a fraction of a byte, zero or an overflow is an error
//! that says what was expected. Zero is refused everywhere because kernels read it as "no limit" in some places.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::policy::names::shown;

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

/// A number of things. Written without a unit: `64`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Count(pub u64);

/// A quantity that could not be read: what was written, what is wrong with it and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitError {
    written: String,
    wrong: Wrong,
    expected: &'static str,
}

/// What is wrong with a quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Form,
    NoUnit,
    Zero,
    TooLarge,
}

impl fmt::Display for UnitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { written, wrong, expected } = self;
        let written = shown(written);
        match wrong {
            Wrong::Form => write!(f, "cannot read `{written}`: expected {expected}"),
            Wrong::NoUnit => write!(f, "`{written}` has no unit: expected {expected}"),
            Wrong::Zero => write!(f, "`{written}` is zero: expected {expected}"),
            Wrong::TooLarge => write!(f, "`{written}` is too large: expected {expected}"),
        }
    }
}

impl std::error::Error for UnitError {}

/// A kind of quantity that a profile can hold.
pub trait Quantity: Sized {
    /// What is expected, with examples.
    const EXPECTED: &'static str;

    /// Reads the text form.
    fn from_text(text: &str) -> Result<Self, UnitError>;

    /// Reads a bare whole number, which most quantities refuse for want of a unit.
    fn from_whole(number: i64) -> Result<Self, UnitError> {
        Err(UnitError { written: number.to_string(), wrong: Wrong::NoUnit, expected: Self::EXPECTED })
    }

    /// Reads a bare decimal number, which most quantities refuse.
    fn from_decimal(number: f64) -> Result<Self, UnitError> {
        Err(UnitError { written: number.to_string(), wrong: Wrong::Form, expected: Self::EXPECTED })
    }
}

const SIZES: &[(&str, u64)] = &[("T", 1 << 40), ("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10), ("B", 1)];
const TIMES: &[(&str, u64)] = &[("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// The kernel keeps sizes and times in signed 64-bit numbers; what is above would turn negative there.
const LARGEST: u64 = i64::MAX as u64;

impl Quantity for Bytes {
    const EXPECTED: &'static str = "a whole number and a unit of B, K, M, G or T, such as `512M`";

    fn from_text(text: &str) -> Result<Self, UnitError> {
        whole(text, SIZES, Self::EXPECTED).map(Bytes)
    }
}

impl Quantity for Span {
    const EXPECTED: &'static str = "a whole number and a unit of ms, s, m, h or d, such as `30s`";

    fn from_text(text: &str) -> Result<Self, UnitError> {
        whole(text, TIMES, Self::EXPECTED).map(Span)
    }
}

impl Quantity for Cpus {
    const EXPECTED: &'static str = "a number of processors with at most three decimals, such as `0.5` or `2.0`";

    fn from_text(text: &str) -> Result<Self, UnitError> {
        let error = |wrong| UnitError { written: text.to_owned(), wrong, expected: Self::EXPECTED };
        let (units, decimals) = text.split_once('.').unwrap_or((text, "0"));
        if !is_digits(units) || !is_digits(decimals) || decimals.len() > 3 {
            return Err(error(Wrong::Form));
        }
        let thousandths =
            decimals.bytes().chain(*b"00").take(3).fold(0, |sum, digit| sum * 10 + u32::from(digit - b'0'));
        let units: u32 = units.parse().map_err(|_| error(Wrong::TooLarge))?;
        let total =
            units.checked_mul(1000).and_then(|sum| sum.checked_add(thousandths)).ok_or(error(Wrong::TooLarge))?;
        if total == 0 { Err(error(Wrong::Zero)) } else { Ok(Cpus(total)) }
    }

    fn from_whole(number: i64) -> Result<Self, UnitError> {
        Self::from_text(&number.to_string())
    }

    fn from_decimal(number: f64) -> Result<Self, UnitError> {
        // Rust prints a float in the shortest form that reads back as the same, which is what the author wrote.
        Self::from_text(&number.to_string())
    }
}

impl Quantity for Count {
    const EXPECTED: &'static str = "a whole number above zero, such as `64`";

    fn from_text(text: &str) -> Result<Self, UnitError> {
        Err(UnitError { written: text.to_owned(), wrong: Wrong::Form, expected: Self::EXPECTED })
    }

    fn from_whole(number: i64) -> Result<Self, UnitError> {
        let error = |wrong| UnitError { written: number.to_string(), wrong, expected: Self::EXPECTED };
        match u64::try_from(number) {
            Ok(0) => Err(error(Wrong::Zero)),
            Ok(number) => Ok(Count(number)),
            Err(_) => Err(error(Wrong::Form)),
        }
    }
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads digits and one of `units`, and multiplies.
fn whole(text: &str, units: &[(&str, u64)], expected: &'static str) -> Result<u64, UnitError> {
    let error = |wrong| UnitError { written: text.to_owned(), wrong, expected };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or(error(Wrong::Form))?;
    if number.is_empty() {
        return Err(error(Wrong::Form));
    }
    if unit.is_empty() {
        return Err(error(Wrong::NoUnit));
    }
    let (_, factor) = units.iter().find(|(name, _)| *name == unit).ok_or(error(Wrong::Form))?;
    let number: u64 = number.parse().map_err(|_| error(Wrong::TooLarge))?;
    match number.checked_mul(*factor) {
        Some(0) => Err(error(Wrong::Zero)),
        Some(total) if total <= LARGEST => Ok(total),
        _ => Err(error(Wrong::TooLarge)),
    }
}

/// Prints with the largest unit that leaves no rest.
fn print(f: &mut fmt::Formatter<'_>, total: u64, units: &[(&str, u64)]) -> fmt::Result {
    let fits = |(_, factor): &&(&str, u64)| total != 0 && total.is_multiple_of(*factor);
    match units.iter().find(fits).or(units.last()) {
        Some((unit, factor)) => write!(f, "{}{unit}", total / factor),
        None => write!(f, "{total}"),
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, SIZES)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(f, self.0, TIMES)
    }
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = format!("{:03}", self.0 % 1000);
        let trimmed = decimals.trim_end_matches('0');
        write!(f, "{}.{}", self.0 / 1000, if trimmed.is_empty() { "0" } else { trimmed })
    }
}

impl FromStr for Bytes {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        Self::from_text(text)
    }
}

impl FromStr for Span {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        Self::from_text(text)
    }
}

impl FromStr for Cpus {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        Self::from_text(text)
    }
}
