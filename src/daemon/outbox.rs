//! What waits to be sent to one client: bounded, so that a client that does not read costs a fixed amount.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use tokio::sync::Notify;

/// Bytes that may wait. One message more is taken, whatever its size, so that none is too large to send.
const MOST_WAITING: usize = 1 << 20;

/// One line with its descriptors.
pub struct Letter {
    /// The line, its end included.
    pub bytes: Vec<u8>,
    /// Sent with its first byte.
    pub descriptors: Vec<OwnedFd>,
}

/// Letters in the order in which they go.
#[derive(Default)]
pub struct Outbox {
    letters: RefCell<VecDeque<Letter>>,
    waiting: Cell<usize>,
    closed: Cell<bool>,
    // Room was made, or it was closed.
    room: Notify,
    // There is something to send, or it was closed.
    filled: Notify,
}

/// The client is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct Closed;

impl Outbox {
    /// Puts `bytes` in when there is room: whoever produces more than the client reads has to wait here.
    pub async fn put(&self, bytes: Vec<u8>, descriptors: Vec<OwnedFd>) -> Result<(), Closed> {
        loop {
            let room = self.room.notified();
            if self.closed.get() {
                return Err(Closed);
            }
            if self.waiting.get() < MOST_WAITING {
                self.waiting.set(self.waiting.get() + bytes.len());
                self.letters.borrow_mut().push_back(Letter { bytes, descriptors });
                self.filled.notify_one();
                return Ok(());
            }
            room.await;
        }
    }

    /// Puts `bytes` in if there is room now. For those who would rather miss something than wait.
    pub fn try_put(&self, bytes: Vec<u8>) -> bool {
        if self.closed.get() || self.waiting.get() >= MOST_WAITING {
            return false;
        }
        self.waiting.set(self.waiting.get() + bytes.len());
        self.letters.borrow_mut().push_back(Letter { bytes, descriptors: Vec::new() });
        self.filled.notify_one();
        true
    }

    /// The next letter; none when it was closed.
    pub async fn take(&self) -> Option<Letter> {
        loop {
            let filled = self.filled.notified();
            if let Some(letter) = self.letters.borrow_mut().pop_front() {
                return Some(letter);
            }
            if self.closed.get() {
                return None;
            }
            filled.await;
        }
    }

    /// A letter that [`Outbox::take`] gave was sent.
    pub fn sent(&self, letter: &Letter) {
        self.waiting.set(self.waiting.get().saturating_sub(letter.bytes.len()));
        self.room.notify_waiters();
    }

    /// Nothing more is taken; what is in there may still be sent.
    pub fn close(&self) {
        self.closed.set(true);
        self.room.notify_waiters();
        self.filled.notify_waiters();
        self.filled.notify_one();
    }

    /// Whether the client is gone.
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }
}
