//! When what was written goes to the disk for good.
//!
//! ```text
//!   always     append waits for fdatasync
//!   interval   a thread of its own calls fdatasync so long after the first line that is not on disk
//!   never      the kernel does, within half a minute or so
//! ```
//!
//! A process that dies loses nothing in any of the three: only power does. Owns the thread, which sleeps while there is
//! nothing to do. A failed fdatasync is remembered: the kernel forgets which pages it could not write.

use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use super::config::Fsync;

/// Syncs one file after the other.
#[derive(Debug)]
pub struct Syncer {
    policy: Fsync,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The file that has something to sync.
    dirty: Option<File>,
    /// What the last sync that failed said.
    failed: Option<io::Error>,
    over: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if it ever does, the state is whole nevertheless.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Syncer {
    /// By this policy. Makes no thread before there is something for it.
    pub fn new(policy: Fsync) -> Syncer {
        Syncer { policy, shared: Arc::default(), thread: None }
    }

    /// Something was written to `file`.
    pub fn written(&mut self, file: &File) -> io::Result<()> {
        match self.policy {
            Fsync::Always => file.sync_data(),
            Fsync::Never => Ok(()),
            Fsync::Interval(span) => {
                let mut state = self.shared.lock();
                if state.dirty.is_none() {
                    state.dirty = Some(file.try_clone()?);
                    self.shared.changed.notify_one();
                }
                drop(state);
                self.start(Duration::from_millis(span.0.0))
            }
        }
    }

    /// A failure since the last time that this was asked.
    pub fn failure(&self) -> Option<io::Error> {
        self.shared.lock().failed.take()
    }

    /// Syncs what is not yet, for `file` is left.
    pub fn leave(&mut self, file: &File) -> io::Result<()> {
        self.shared.lock().dirty = None;
        if self.policy == Fsync::Never { Ok(()) } else { file.sync_data() }
    }

    fn start(&mut self, interval: Duration) -> io::Result<()> {
        if self.thread.is_none() {
            let shared = self.shared.clone();
            let named = std::thread::Builder::new().name("ledger-sync".into());
            self.thread = Some(named.spawn(move || sync_on_and_on(&shared, interval))?);
        }
        Ok(())
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.over = true;
        let dirty = state.dirty.take();
        drop(state);
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if let Some(file) = dirty {
            // Nobody is left to be told; the file is read back when it is opened again.
            let _ = file.sync_data();
        }
    }
}

fn sync_on_and_on(shared: &Shared, interval: Duration) {
    let mut state = shared.lock();
    loop {
        if state.over {
            return;
        }
        if state.dirty.is_none() {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let waited = shared.changed.wait_timeout_while(state, interval, |state| !state.over);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        let Some(file) = state.dirty.take() else { continue };
        drop(state);
        let synced = file.sync_data();
        state = shared.lock();
        if let Err(error) = synced {
            state.failed = Some(error);
        }
    }
}
