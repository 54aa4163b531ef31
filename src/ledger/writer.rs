//! The writer: adds verdicts to a ledger, one at a time, and never takes anything away.
//!
//! ```text
//!   going on --write or sync fails, age, length--> between files --next file begun--> going on
//!                                                       '--cannot be begun--> an error, and tried again next time
//! ```
//!
//! Owns the chain's head and the file that is open. Must not judge verdicts.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use jiff::Timestamp;

use super::config::{Settings, WhenFull};
use super::error::LedgerError;
use super::event::{Because, Event, FORMAT, Note, Torn};
use super::files::Directory;
use super::fit;
use super::line::Head;
use super::resume::{self, Continued};
use super::room::{self, Room, Rooms};
use super::sinks::Sinks;
use super::sync::Syncer;
use crate::verdict::Verdict;

/// The one writer of a ledger.
#[derive(Debug)]
pub struct Ledger {
    settings: Settings,
    directory: Directory,
    /// Held as long as this lives.
    _lock: File,
    head: Head,
    newest: u64,
    current: Option<Current>,
    /// What the next file has to say of those before.
    pending: Option<Because>,
    rooms: Rooms,
    lost: Option<Lost>,
    syncer: Syncer,
    sinks: Sinks,
}

/// The file that is written.
#[derive(Debug)]
struct Current {
    file: File,
    size: u64,
    begun: Timestamp,
    /// Up to where the filesystem keeps space for it.
    kept: u64,
}

/// Verdicts that could not be written.
#[derive(Debug)]
struct Lost {
    count: u64,
    since: String,
    why: String,
}

/// Whether a run may begin, as far as the ledger is concerned.
#[derive(Debug)]
#[must_use]
pub enum MayRun {
    /// There is room for its record; to be held until that is written.
    Yes(Room),
    /// It cannot be recorded, and is to be run nevertheless: so the operator has decided.
    Unrecorded(LedgerError),
    /// It cannot be recorded.
    No(LedgerError),
}

impl Ledger {
    /// Opens a ledger, or makes it. Waits for another writer for up to `patience`.
    pub fn open(settings: Settings, patience: Duration) -> Result<Ledger, LedgerError> {
        let directory = Directory::write(&settings.path, settings.access)?;
        let lock = directory.lock(patience)?;
        let mut ledger = Ledger {
            syncer: Syncer::new(settings.fsync),
            sinks: Sinks::new(&settings),
            settings,
            directory,
            _lock: lock,
            head: Head::NONE,
            newest: 0,
            current: None,
            pending: None,
            rooms: Rooms::default(),
            lost: None,
        };
        match (ledger.resume(), ledger.settings.when_full) {
            // A full disk must not keep the service from starting where runs go on without a record.
            (Err(LedgerError::System { .. }), WhenFull::RunAndWarn) => Ok(ledger),
            (resumed, _) => resumed.map(|()| ledger),
        }
    }

    /// The newest line.
    pub fn head(&self) -> Head {
        self.head
    }

    /// How many verdicts could not be told to journal, syslog and SIEM since the start.
    pub fn untold(&self) -> u64 {
        self.sinks.untold()
    }

    /// Whether a run may begin: keeps room for its record if there is any.
    pub fn may_run(&mut self) -> MayRun {
        match (self.keep_room(), self.settings.when_full) {
            (Ok(room), _) => MayRun::Yes(room),
            (Err(why), WhenFull::Refuse) => MayRun::No(why),
            (Err(why), WhenFull::RunAndWarn) => MayRun::Unrecorded(why),
        }
    }

    /// Adds a verdict, and gives it its place in the chain. It goes to the sinks also where this fails.
    pub fn append(&mut self, verdict: &mut Verdict) -> Result<(), LedgerError> {
        self.append_unsynced(verdict).and_then(|()| self.sync())
    }

    /// The same, but for what the policy says about the disk: that is for a [`Ledger::sync`] after several of these.
    pub fn append_unsynced(&mut self, verdict: &mut Verdict) -> Result<(), LedgerError> {
        let added = self.settle().and_then(|()| self.add(verdict));
        if let Err(error) = &added {
            (verdict.seq, verdict.previous, verdict.digest) = (None, None, None);
            self.lose(crate::jail::chain(error));
        }
        self.sinks.tell(verdict);
        added
    }

    fn lose(&mut self, why: String) {
        let since = || Timestamp::now().to_string();
        let lost = self.lost.get_or_insert_with(|| Lost { count: 0, since: since(), why: String::new() });
        (lost.count, lost.why) = (lost.count.saturating_add(1), why);
    }

    fn add(&mut self, verdict: &mut Verdict) -> Result<(), LedgerError> {
        (verdict.seq, verdict.previous) = (Some(self.head.seq.saturating_add(1)), Some(self.head.hash.to_string()));
        let line = fit::line_of(verdict).map_err(LedgerError::system("write", self.directory.path()))?;
        self.write(&line)?;
        verdict.digest = super::line::sealed(line.trim_end().as_bytes()).ok().map(|digest| digest.to_string());
        Ok(())
    }

    fn keep_room(&mut self) -> Result<Room, LedgerError> {
        self.settle()?;
        let bytes = self.rooms.bytes();
        let path = self.directory.path_of(self.newest);
        let current = self.current()?;
        if current.size.saturating_add(bytes) > current.kept {
            current.kept =
                room::keep(&current.file, current.size, bytes).map_err(LedgerError::system("keep room in", path))?;
        }
        Ok(self.rooms.take())
    }

