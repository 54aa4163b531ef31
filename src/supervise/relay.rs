//! Moving bytes between the caller and the command, counted and bounded.
//!
//! One thread a direction, blocking on both sides: a caller that does not read slows its own command and nothing else.
//! What is over the limit is read and thrown away, so that a command never hangs on a full pipe.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use nix::fcntl::{SpliceFFlags, splice};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::sys::pipes;

/// Bytes moved at once: a pipe's largest unprivileged size.
const CHUNK: usize = 1 << 20;
/// What a stream begins with.
const FIRST_CHUNK: usize = 16 << 10;

/// What the streams of one run have in common.
#[derive(Debug, Default)]
pub struct Tally {
    /// Bytes read from the command.
    pub bytes: AtomicU64,
    /// Whether some were thrown away.
    pub truncated: AtomicBool,
    /// A stream of the caller that could not be written any more, as errno.
    pub broken: AtomicU64,
}

/// When a stream of output has come to its end.
#[derive(Clone, Debug)]
pub enum Ending {
    /// When its last writer is gone, which is when the jail is.
    Eof,
    /// When the other end of this pipe was closed, and what is there by then was read: what the command left behind in a
    /// jail that stays may hold it open.
    Told(Arc<OwnedFd>),
    /// It has: what is there is all, whoever may hold it open in a jail that stays.
    Over,
}

/// Copies the command's output to the caller, up to `limit` bytes over all streams of `tally`.
pub fn output(
    from: OwnedFd,
    to: OwnedFd,
    limit: Option<u64>,
    tally: Arc<Tally>,
    ending: Ending,
) -> std::io::Result<JoinHandle<()>> {
    enlarge(&from);
    thread::Builder::new()
        .name("relay-output".into())
        .spawn(move || copy_output(File::from(from), File::from(to), limit, &tally, &ending))
}

/// Gives the caller what is left of the output of a command that has ended, up to `limit` as [`output`] does, and needs no thread: all
/// who write are gone or going.
pub fn drain(from: OwnedFd, to: OwnedFd, limit: Option<u64>, tally: &Tally, ending: &Ending) {
    copy_output(File::from(from), File::from(to), limit, tally, ending);
}

/// What is to be read of a stream of output.
enum Next {
    /// Whatever there is.
    Bytes,
    /// What is there, and no more than a pipe holds: its end has come, and who was left behind in a jail may write on for ever.
    Last,
    /// Nothing.
    Nothing,
}

