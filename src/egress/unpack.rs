//! Bodies that are sent compressed, read as the server will read them. RFC 1950, 1951, 1952; RFC 9110, section 8.4.
//!
//! Owns the unpacking, piece by piece and in bounds. What is unpacked is only looked at: what goes on is what came. A body that
//! cannot be read to its end here goes nowhere, for a server might read it.

use hyper::HeaderMap;
use hyper::header::CONTENT_ENCODING;
use miniz_oxide::inflate::stream::{InflateState, inflate};
use miniz_oxide::{DataFormat, MZError, MZFlush, MZStatus};

/// What a body may unpack to: much more than clients compress, and a second of our time.
const MOST: u64 = 256 << 20;
/// What is unpacked at a time.
const PIECE: usize = 32 << 10;
/// The longest head of a file of gzip, with its name and comment.
const LONGEST_HEAD: usize = 64 << 10;
/// What follows each such file: a checksum and a length.
const TAIL: usize = 8;

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Plain,
    /// As `gzip` does.
    Gzip,
    /// As `deflate`, which is zlib.
    Zlib,
}

/// It cannot be looked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable;

impl Coding {
    /// What the fields of a request say, if we can read it.
    pub fn of(headers: &HeaderMap) -> Result<Coding, Unreadable> {
        let mut coding = Coding::Plain;
        for value in headers.get_all(CONTENT_ENCODING) {
            for word in value.to_str().map_err(|_| Unreadable)?.split(',').map(str::trim) {
                let one = match word.to_ascii_lowercase().as_str() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Coding::Gzip,
                    "deflate" => Coding::Zlib,
                    _ => return Err(Unreadable),
                };
                // One inside another is nothing that clients send.
                if coding != Coding::Plain {
                    return Err(Unreadable);
                }
                coding = one;
            }
        }
        Ok(coding)
    }
}

/// Where in a body we are.
#[derive(Debug, PartialEq, Eq)]
enum At {
    /// In the head of a file of gzip, of which this much has come.
    Head(Vec<u8>),
    /// In what is compressed.
    Packed,
    /// So many bytes of what follows are left.
    Tail(usize),
    /// Behind all of it.
    End,
}

/// One body on its way.
pub struct Unpacking {
    coding: Coding,
    at: At,
    state: Box<InflateState>,
    unpacked: u64,
}

impl Unpacking {
    /// Of a body in `coding`; none where it is plain.
    pub fn of(coding: Coding) -> Option<Unpacking> {
        let (at, format) = match coding {
            Coding::Plain => return None,
            Coding::Gzip => (At::Head(Vec::new()), DataFormat::Raw),
            Coding::Zlib => (At::Packed, DataFormat::Zlib),
        };
        Some(Unpacking { coding, at, state: InflateState::new_boxed(format), unpacked: 0 })
    }

    /// Takes what came, and shows what it unpacks to.
    pub fn feed(&mut self, mut bytes: &[u8], show: &mut impl FnMut(&[u8])) -> Result<(), Unreadable> {
        while !bytes.is_empty() {
            bytes = self.step(bytes, show)?;
        }
        Ok(())
    }

    fn step<'a>(&mut self, bytes: &'a [u8], show: &mut impl FnMut(&[u8])) -> Result<&'a [u8], Unreadable> {
        match &mut self.at {
            At::Head(head) => {
                let before = head.len();
                head.extend_from_slice(bytes);
                match head_length(head)? {
                    Some(length) => {
                        self.at = At::Packed;
                        Ok(bytes.get(length.saturating_sub(before)..).unwrap_or_default())
                    }
                    None if head.len() > LONGEST_HEAD => Err(Unreadable),
                    None => Ok(&[]),
                }
            }
            At::Packed => self.unpack(bytes, show),
            At::Tail(left) => {
                let taken = bytes.len().min(*left);
                *left -= taken;
                if *left == 0 {
                    // Another file may follow, and is part of the same body.
                    self.at = At::Head(Vec::new());
                    self.state.reset(DataFormat::Raw);
                }
                Ok(bytes.get(taken..).unwrap_or_default())
            }
            At::End => Err(Unreadable),
        }
    }

    fn unpack<'a>(&mut self, mut bytes: &'a [u8], show: &mut impl FnMut(&[u8])) -> Result<&'a [u8], Unreadable> {
        let mut out = [0; PIECE];
        loop {
            let done = inflate(&mut self.state, bytes, &mut out, MZFlush::None);
            show(out.get(..done.bytes_written).unwrap_or_default());
            self.unpacked += done.bytes_written as u64;
            bytes = bytes.get(done.bytes_consumed..).unwrap_or_default();
            match done.status {
                _ if self.unpacked > MOST => return Err(Unreadable),
                Ok(MZStatus::StreamEnd) => {
                    self.at = if self.coding == Coding::Gzip { At::Tail(TAIL) } else { At::End };
                    return Ok(bytes);
                }
                // All that was there to read or to write.
                Ok(_) | Err(MZError::Buf) if done.bytes_written < out.len() && bytes.is_empty() => return Ok(bytes),
                Ok(_) if done.bytes_written > 0 || done.bytes_consumed > 0 => {}
                Ok(_) | Err(_) => return Err(Unreadable),
            }
        }
    }
}

