//! What the kernel's own records say of a jail: denials of Landlock and of the filter, where the host's audit is on and may be read.
//!
//! A record belongs to a jail by the uid that nobody else has, so this is for the root tier. It decides nothing. One reader serves all
//! runs of a jail, one after another or at once: each is told what its jail was denied while it lasted, for no record says of which run
//! it is.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::audit_record::{Fields, Key, access, domain, fields, number, refused};
use crate::policy::syscalls::{Action, SyscallPolicy};
use crate::sys::audit::{ACCESS, DOMAIN, Records, SECCOMP, Status};
use crate::wire::privsep::{Denied, End, Run};

/// Most different denials of one run that are listed.
const MOST: usize = 256;
/// Most records of domains whose owner is not known yet, and most domains of others.
const MOST_PENDING: usize = 4096;
/// Records that are read at once, before anything else is looked at.
const AT_ONCE: usize = 4096;
/// How long the kernel takes to hand a record over, nearly always, once it has taken it from its queue.
const ON_ITS_WAY: Duration = Duration::from_millis(1);
/// The same for one that it may have in its queue still, where we may not ask.
const UNTOLD: Duration = Duration::from_millis(5);
/// How often it is asked at the beginning of a run whether any is on its way. A host that writes records all the time has some always.
const MOST_TRIES: usize = 5;
/// How long we read what is left at the end, at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// The records of one jail.
#[derive(Debug)]
pub struct Auditing {
    records: Records,
    uid: u32,
    // Calls that the filter says do not exist: no denials, programs do without.
    missing: BTreeSet<String>,
    // The program that we are, by its path: what it tries before it becomes the command is its proof.
    own: Vec<u8>,
    ours: BTreeSet<u64>,
    others: BTreeSet<u64>,
    pending: Vec<(u64, Key, Instant)>,
    runs: BTreeMap<Run, Notes>,
    landlock: bool,
    // The number of the last question.
    asked: u32,
}

/// What is noted of one run.
#[derive(Debug)]
struct Notes {
    began: Instant,
    // How the host's audit was then, where it may be asked.
    first: Option<Status>,
    // How many records there had been by then, and how many that we had no room for.
    before: (u64, u64),
    denied: BTreeMap<Key, Denied>,
    lost: u64,
}

/// What came of them.
#[derive(Debug, Default)]
pub struct Audited {
    /// What was denied.
    pub denials: Vec<Denied>,
    /// Whether Landlock's records arrive on this host.
    pub landlock: bool,
    /// Records that could not be kept. What the host's audit had no room for counts, whosever it was.
    pub lost: u64,
    /// Whether it is known what the host's audit had no room for.
    pub counted: bool,
}

impl Auditing {
    /// Listens for records of `uid`, whose calls `policy` filters; `None` where they cannot be read.
    pub fn begin(uid: u32, policy: &SyscallPolicy) -> Option<Auditing> {
        let missing = policy.rules.iter().filter(|rule| rule.action == Action::Missing);
        Some(Auditing {
            records: Records::listen().ok()?,
            uid,
            missing: missing.map(|rule| rule.call.clone()).collect(),
            own: std::fs::read_link("/proc/self/exe")
                .map_or_else(|_| Vec::new(), |path| path.into_os_string().into_vec()),
            ours: BTreeSet::new(),
            others: BTreeSet::new(),
            pending: Vec::new(),
            runs: BTreeMap::new(),
            landlock: false,
            asked: 0,
        })
    }

    /// A run begins. From now on it is noted what the jail is denied.
    pub fn enter(&mut self, run: Run) {
        self.read();
        let (first, all) = self.count();
        let before = (all, self.records.dropped());
        let (denied, lost) = (BTreeMap::new(), 0);
        self.runs.insert(run, Notes { began: Instant::now(), first, before, denied, lost });
    }

    /// How the host's audit is, and how many records there have been. One that is handed over between the two, of a jail that has just
    /// ended for instance, would be counted on one side alone, as lost: so that is asked again until there is none.
    fn count(&mut self) -> (Option<Status>, u64) {
        let mut all = self.records.all();
        let mut status = None;
        for _ in 0..MOST_TRIES {
            let before = all;
            status = self.ask(Instant::now() + PATIENCE);
            all = self.records.all();
            if status.is_none_or(|status| status.waiting == 0 && all == before) {
                break;
            }
            sleep(ON_ITS_WAY);
        }
        (status, all)
    }

