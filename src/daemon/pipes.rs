//! Ends of pipes and of terminals in the event loop.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::OwnedFd;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::sys::readiness;

/// Bytes of output that become one notification.
pub const CHUNK: usize = 32 << 10;

/// Our end of the streams, and the command's.
pub struct Pipes {
    /// Ours: stdin, stdout, stderr.
    pub ours: [OwnedFd; 3],
    /// The command's.
    pub commands: [OwnedFd; 3],
}

impl Pipes {
    /// New ones.
    pub fn new() -> io::Result<Pipes> {
        let (stdin_read, stdin_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (stdout_read, stdout_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr_read, stderr_write) = pipe2(OFlag::O_CLOEXEC)?;
        Ok(Pipes { ours: [stdin_write, stdout_read, stderr_read], commands: [stdin_read, stdout_write, stderr_write] })
    }
}

/// A file whose other users do not mind that it never waits: an end of a pipe of ours, or a terminal's master.
pub struct Loose {
    file: AsyncFd<std::fs::File>,
}

impl Loose {
    /// In the event loop.
    pub fn new(descriptor: OwnedFd) -> io::Result<Loose> {
        fcntl(&descriptor, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        Ok(Loose { file: readiness::watch(std::fs::File::from(descriptor))? })
    }

    /// What is there, once something is; nothing at the end.
    pub async fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let mut ready = self.file.ready(Interest::READABLE).await?;
            match self.file.get_ref().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return read,
            }
        }
    }

    /// What is there now.
    pub fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.get_ref().read(buffer)
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let mut ready = self.file.ready(Interest::WRITABLE).await?;
            match self.file.get_ref().write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => bytes = bytes.get(written?..).unwrap_or_default(),
            }
        }
        Ok(())
    }
}

/// Where a run's input goes.
pub struct Input {
    to: Loose,
    terminal: bool,
}

impl Input {
    /// To a pipe of ours.
    pub fn to_pipe(pipe: OwnedFd) -> io::Result<Input> {
        Ok(Input { to: Loose::new(pipe)?, terminal: false })
    }

    /// To a terminal's master.
    pub fn to_terminal(master: OwnedFd) -> io::Result<Input> {
        Ok(Input { to: Loose::new(master)?, terminal: true })
    }

    /// What it goes to, in one word.
    pub fn word(&self) -> &'static str {
        if self.terminal { "terminal" } else { "pipe" }
    }

    /// Writes all of it, as fast as the command reads.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes).await
    }

    /// Says that there is no more: a terminal is told by its own end-of-file character.
    pub async fn close(self) {
        if self.terminal {
            // One that is gone needs no end.
            let _ = self.to.write_all(&[0x04]).await;
        }
    }
}