    /// Comes to a file that can be written, and says what was lost before it could.
    fn settle(&mut self) -> Result<(), LedgerError> {
        if self.syncer.failure().is_some() {
            self.leave(Because::SyncFailed);
        }
        if self.current.is_none() {
            self.resume()?;
        }
        self.rotate();
        let Some(Lost { count, since, why }) = self.lost.take() else { return Ok(()) };
        let said = self.note(Event::RecordsLost { count, since: since.clone(), why: why.clone() });
        said.inspect_err(|_| self.lost = Some(Lost { count, since, why }))
    }

    /// Goes on where the ledger ends.
    fn resume(&mut self) -> Result<(), LedgerError> {
        let end = resume::find(&self.directory)?;
        if self.newest > 0 && (end.head, end.number) != (self.head, self.newest) {
            let path = self.directory.path_of(end.number);
            return Err(LedgerError::altered(path, "it does not end as we left it"));
        }
        (self.head, self.newest) = (end.head, end.number);
        match (end.file, self.pending) {
            (Some(Continued { size, begun }), None) => {
                let file = self.directory.open_to_append(end.number)?;
                // A writer that was killed had space kept after the end.
                room::trim(&file, size);
                self.current = Some(Current { file, size, begun, kept: 0 });
                Ok(())
            }
            (_, because) => {
                let torn = if end.number == 0 { Because::First } else { Because::Torn };
                self.begin(because.unwrap_or(torn), end.torn, 0)
            }
        }
    }

    /// Ends the file if it is old or long enough. Where no other can be begun, with all the room that runs under way were
    /// promised, it goes on.
    fn rotate(&mut self) {
        let Some(current) = &self.current else { return };
        let every = i64::try_from(self.settings.rotate_every).unwrap_or(i64::MAX).max(1);
        let period = |time: Timestamp| time.as_millisecond().div_euclid(every);
        let because = if current.size >= self.settings.rotate_size {
            Because::Size
        } else if period(current.begun) != period(Timestamp::now()) {
            Because::Age
        } else {
            return;
        };
        let synced = self.syncer.leave(&current.file);
        let because = if synced.is_err() { Because::SyncFailed } else { because };
        let Some(before) = self.current.take() else { return };
        match self.begin(because, Vec::new(), self.rooms.bytes()) {
            Ok(()) => room::trim(&before.file, before.size),
            // The number must be free, or there would be two lines after the same one.
            Err(_) if self.directory.open(self.newest.saturating_add(1)).is_err_and(|error| error.is_absent()) => {
                self.current = Some(before);
            }
            Err(_) => {}
        }
    }

    /// Begins the next file, with so much room kept in it.
    fn begin(&mut self, because: Because, torn: Vec<Torn>, room: u64) -> Result<(), LedgerError> {
        let number = self.newest.saturating_add(1);
        let event = Event::FileBegun { format: FORMAT, file: number, because, torn };
        let (line, begun) = self.note_line(event)?;
        let size = line.len() as u64;
        let (file, kept) = self.directory.begin(number, line.as_bytes(), room, self.settings.access)?;
        self.head = self.head.after(line.trim_end().as_bytes());
        (self.newest, self.pending) = (number, None);
        self.current = Some(Current { file, size, begun, kept });
        Ok(())
    }

    fn note(&mut self, event: Event) -> Result<(), LedgerError> {
        let (line, _) = self.note_line(event)?;
        self.write(&line)
    }

    fn note_line(&self, event: Event) -> Result<(String, Timestamp), LedgerError> {
        let time = Timestamp::now();
        let (seq, previous) = (self.head.seq.saturating_add(1), self.head.hash.to_string());
        let note = Note { event, time: time.to_string(), seq, previous };
        let line = serde_json::to_string(&note).and_then(|text| fit::sealed(&text));
        Ok((line.map_err(LedgerError::system("write", self.directory.path()))?, time))
    }

    /// Writes one whole line, with its newline.
    fn write(&mut self, line: &str) -> Result<(), LedgerError> {
        let path = self.directory.path_of(self.newest);
        let current = self.current()?;
        let facts = current.file.metadata().map_err(LedgerError::system("write", &path))?;
        if facts.len() != current.size || facts.nlink() != 1 {
            self.current = None;
            return Err(LedgerError::altered(path, "somebody else has changed it while we were writing it"));
        }
        if let Err(error) = current.file.write_all(line.as_bytes()) {
            // Part of it may stand there now. It stays, and the next file says so.
            self.current = None;
            return Err(LedgerError::system("write", path)(error));
        }
        current.size += line.len() as u64;
        self.head = self.head.after(line.trim_end().as_bytes());
        Ok(())
    }

    /// Has what was added go to the disk for good, as far as the policy asks for it.
    pub fn sync(&mut self) -> Result<(), LedgerError> {
        let Some(current) = &self.current else { return Ok(()) };
        self.syncer.written(&current.file).map_err(|error| {
            self.leave(Because::SyncFailed);
            LedgerError::system("sync", self.directory.path_of(self.newest))(error)
        })
    }

    fn leave(&mut self, because: Because) {
        self.current = None;
        self.pending = Some(because);
    }

    fn current(&mut self) -> Result<&mut Current, LedgerError> {
        let error = || LedgerError::unfit(self.directory.path(), "there is no file to write", None);
        // Where there was none, `settle` has begun one or failed.
        self.current.as_mut().ok_or_else(error)
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if let Some(current) = &self.current {
            room::trim(&current.file, current.size);
        }
    }
}