    /// Nothing came of a run that had begun.
    pub fn forget(&mut self, run: Run) {
        self.runs.remove(&run);
    }

    /// What becomes readable with the next record.
    pub fn ready(&self) -> BorrowedFd<'_> {
        self.records.ready()
    }

    /// Reads what has arrived.
    pub fn read(&mut self) {
        self.read_some();
    }

    /// Says whether there was nothing left.
    fn read_some(&mut self) -> bool {
        for _ in 0..AT_ONCE {
            match self.records.next() {
                Ok((kind, record)) => self.take(kind, &record),
                // How many were lost is asked at the end.
                Err(Errno::ENOBUFS) => {}
                Err(_) => return true,
            }
        }
        false
    }

    /// A run is over: what the kernel has is waited for.
    pub fn leave(&mut self, run: Run, end: End) -> Audited {
        let until = Instant::now() + PATIENCE;
        let statuses = self.settle(run, until);
        if statuses.is_none() {
            // Unless all went well.
            self.read_for(if end == End::Exited(0) { Duration::ZERO } else { UNTOLD }, until);
        }
        let Some(notes) = self.runs.remove(&run) else { return Audited::default() };
        let received = self.records.all().saturating_sub(notes.before.0);
        let dropped = self.records.dropped().saturating_sub(notes.before.1);
        let lost = statuses.map_or(0, |(first, last)| lost_between(first, last, received));
        let enabled = statuses.map(|(first, last)| first.enabled && last.enabled);
        Audited {
            lost: notes.lost.saturating_add(dropped).saturating_add(lost),
            denials: notes.denied.into_values().collect(),
            landlock: enabled.unwrap_or(self.landlock),
            counted: enabled.is_some(),
        }
    }

    /// Reads until the kernel says that it holds nothing back. How its audit was when the run began, and is now; nothing where it may
    /// not be asked.
    fn settle(&mut self, run: Run, until: Instant) -> Option<(Status, Status)> {
        let first = self.runs.get(&run)?.first?;
        let mut again = false;
        loop {
            let last = self.ask(until)?;
            self.read_for(Duration::ZERO, until);
            if last.waiting == 0 {
                // Nothing at all, and there was time for it while we asked.
                let nothing = !again && self.runs.get(&run).is_none_or(|notes| notes.denied.is_empty());
                self.read_for(if nothing { Duration::ZERO } else { ON_ITS_WAY }, until);
                return Some((first, last));
            }
            again = true;
        }
    }

    /// How the host's audit is now; nothing where it may not be asked.
    fn ask(&mut self, until: Instant) -> Option<Status> {
        self.asked = self.asked.wrapping_add(1);
        self.records.ask(self.asked).ok()?;
        loop {
            match self.records.answer() {
                Ok((answered, status)) if answered == self.asked => return status,
                // To a question that nobody waits for any more.
                Ok(_) => {}
                Err(Errno::EAGAIN) => {
                    let left = until.saturating_duration_since(Instant::now());
                    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
                    let mut watched = [PollFd::new(self.records.answered(), PollFlags::POLLIN)];
                    if left.is_zero() || !matches!(poll(&mut watched, timeout), Ok(1..)) {
                        return None;
                    }
                }
                Err(_) => return None,
            }
        }
    }

    /// Reads what is there, and what comes within `patience` after the last of it.
    fn read_for(&mut self, patience: Duration, until: Instant) {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::ZERO);
        while Instant::now() < until {
            let all = self.read_some();
            let mut watched = [PollFd::new(self.records.ready(), PollFlags::POLLIN)];
            if all && (patience.is_zero() || !matches!(poll(&mut watched, timeout), Ok(1..))) {
                return;
            }
        }
        // More than could be read in time.
        self.lose();
    }

    fn lose(&mut self) {
        for notes in self.runs.values_mut() {
            notes.lost = notes.lost.saturating_add(1);
        }
    }

    fn take(&mut self, kind: u16, record: &[u8]) {
        let fields = fields(record);
        let now = Instant::now();
        match kind {
            DOMAIN => self.take_domain(&fields),
            ACCESS => {
                let (Some(domain), Some(key)) = (domain(&fields), access(&fields)) else { return };
                self.landlock = true;
                if self.ours.contains(&domain) {
                    self.note(&key, now);
                } else if self.others.contains(&domain) {
                } else if self.pending.len() < MOST_PENDING {
                    // Whose it is, the record behind its first denial says.
                    self.pending.push((domain, key, now));
                } else {
                    self.lose();
                }
            }
            SECCOMP if number(&fields, "uid") == Some(u64::from(self.uid)) && !self.is_proof(&fields) => {
                if let Some(call) = refused(&fields).filter(|call| !self.missing.contains(call)) {
                    self.note(&("system_call", "seccomp", call.into_bytes()), now);
                }
            }
            _ => {}
        }
    }

    /// A command that executes clawjail itself can look like this: it hides what it was refused, and is refused it.
    fn is_proof(&self, fields: &Fields<'_>) -> bool {
        let is = |name: &[u8], value: &[u8]| fields.get(name).is_some_and(|found| found == value);
        is(b"comm", b"clawjail-init") && is(b"exe", &self.own)
    }

    fn take_domain(&mut self, fields: &Fields<'_>) {
        let (Some(domain), Some(status)) = (domain(fields), fields.get(b"status".as_slice())) else { return };
        match status.as_slice() {
            b"allocated" => {}
            b"deallocated" => {
                self.ours.remove(&domain);
                self.others.remove(&domain);
                return;
            }
            _ => return,
        }
        self.landlock = true;
        let (of_it, others) = std::mem::take(&mut self.pending).into_iter().partition(|(of, ..)| *of == domain);
        self.pending = others;
        if number(fields, "uid") != Some(u64::from(self.uid)) {
            if self.others.len() < MOST_PENDING {
                self.others.insert(domain);
            }
            return;
        }
        self.ours.insert(domain);
        let of_it: Vec<_> = of_it;
        for (_, key, when) in of_it {
            self.note(&key, when);
        }
    }

    fn note(&mut self, key: &Key, when: Instant) {
        for notes in self.runs.values_mut().filter(|notes| notes.began <= when) {
            notes.note(key, when);
        }
    }
}

