//! The requests of an HTTP/1 connection, one after the other: each must speak of the host that was connected to. RFC 9112.
//!
//! Owns the reading of everything that a client sends and the writing of it anew, in the one form that every server reads
//! the same way. What could be read in two ways is denied. Answers are not looked at. Must not know connections.

use core::fmt::Write as _;

use crate::policy::egress::name::Name;

/// The longest head, and the most fields in one.
const LONGEST: usize = 64 << 10;
const MOST_FIELDS: usize = 128;
/// The longest line before a chunk, and all of what follows the last.
const LONGEST_LINE: usize = 256;

/// Where in the stream of requests we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a head, or before one.
    Head,
    /// So many bytes of a body are left.
    Body(u64),
    /// In the line before a chunk.
    Size,
    /// So many bytes of a chunk are left.
    Chunk(u64),
    /// In the line end after a chunk.
    ChunkEnd,
    /// In the fields after the last chunk.
    Trailer,
}

/// The requests of one connection.
#[derive(Debug)]
pub struct Requests {
    host: Name,
    port: u16,
    at: At,
    waiting: Vec<u8>,
    count: u64,
    // How many there may be: the last one ends its connection.
    most: u64,
}

/// A request that must not go on, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It is no HTTP/1 as one can be sure to read it.
    Malformed,
    /// It is for another host.
    OtherHost,
    /// It asks for a tunnel, or for another protocol.
    Tunnel,
    /// Its path is one that servers read in more than one way.
    Path,
}

impl Flaw {
    /// The rule that it breaks.
    pub fn rule(self) -> &'static str {
        match self {
            Flaw::Malformed => "built in: an HTTP request that can be read in more than one way",
            Flaw::OtherHost => "built in: an HTTP request for another host than the one that was connected to",
            Flaw::Tunnel => "built in: HTTP that becomes a tunnel or another protocol",
            Flaw::Path => "built in: a path that can be read in more than one way",
        }
    }
}

impl Requests {
    /// Of a connection to `host`.
    pub fn to(host: Name, port: u16) -> Requests {
        Requests { host, port, at: At::Head, waiting: Vec::new(), count: 0, most: u64::MAX }
    }

    /// Of a connection that is for a single one. What comes behind that is not looked at.
    pub fn only_one(host: Name, port: u16) -> Requests {
        Requests { most: 1, ..Requests::to(host, port) }
    }

    /// How many requests were let through.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether nothing of the next request was let through yet.
    pub fn are_between(&self) -> bool {
        self.at == At::Head
    }

    /// Whether the last one that there may be was let through, to its end.
    pub fn are_over(&self) -> bool {
        self.are_between() && self.count == self.most
    }

