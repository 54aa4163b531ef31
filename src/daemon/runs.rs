//! The runs that a service knows: those under way, and the last that ended.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::{Rc, Weak};

use tokio::sync::{Mutex, Notify, mpsc};
use tokio::time::{Instant, timeout_at};

use super::gauge::Gauge;
use super::outbox::Outbox;
use super::pipes::{CHUNK, Input};
use super::privsep::Connection;
use crate::sys::terminal;
use crate::wire::fault::Fault;
use crate::wire::id::Id;
use crate::wire::reply::{self, Listed, Piece, Stream};
use crate::wire::text::Text;

/// Runs of one caller that ended and are still known, for those who attach late.
const MOST_ENDED: usize = 256;
/// Bytes that these may take up together.
const MOST_ENDED_BYTES: usize = 16 << 20;
/// Characters of a command that `ps` shows.
const MOST_SHOWN: usize = 4096;
/// Signals that may wait to be passed on.
const MOST_SIGNALS: usize = 16;

/// A command, as a person reads it in a list: not all of what may be megabytes.
pub fn shown(argv: &[Text]) -> Vec<String> {
    let mut left = MOST_SHOWN;
    let mut shown = Vec::new();
    for argument in argv {
        let text: String = argument.shown().chars().take(left).collect();
        left = left.saturating_sub(text.chars().count() + 1);
        shown.push(text);
        if left == 0 {
            break;
        }
    }
    shown
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// For its turn, or for its jail.
    Waiting,
    /// The command runs.
    Running,
    /// There is a verdict.
    Ended,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Running => "running",
            State::Ended => "ended",
        }
    }
}

/// What identifies a run.
#[derive(Clone, Debug)]
pub struct Label {
    /// The verdict's id.
    pub id: String,
    /// Whose.
    pub uid: u32,
    /// For which agent.
    pub agent: Option<String>,
    /// Which request asked for it.
    pub request: (Connection, Id),
    /// What its caller calls the session it is part of.
    pub session: Option<String>,
    /// In which open jail.
    pub jail: Option<String>,
    /// Its profile.
    pub profile: String,
    /// The command, as a person reads it.
    pub argv: Vec<String>,
    /// When it was asked for.
    pub time: String,
}

/// One run.
pub struct Entry {
    /// What identifies it.
    pub label: Label,
    /// What its jail uses, if that is its own.
    pub gauge: Gauge,
    /// Its input, while it takes any.
    pub input: Mutex<Option<Input>>,
    state: Cell<State>,
    ending: Cell<bool>,
    end: Notify,
    signals: mpsc::Sender<i32>,
    master: RefCell<Option<OwnedFd>>,
    kept: RefCell<Kept>,
    attached: RefCell<Vec<Weak<Outbox>>>,
    // Who prepared it, and is told how it ended.
    told: RefCell<Weak<Outbox>>,
    // There is more output, or it is over.
    news: Notify,
    // The line that says how it ended.
    last: RefCell<Option<Rc<Vec<u8>>>>,
}

/// The end of a run's output.
struct Kept {
    chunks: VecDeque<(Stream, Vec<u8>)>,
    bytes: usize,
    most: usize,
    lost: u64,
}

impl Entry {
    /// One that waits; `most` bytes of its output will be kept. Signals for it come out of the receiver.
    pub fn new(label: Label, most: usize) -> (Rc<Entry>, mpsc::Receiver<i32>) {
        let (signals, receiver) = mpsc::channel(MOST_SIGNALS);
        let entry = Entry {
            label,
            gauge: Gauge::default(),
            input: Mutex::new(None),
            state: Cell::new(State::Waiting),
            ending: Cell::new(false),
            end: Notify::new(),
            signals,
            master: RefCell::new(None),
            kept: RefCell::new(Kept { chunks: VecDeque::new(), bytes: 0, most, lost: 0 }),
            attached: RefCell::default(),
            told: RefCell::default(),
            news: Notify::new(),
            last: RefCell::new(None),
        };
        (Rc::new(entry), receiver)
    }

    /// The command runs now, perhaps on a terminal.
    pub fn started(&self, master: Option<OwnedFd>) {
        self.state.set(State::Running);
        *self.master.borrow_mut() = master;
    }

    /// It is over, as `line` says.
    pub fn over(&self, line: Vec<u8>) {
        let line = Rc::new(line);
        self.state.set(State::Ended);
        *self.master.borrow_mut() = None;
        *self.last.borrow_mut() = Some(line.clone());
        self.news.notify_waiters();
        let told = self.told.take();
        let attached: Vec<_> = self.attached.borrow_mut().drain(..).filter(|outbox| !outbox.ptr_eq(&told)).collect();
        for outbox in attached.into_iter().chain([told]).filter_map(|outbox| outbox.upgrade()) {
            // One that has no room has missed output already.
            outbox.try_put(line.as_ref().clone());
        }
    }