impl Notes {
    fn note(&mut self, key: &Key, when: Instant) {
        let when = u64::try_from(when.duration_since(self.began).as_micros()).unwrap_or(u64::MAX);
        if let Some(denied) = self.denied.get_mut(key) {
            denied.count = denied.count.saturating_add(1);
            denied.when_us = denied.when_us.map(|(first, _)| (first, when));
        } else if self.denied.len() < MOST {
            let (kind, mechanism, what) = key.clone();
            let (kind, mechanism) = (kind.to_owned(), mechanism.to_owned());
            let when_us = Some((when, when));
            // The pid in a record is the host's.
            let denied = Denied { kind, what, mechanism, rule: String::new(), count: 1, when_us, by: None };
            self.denied.insert(key.clone(), denied);
        } else {
            self.lost = self.lost.saturating_add(1);
        }
    }
}

/// Records that were lost from one state of the host's audit to a later one, while the kernel handed us `received`.
fn lost_between(first: Status, last: Status, received: u64) -> u64 {
    let counted = u64::from(last.lost.wrapping_sub(first.lost));
    if last.taken {
        return counted;
    }
    // Nobody takes them: once the kernel's room is full it counts each that we were handed. Whoever lost none yet has room.
    let room = if first.lost > 0 { 0 } else { u64::from(last.room) };
    counted.saturating_sub(received.saturating_sub(room))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_takes_is_not_lost_when_we_were_handed_it() {
        let status = |taken, lost| Status { enabled: true, taken, room: 64, lost, waiting: 0 };
        for (taken, before, after, received, lost) in [
            (true, 5, 5, 100, 0),
            (true, 5, 25, 100, 20),
            (false, 0, 0, 60, 0),
            // The first 64 of a hundred were kept.
            (false, 0, 36, 100, 0),
            (false, 0, 46, 100, 10),
            (false, 500, 600, 100, 0),
            (false, 500, 607, 100, 7),
        ] {
            let found = lost_between(status(taken, before), status(taken, after), received);
            assert_eq!(found, lost, "{taken} {before} {after} {received}");
        }
    }
}