/// Waits until there is something to read, or will not be.
fn next(from: &File, ending: &Ending) -> Next {
    let from = PollFd::new(from.as_fd(), PollFlags::POLLIN);
    let (mut watched, patience) = match ending {
        Ending::Eof => return Next::Bytes,
        Ending::Told(told) => (vec![from, PollFd::new(told.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE),
        Ending::Over => (vec![from], PollTimeout::ZERO),
    };
    while let Err(errno) = poll(&mut watched, patience) {
        if errno != Errno::EINTR {
            return Next::Nothing;
        }
    }
    let mut come = watched.iter().map(|watched| watched.any().unwrap_or(true));
    match (come.next().unwrap_or(false), come.next()) {
        (true, Some(false)) => Next::Bytes,
        (true, Some(true) | None) => Next::Last,
        (false, _) => Next::Nothing,
    }
}

/// Copies the caller's input to the command until either end closes.
pub fn input(from: OwnedFd, to: OwnedFd) -> std::io::Result<JoinHandle<()>> {
    thread::Builder::new().name("relay-input".into()).spawn(move || {
        // Either end may go away at any time; that ends the copy, and the command sees end of file.
        let _ = copy(&mut File::from(from), &mut File::from(to));
    })
}

fn copy(from: &mut File, to: &mut File) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(buffer.get(..count).unwrap_or_default())?,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn copy_output(mut from: File, mut to: File, limit: Option<u64>, tally: &Tally, ending: &Ending) {
    let mut buffer = vec![0; FIRST_CHUNK];
    let mut open = true;
    let mut left = usize::MAX;
    loop {
        left = match next(&from, ending) {
            Next::Bytes => left,
            Next::Last => left.min(CHUNK),
            Next::Nothing => return,
        };
        let most = buffer.len().min(left);
        let count = match from.read(buffer.get_mut(..most).unwrap_or_default()) {
            // EIO is how a terminal's master says that its last user is gone.
            Ok(0) => return,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        left = left.saturating_sub(count);
        let much = count == buffer.len();
        if much && count < CHUNK {
            // A command with much to say; most have little, and pay for little.
            buffer.resize(CHUNK, 0);
        }
        let before = tally.bytes.fetch_add(count as u64, Ordering::Relaxed);
        let allowed = limit.map_or(count as u64, |limit| limit.saturating_sub(before).min(count as u64));
        if allowed < count as u64 {
            tally.truncated.store(true, Ordering::Relaxed);
        }
        let Some(bytes) = buffer.get(..usize::try_from(allowed).unwrap_or(count)) else { continue };
        if open && let Err(error) = to.write_all(bytes) {
            tally.broken.store(error.raw_os_error().unwrap_or(libc::EIO) as u64, Ordering::Relaxed);
            open = false;
            if error.kind() == ErrorKind::BrokenPipe {
                // Nobody reads: the command is told so, as it would be without us.
                return;
            }
        }
        if much && open && matches!(ending, Ending::Eof) && move_pages(&from, &to, limit, tally) == Moved::All {
            return;
        }
    }
}

/// How far moving without copying went.
#[derive(PartialEq, Eq)]
enum Moved {
    /// To the end.
    All,
    /// As far as it can; the rest has to be copied.
    Some,
}

/// Moves pages from pipe to pipe, counted, while the limit is far. splice(2). Anything unusual is left to copying, which
/// meets it again and knows what to do.
fn move_pages(from: &File, to: &File, limit: Option<u64>, tally: &Tally) -> Moved {
    loop {
        let Ok(there) = pipes::await_bytes(from.as_fd()) else { return Moved::Some };
        if there == 0 {
            return Moved::All;
        }
        // Counted before they move: a stream whose reader is slow must not let the other one reach the limit meanwhile.
        // Just those that are there, so all of them will move.
        let mut left = there.min(CHUNK);
        let far = |bytes: u64| limit.is_none_or(|limit| bytes.saturating_add(8 * CHUNK as u64) <= limit);
        let count = |bytes: u64| bytes.checked_add(left as u64).filter(|bytes| far(*bytes));
        if tally.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count).is_err() {
            return Moved::Some;
        }
        while left > 0 {
            match splice(from, None, to, None, left, SpliceFFlags::SPLICE_F_MOVE) {
                Ok(count) if count > 0 => left = left.saturating_sub(count),
                Err(Errno::EINTR) => {}
                Ok(_) | Err(_) => {
                    tally.bytes.fetch_sub(left as u64, Ordering::Relaxed);
                    return Moved::Some;
                }
            }
        }
    }
}

fn enlarge(pipe: &OwnedFd) {
    // A larger pipe means fewer switches between processes; where the system allows less, less it is.
    let _ = nix::fcntl::fcntl(pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(CHUNK as i32));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn null() -> OwnedFd {
        File::options().write(true).open("/dev/null").expect("a device").into()
    }

    /// What somebody writes who never pauses: there is always more.
    fn endless() -> OwnedFd {
        File::open("/dev/zero").expect("a device").into()
    }

    fn drained(from: OwnedFd, ending: &Ending) -> u64 {
        let tally = Tally::default();
        drain(from, null(), None, &tally, ending);
        tally.bytes.load(Ordering::Relaxed)
    }

    #[test]
    fn of_what_never_ends_no_more_is_read_after_the_end_than_a_pipe_holds() {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(writer);
        assert_eq!(drained(endless(), &Ending::Over), CHUNK as u64);
        assert_eq!(drained(endless(), &Ending::Told(Arc::new(reader.into()))), CHUNK as u64);
    }

    #[test]
    fn what_is_there_at_the_end_is_read_though_somebody_holds_the_pipe_open() {
        let (reader, mut writer) = std::io::pipe().expect("a pipe");
        writer.write_all(b"before").expect("room");
        assert_eq!(drained(reader.into(), &Ending::Over), 6);
        drop(writer);
    }
}
