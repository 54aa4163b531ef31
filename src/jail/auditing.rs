//! What the kernel's own records say of a jail: denials of Landlock and of the filter, where the host's audit is on and may be read.
//!
//! A record belongs to a jail by the uid that nobody else has, so this is for the root tier. It decides nothing. Names in records are
//! quoted, or hexadecimal where they hold anything odd; what is neither is not believed.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::policy::syscalls::numbers::{Architecture, Call};
use crate::policy::syscalls::{Action, SyscallPolicy};
use crate::sys::audit::{ACCESS, DOMAIN, Records, SECCOMP, Status};
use crate::wire::privsep::{Denied, End};

/// Most different denials that are listed.
const MOST: usize = 256;
/// Most records of domains whose owner is not known yet.
const MOST_PENDING: usize = 4096;
/// Records that are read at once, before anything else is looked at.
const AT_ONCE: usize = 4096;
/// How long the kernel takes to hand a record over, nearly always, once it has taken it from its queue.
const ON_ITS_WAY: Duration = Duration::from_millis(1);
/// The same for one that it may have in its queue still, where we may not ask.
const UNTOLD: Duration = Duration::from_millis(5);
/// How long we read what is left at the end, at most.
const PATIENCE: Duration = Duration::from_secs(2);
/// The number of the question at the beginning. Those at the end have higher ones.
const FIRST: u32 = 1;

/// What was tried, by what it was denied, and on what.
type Key = (&'static str, &'static str, Vec<u8>);

/// The records of one jail.
#[derive(Debug)]
pub struct Auditing {
    records: Records,
    uid: u32,
    // Calls that the filter says do not exist: no denials, programs do without.
    missing: BTreeSet<String>,
    // The program that we are, by its path: what it tries before it becomes the command is its proof.
    own: Vec<u8>,
    began: Instant,
    ours: BTreeSet<u64>,
    others: BTreeSet<u64>,
    pending: Vec<(u64, Key, u64)>,
    denied: BTreeMap<Key, Denied>,
    landlock: bool,
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
        let records = Records::listen().ok()?;
        // Answered while the run is under way. What cannot be asked is not answered either.
        let _ = records.ask(FIRST);
        Some(Auditing {
            records,
            uid,
            missing: missing.map(|rule| rule.call.clone()).collect(),
            own: std::fs::read_link("/proc/self/exe")
                .map_or_else(|_| Vec::new(), |path| path.into_os_string().into_vec()),
            began: Instant::now(),
            ours: BTreeSet::new(),
            others: BTreeSet::new(),
            pending: Vec::new(),
            denied: BTreeMap::new(),
            landlock: false,
            lost: 0,
        })
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

    /// The end of the run: what the kernel has is waited for.
    pub fn finish(mut self, end: End) -> Audited {
        let until = Instant::now() + PATIENCE;
        let statuses = self.settle(until);
        if statuses.is_none() {
            // Unless all went well.
            self.read_for(if end == End::Exited(0) { Duration::ZERO } else { UNTOLD }, until);
        }
        let lost = statuses.map_or(0, |(first, last)| lost_between(first, last, self.records.all()));
        let enabled = statuses.map(|(first, last)| first.enabled && last.enabled);
        Audited {
            lost: self.lost.saturating_add(self.records.dropped()).saturating_add(lost),
            denials: self.denied.into_values().collect(),
            landlock: enabled.unwrap_or(self.landlock),
            counted: enabled.is_some(),
        }
    }

    /// Reads until the kernel says that it holds nothing back. How its audit was at the beginning, and is now; nothing where it may
    /// not be asked.
    fn settle(&mut self, until: Instant) -> Option<(Status, Status)> {
        let (mut first, mut number) = (None, FIRST);
        loop {
            number += 1;
            self.records.ask(number).ok()?;
            let last = self.await_answer(number, &mut first, until)?;
            self.read_for(Duration::ZERO, until);
            if last.waiting == 0 {
                // Nothing at all, and there was time for it while we asked.
                let patience = if self.denied.is_empty() && number == FIRST + 1 { Duration::ZERO } else { ON_ITS_WAY };
                self.read_for(patience, until);
                return Some((first?, last));
            }
        }
    }

