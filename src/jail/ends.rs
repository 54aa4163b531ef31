//! How processes end that somebody else waits for: one descriptor each, which the kernel makes readable when its process is gone.
//!
//! To be woken by each end costs more than all else that is recorded of a process. So while programs begin one after another nobody
//! is: ends are gathered when the next one begins, or when it has been quiet for a moment. From then on each end wakes us. A process
//! that ends before the next program begins, as most do, is asked how it ended, and never waited for.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::sys::pidfd;
use crate::wire::privsep::Run;

/// Most processes that are waited for at once: init has no more descriptors than its runs.
const MOST: usize = 160;

/// How long after the last program began it is quiet, and how late an end before that is noticed at most.
const QUIET: Duration = Duration::from_millis(5);

/// Which execution it is: its run, and its place in that run's list.
pub type Execution = (Run, usize);

/// Processes that are waited for.
pub struct Ends {
    ready: Epoll,
    alive: BTreeMap<u32, (OwnedFd, Execution)>,
    // Those of them that began last, which nobody waits for yet.
    fresh: Vec<u32>,
    told: bool,
    busy_until: Option<Instant>,
}

impl Ends {
    /// None yet; `None` where the kernel has no means.
    pub fn new() -> Option<Ends> {
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).ok()?;
        Some(Ends { ready, alive: BTreeMap::new(), fresh: Vec::new(), told: pidfd::tells_of_ends(), busy_until: None })
    }

    /// What becomes readable when one has ended; `None` while they are gathered without.
    pub fn ready(&self) -> Option<BorrowedFd<'_>> {
        self.busy_until.is_none().then(|| self.ready.0.as_fd())
    }

    /// Whether it was quiet for long enough that ends are to be gathered, or is.
    pub fn is_due(&mut self) -> bool {
        if self.busy_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        if self.busy_until.take().is_some() {
            std::mem::take(&mut self.fresh).into_iter().for_each(|pid| self.wait_for(pid));
        }
        true
    }

    /// Waits for `pid` from now on. Returns what it was before, if that was waited for, and the process above it.
    pub fn begin(&mut self, pid: u32, execution: Execution) -> (Option<Execution>, Option<u32>) {
        self.busy_until = Instant::now().checked_add(QUIET);
        if let Some((process, was)) = self.alive.get_mut(&pid) {
            let before = std::mem::replace(was, execution);
            return (Some(before), pidfd::info(process.as_fd()).ok().map(|info| info.parent));
        }
        let Some(process) = Some(()).filter(|()| self.alive.len() < MOST).and_then(|()| pidfd::open(pid).ok()) else {
            return (None, None);
        };
        let parent = pidfd::info(process.as_fd()).ok().map(|info| info.parent);
        self.alive.insert(pid, (process, execution));
        if self.told {
            self.fresh.push(pid);
        } else {
            self.wait_for(pid);
        }
        (None, parent)
    }

    /// Has its end make us ready.
    fn wait_for(&mut self, pid: u32) {
        // Told of an end, we are told last of all that it was waited for, and only then how it was.
        let wanted = if self.told { EpollFlags::empty() } else { EpollFlags::EPOLLIN };
        let added =
            self.alive.get(&pid).map(|(process, _)| self.ready.add(process, EpollEvent::new(wanted, u64::from(pid))));
        if added.is_some_and(|added| added.is_err()) {
            self.alive.remove(&pid);
        }
    }

    /// Those that have ended, with their status where the kernel tells it.
    pub fn gather(&mut self) -> Vec<(Execution, Option<i32>)> {
        let mut ended = Vec::new();
        for pid in std::mem::take(&mut self.fresh) {
            let status = self.alive.get(&pid).and_then(|(process, _)| pidfd::info(process.as_fd()).ok()?.status);
            match status.and_then(|_| self.alive.remove(&pid)) {
                Some((_, execution)) => ended.push((execution, status)),
                None => self.wait_for(pid),
            }
        }
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
        self.fresh.retain(|pid| self.alive.contains_key(pid));
    }
}
