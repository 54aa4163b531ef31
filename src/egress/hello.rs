//! The first message of a TLS client: which server it asks for. RFC 8446, 6066.
//!
//! Owns the reading of a ClientHello, however it is cut into records. Must not judge.

use crate::policy::egress::name::Name;

/// What is known of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// More bytes are needed.
    Unfinished,
    /// It asks for this server, or for none.
    For(Option<Name>),
    /// It makes no sense.
    Malformed,
}

/// The largest that is waited for; real ones have some hundred bytes, with post-quantum keys two thousand.
pub const LONGEST: usize = 32 << 10;

const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// Records may not be longer; RFC 8446, section 5.1.
const LONGEST_RECORD: usize = 16 << 10;

/// Reads what a client has sent so far.
pub fn read(bytes: &[u8]) -> Hello {
    match message(bytes) {
        Ok(Some(body)) => name(&body).map_or(Hello::Malformed, Hello::For),
        Ok(None) if bytes.len() < LONGEST => Hello::Unfinished,
        Ok(None) | Err(Malformed) => Hello::Malformed,
    }
}

struct Malformed;

/// The body of the first handshake message, once all of it is there.
fn message(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut joined = Vec::new();
    loop {
        if let Some(([kind, high, middle, low], body)) = joined.split_first_chunk::<4>() {
            let length = usize::from(*high) << 16 | usize::from(*middle) << 8 | usize::from(*low);
            if *kind != CLIENT_HELLO || length > LONGEST {
                return Err(Malformed);
            }
            if let Some(body) = body.get(..length) {
                return Ok(Some(body.to_vec()));
            }
        }
        let Some(([kind, major, _, high, low], rest)) = bytes.split_first_chunk::<5>() else {
            let sound = bytes.first().is_none_or(|kind| *kind == HANDSHAKE);
            return if sound { Ok(None) } else { Err(Malformed) };
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        if *kind != HANDSHAKE || *major != 3 || length == 0 || length > LONGEST_RECORD {
            return Err(Malformed);
        }
        let (fragment, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        joined.extend_from_slice(fragment);
        if fragment.len() < length {
            // An unfinished record can hold all of the message; one more look, and then there is nothing left.
            bytes = &[];
            if joined.len() < 4 {
                return Ok(None);
            }
            continue;
        }
        bytes = after;
    }
}

/// Reads numbers and vectors off the front.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn number(&mut self) -> Option<u16> {
        self.take(2)?.first_chunk::<2>().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn short(&mut self) -> Option<&'a [u8]> {
        let length = self.byte()?;
        self.take(length.into())
    }

    fn long(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(length.into())
    }
}

/// The server's name in a ClientHello; `None` around it when the message is malformed.
fn name(body: &[u8]) -> Option<Option<Name>> {
    let mut reader = Reader(body);
    // Version and random; session, ciphers and compressions are the server's business.
    reader.take(2 + 32)?;
    reader.short()?;
    reader.long()?;
    reader.short()?;
    if reader.0.is_empty() {
        return Some(None);
    }
    let mut extensions = Reader(reader.long()?);
    let mut found = None;
    while !extensions.0.is_empty() {
        let (kind, value) = (extensions.number()?, extensions.long()?);
        if kind == SERVER_NAME {
            // A second one could be the one that the server reads.
            if found.is_some() {
                return None;
            }
            found = Some(host_name(value)?);
        }
    }
    reader.0.is_empty().then_some(found)
}

/// The one name of a list that may have no other.
fn host_name(value: &[u8]) -> Option<Name> {
    let mut outer = Reader(value);
    let mut list = Reader(outer.long()?);
    let (kind, name) = (list.byte()?, list.long()?);
    if kind != HOST_NAME || !list.0.is_empty() || !outer.0.is_empty() {
        return None;
    }
    Name::parse(std::str::from_utf8(name).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vector(length_bytes: usize, content: &[u8]) -> Vec<u8> {
        let length = content.len().to_be_bytes();
        [&length[length.len() - length_bytes..], content].concat()
    }

    fn server_name(name: &[u8]) -> Vec<u8> {
        let entry = [vec![0], vector(2, name)].concat();
        [vec![0, 0], vector(2, &vector(2, &entry))].concat()
    }

    fn hello(extensions: &[u8]) -> Vec<u8> {
        let body =
            [vec![3, 3], vec![7; 32], vector(1, &[]), vector(2, &[0x13, 1]), vector(1, &[0]), vector(2, extensions)];
        [vec![1], vector(3, &body.concat())].concat()
    }

    fn in_records(message: &[u8], size: usize) -> Vec<u8> {
        message.chunks(size).flat_map(|part| [vec![22, 3, 1], vector(2, part)].concat()).collect()
    }

    fn name(text: &str) -> Option<Name> {
        Some(Name::parse(text).expect("a name"))
    }

    #[test]
    fn the_name_is_found_however_the_message_is_cut() {
        let message = hello(&[vec![0xfe, 0x0d], vector(2, b"grease"), server_name(b"A.Example")].concat());
        for size in [1, 3, 40, 16000] {
            let bytes = in_records(&message, size);
            assert_eq!(read(&bytes), Hello::For(name("a.example")), "records of {size}");
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), Hello::Unfinished, "cut at {cut} of records of {size}");
            }
        }
    }

    #[test]
    fn a_client_without_a_name_asks_for_none() {
        assert_eq!(read(&in_records(&hello(&[]), 100)), Hello::For(None));
        let old = [
            vec![1],
            vector(3, &[vec![3, 1], vec![7; 32], vector(1, &[]), vector(2, &[0, 1]), vector(1, &[0])].concat()),
        ];
        assert_eq!(read(&in_records(&old.concat(), 100)), Hello::For(None));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_malformed() {
        let twice = [server_name(b"a.example"), server_name(b"b.example")].concat();
        let two_names =
            [vec![0, 0], vector(2, &vector(2, &[&[0][..], &vector(2, b"a.b"), &[0], &vector(2, b"c.d")].concat()))];
        for extensions in [
            twice,
            two_names.concat(),
            server_name(b"a.example\0.evil.example"),
            server_name(b"127.0.0.1"),
            server_name(b""),
            vec![0, 0, 0],
            [vec![0, 0], vector(2, &[0, 0])].concat(),
        ] {
            assert_eq!(read(&in_records(&hello(&extensions), 1000)), Hello::Malformed, "{extensions:?}");
        }
        for bytes in
            [&[22, 2, 0, 0, 5, 1][..], &[22, 3, 1, 0, 0], &[22, 3, 1, 0x50, 0], &[22, 3, 1, 0, 4, 2, 0, 0, 0], &[23]]
        {
            assert_eq!(read(bytes), Hello::Malformed, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
            let _ = read(&in_records(&bytes, 50));
        }

        #[test]
        fn no_damage_makes_another_name_of_it(at in 0usize..100, byte in any::<u8>()) {
            let mut bytes = in_records(&hello(&server_name(b"a.example")), 1000);
            let last = bytes.len() - 1;
            bytes[at.min(last)] = byte;
            // Whatever it reads, a second look reads the same.
            prop_assert_eq!(read(&bytes), read(&bytes));
        }
    }
}