    /// Takes what the client sent, and gives what the server gets.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Flaw> {
        let mut left = std::mem::take(&mut self.waiting);
        left.extend_from_slice(bytes);
        let (mut out, mut rest) = (Vec::with_capacity(left.len() + 16), left.as_slice());
        loop {
            let before = (self.at, rest.len());
            rest = self.step(rest, &mut out)?;
            if (self.at, rest.len()) == before {
                break;
            }
        }
        self.waiting = rest.to_vec();
        Ok(out)
    }

    /// One part of a request, if all of it is there.
    fn step<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Flaw> {
        match self.at {
            At::Head => self.head(rest, out),
            At::Body(left) => {
                let (taken, rest, left) = take(rest, left);
                out.extend_from_slice(taken);
                self.at = if left == 0 { At::Head } else { At::Body(left) };
                Ok(rest)
            }
            At::Size => self.size(rest, out),
            At::Chunk(left) => {
                let (taken, rest, left) = take(rest, left);
                out.extend_from_slice(taken);
                self.at = if left == 0 { At::ChunkEnd } else { At::Chunk(left) };
                Ok(rest)
            }
            At::ChunkEnd => match rest {
                [b'\r', b'\n', rest @ ..] => {
                    out.extend_from_slice(b"\r\n");
                    self.at = At::Size;
                    Ok(rest)
                }
                [] | [b'\r'] => Ok(rest),
                _ => Err(Flaw::Malformed),
            },
            At::Trailer => self.trailer(rest, out),
        }
    }

    fn size<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Flaw> {
        let Some((line, after)) = line(rest)? else { return Ok(rest) };
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        let plain = !digits.is_empty() && digits.len() <= 15 && digits.iter().all(u8::is_ascii_hexdigit);
        let text = std::str::from_utf8(digits).ok().filter(|_| plain).ok_or(Flaw::Malformed)?;
        let size = u64::from_str_radix(text, 16).map_err(|_| Flaw::Malformed)?;
        if size == 0 {
            self.at = At::Trailer;
        } else {
            out.extend_from_slice(format!("{size:x}\r\n").as_bytes());
            self.at = At::Chunk(size);
        }
        Ok(after)
    }

    /// Fields after a body change what it means for some servers: none is passed on.
    fn trailer<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Flaw> {
        let Some((line, after)) = line(rest)? else { return Ok(rest) };
        if line.is_empty() {
            out.extend_from_slice(b"0\r\n\r\n");
            self.at = At::Head;
        }
        Ok(after)
    }

    fn head<'a>(&mut self, rest: &'a [u8], out: &mut Vec<u8>) -> Result<&'a [u8], Flaw> {
        if self.are_over() {
            return Ok(rest);
        }
        let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(rest) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if rest.len() < LONGEST => return Ok(rest),
            Ok(httparse::Status::Partial) | Err(_) => return Err(Flaw::Malformed),
        };
        let head = Head::read(&request)?;
        head.check(&self.host, self.port)?;
        self.count += 1;
        head.write(&request, out, self.count == self.most);
        self.at = match head.body {
            Body::Length(0) => At::Head,
            Body::Length(length) => At::Body(length),
            Body::Chunked => At::Size,
        };
        Ok(rest.get(length..).unwrap_or_default())
    }
}

fn take(rest: &[u8], left: u64) -> (&[u8], &[u8], u64) {
    let most = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
    let (taken, rest) = rest.split_at_checked(most).unwrap_or((rest, &[]));
    (taken, rest, left - u64::try_from(taken.len()).unwrap_or(left))
}

/// A line without its end, and what follows.
type Line<'a> = (&'a [u8], &'a [u8]);

/// A line, once it is there. Ends are CR LF and nothing else.
fn line(rest: &[u8]) -> Result<Option<Line<'_>>, Flaw> {
    let end = rest.iter().position(|byte| *byte == b'\n');
    let Some(end) = end else { return if rest.len() > LONGEST_LINE { Err(Flaw::Malformed) } else { Ok(None) } };
    let (line, after) = rest.split_at_checked(end + 1).ok_or(Flaw::Malformed)?;
    let line = line.strip_suffix(b"\r\n").filter(|line| !line.contains(&b'\r') && line.len() <= LONGEST_LINE);
    line.map(|line| Some((line, after))).ok_or(Flaw::Malformed)
}

/// How long a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Length(u64),
    Chunked,
}

/// What a head says.
struct Head<'a> {
    method: &'a str,
    path: &'a str,
    /// Of an absolute target.
    authority: Option<&'a str>,
    host: &'a str,
    minor: u8,
    body: Body,
}