    /// Has `outbox` told how it ended, and nothing else.
    pub fn tell(&self, outbox: &Rc<Outbox>) {
        *self.told.borrow_mut() = Rc::downgrade(outbox);
    }

    /// Has it ended.
    pub fn end(&self) {
        self.ending.set(true);
        self.end.notify_one();
    }

    /// Waits until somebody has it ended.
    pub async fn ending(&self) {
        while !self.ending.get() {
            self.end.notified().await;
        }
    }

    /// Whether the command runs.
    pub fn is_running(&self) -> bool {
        self.state.get() == State::Running
    }

    /// Whether there is a verdict.
    pub fn is_over(&self) -> bool {
        self.state.get() == State::Ended
    }

    /// Whether its request has not been answered.
    pub fn is_waiting(&self) -> bool {
        self.state.get() == State::Waiting
    }

    /// Passes `signal` on; SIGKILL ends it with all that it started.
    pub fn signal(&self, signal: i32) -> Result<(), Fault> {
        match self.state.get() {
            State::Ended => return Err(Fault::refused("run_ended", "the run has ended")),
            // Nothing runs yet that could handle it.
            State::Waiting if matches!(signal, libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) => {
                self.end()
            }
            _ if signal == libc::SIGKILL => self.end(),
            State::Waiting | State::Running => {
                let full = |_| Fault::refused("busy", "signals wait to be passed on already").with_retry_after(100);
                self.signals.try_send(signal).map_err(full)?;
            }
        }
        Ok(())
    }

    /// Changes the size of its terminal.
    pub fn resize(&self, rows: u16, columns: u16) -> Result<(), Fault> {
        let master = self.master.borrow();
        let Some(master) = master.as_ref() else {
            return Err(Fault::refused("no_terminal", "the run has no terminal that we hold"));
        };
        terminal::resize(master.as_fd(), terminal::Size { rows, columns })
            .map_err(|errno| Fault::failed("resize", errno.desc()))
    }

    /// Keeps output, and shows it to those who attached.
    pub fn keep(&self, stream: Stream, bytes: &[u8]) {
        self.kept.borrow_mut().push(stream, bytes);
        self.news.notify_waiters();
        let mut attached = self.attached.borrow_mut();
        if attached.is_empty() {
            return;
        }
        let line = reply::output(&self.label.id, stream, bytes);
        // Whoever does not keep up is let go, and can attach again.
        attached.retain(|outbox| outbox.upgrade().is_some_and(|outbox| outbox.try_put(line.clone())));
    }

    /// What was kept from `offset` on, at most `most` bytes; waits for some until `until` while it runs.
    pub async fn read(&self, offset: u64, most: usize, until: Instant) -> reply::Kept {
        loop {
            let news = self.news.notified();
            let (output, offset, next) = self.kept.borrow().from(offset, most);
            let state = self.state.get();
            if !output.is_empty() || state == State::Ended || timeout_at(until, news).await.is_err() {
                return reply::Kept { output, offset, next, state: state.word().to_owned() };
            }
        }
    }

    /// Shows what was kept to `outbox`, and from now on what comes.
    pub async fn attach(&self, outbox: &Rc<Outbox>) {
        let lines: Vec<Vec<u8>> = {
            let kept = self.kept.borrow();
            kept.chunks.iter().map(|(stream, bytes)| reply::output(&self.label.id, *stream, bytes)).collect()
        };
        // Listed first: what comes while these wait for room must not be missed. It may then come before them only if
        // this client does not read, and it is let go in that case.
        let last = self.last.borrow().clone();
        for line in lines {
            if outbox.put(line, Vec::new()).await.is_err() {
                return;
            }
        }
        match last.or_else(|| self.last.borrow().clone()) {
            Some(line) => drop(outbox.put(line.as_ref().clone(), Vec::new()).await),
            None => {
                let own = Rc::downgrade(outbox);
                let mut attached = self.attached.borrow_mut();
                // Whoever attaches again is shown what comes once all the same.
                attached.retain(|other| !other.ptr_eq(&own));
                attached.push(own);
            }
        }
    }

    /// Bytes of output that were not kept.
    pub fn lost(&self) -> u64 {
        self.kept.borrow().lost
    }

    /// Bytes of output that are kept.
    pub fn kept_bytes(&self) -> usize {
        self.kept.borrow().bytes
    }