/// The length of the head of a file of gzip, once all of it is there.
fn head_length(head: &[u8]) -> Result<Option<usize>, Unreadable> {
    const FIXED: usize = 10;
    let Some(fixed) = head.get(..FIXED) else {
        return if [0x1f, 0x8b, 8].starts_with(head.get(..3).unwrap_or(head)) { Ok(None) } else { Err(Unreadable) };
    };
    let [0x1f, 0x8b, 8, flags, ..] = *fixed else { return Err(Unreadable) };
    // Bits that mean nothing yet could mean something to others.
    if flags & 0xe0 != 0 {
        return Err(Unreadable);
    }
    let mut at = FIXED;
    if flags & 4 != 0 {
        let Some([low, high]) = head.get(at..at + 2) else { return Ok(None) };
        at += 2 + usize::from(u16::from_le_bytes([*low, *high]));
    }
    // A name, and a comment.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let Some(end) = head.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == 0)) else {
                return Ok(None);
            };
            at += end + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    Ok((head.len() >= at).then_some(at))
}

#[cfg(test)]
mod tests {
    use miniz_oxide::deflate::{compress_to_vec, compress_to_vec_zlib};
    use proptest::prelude::*;

    use super::*;

    fn gzip(text: &[u8], flags: u8, extra: &[u8]) -> Vec<u8> {
        let head = [&[0x1f, 0x8b, 8, flags, 0, 0, 0, 0, 0, 3][..], extra].concat();
        [head, compress_to_vec(text, 6), vec![7; TAIL]].concat()
    }

    fn unpacked(coding: Coding, packed: &[u8], cut: usize) -> Result<Vec<u8>, Unreadable> {
        let mut unpacking = Unpacking::of(coding).expect("it is packed");
        let mut seen = Vec::new();
        for piece in packed.chunks(cut.max(1)) {
            unpacking.feed(piece, &mut |bytes| seen.extend_from_slice(bytes))?;
        }
        Ok(seen)
    }

    #[test]
    fn a_coding_is_known_by_its_name_and_no_other_is_let_through() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().expect("a field"));
            }
            Coding::of(&headers)
        };
        assert_eq!(of(&[]), Ok(Coding::Plain));
        assert_eq!(of(&["identity"]), Ok(Coding::Plain));
        assert_eq!(of(&["GZip"]), Ok(Coding::Gzip));
        assert_eq!(of(&["identity, x-gzip"]), Ok(Coding::Gzip));
        assert_eq!(of(&["deflate"]), Ok(Coding::Zlib));
        for values in [&["br"][..], &["zstd"], &["gzip, gzip"], &["gzip", "deflate"], &["gzip;q=1"], &["\u{ff}"]] {
            assert_eq!(of(values), Err(Unreadable), "{values:?}");
        }
    }

    #[test]
    fn a_head_of_gzip_may_have_a_name_a_comment_and_more() {
        for (flags, extra) in
            [(0, &b""[..]), (8, b"name\0"), (16, b"comment\0"), (8 | 16 | 2, b"a\0b\0cc"), (4, b"\x03\0abc")]
        {
            assert_eq!(unpacked(Coding::Gzip, &gzip(b"text", flags, extra), 1).as_deref(), Ok(&b"text"[..]), "{flags}");
        }
        let two = [gzip(b"one ", 0, b""), gzip(b"other", 0, b"")].concat();
        assert_eq!(unpacked(Coding::Gzip, &two, 5).as_deref(), Ok(&b"one other"[..]));
    }

    #[test]
    fn what_cannot_be_read_to_its_end_is_not_let_through() {
        for packed in [
            &b"plain text"[..],
            b"\x1f\x8b\x08\xff000000",
            b"\x1f\x8b\x07",
            &[gzip(b"x", 0, b""), b"more".to_vec()].concat(),
        ] {
            assert_eq!(unpacked(Coding::Gzip, packed, 3), Err(Unreadable), "{packed:?}");
        }
        let zlib = compress_to_vec_zlib(b"text", 6);
        assert_eq!(unpacked(Coding::Zlib, &zlib, 2).as_deref(), Ok(&b"text"[..]));
        // Some read that as deflate, too.
        assert_eq!(unpacked(Coding::Zlib, &compress_to_vec(b"text", 6), 2), Err(Unreadable));
        assert_eq!(unpacked(Coding::Zlib, &[zlib, vec![0]].concat(), 64), Err(Unreadable));
    }

    #[test]
    fn a_body_that_unpacks_to_more_than_anybody_sends_is_not_unpacked() {
        let bomb = compress_to_vec_zlib(&vec![0; 16 << 20], 9);
        let mut unpacking = Unpacking::of(Coding::Gzip).expect("it is packed");
        let mut shown = 0_u64;
        let mut all = Ok(());
        for _ in 0..40 {
            let packed = bomb.get(2..bomb.len() - 4).expect("it has a head and a sum");
            let file = [&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], packed, &[0; TAIL]].concat();
            all = unpacking.feed(&file, &mut |bytes| shown += bytes.len() as u64);
            if all.is_err() {
                break;
            }
        }
        assert_eq!(all, Err(Unreadable));
        assert!(shown <= MOST + PIECE as u64, "{shown}");
    }

    proptest! {
        #[test]
        fn what_was_packed_comes_out_however_it_is_cut(text in proptest::collection::vec(any::<u8>(), 0..3000), cut in 1usize..400) {
            prop_assert_eq!(unpacked(Coding::Gzip, &gzip(&text, 0, b""), cut), Ok(text.clone()));
            prop_assert_eq!(unpacked(Coding::Zlib, &compress_to_vec_zlib(&text, 6), cut), Ok(text));
        }

        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..300), cut in 1usize..50) {
            let _ = unpacked(Coding::Gzip, &[&[0x1f, 0x8b, 8][..], &bytes].concat(), cut);
            let _ = unpacked(Coding::Gzip, &[&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3][..], &bytes].concat(), cut);
            let _ = unpacked(Coding::Zlib, &bytes, cut);
        }
    }
}
