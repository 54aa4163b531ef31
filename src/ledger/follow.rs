//! New lines of a ledger as they are written.
//!
//! Owns the way from one file to the next while a writer is at work. Wakes up when the directory changes, and once a second
//! for filesystems that do not say so.

use std::ops::ControlFlow;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};

use super::error::LedgerError;
use super::files::Directory;
use super::scan::{Forward, Piece, end_of_lines};

/// A place in a ledger from which it is followed.
pub struct Follower<'a> {
    directory: &'a Directory,
    changes: Inotify,
    number: u64,
    lines: Option<Forward>,
}

impl<'a> Follower<'a> {
    /// From the end on.
    pub fn at_end(directory: &'a Directory) -> Result<Follower<'a>, LedgerError> {
        let path = directory.path();
        let changes = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)
            .and_then(|changes| {
                let what = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_MOVED_TO;
                changes.add_watch(path, what).map(|_| changes)
            })
            .map_err(LedgerError::system("follow", path))?;
        // The watch stands already, so nothing is missed between here and the first wait.
        let number = directory.numbers()?.last().copied().unwrap_or(0);
        let mut follower = Follower { directory, changes, number, lines: None };
        if number > 0 {
            let file = directory.open(number)?;
            let path = directory.path_of(number);
            let lines = end_of_lines(&file).and_then(|offset| Forward::new(file, offset));
            follower.lines = Some(lines.map_err(LedgerError::system("read", path))?);
        }
        Ok(follower)
    }

    /// Gives each new line to `see`, until it has seen enough.
    pub fn follow(&mut self, mut see: impl FnMut(&[u8]) -> ControlFlow<()>) -> Result<(), LedgerError> {
        loop {
            while let Some(line) = self.next()? {
                if see(&line).is_break() {
                    return Ok(());
                }
            }
            self.wait()?;
        }
    }

    /// The next whole line, if there is one by now.
    fn next(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
        loop {
            if let Some(line) = self.line()? {
                return Ok(Some(line));
            }
            let successor = self.directory.numbers()?.into_iter().find(|number| *number > self.number);
            let Some(number) = successor else { return Ok(None) };
            // Once more: all that a writer adds to a file is there before the next one is.
            if let Some(line) = self.line()? {
                return Ok(Some(line));
            }
            let lines = Forward::new(self.directory.open(number)?, 0);
            self.lines = Some(lines.map_err(LedgerError::system("read", self.directory.path_of(number)))?);
            self.number = number;
        }
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, LedgerError> {
        let Some(lines) = &mut self.lines else { return Ok(None) };
        let path = self.directory.path_of(self.number);
        match lines.read().map_err(LedgerError::system("read", path))? {
            Piece::Line(line) => Ok(Some(line)),
            // Torn for good if another file follows; what is too long is no line of ours.
            Piece::Tail(_) | Piece::End | Piece::TooLong => Ok(None),
        }
    }

    fn wait(&self) -> Result<(), LedgerError> {
        let mut ready = [PollFd::new(self.changes.as_fd(), PollFlags::POLLIN)];
        match poll(&mut ready, PollTimeout::from(1000u16)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(LedgerError::system("follow", self.directory.path())(errno)),
        }
        // What exactly has changed is looked up; the events only woke us.
        while self.changes.read_events().is_ok_and(|events| !events.is_empty()) {}
        Ok(())
    }
}