    /// Bytes that it takes up once it is over.
    fn weight(&self) -> usize {
        let argv: usize = self.label.argv.iter().map(String::len).sum();
        argv + self.last.borrow().as_ref().map_or(0, |line| line.len()) + self.kept_bytes()
    }

    /// As `ps` shows it.
    pub fn listed(&self) -> Listed {
        let Label { id, uid, agent, jail, profile, argv, time, .. } = self.label.clone();
        // One that is being written to has one for sure; whoever asks just then is told nothing of it.
        let input = self.input.try_lock().ok().and_then(|input| Some(input.as_ref()?.word().to_owned()));
        Listed { run: id, jail, uid, agent, profile, argv, time, state: self.state.get().word().to_owned(), input }
    }
}

impl Kept {
    /// Pieces from `offset` on, where they begin and where they end.
    fn from(&self, offset: u64, most: usize) -> (Vec<Piece>, u64, u64) {
        let end = self.lost + self.bytes as u64;
        let begin = offset.clamp(self.lost, end);
        let (mut pieces, mut at, mut next) = (Vec::new(), self.lost, begin);
        for (stream, bytes) in &self.chunks {
            let from = usize::try_from(begin.saturating_sub(at)).unwrap_or(usize::MAX);
            at += bytes.len() as u64;
            let left = most.saturating_sub(usize::try_from(next - begin).unwrap_or(usize::MAX));
            let Some(rest) = bytes.get(from..).filter(|rest| !rest.is_empty() && left > 0) else { continue };
            let piece = rest.get(..left).unwrap_or(rest);
            next += piece.len() as u64;
            pieces.push(Piece::new(*stream, piece));
        }
        (pieces, begin, next)
    }

    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        self.bytes += bytes.len();
        match self.chunks.back_mut() {
            // A command that writes byte by byte must not cost an entry for each.
            Some((last, chunk)) if *last == stream && chunk.len() + bytes.len() <= CHUNK => {
                chunk.extend_from_slice(bytes);
            }
            _ => self.chunks.push_back((stream, bytes.to_vec())),
        }
        while self.bytes > self.most {
            let Some((_, oldest)) = self.chunks.pop_front() else { break };
            self.bytes -= oldest.len();
            self.lost += oldest.len() as u64;
        }
    }
}

/// The table.
#[derive(Default)]
pub struct Runs {
    entries: RefCell<BTreeMap<String, Rc<Entry>>>,
    // By caller, the oldest first: nobody's runs are forgotten for somebody else's.
    ended: RefCell<BTreeMap<u32, Ended>>,
}

/// The runs of one caller that ended, and the bytes that they take up.
#[derive(Default)]
struct Ended {
    runs: VecDeque<(String, usize)>,
    bytes: usize,
}

impl Runs {
    /// Takes it in.
    pub fn enter(&self, entry: &Rc<Entry>) {
        self.entries.borrow_mut().insert(entry.label.id.clone(), entry.clone());
    }

    /// It has ended: known for a while yet.
    pub fn retire(&self, entry: &Entry) {
        let mut callers = self.ended.borrow_mut();
        let ended = callers.entry(entry.label.uid).or_default();
        let weight = entry.weight();
        ended.bytes += weight;
        ended.runs.push_back((entry.label.id.clone(), weight));
        while ended.runs.len() > MOST_ENDED || ended.bytes > MOST_ENDED_BYTES {
            let Some((oldest, weight)) = ended.runs.pop_front() else { return };
            ended.bytes -= weight;
            self.entries.borrow_mut().remove(&oldest);
        }
    }

    /// The run `id`, if `may_see` its owner. One that is somebody else's is answered as one that never was.
    pub fn find(&self, id: &str, may_see: impl Fn(u32) -> bool) -> Result<Rc<Entry>, Fault> {
        let found = self.entries.borrow().get(id).filter(|entry| may_see(entry.label.uid)).cloned();
        found.ok_or_else(|| Fault::refused("unknown_run", "there is no such run of yours"))
    }

    /// All of them.
    pub fn all(&self) -> Vec<Rc<Entry>> {
        self.entries.borrow().values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_byte_by_byte_is_kept_in_few_chunks_and_in_the_order_of_its_streams() {
        let mut kept = Kept { chunks: VecDeque::new(), bytes: 0, most: 1000, lost: 0 };
        for _ in 0..600 {
            kept.push(Stream::Stdout, b"o");
        }
        kept.push(Stream::Stderr, b"e");
        kept.push(Stream::Stdout, b"o");
        assert_eq!((kept.chunks.len(), kept.bytes, kept.lost), (3, 602, 0));
        kept.push(Stream::Stderr, &[b'e'; 500]);
        assert_eq!((kept.bytes, kept.lost), (502, 600), "the oldest goes first");
    }
}
