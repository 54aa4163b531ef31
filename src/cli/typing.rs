//! What is typed to a run that one is attached to, and changes of the window it is typed in.

use std::io::{self, Read};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::client::{Client, Problem};
use crate::sys::terminal;
use crate::wire::request::{RunResize, RunStdin};
use crate::wire::text::Text;

/// Bytes passed on at once.
const CHUNK: usize = 4096;
/// The keys that leave: ctrl-p, then ctrl-q.
const LEAVE: [u8; 2] = [0x10, 0x11];

/// To whom what is typed goes.
pub struct Typing {
    /// A connection for this alone.
    pub client: Client,
    /// The run.
    pub run: String,
    /// Whether keys can mean that we leave, and the window has a size: there is a terminal on both sides.
    pub keys: bool,
}

/// Passes on what is typed, in a thread that ends with its input or with us. `leave` is called when the keys for it were typed.
pub fn start(mut typing: Typing, leave: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let mut resized = SigSet::empty();
    resized.add(Signal::SIGWINCH);
    // Before the thread, which inherits it: the signal is read, not delivered.
    resized.thread_block()?;
    let resized = SignalFd::with_flags(&resized, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let named = std::thread::Builder::new().name("typing".into());
    let pass_on = move || {
        // A run that has ended takes no more; its end is told elsewhere.
        if let Ok(End::Left) = typing.pass_on(&resized) {
            leave();
        }
    };
    named.spawn(pass_on).map(drop)
}

/// Why nothing more is passed on.
enum End {
    Input,
    Left,
}

impl Typing {
    fn pass_on(&mut self, resized: &SignalFd) -> Result<End, Problem> {
        let (mut buffer, mut before) = (vec![0; CHUNK], None);
        self.resize()?;
        loop {
            let (typed, changed) = self.wait(resized)?;
            if changed {
                while let Ok(Some(_)) = resized.read_signal() {}
                self.resize()?;
            }
            if !typed {
                continue;
            }
            let count = io::stdin().lock().read(&mut buffer).map_err(|error| self.gone(error))?;
            let bytes = buffer.get(..count).unwrap_or_default();
            if bytes.is_empty() {
                self.send(Vec::new(), true)?;
                return Ok(End::Input);
            }
            if self.keys && leaves(before, bytes) {
                return Ok(End::Left);
            }
            before = bytes.last().copied();
            self.send(bytes.to_vec(), false)?;
        }
    }

    /// Whether something was typed, and whether the window has changed.
    fn wait(&self, resized: &SignalFd) -> Result<(bool, bool), Problem> {
        let input = io::stdin();
        let mut watched =
            [PollFd::new(input.as_fd(), PollFlags::POLLIN), PollFd::new(resized.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(self.gone(errno.into())),
        }
        let [typed, changed] = watched.map(|watched| watched.any().unwrap_or(true));
        Ok((typed, changed))
    }

    fn send(&mut self, data: Vec<u8>, close: bool) -> Result<(), Problem> {
        let params = RunStdin { run: self.run.clone(), data: Text(data), close };
        self.client.call("run.stdin", &params).map(drop)
    }

    fn resize(&mut self) -> Result<(), Problem> {
        let Some(terminal::Size { rows, columns }) = terminal::size(io::stdin().as_fd()).ok().filter(|_| self.keys)
        else {
            return Ok(());
        };
        self.client.call("run.resize", &RunResize { run: self.run.clone(), rows, columns }).map(drop)
    }

    fn gone(&self, error: io::Error) -> Problem {
        Problem::Gone(self.client.path.clone(), error)
    }
}

/// Whether the keys that leave are in `bytes`, the first of them perhaps typed `before`.
fn leaves(before: Option<u8>, bytes: &[u8]) -> bool {
    let all: Vec<u8> = before.into_iter().chain(bytes.iter().copied()).collect();
    all.windows(LEAVE.len()).any(|typed| typed == LEAVE)
}

#[cfg(test)]
mod tests {
    use super::leaves;

    #[test]
    fn two_keys_leave_however_they_arrive_and_one_does_not() {
        assert!(leaves(None, b"ab\x10\x11c") && leaves(Some(0x10), b"\x11"));
        assert!(!leaves(None, b"\x10") && !leaves(None, b"\x11\x10") && !leaves(Some(b'x'), b"\x11"));
    }
}
