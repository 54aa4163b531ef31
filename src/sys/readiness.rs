//! Descriptors in the supervisor's event loop. epoll(7).

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use tokio::io::unix::AsyncFd;

/// Watches a descriptor that `owner` owns for as long as it lives.
pub fn watch<T: AsFd + AsRawFd>(owner: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: by its `AsFd`, `owner` keeps one descriptor open while it lives, and `AsyncFd` takes it over; our types give
    // the same number by `AsRawFd`.
    unsafe { AsyncFd::register(owner) }.map_err(|error| error.into_parts().1)
}
