//! What a command tells init without asking for anything: what it executes, where it connects to, what it opens for reading.
//!
//! Read out of its memory once, as it is when the call begins; another thread can change it before the kernel reads it. So it is good
//! for a record and for nothing else, and the answer is always to go on.

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::asker::Asker;
use crate::plan::paths::lies_at_or_below;
use crate::plan::sight::normal;
use crate::sys::seccomp::Notification;

/// Most arguments of one command that are kept, and most bytes of all of them.
const MOST_ARGUMENTS: usize = 64;
const MOST_ARGUMENT_BYTES: usize = 4096;
/// Bytes of each argument that are read at first, all at once.
const SHORT: usize = 128;
/// A DNS message over UDP without extensions; longer questions are not looked at.
const LONGEST_QUESTION: usize = 512;

/// What a command is about to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Told {
    /// Become this program.
    Execute {
        /// Its path, absolute.
        path: PathBuf,
        /// Its arguments.
        argv: Vec<Vec<u8>>,
        /// Whether there were more, or longer ones.
        cut: bool,
    },
    /// Open this for reading.
    Read(PathBuf),
    /// Connect, or send to.
    Reach(SocketAddr),
    /// Ask a name server for this name.
    LookUp(Vec<u8>),
    /// Listen on the socket with this inode.
    Listen(u64),
    /// Something that is not worth a line, or cannot be read.
    Nothing,
}

/// Whether the call is one that is only told, and never asked about.
pub fn is_told(notification: &Notification) -> bool {
    let [_, b, c, ..] = notification.arguments;
    let reads = |flags: u64| {
        let flags = flags as i32;
        flags & libc::O_ACCMODE == libc::O_RDONLY
            && flags & (libc::O_CREAT | libc::O_TRUNC) == 0
            && flags & libc::O_TMPFILE != libc::O_TMPFILE
    };
    match i64::from(notification.number) {
        libc::SYS_execve
        | libc::SYS_execveat
        | libc::SYS_connect
        | libc::SYS_sendto
        | libc::SYS_sendmmsg
        | libc::SYS_listen => true,
        libc::SYS_openat => reads(c),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_open => reads(b),
        _ => false,
    }
}

/// Reads what is told.
pub fn read(asker: &Asker<'_>, notification: &Notification) -> Told {
    let told = match i64::from(notification.number) {
        libc::SYS_execve | libc::SYS_execveat => execution(asker, notification),
        libc::SYS_connect => address(asker, notification.arguments[1], notification.arguments[2]).map(Told::Reach),
        libc::SYS_sendto => sent_to(asker, notification),
        libc::SYS_sendmmsg => first_of_many(asker, notification.arguments[1]),
        libc::SYS_listen => listening(asker, notification.arguments[0]),
        _ => opened(asker, notification),
    };
    told.unwrap_or(Told::Nothing)
}

fn here() -> u64 {
    libc::AT_FDCWD as u32 as u64
}

fn opened(asker: &Asker<'_>, notification: &Notification) -> Option<Told> {
    let [a, b, c, ..] = notification.arguments;
    let (directory, address, flags) =
        if i64::from(notification.number) == libc::SYS_openat { (a, b, c) } else { (here(), a, b) };
    // A descriptor that reaches nothing by itself.
    if flags as i32 & libc::O_PATH != 0 {
        return None;
    }
    let path = absolute(asker, directory, &asker.text(address)?)?;
    let own = |tree| lies_at_or_below(&path, Path::new(tree));
    (!own("/proc") && !own("/dev")).then_some(Told::Read(path))
}

/// A path as the process means it, by its letters.
fn absolute(asker: &Asker<'_>, directory: u64, written: &OsStr) -> Option<PathBuf> {
    let written = Path::new(written);
    if written.is_absolute() {
        return Some(normal(written));
    }
    let base = asker.path_of(directory as i32)?;
    Some(normal(&base.join(written)))
}

fn execution(asker: &Asker<'_>, notification: &Notification) -> Option<Told> {
    let [a, b, c, _, e, _] = notification.arguments;
    let at = i64::from(notification.number) == libc::SYS_execveat;
    let (directory, address, argv) = if at { (a, b, c) } else { (here(), a, b) };
    let written = asker.text(address)?;
    let path = if at && written.is_empty() && e as i32 & libc::AT_EMPTY_PATH != 0 {
        asker.path_of(directory as i32)?
    } else {
        absolute(asker, directory, &written)?
    };
    let (argv, cut) = arguments(asker, argv);
    Some(Told::Execute { path, argv, cut })
}

