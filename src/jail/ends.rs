//! How processes end that somebody else waits for: one descriptor each, which the kernel makes readable when its process is gone.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::sys::pidfd;
use crate::wire::privsep::Run;

/// Most processes that are waited for at once: init has no more descriptors than its runs.
const MOST: usize = 160;

/// Which execution it is: its run, and its place in that run's list.
pub type Execution = (Run, usize);

/// Processes that are waited for.
pub struct Ends {
    ready: Epoll,
    alive: BTreeMap<u32, (OwnedFd, Execution)>,
    told: bool,
}

impl Ends {
    /// None yet; `None` where the kernel has no means.
    pub fn new() -> Option<Ends> {
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).ok()?;
        Some(Ends { ready, alive: BTreeMap::new(), told: pidfd::tells_of_ends() })
    }

    /// What becomes readable when one has ended.
    pub fn ready(&self) -> BorrowedFd<'_> {
        self.ready.0.as_fd()
    }

    /// Waits for `pid` from now on. Returns what it was before, if that was waited for, and the process above it.
    pub fn begin(&mut self, pid: u32, execution: Execution) -> (Option<Execution>, Option<u32>) {
        if let Some((process, was)) = self.alive.get_mut(&pid) {
            let before = std::mem::replace(was, execution);
            return (Some(before), pidfd::info(process.as_fd()).ok().map(|info| info.parent));
        }
        let Some(process) = Some(()).filter(|()| self.alive.len() < MOST).and_then(|()| pidfd::open(pid).ok()) else {
            return (None, None);
        };
        let parent = pidfd::info(process.as_fd()).ok().map(|info| info.parent);
        // Told of an end, we are told last of all that it was waited for, and only then how it was.
        let wanted = if self.told { EpollFlags::empty() } else { EpollFlags::EPOLLIN };
        if self.ready.add(&process, EpollEvent::new(wanted, u64::from(pid))).is_ok() {
            self.alive.insert(pid, (process, execution));
        }
        (None, parent)
    }

    /// Those that have ended, with their status where the kernel tells it.
    pub fn gather(&mut self) -> Vec<(Execution, Option<i32>)> {
        let mut ended = Vec::new();
        loop {
            let mut events = [EpollEvent::empty(); 32];
            let count = self.ready.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
            for event in events.iter().take(count) {
                let pid = u32::try_from(event.data()).unwrap_or(0);
                let Some((process, execution)) = self.alive.remove(&pid) else { continue };
                // Closing is not enough: a process that init has forked meanwhile can have it open too.
                let _ = self.ready.delete(&process);
                ended.push((execution, pidfd::info(process.as_fd()).ok().and_then(|info| info.status)));
            }
            if count < events.len() {
                return ended;
            }
        }
    }

    /// Lets go of those of a run that is over.
    pub fn forget(&mut self, run: Run) {
        let ready = &self.ready;
        self.alive.retain(|_, (process, (of, _))| {
            let keep = *of != run;
            if !keep {
                let _ = ready.delete(&*process);
            }
            keep
        });
    }
}
