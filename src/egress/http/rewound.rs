//! A connection of which the beginning was read already, and of which much is read at a time where much comes; and a place to run what
//! hyper starts.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::rt::Executor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

/// What is read at a time where much comes, and what may be enciphered before it is written: TLS asks for 4 KiB, which is a system call
/// for each quarter of a record, and writes as soon as there are four records.
pub const MUCH: usize = 256 << 10;

/// A connection and what it said so far.
pub struct Rewound {
    said: Vec<u8>,
    read: usize,
    // Whether there was as much as could be taken. A connection that says little holds no memory for it.
    comes_much: bool,
    stream: TcpStream,
}

impl Rewound {
    /// Of this connection.
    pub fn new(said: Vec<u8>, stream: TcpStream) -> Rewound {
        Rewound { said, read: 0, comes_much: false, stream }
    }

    /// Reads for more than one who asks.
    fn fill(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.said.resize(MUCH, 0);
        let mut all = ReadBuf::new(&mut self.said);
        let polled = Pin::new(&mut self.stream).poll_read(context, &mut all);
        let length = all.filled().len();
        self.said.truncate(length);
        if length == 0 {
            self.said = Vec::new();
        }
        self.comes_much = length >= MUCH / 4;
        polled
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.said.is_empty() {
            if !self.comes_much {
                let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
                self.comes_much = polled.is_ready() && buffer.remaining() == 0;
                return polled;
            }
            std::task::ready!(self.fill(context))?;
        }
        let left = self.said.get(self.read..).unwrap_or_default();
        let taken = left.len().min(buffer.remaining());
        buffer.put_slice(left.get(..taken).unwrap_or_default());
        self.read += taken;
        if self.read >= self.said.len() {
            self.read = 0;
            self.said.clear();
            if !self.comes_much {
                self.said = Vec::new();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Runs everything on the gate's one thread.
#[derive(Clone, Copy)]
pub struct Here;

impl<F> Executor<F> for Here
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        drop(spawn_local(future));
    }
}
