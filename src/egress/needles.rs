//! Finding in streams of bytes what must not be in them.
//!
//! Owns two searches: for what stands for a secret, on its way out, as it is, escaped or in base64; and for the secret itself in an
//! answer, which is made unreadable there. Both find what is cut in two. Must not know what is then done about it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

/// What is looked for.
#[derive(Clone)]
pub struct Needles {
    finders: Vec<Finder<'static>>,
    longest: usize,
}

impl Needles {
    /// `text`, and what base64 makes of it wherever it stands in something longer.
    pub fn of(text: &str) -> Needles {
        let shifted = (0..3).filter_map(|before| in_base64(text, before));
        let all: Vec<Vec<u8>> = std::iter::once(text.as_bytes().to_vec()).chain(shifted).collect();
        let longest = all.iter().map(Vec::len).max().unwrap_or(0);
        Needles { finders: all.iter().map(|needle| Finder::new(needle).into_owned()).collect(), longest }
    }

    /// Whether one is in `bytes` as they are, or with their escapes undone.
    pub fn are_in(&self, bytes: &[u8]) -> bool {
        let mut search = Search::default();
        search.find(self, bytes)
    }

    fn are_plainly_in(&self, bytes: &[u8]) -> bool {
        self.finders.iter().any(|finder| finder.find(bytes).is_some())
    }
}

/// The part of the base64 of something that has `text` after a number of bytes that does not depend on what else is there. It
/// is none for texts that are too short.
fn in_base64(text: &str, before: usize) -> Option<Vec<u8>> {
    let padded = [&vec![b'a'; before][..], text.as_bytes()].concat();
    let encoded = STANDARD_NO_PAD.encode(&padded).into_bytes();
    // The first characters and the last one hold bits of neighbours.
    let first = (before * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    encoded.get(first..last).filter(|rest| rest.len() >= 8).map(<[u8]>::to_vec)
}

/// A search through a stream.
#[derive(Default)]
pub struct Search {
    /// The end of what came so far, as it came and with escapes undone.
    raw: Vec<u8>,
    undone: Vec<u8>,
    /// An escape that has begun.
    escape: Vec<u8>,
}

impl Search {
    /// Whether a needle ends in `piece`.
    pub fn find(&mut self, needles: &Needles, piece: &[u8]) -> bool {
        let found = advance(&mut self.raw, needles, piece);
        if self.escape.is_empty() && self.undone.is_empty() && memchr::memchr(b'%', piece).is_none() {
            // Nothing was ever escaped: both streams are the same so far.
            return found;
        }
        if self.undone.is_empty() {
            self.undone = self.raw.get(..self.raw.len().saturating_sub(piece.len())).unwrap_or_default().to_vec();
        }
        let undone = self.undo(piece);
        advance(&mut self.undone, needles, &undone) || found
    }

    fn undo(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(piece.len());
        for byte in piece {
            if self.escape.is_empty() && *byte != b'%' {
                out.push(*byte);
                continue;
            }
            self.escape.push(*byte);
            match self.escape.as_slice() {
                [b'%'] => {}
                [b'%', digit] if digit.is_ascii_hexdigit() => {}
                [b'%', high, low] if low.is_ascii_hexdigit() => {
                    let digit = |byte: u8| {
                        char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok()).unwrap_or(0)
                    };
                    out.push(digit(*high) << 4 | digit(*low));
                    self.escape.clear();
                }
                _ => out.append(&mut self.escape),
            }
        }
        out
    }
}

/// Looks through the end of what came before and `piece`, and keeps the end of both.
fn advance(end: &mut Vec<u8>, needles: &Needles, piece: &[u8]) -> bool {
    let keep = needles.longest.saturating_sub(1);
    let across = piece.get(..keep.min(piece.len())).unwrap_or_default();
    end.extend_from_slice(across);
    let found = needles.are_plainly_in(end) || needles.are_plainly_in(piece);
    if piece.len() >= keep {
        *end = piece.get(piece.len() - keep..).unwrap_or_default().to_vec();
    } else if end.len() > keep {
        end.drain(..end.len() - keep);
    }
    found
}

/// Makes secrets unreadable in a stream, and holds back no more than what could be the beginning of one.
pub struct Blotter {
    needles: Vec<Vec<u8>>,
    held: BytesMut,
}

impl Blotter {
    /// For these, each as it is and in base64.
    pub fn of(secrets: &[String]) -> Blotter {
        let needles = secrets.iter().flat_map(|secret| {
            let shifted = (0..3).filter_map(|before| in_base64(secret, before));
            std::iter::once(secret.as_bytes().to_vec()).chain(shifted).collect::<Vec<_>>()
        });
        Blotter { needles: needles.filter(|needle| needle.len() >= SHORTEST).collect(), held: BytesMut::new() }
    }

