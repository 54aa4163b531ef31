//! One line of the ledger: how it is sealed, and what its seal and links say.
//!
//! Owns the bytes of a line. Pure: knows neither files nor what a record means.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use sha2::{Digest, Sha256};

/// The longest line, with its newline. Room for a record is kept before its run, so records must have a bound.
pub const LONGEST: usize = 64 * 1024;

/// What stands between a line's content and its digest.
const SEAL: &str = ",\"digest\":\"";

/// How long the seal is: the key, 64 digits, quote and brace.
const SEAL_LENGTH: usize = SEAL.len() + 64 + 2;

/// A SHA-256.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash([u8; 32]);

impl Hash {
    /// What the first line of all names as the hash before it.
    pub const NONE: Hash = Hash([0; 32]);

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Hash {
        Hash(Sha256::digest(bytes).into())
    }

    /// Of what was put into `state`.
    pub fn from_state(state: Sha256) -> Hash {
        Hash(state.finalize().into())
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected 64 digits of 0-9 and a-f";
        // Capitals are refused: a hash has one spelling, or a changed letter would go unnoticed.
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(EXPECTED),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        let mut hash = [0; 32];
        if !rest.is_empty() || pairs.len() != hash.len() {
            return Err(EXPECTED);
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Hash(hash))
    }
}

/// A place in the chain: the number of a line, and the hash of its bytes. Written `SEQ:HASH`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Number of the line; the first has 1.
    pub seq: u64,
    /// SHA-256 of the line without its newline.
    pub hash: Hash,
}

impl Head {
    /// Before the first line.
    pub const NONE: Head = Head { seq: 0, hash: Hash::NONE };

    /// The place of the line after this one.
    pub fn after(self, line: &[u8]) -> Head {
        Head { seq: self.seq.saturating_add(1), hash: Hash::of(line) }
    }
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.seq, self.hash)
    }
}

impl FromStr for Head {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = text.split_once(':').and_then(|(seq, hash)| Some((seq.parse().ok()?, hash.parse().ok()?)));
        let (seq, hash) = parts.ok_or("expected SEQ:HASH, as `clawjail ledger head` prints it")?;
        Ok(Head { seq, hash })
    }
}

/// What a sound line says of its place, and of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Links {
    /// Its number.
    pub seq: u64,
    /// The hash of the line before.
    pub previous: Hash,
    /// Its own hash.
    pub hash: Hash,
    /// The word under `event`; a verdict has none.
    pub event: Option<String>,
}

/// What is wrong with a line taken by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It does not end as a sealed line does.
    NotSealed,
    /// The digest is not that of the line.
    Altered,
    /// The digest is right, but there are no links.
    NoLinks,
    /// No line is so long.
    TooLong,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Flaw::NotSealed => "does not end in `\"digest\":\"..\"}`, so it is no line of a ledger",
            Flaw::Altered => "does not have the digest that it names: it was altered",
            Flaw::NoLinks => "has no `seq` and `previous`, so it is no line of a ledger",
            Flaw::TooLong => "is longer than any line of a ledger",
        })
    }
}

/// Seals an object: puts the digest of what stands before it under the last key. `None` if it is no object with keys.
pub fn seal(object: &str) -> Option<String> {
    let content = object.strip_suffix('}').filter(|content| content.len() > 1)?;
    let digest = Hash::of(content.as_bytes());
    Some(format!("{content}{SEAL}{digest}\"}}"))
}

/// The digest that a sealed line names, if it is the right one.
pub fn sealed(line: &[u8]) -> Result<Hash, Flaw> {
    if line.len() >= LONGEST {
        return Err(Flaw::TooLong);
    }
    let at = line.len().checked_sub(SEAL_LENGTH).ok_or(Flaw::NotSealed)?;
    let (content, seal) = line.split_at_checked(at).ok_or(Flaw::NotSealed)?;
    let seal = std::str::from_utf8(seal).map_err(|_| Flaw::NotSealed)?;
    let digest = seal.strip_prefix(SEAL).and_then(|rest| rest.strip_suffix("\"}")).ok_or(Flaw::NotSealed)?;
    let named: Hash = digest.parse().map_err(|_| Flaw::Altered)?;
    if Hash::of(content) == named { Ok(named) } else { Err(Flaw::Altered) }
}

/// Checks a line's seal and reads its links.
pub fn unseal(line: &[u8]) -> Result<Links, Flaw> {
    #[derive(Deserialize)]
    struct Envelope<'a> {
        seq: u64,
        #[serde(borrow)]
        previous: Cow<'a, str>,
        #[serde(borrow)]
        event: Option<Cow<'a, str>>,
    }
    sealed(line)?;
    let envelope: Envelope<'_> = serde_json::from_slice(line).map_err(|_| Flaw::NoLinks)?;
    let previous = envelope.previous.parse().map_err(|_| Flaw::NoLinks)?;
    Ok(Links { seq: envelope.seq, previous, hash: Hash::of(line), event: envelope.event.map(Cow::into_owned) })
}

/// Whether a whole sealed line stands at the beginning of `bytes`, with something else than its newline after it. What a
/// power cut tears looks different.
pub fn holds_whole_line(bytes: &[u8]) -> bool {
    let ends = bytes.windows(SEAL.len()).enumerate().filter(|(_, window)| *window == SEAL.as_bytes());
    ends.filter_map(|(at, _)| bytes.get(..at + SEAL_LENGTH))
        .any(|line| line.len() < bytes.len() && sealed(line).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_keeps_its_seal_and_no_changed_byte_does() {
        let links = "{\"seq\":7,\"previous\":\"0000000000000000000000000000000000000000000000000000000000000000\"}";
        let line = seal(links).expect("an object").into_bytes();
        assert_eq!(unseal(&line).map(|links| (links.seq, links.previous)), Ok((7, Hash::NONE)));
        for at in 0..line.len() {
            for bit in 0..8 {
                let mut changed = line.clone();
                changed[at] ^= 1 << bit;
                assert!(unseal(&changed).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_place_reads_back_as_it_was_written_and_in_no_other_spelling() {
        let head = Head { seq: 12, hash: Hash::of(b"x") };
        assert_eq!(head.to_string().parse(), Ok(head));
        for wrong in ["12", "12:", &head.to_string().to_uppercase(), &format!("{head}0"), "x:00"] {
            assert!(wrong.parse::<Head>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_cannot_be_sealed_is_not() {
        for text in ["", "}", "[]", "null", "{"] {
            assert_eq!(seal(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_whole_line_with_a_stray_byte_is_told_from_a_torn_one() {
        let line = seal("{\"seq\":1}").expect("an object");
        assert!(holds_whole_line(format!("{line}\0").as_bytes()));
        for torn in [line.as_str(), &line[..line.len() - 1], "", "\0\0\0"] {
            assert!(!holds_whole_line(torn.as_bytes()), "{torn}");
        }
    }
}