    /// The answer to the question with that number, once the first one was answered too.
    fn await_answer(&self, number: u32, first: &mut Option<Status>, until: Instant) -> Option<Status> {
        let mut wanted = None;
        loop {
            match self.records.answer() {
                Ok((FIRST, status)) => *first = Some(status?),
                Ok((answered, status)) if answered == number => wanted = Some(status?),
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
            if let (Some(_), Some(wanted)) = (&first, wanted) {
                return Some(wanted);
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
        self.lost = self.lost.saturating_add(1);
    }

    fn take(&mut self, kind: u16, record: &[u8]) {
        let fields = fields(record);
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        match kind {
            DOMAIN => self.take_domain(&fields),
            ACCESS => {
                let (Some(domain), Some(key)) = (domain(&fields), access(&fields)) else { return };
                self.landlock = true;
                if self.ours.contains(&domain) {
                    self.note(key, now);
                } else if !self.others.contains(&domain) && self.pending.len() < MOST_PENDING {
                    // Whose it is, the record behind its first denial says.
                    self.pending.push((domain, key, now));
                }
            }
            SECCOMP if number(&fields, "uid") == Some(u64::from(self.uid)) && !self.is_proof(&fields) => {
                if let Some(call) = refused(&fields).filter(|call| !self.missing.contains(call)) {
                    self.note(("system_call", "seccomp", call.into_bytes()), now);
                }
            }
            _ => {}
        }
    }

    /// A command that executes clawjail itself can look like this: it hides what it was refused, and is refused it.
    fn is_proof(&self, fields: &BTreeMap<&[u8], Vec<u8>>) -> bool {
        let is = |name: &[u8], value: &[u8]| fields.get(name).is_some_and(|found| found == value);
        is(b"comm", b"clawjail-init") && is(b"exe", &self.own)
    }

    fn take_domain(&mut self, fields: &BTreeMap<&[u8], Vec<u8>>) {
        let Some(domain) = domain(fields) else { return };
        if fields.get(b"status".as_slice()).map(Vec::as_slice) != Some(b"allocated") {
            return;
        }
        self.landlock = true;
        if number(fields, "uid") != Some(u64::from(self.uid)) {
            if self.others.len() < MOST_PENDING {
                self.others.insert(domain);
            }
            self.pending.retain(|(of, ..)| *of != domain);
            return;
        }
        self.ours.insert(domain);
        let (of_it, others) = std::mem::take(&mut self.pending).into_iter().partition(|(of, ..)| *of == domain);
        self.pending = others;
        let of_it: Vec<_> = of_it;
        for (_, key, when) in of_it {
            self.note(key, when);
        }
    }

    fn note(&mut self, key: Key, when: u64) {
        if let Some(denied) = self.denied.get_mut(&key) {
            denied.count = denied.count.saturating_add(1);
            denied.when_us = denied.when_us.map(|(first, _)| (first, when));
        } else if self.denied.len() < MOST {
            let (kind, mechanism, what) = key.clone();
            let (kind, mechanism) = (kind.to_owned(), mechanism.to_owned());
            let when_us = Some((when, when));
            // The pid in a record is the host's.
            let denied = Denied { kind, what, mechanism, rule: String::new(), count: 1, when_us, by: None };
            self.denied.insert(key, denied);
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

fn domain(fields: &BTreeMap<&[u8], Vec<u8>>) -> Option<u64> {
    let text = std::str::from_utf8(fields.get(b"domain".as_slice())?).ok()?;
    u64::from_str_radix(text, 16).ok()
}

fn number(fields: &BTreeMap<&[u8], Vec<u8>>, name: &str) -> Option<u64> {
    std::str::from_utf8(fields.get(name.as_bytes())?).ok()?.parse().ok()
}

/// What Landlock denied.
fn access(fields: &BTreeMap<&[u8], Vec<u8>>) -> Option<Key> {
    let blockers = std::str::from_utf8(fields.get(b"blockers".as_slice())?).ok()?;
    let field = |name: &str| fields.get(name.as_bytes()).cloned();
    let address = |host: &str, port: &str| {
        let host = field(host).and_then(|host| String::from_utf8(host).ok()).unwrap_or_default();
        Some(format!("{host}:{}", number(fields, port)?).into_bytes())
    };
    let first = blockers.split(',').find(|blocker| *blocker != "fs.read_file" || blockers == "fs.read_file")?;
    let (kind, what) = match first {
        "fs.read_file" => ("read", field("path")),
        "fs.read_dir" => ("list", field("path")),
        "fs.write_file" => ("write", field("path")),
        "fs.truncate" => ("truncate", field("path")),
        "fs.execute" => ("execute", field("path")),
        "fs.make_dir" | "fs.make_reg" | "fs.make_sym" | "fs.make_fifo" | "fs.make_sock" | "fs.make_char"
        | "fs.make_block" => ("make", field("path")),
        "fs.remove_file" | "fs.remove_dir" => ("remove", field("path")),
        "fs.refer" => ("rename", field("path")),
        "fs.change_topology" => ("mount", field("path")),
        "net.connect_tcp" => ("connect", address("daddr", "dest")),
        "net.bind_tcp" => ("listen", address("saddr", "src")),
        "scope.abstract_unix_socket" => ("abstract_socket", field("path")),
        "fs.ioctl_dev" => ("device_control", field("path")),
        // Who that is, nobody inside is to learn.
        "scope.signal" => ("signal", Some(b"a process outside".to_vec())),
        "ptrace" => ("trace", Some(b"a process outside".to_vec())),
        // What a later kernel denies besides is told by its name.
        other => ("other", Some(field("path").unwrap_or_else(|| other.as_bytes().to_vec()))),
    };
    Some((kind, "landlock", what?))
}

/// The name of the call that the filter refused. The record has its answer without the errno.
fn refused(fields: &BTreeMap<&[u8], Vec<u8>>) -> Option<String> {
    const ERRNO: &[u8] = b"0x50000";
    if fields.get(b"code".as_slice()).map(Vec::as_slice) != Some(ERRNO) {
        return None;
    }
    let wanted = u32::try_from(number(fields, "syscall")?).ok()?;
    let call = Call::all().find(|call| call.number(Architecture::CURRENT) == Some(wanted));
    Some(call.map_or_else(|| format!("number {wanted}"), |call| call.name().to_owned()))
}

/// `name=value` pairs behind the stamp. A value is a word, `"..."`, or hexadecimal for `path` where that is not quoted.
fn fields(record: &[u8]) -> BTreeMap<&[u8], Vec<u8>> {
    let mut fields = BTreeMap::new();
    let end = record.iter().rposition(|byte| *byte != 0 && *byte != b'\n').map_or(0, |last| last + 1);
    let record = record.get(..end).unwrap_or_default();
    let Some(start) = record.windows(3).position(|three| three == b"): ") else { return fields };
    let mut rest = record.get(start + 3..).unwrap_or_default();
    while let Some(equals) = rest.iter().position(|byte| *byte == b'=') {
        let (name, value) = (rest.get(..equals).unwrap_or_default(), rest.get(equals + 1..).unwrap_or_default());
        let quoted = value.first() == Some(&b'"');
        let (raw, after) = if quoted {
            let inner = value.get(1..).unwrap_or_default();
            let Some(end) = inner.iter().position(|byte| *byte == b'"') else { return fields };
            (inner.get(..end).unwrap_or_default(), inner.get(end + 1..).unwrap_or_default())
        } else {
            let end = value.iter().position(|byte| *byte == b' ').unwrap_or(value.len());
            (value.get(..end).unwrap_or_default(), value.get(end..).unwrap_or_default())
        };
        let name = name.strip_prefix(b" ").unwrap_or(name);
        let decoded = if !quoted && matches!(name, b"path" | b"comm" | b"ocomm" | b"exe") {
            unhexed(raw)
        } else {
            Some(raw.to_vec())
        };
        // What a record says first is the kernel's own; a second of the same name is not believed.
        if let Some(decoded) = decoded {
            fields.entry(name).or_insert(decoded);
        }
        rest = after;
    }
    fields
}

fn unhexed(text: &[u8]) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.chunks_exact(2).map(|two| Some(digit(*two.first()?)? << 4 | digit(*two.last()?)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &[u8]) -> Option<Key> {
        access(&fields(text))
    }

    #[test]
    fn records_are_read_as_the_kernel_writes_them() {
        let plain = br#"audit(1700000000.123:45): domain=12d70c672 blockers=fs.read_file path="/root/.bashrc" dev="vda" ino=1235"#;
        assert_eq!(of(plain), Some(("read", "landlock", b"/root/.bashrc".to_vec())));
        assert_eq!(domain(&fields(plain)), Some(0x12d70c672));
        let odd = b"audit(1.2:3): domain=1 blockers=fs.make_reg path=2F610A62FF dev=\"vda\" ino=1\n\0";
        assert_eq!(of(odd), Some(("make", "landlock", b"/a\nb\xff".to_vec())));
        let later = b"audit(1.2:3): domain=1 blockers=fs.of_a_later_kernel";
        assert_eq!(of(later), Some(("other", "landlock", b"fs.of_a_later_kernel".to_vec())));
        let device =
            b"audit(1.2:3): domain=1 blockers=fs.ioctl_dev path=\"/dev/tty\" dev=\"devtmpfs\" ino=1 ioctlcmd=0x5412";
        assert_eq!(of(device), Some(("device_control", "landlock", b"/dev/tty".to_vec())));
        let net = b"audit(1.2:3): domain=1 blockers=net.connect_tcp daddr=192.0.2.1 dest=443";
        assert_eq!(of(net), Some(("connect", "landlock", b"192.0.2.1:443".to_vec())));
        let both = b"audit(1.2:3): domain=1 blockers=fs.execute,fs.read_file path=\"/x\" dev=\"vda\" ino=1";
        assert_eq!(of(both).map(|key| key.0), Some("execute"));
        let call = b"audit(1.2:3): auid=4294967295 uid=7 gid=7 ses=1 pid=9 comm=\"x\" exe=\"/x\" sig=0 arch=c000003e syscall=101 compat=0 ip=0x7 code=0x50000";
        assert_eq!((refused(&fields(call)).as_deref(), number(&fields(call), "uid")), (Some("ptrace"), Some(7)));
    }

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

    #[test]
    fn what_is_no_record_says_nothing_and_a_name_cannot_say_what_only_the_kernel_says() {
        for text in [
            b"".as_slice(),
            b"audit(",
            b"audit(1): ",
            b"audit(1): path=",
            b"audit(1): path=\"",
            b"audit(1): path=0",
            b"audit(1): ==",
        ] {
            assert_eq!(of(text), None, "{text:?}");
        }
        let forged =
            b"audit(1.2:3): domain=1 blockers=fs.read_file path=2F782220646F6D61696E3D3222 dev=\"vda\" ino=1 domain=2";
        assert_eq!(domain(&fields(forged)), Some(1));
        assert_eq!(of(forged).map(|key| key.2), Some(b"/x\" domain=2\"".to_vec()));
        for cut in 0..forged.len() {
            let _ = of(&forged[..cut]);
        }
    }
}