    /// What can go on of all that came.
    pub fn pass(&mut self, piece: Bytes) -> Bytes {
        let (mut all, whole) = if self.held.is_empty() {
            (BytesMut::new(), Some(piece))
        } else {
            let mut all = std::mem::take(&mut self.held);
            all.extend_from_slice(&piece);
            (all, None)
        };
        let seen: &[u8] = whole.as_deref().unwrap_or(&all);
        let found = self.needles.iter().any(|needle| memchr::memmem::find(seen, needle).is_some());
        let begun = self.begun(seen);
        if let Some(piece) = whole {
            if !found && begun == 0 {
                return piece;
            }
            all = BytesMut::from(&piece[..]);
        }
        for needle in self.needles.iter().filter(|_| found) {
            blot(&mut all, needle);
        }
        self.held = all.split_off(all.len() - begun.min(all.len()));
        all.freeze()
    }

    /// What was held back, once nothing more comes.
    pub fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.held).freeze()
    }

    /// A short text, blotted as a whole.
    pub fn blot(&self, text: &[u8]) -> Vec<u8> {
        let mut all = BytesMut::from(text);
        for needle in &self.needles {
            blot(&mut all, needle);
        }
        all.to_vec()
    }

    /// How many bytes at the end could be the beginning of a needle.
    fn begun(&self, bytes: &[u8]) -> usize {
        let of = |needle: &Vec<u8>| {
            let most = (needle.len() - 1).min(bytes.len());
            (1..=most).rev().find(|length| bytes.ends_with(needle.get(..*length).unwrap_or_default())).unwrap_or(0)
        };
        self.needles.iter().map(of).max().unwrap_or(0)
    }
}

/// A shorter secret would be found in every second answer.
const SHORTEST: usize = 6;

fn blot(all: &mut BytesMut, needle: &[u8]) {
    let places: Vec<usize> = memchr::memmem::find_iter(all, needle).collect();
    for place in places {
        if let Some(found) = all.get_mut(place..place + needle.len()) {
            found.fill(b'*');
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = "clawjail0123456789abcdef";

    fn escaped(text: &str) -> String {
        text.bytes().map(|byte| format!("%{byte:02x}")).collect()
    }

    #[test]
    fn it_is_found_as_it_is_escaped_and_in_base64_wherever_it_stands() {
        let needles = Needles::of(TEXT);
        assert!(needles.are_in(format!("token={TEXT}&x").as_bytes()));
        assert!(needles.are_in(format!("a%20b{}", escaped(TEXT)).as_bytes()));
        assert!(needles.are_in(format!("{}%30{}", &TEXT[..8], &TEXT[9..]).as_bytes()));
        for user in ["", "u", "us", "user:", "x-access-token:"] {
            let encoded = STANDARD_NO_PAD.encode(format!("{user}{TEXT}\u{ff}x"));
            assert!(needles.are_in(format!("Basic {encoded}").as_bytes()), "{user}");
        }
        for other in ["", "%", "%6", "clawjail", &TEXT[1..], "clawjail0123456789abcde%"] {
            assert!(!needles.are_in(other.as_bytes()), "{other}");
        }
    }

    proptest! {
        #[test]
        fn it_is_found_however_the_stream_is_cut(
            before in "[a%z]{0,40}", after in "[a%z]{0,40}", cuts in proptest::collection::vec(1usize..20, 0..20), how in 0..3
        ) {
            let needles = Needles::of(TEXT);
            let hidden = match how {
                0 => TEXT.to_owned(),
                1 => escaped(TEXT),
                _ => STANDARD_NO_PAD.encode(format!("ab{TEXT}cd")),
            };
            // An escape of the neighbours would change what it is.
            let before = before.replace('%', "-");
            let all = format!("{before}{hidden}{after}").into_bytes();
            let (mut search, mut found, mut rest) = (Search::default(), false, &all[..]);
            for cut in cuts.iter().copied().chain(std::iter::repeat(7)) {
                if rest.is_empty() {
                    break;
                }
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                found |= search.find(&needles, piece);
                rest = left;
            }
            prop_assert!(found);
        }

        #[test]
        fn nothing_is_found_where_nothing_is(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(!Needles::of(TEXT).are_in(&bytes));
        }

        #[test]
        fn an_answer_is_blotted_however_it_is_cut_and_keeps_its_length(
            before in "[hunter2x]{0,20}", after in "[hunter2x]{0,20}", cuts in proptest::collection::vec(1usize..9, 0..20)
        ) {
            let secret = "hunter2hunter3".to_owned();
            let all = format!("{before}{secret}{after}");
            let mut blotter = Blotter::of(std::slice::from_ref(&secret));
            let (mut out, mut rest) = (Vec::new(), all.as_bytes());
            for cut in cuts.iter().copied().chain(std::iter::repeat(5)) {
                if rest.is_empty() {
                    break;
                }
                let (piece, left) = rest.split_at(cut.min(rest.len()));
                out.extend_from_slice(&blotter.pass(Bytes::copy_from_slice(piece)));
                rest = left;
            }
            out.extend_from_slice(&blotter.rest());
            let out = String::from_utf8(out).expect("text");
            prop_assert_eq!(out.len(), all.len());
            prop_assert!(!out.contains(&secret), "{}", out);
            prop_assert!(out.starts_with(&before) && out.ends_with(&after), "{}", out);
        }
    }
}
