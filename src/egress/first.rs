//! What a client speaks, by the first bytes that it sends.
//!
//! Owns the telling apart. A server is more lenient than a sniffer, so what could still become HTTP is waited for, and never
//! taken for something else. Must not judge.

/// What it speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Not known yet.
    Undecided,
    /// TLS.
    Tls,
    /// HTTP/1, or something with a first line like it.
    Http,
    /// SSH.
    Ssh,
    /// Something else.
    Other,
}

/// The longest first line that is waited for.
pub const LONGEST: usize = 16 << 10;

/// Tells by what has come so far.
pub fn tell(bytes: &[u8]) -> First {
    // Servers skip empty lines before a request, and some skip blanks.
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(bytes.len());
    let text = bytes.get(start..).unwrap_or_default();
    match (bytes.first(), text) {
        (None, _) => First::Undecided,
        (Some(22), _) => First::Tls,
        (_, text) if text.starts_with(b"SSH-") => First::Ssh,
        (_, text) => {
            let line = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let readable = line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r'));
            match (readable, line.len() < text.len()) {
                (true, false) if bytes.len() < LONGEST => First::Undecided,
                (_, _) if names_http(line) => First::Http,
                _ => First::Other,
            }
        }
    }
}

fn names_http(line: &[u8]) -> bool {
    line.windows(5).any(|word| word.eq_ignore_ascii_case(b"HTTP/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_protocol_is_known_by_its_first_bytes() {
        for (bytes, first) in [
            (&b""[..], First::Undecided),
            (b"\x16", First::Tls),
            (b"\x16\x03\x01", First::Tls),
            (b"G", First::Undecided),
            (b"GET / HTT", First::Undecided),
            (b"GET / HTTP/1.1\r\n", First::Http),
            (b"\r\n\r\nGET / HTTP/1.1\r\n", First::Http),
            (b" \tGET / HTTP/1.1\n", First::Http),
            (b"\r\n", First::Undecided),
            (b"M\xc3\x96 / HTTP/1.1\r\n", First::Http),
            (b"PRI * HTTP/2.0\r\n", First::Http),
            (b"SSH-2.0-OpenSSH_9.2\r\n", First::Ssh),
            (b"PING\r\n", First::Other),
            (b"\x00\x00\x00\x08\x04\xd2\x16\x2f", First::Other),
            (b"0032git-upload-pack /project\0host=a.example\0", First::Other),
        ] {
            assert_eq!(tell(bytes), first, "{bytes:?}");
        }
    }

    #[test]
    fn a_first_line_without_an_end_is_not_waited_for_for_ever() {
        assert_eq!(tell(&vec![b'a'; LONGEST]), First::Other);
        assert_eq!(tell(&[b"GET / HTTP/1.1\rX: ", &vec![b'a'; LONGEST][..]].concat()), First::Http);
    }
}
