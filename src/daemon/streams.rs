//! A run's streams in the event loop: its output to whoever listens, its input from whoever sends.

use std::cell::Cell;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

use super::outbox::Outbox;
use super::pipes::{CHUNK, Loose};
use super::runs::Entry;
use crate::sys::readiness;
use crate::wire::reply::{self, Stream};

/// What is read at once of a stream that has not said more at once: most say little.
const FIRST_CHUNK: usize = 4 << 10;
/// What a pipe takes without making the writer wait, once it is writable; pipe(7), `PIPE_BUF`.
const WITHOUT_WAIT: usize = 4096;
/// What a pipe holds at most that nobody with privileges has enlarged; pipe(7), `/proc/sys/fs/pipe-max-size`.
const PIPE: usize = 1 << 20;

/// What the streams of one run have in common.
#[derive(Default)]
pub struct Tally {
    /// Bytes that the command wrote.
    pub bytes: Cell<u64>,
    /// Whether some were thrown away.
    pub truncated: Cell<bool>,
}

/// Where output goes.
pub enum Sink {
    /// To the client that asked, as notifications; and it is kept.
    Client(Rc<Outbox>),
    /// To a descriptor of the client's: a pipe or a regular file.
    Descriptor(Target),
}

/// A descriptor of a client's, whose flags are not ours to change.
pub enum Target {
    /// Written when there is room.
    Pipe(AsyncFd<OwnedFd>),
    /// Always has room.
    File(OwnedFd),
}

impl Target {
    /// Of a pipe or a regular file, in the event loop.
    pub fn new(descriptor: OwnedFd) -> io::Result<Target> {
        let copy = descriptor.try_clone()?;
        match readiness::watch(descriptor) {
            Ok(pipe) => Ok(Target::Pipe(pipe)),
            // A regular file is never waited for, and so cannot be watched; epoll_ctl(2), EPERM.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(Target::File(copy)),
            Err(error) => Err(error),
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = match self {
                Target::File(file) => nix::unistd::write(file, bytes),
                Target::Pipe(pipe) => {
                    let mut ready = pipe.ready(Interest::WRITABLE).await?;
                    let piece = bytes.get(..WITHOUT_WAIT).unwrap_or(bytes);
                    if !is_writable(pipe.as_fd()) {
                        ready.clear_ready();
                        continue;
                    }
                    nix::unistd::write(pipe.get_ref(), piece)
                }
            };
            match written {
                Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
                written => bytes = bytes.get(written?..).unwrap_or_default(),
            }
        }
        Ok(())
    }
}

/// Whether the next small write does not wait. Asked right before it: readiness of a moment ago is not enough.
fn is_writable(descriptor: std::os::fd::BorrowedFd<'_>) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut watched = [PollFd::new(descriptor, PollFlags::POLLOUT)];
    poll(&mut watched, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// One stream of output on its way.
pub struct Pump {
    /// From the command.
    pub from: Loose,
    /// Which it is.
    pub stream: Stream,
    /// Whose.
    pub entry: Rc<Entry>,
    /// To whom.
    pub sink: Sink,
    /// Most bytes of all streams together.
    pub limit: Option<u64>,
    /// What they count together.
    pub tally: Rc<Tally>,
}

impl Pump {
    /// Moves everything until the last writer is gone. Once the run is `over`, what is there already is moved, no more than a pipe
    /// holds, and what still comes, from whatever the command left behind, is only kept.
    pub async fn run(mut self, mut over: watch::Receiver<bool>) {
        let mut buffer = vec![0; FIRST_CHUNK];
        loop {
            let read = tokio::select! {
                biased;
                read = self.from.read(&mut buffer) => read,
                _ = over.wait_for(|over| *over) => break,
            };
            // EIO is how a terminal's master says that its last user is gone.
            match read {
                Ok(0) | Err(_) => return,
                Ok(count) => self.pass_on(buffer.get(..count).unwrap_or_default()).await,
            }
            if read.is_ok_and(|count| count == buffer.len()) {
                buffer.resize(CHUNK, 0);
            }
            if *over.borrow() {
                break;
            }
        }
        // The event loop may not have heard yet of what is there. Whoever writes without a pause does not keep the run from its end.
        let mut left = PIPE;
        while left > 0
            && let Ok(count @ 1..) = self.from.read_now(&mut buffer)
        {
            self.pass_on(buffer.get(..count).unwrap_or_default()).await;
            left = left.saturating_sub(count);
        }
        tokio::task::spawn_local(self.keep_rest(buffer));
    }

    async fn keep_rest(self, mut buffer: Vec<u8>) {
        while let Ok(count @ 1..) = self.from.read(&mut buffer).await {
            self.entry.keep(self.stream, buffer.get(..count).unwrap_or_default());
        }
    }

    async fn pass_on(&mut self, bytes: &[u8]) {
        let before = self.tally.bytes.get();
        self.tally.bytes.set(before + bytes.len() as u64);
        let allowed = self.limit.map_or(bytes.len() as u64, |limit| limit.saturating_sub(before));
        let allowed = usize::try_from(allowed).unwrap_or(usize::MAX).min(bytes.len());
        if allowed < bytes.len() {
            self.tally.truncated.set(true);
        }
        let Some(bytes) = bytes.get(..allowed).filter(|bytes| !bytes.is_empty()) else { return };
        match &self.sink {
            Sink::Client(outbox) => {
                self.entry.keep(self.stream, bytes);
                // One that is gone misses it; the command goes on until somebody ends it.
                let _ = outbox.put(reply::output(&self.entry.label.id, self.stream, bytes), Vec::new()).await;
            }
            Sink::Descriptor(target) => {
                let _ = target.write_all(bytes).await;
            }
        }
    }
}
