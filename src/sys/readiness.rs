//! Descriptors in the supervisor's event loop. epoll(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Watches a descriptor that `owner` owns for as long as it lives.
pub fn watch<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: by its `AsFd`, `owner` keeps one descriptor open while it lives, and `AsyncFd` takes it over; our types give
    // the same number by `AsRawFd`.
    unsafe { AsyncFd::register(owner) }.map_err(|error| error.into_parts().1)
}

/// The same, for what can be read alone. Whoever also waits for room is woken each time that the other end has read something.
pub fn watch_reading<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: as above.
    unsafe { AsyncFd::register_with_interest(owner, Interest::READABLE) }.map_err(|error| error.into_parts().1)
}

/// Waits until there may be room in a descriptor that is watched for reading alone, or nobody at its other end.
pub async fn room(descriptor: BorrowedFd<'_>) -> io::Result<()> {
    let copy = descriptor.try_clone_to_owned()?;
    // SAFETY: as above.
    let watched = unsafe { AsyncFd::register_with_interest(copy, Interest::WRITABLE) };
    let watched = watched.map_err(|error| error.into_parts().1)?;
    let ready = watched.writable().await?;
    drop(ready);
    Ok(())
}