/// The arguments, and whether any were left out.
fn arguments(asker: &Asker<'_>, address: u64) -> (Vec<Vec<u8>>, bool) {
    let words = asker.words(address, MOST_ARGUMENTS + 1);
    let pointers: Vec<u64> = words.iter().copied().take_while(|pointer| *pointer != 0).take(MOST_ARGUMENTS).collect();
    let whole = words.get(pointers.len()) == Some(&0);
    let mut pieces = asker.pieces(&pointers, SHORT).into_iter();
    let (mut arguments, mut left) = (Vec::new(), MOST_ARGUMENT_BYTES);
    for pointer in pointers {
        let short = pieces.next().and_then(|piece| {
            let end = piece.iter().position(|byte| *byte == 0)?;
            piece.get(..end).map(<[u8]>::to_vec)
        });
        let text = short.filter(|text| text.len() < left).map(|text| (text, true));
        let Some((text, ended)) = text.or_else(|| asker.text_of(pointer, left)) else { return (arguments, true) };
        left = left.saturating_sub(text.len() + 1);
        arguments.push(text);
        if !ended || left == 0 {
            return (arguments, true);
        }
    }
    (arguments, !whole)
}

fn address(asker: &Asker<'_>, address: u64, length: u64) -> Option<SocketAddr> {
    let raw = asker.bytes(address, usize::try_from(length).ok()?.min(28))?;
    let family = u16::from_ne_bytes(raw.get(..2)?.try_into().ok()?);
    let port = u16::from_be_bytes(raw.get(2..4)?.try_into().ok()?);
    let address = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(raw.get(4..8)?).ok()?)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(raw.get(8..24)?).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(address.to_canonical(), port))
}

fn sent_to(asker: &Asker<'_>, notification: &Notification) -> Option<Told> {
    let [_, buffer, length, _, to, to_length] = notification.arguments;
    let to = address(asker, to, to_length)?;
    let short = usize::try_from(length).ok().filter(|length| *length <= LONGEST_QUESTION);
    match short.filter(|_| to.port() == 53).and_then(|length| question(&asker.bytes(buffer, length)?)) {
        Some(name) => Some(Told::LookUp(name)),
        None => Some(Told::Reach(to)),
    }
}

/// The first of the messages of sendmmsg(2), by which resolvers ask for both kinds of address at once.
fn first_of_many(asker: &Asker<'_>, messages: u64) -> Option<Told> {
    // struct msghdr: name, length of the name, vectors, their number.
    let header = asker.words(messages, 4);
    let (vectors, count) = (*header.get(2)?, *header.get(3)?);
    let vector = if count > 0 { asker.words(vectors, 2) } else { Vec::new() };
    let length = usize::try_from(*vector.get(1)?).ok().filter(|length| *length <= LONGEST_QUESTION)?;
    question(&asker.bytes(*vector.first()?, length)?).map(Told::LookUp)
}

/// The name that a DNS message asks for; RFC 1035, 4.1.
fn question(message: &[u8]) -> Option<Vec<u8>> {
    let header = message.get(..12)?;
    // A question, and one.
    if header.get(2)? & 0xf8 != 0 || header.get(4..6)? != [0, 1] {
        return None;
    }
    let mut name = Vec::new();
    let mut rest = message.get(12..)?;
    loop {
        let (length, after) = rest.split_first()?;
        let length = usize::from(*length);
        match length {
            0 => return (!name.is_empty()).then_some(name),
            1..=63 => {}
            _ => return None,
        }
        if !name.is_empty() {
            name.push(b'.');
        }
        name.extend_from_slice(after.get(..length)?);
        rest = after.get(length..)?;
    }
}

fn listening(asker: &Asker<'_>, descriptor: u64) -> Option<Told> {
    let held = asker.path_of(descriptor as i32)?;
    let inode = held.as_os_str().as_bytes().strip_prefix(b"socket:[")?.strip_suffix(b"]")?;
    Some(Told::Listen(std::str::from_utf8(inode).ok()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::question;

    #[test]
    fn the_name_in_a_question_is_read_and_nothing_else_is() {
        let asked = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03org\0\0\x01\0\x01";
        assert_eq!(question(asked), Some(b"www.example.org".to_vec()));
        for cut in 0..asked.len() - 4 {
            assert!(question(&asked[..cut]).is_none_or(|name| name == b"www.example.org"), "{cut}");
        }
        let answer = b"\x12\x34\x81\0\0\x01\0\0\0\0\0\0\x03www\0\0\x01\0\x01";
        let pointed = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\xc0\x0c\0\x01\0\x01";
        assert_eq!((question(answer), question(pointed), question(b"")), (None, None, None));
    }
}
