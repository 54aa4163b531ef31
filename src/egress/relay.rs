//! Bytes from one connection to another, both ways at once.
//!
//! Owns the moving and the counting. A little is copied; of much, the kernel moves what it has from socket to socket, by way
//! of a pipe. The end of one direction is passed on, and the other goes on.
//!
//! ```text
//!   a little: copied at once --256 KiB--> much: moved, woken for a quarter of a megabyte --nothing for a millisecond--> moved, woken for
//!                                          each byte --256 KiB more--> woken for a quarter of a megabyte ...
//! ```
//!
//! To wake somebody costs more than to move what woke him, and on a fast way there is always more in a moment.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::pipe2;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::sys::socket::wake_from;

/// What is copied at a time, by way of one buffer for all connections: there is one thread, and nothing waits while it is used.
const PIECE: usize = 64 << 10;
/// After so many bytes it is worth a pipe.
const MUCH: u64 = 256 << 10;
/// What a pipe holds where its owner may have so much; the kernel bounds what all of a user's pipes hold together.
const PIPE: usize = 512 << 10;

/// Of how much on a fast way somebody is woken, and how long at most nobody is for less.
const FLOW: i32 = 256 << 10;
const PAUSE: Duration = Duration::from_millis(1);

thread_local! {
    static SHARED: RefCell<Vec<u8>> = RefCell::new(vec![0; PIECE]);
}

/// What came of moving what there was.
enum Moved {
    /// There was nothing yet.
    Nothing,
    /// There will be nothing more.
    End,
    /// So many bytes, of which these are still to be written.
    Some(usize, Vec<u8>),
}

/// Relays from `from` to `to` until `from` ends, which `to` is then told.
pub async fn one_way(from: &TcpStream, to: &TcpStream, count: &Cell<u64>) -> io::Result<()> {
    one_way_if(from, to, count, |_| Ok(())).await
}

/// The same, as long as `may` says so of each piece before it goes on.
pub async fn one_way_if(
    from: &TcpStream,
    to: &TcpStream,
    count: &Cell<u64>,
    may: impl Fn(usize) -> io::Result<()>,
) -> io::Result<()> {
    pour(from, to, count, may).await?;
    end(to)
}

/// The same, and `to` is told of no end.
pub async fn pour(
    from: &TcpStream,
    to: &TcpStream,
    count: &Cell<u64>,
    may: impl Fn(usize) -> io::Result<()>,
) -> io::Result<()> {
    let before = count.get();
    while count.get() - before < MUCH {
        from.readable().await?;
        match SHARED.with_borrow_mut(|piece| copy(from, to, piece, &may))? {
            Moved::Nothing => {}
            Moved::End => return Ok(()),
            Moved::Some(length, rest) => {
                write_all(to, &rest).await?;
                count.set(count.get() + length as u64);
            }
        }
    }
    by_pipe(from, to, count, may).await
}

/// Reads what there is, and writes what can be written at once.
fn copy(
    from: &TcpStream,
    to: &TcpStream,
    piece: &mut [u8],
    may: impl Fn(usize) -> io::Result<()>,
) -> io::Result<Moved> {
    let length = match read_now(from, piece) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Moved::Nothing),
        read => read?,
    };
    if length == 0 {
        return Ok(Moved::End);
    }
    may(length)?;
    let bytes = piece.get(..length).unwrap_or_default();
    let written = match to.try_write(bytes) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        written => written?,
    };
    Ok(Moved::Some(length, bytes.get(written..).unwrap_or_default().to_vec()))
}

/// Reads what there is. What did not fill the buffer was all of it, so that nobody has to be asked again to know.
fn read_now(from: &TcpStream, piece: &mut [u8]) -> io::Result<usize> {
    let length = from.try_read(piece)?;
    if length > 0 && length < piece.len() {
        // No system call: it only says that the next word of the kernel is to be waited for. epoll(7), on edges.
        let _ = from.try_io(Interest::READABLE, || io::Result::<()>::Err(io::ErrorKind::WouldBlock.into()));
    }
    Ok(length)
}

async fn by_pipe(
    from: &TcpStream,
    to: &TcpStream,
    count: &Cell<u64>,
    may: impl Fn(usize) -> io::Result<()>,
) -> io::Result<()> {
    let (out, into): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    // As large as the kernel made it, otherwise.
    let _ = fcntl(&into, FcntlArg::F_SETPIPE_SZ(PIPE as i32));
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    let mut flow = Flow::begin(from)?;
    loop {
        // The pipe is empty here: that there is nothing to do is said of the socket.
        let moved =
            from.async_io(Interest::READABLE, || splice(from, None, &into, None, PIPE, flags).map_err(io::Error::from));
        let mut left = flow.wait(from, moved).await?;
        if left == 0 {
            return Ok(());
        }
        may(left)?;
        while left > 0 {
            let moved = to
                .async_io(Interest::WRITABLE, || splice(&out, None, to, None, left, flags).map_err(io::Error::from))
                .await?;
            left = left.saturating_sub(moved.max(1));
            count.set(count.get() + moved as u64);
        }
    }
}

/// How a fast way is waited at.
enum Flow {
    /// For much, and not long.
    Fast,
    /// For anything; this much has come since.
    Slow(u64),
}

impl Flow {
    fn begin(from: &TcpStream) -> io::Result<Flow> {
        wake_from(from.as_fd(), FLOW)?;
        Ok(Flow::Fast)
    }

    /// Waits for what `moved` gives.
    async fn wait(&mut self, from: &TcpStream, moved: impl Future<Output = io::Result<usize>>) -> io::Result<usize> {
        let mut moved = pin!(moved);
        match self {
            Flow::Fast => match timeout(PAUSE, moved.as_mut()).await {
                Ok(moved) => moved,
                Err(_) => {
                    // Whoever waits for less is woken now, if it is there.
                    wake_from(from.as_fd(), 1)?;
                    *self = Flow::Slow(0);
                    moved.await
                }
            },
            Flow::Slow(since) => {
                let length = moved.await?;
                *since += length as u64;
                if *since >= MUCH {
                    *self = Flow::begin(from)?;
                }
                Ok(length)
            }
        }
    }
}

/// Reads what there is, waiting for some.
pub async fn read(from: &TcpStream, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match read_now(from, piece) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// Writes all of it.
pub async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match to.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => to.writable().await?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Says that nothing more comes.
pub fn end(to: &TcpStream) -> io::Result<()> {
    match shutdown(to.as_raw_fd(), Shutdown::Write) {
        Ok(()) | Err(Errno::ENOTCONN) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// A connection that broke on one side breaks on the other.
pub fn pass_on(ended: io::Result<()>, client: &TcpStream, server: &TcpStream) {
    if ended.is_err() {
        let _ = client.set_zero_linger();
        let _ = server.set_zero_linger();
    }
}