impl<'a> Head<'a> {
    fn read(request: &httparse::Request<'_, 'a>) -> Result<Head<'a>, Flaw> {
        let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
            return Err(Flaw::Malformed);
        };
        if method.eq_ignore_ascii_case("CONNECT") || method == "PRI" {
            return Err(Flaw::Tunnel);
        }
        let (authority, path) = split_target(method, target)?;
        let host = only(request, "host")?.ok_or(Flaw::OtherHost)?;
        let host = std::str::from_utf8(host).map_err(|_| Flaw::Malformed)?;
        Ok(Head { method, path, authority, host, minor, body: body(request, minor)? })
    }

    fn check(&self, host: &Name, port: u16) -> Result<(), Flaw> {
        let same = |written: &str| {
            let (name, written_port) =
                written.split_once(':').map_or((written, None), |(name, port)| (name, Some(port)));
            let port_is_same = written_port.is_none_or(|text| text.parse() == Ok(port));
            port_is_same && Name::parse(name).as_ref() == Ok(host)
        };
        if same(self.host) && self.authority.is_none_or(same) { Ok(()) } else { Err(Flaw::OtherHost) }
    }

    /// In the one form: so that nothing of how it was written can mean anything else further on.
    fn write(&self, request: &httparse::Request<'_, '_>, out: &mut Vec<u8>, last: bool) {
        let mut line = String::new();
        let _ = write!(line, "{} {} HTTP/1.{}\r\n", self.method, self.path, self.minor);
        out.extend_from_slice(line.as_bytes());
        for field in request.headers.iter() {
            if DROPPED.iter().any(|name| field.name.eq_ignore_ascii_case(name)) {
                continue;
            }
            if last && field.name.eq_ignore_ascii_case("connection") {
                continue;
            }
            let value = if field.name.eq_ignore_ascii_case("connection") { &kept(field.value) } else { field.value };
            for part in [field.name.as_bytes(), b": ", value, b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        if last {
            out.extend_from_slice(b"Connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
    }
}

/// Fields that are for us, or that ask for another protocol.
const DROPPED: [&str; 4] = ["upgrade", "http2-settings", "proxy-authorization", "proxy-connection"];

/// What a proxy was sent for an address, as the server there gets it: nothing is judged, and what was for the proxy is gone.
pub fn without_proxy(said: &[u8]) -> Option<Vec<u8>> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let Ok(httparse::Status::Complete(length)) = request.parse(said) else { return None };
    let (method, target) = (request.method?, request.path?);
    let (_, path) = split_target(method, target).ok()?;
    let head = Head { method, path, authority: None, host: "", minor: request.version?, body: Body::Length(0) };
    let mut out = Vec::with_capacity(said.len());
    head.write(&request, &mut out, true);
    out.extend_from_slice(said.get(length..)?);
    Some(out)
}

/// The authority of an absolute target, and the path to ask for.
fn split_target<'a>(method: &str, target: &'a str) -> Result<(Option<&'a str>, &'a str), Flaw> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return Ok((None, target));
    }
    let after =
        target.get(7..).filter(|_| target.get(..7).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http://")));
    let after = after.ok_or(Flaw::Malformed)?;
    let end = after.find(['/', '?', '#']).unwrap_or(after.len());
    let (authority, path) = after.split_at_checked(end).ok_or(Flaw::Malformed)?;
    match path.chars().next() {
        None => Ok((Some(authority), "/")),
        Some('/') => Ok((Some(authority), path)),
        Some(_) => Err(Flaw::Malformed),
    }
}

/// The value of a field that may be there once.
fn only<'a>(request: &httparse::Request<'_, 'a>, name: &str) -> Result<Option<&'a [u8]>, Flaw> {
    let mut found =
        request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value);
    let first = found.next();
    if found.next().is_some() { Err(Flaw::Malformed) } else { Ok(first) }
}

/// Where the body ends, if there is one way to tell.
fn body(request: &httparse::Request<'_, '_>, minor: u8) -> Result<Body, Flaw> {
    match (only(request, "transfer-encoding")?, only(request, "content-length")?) {
        (None, None) => Ok(Body::Length(0)),
        (Some(coding), None) if minor == 1 && coding.eq_ignore_ascii_case(b"chunked") => Ok(Body::Chunked),
        (None, Some(length)) => {
            let plain = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(length).ok().filter(|_| plain).ok_or(Flaw::Malformed)?;
            text.parse().map(Body::Length).map_err(|_| Flaw::Malformed)
        }
        _ => Err(Flaw::Malformed),
    }
}

/// The words of a `Connection` field without those that make another protocol of it.
fn kept(value: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(value);
    let words = text.split(',').map(str::trim);
    let words = words.filter(|word| !["upgrade", "http2-settings"].iter().any(|gone| word.eq_ignore_ascii_case(gone)));
    words.collect::<Vec<_>>().join(", ").into_bytes()
}

#[cfg(test)]
#[path = "requests_tests.rs"]
mod tests;
