//! Bytes from one connection to another, both ways at once.
//!
//! Owns the moving and the counting. A little is copied; of much, the kernel moves what it has from socket to socket, by way
//! of a pipe. The end of one direction is passed on, and the other goes on.

use std::cell::Cell;
use std::io;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};
use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::pipe2;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::TcpStream;

/// What is copied at a time.
const PIECE: usize = 16 << 10;
/// After so many bytes it is worth a pipe.
const MUCH: u64 = 256 << 10;
/// What a pipe holds.
const PIPE: usize = 64 << 10;

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
    let before = count.get();
    let mut piece = vec![0; PIECE];
    while count.get() - before < MUCH {
        match read(from, &mut piece).await? {
            0 => return end(to),
            length => {
                may(length)?;
                write_all(to, piece.get(..length).unwrap_or_default()).await?;
                count.set(count.get() + length as u64);
            }
        }
    }
    drop(piece);
    by_pipe(from, to, count, may).await
}

async fn by_pipe(
    from: &TcpStream,
    to: &TcpStream,
    count: &Cell<u64>,
    may: impl Fn(usize) -> io::Result<()>,
) -> io::Result<()> {
    let (out, into): (OwnedFd, OwnedFd) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
    loop {
        // The pipe is empty here: that there is nothing to do is said of the socket.
        let mut left = from
            .async_io(Interest::READABLE, || splice(from, None, &into, None, PIPE, flags).map_err(io::Error::from))
            .await?;
        if left == 0 {
            return end(to);
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

/// Reads what there is, waiting for some.
pub async fn read(from: &TcpStream, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(piece) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            read => return read,
        }
    }
}

/// Writes all of it.
pub async fn write_all(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
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
