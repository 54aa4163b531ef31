//! The recorder of a service: the process that holds the ledger, and lets others only add to it and read it.
//!
//! ```text
//!   supervisor --Room, Begun, Append, Ask--> recorder --one line after the other--> files of root
//!                                               '--thread--> answers from them, which hold nobody up
//! ```
//!
//! Records that arrive together are written together and go to the disk together, so a slow disk costs each of many runs one
//! wait, not one after the other. It ends when the supervisor does, and records before what that has left unrecorded.

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};

use super::confinement;
use super::librarian::{Asked as Questioned, read_for_ever};
use crate::confine::{Failed, Ids};
use crate::jail::chain;
use crate::jail::channel::{Arrived, Channel};
use crate::ledger::config::{Settings, WhenFull};
use crate::ledger::error::LedgerError;
use crate::ledger::files::Directory;
use crate::ledger::query::{self, Bounds, Filter};
use crate::ledger::room::Room;
use crate::ledger::under_way::UnderWay;
use crate::ledger::writer::{Ledger, MayRun};
use crate::sys::process;
use crate::verdict::{Asked, Caller, Output, Reason, Seen, Verdict};
use crate::wire::record::{Beginning, FromRecorder, Link, NoRoom, Redeems, Ticket, ToRecorder};

/// How long an earlier recorder may take to let go of the ledger.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same once we serve, where others wait for us.
const IMPATIENCE: Duration = Duration::from_millis(50);
/// Messages that are dealt with at once.
const MOST_AT_ONCE: usize = 256;
/// Records that may have room kept, and runs that may be under way, whatever the supervisor says.
const MOST_ROOMS: usize = 4096;
/// Bytes of the ledger among which the record of a run is looked for that an earlier recorder left.
const MOST_LOOKED_AT: u64 = 16 << 20;
/// Questions that may wait.
const MOST_QUESTIONS: usize = 256;

/// The ledger, and what was promised of it.
struct Recorder {
    supervisor: Arc<Channel>,
    settings: Settings,
    // None while it cannot be opened.
    ledger: Option<Ledger>,
    under_way: Option<UnderWay>,
    rooms: Vec<Room>,
    questions: SyncSender<Questioned>,
}

/// What came of one record.
type Written = (Ticket, Result<Link, NoRoom>);

/// Serves until the supervisor is gone. Runs in a fork of the guard, made before any thread.
pub fn serve(supervisor: Channel, settings: Settings, own: Ids) -> ! {
    let code = match begin(supervisor, settings, own) {
        Ok(()) => 0,
        Err(failed) => {
            let what = failed.what.as_deref().unwrap_or("nothing in particular");
            eprintln!("clawjail: failed: the recorder ended at step `{}` on `{what}`: {}", failed.step, failed.errno);
            1
        }
    };
    process::leave(code)
}

fn begin(supervisor: Channel, settings: Settings, own: Ids) -> Result<(), Failed> {
    let failed = Failed::at("recorder");
    process::set_name(c"clawjail-record").map_err(&failed)?;
    SigSet::empty().thread_set_mask().map_err(&failed)?;
    // It ends after the supervisor, by the end of their conversation, and not before: what was run is to be recorded.
    for ignored in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGTSTP, Signal::SIGPIPE]
    {
        process::ignore_signal(ignored).map_err(&failed)?;
    }
    // Made while it may be: afterwards nothing beside it can be reached. What is wrong with it is said to those who run.
    drop(Directory::write(&settings.path, settings.access));
    confinement::confine_recorder(&settings, own)?;
    let supervisor = Arc::new(supervisor);
    let (questions, asked) = sync_channel(MOST_QUESTIONS);
    let (path, answers) = (settings.path.clone(), supervisor.clone());
    let reader = std::thread::Builder::new().name("ledger-read".into());
    let reader = reader.spawn(move || read_for_ever(&path, &asked, &answers));
    reader.map_err(|error| failed(crate::confine::identity::errno_of(&error)))?;
    let mut recorder = Recorder {
        supervisor,
        ledger: Ledger::open(settings.clone(), PATIENCE).ok(),
        settings,
        under_way: None,
        rooms: Vec::new(),
        questions,
    };
    recorder.record_what_was_left();
    recorder.work().map_err(failed)
}

impl Recorder {
    fn work(&mut self) -> Result<(), Errno> {
        let heard = loop {
            match self.gather() {
                Ok(Some(messages)) => self.obey(messages),
                // Gone, or not making sense, which is as good.
                Ok(None) => break Ok(()),
                Err(errno) => break Err(errno),
            }
        };
        self.record_what_was_cut_short();
        heard
    }

    /// All messages that are there, once one is; none when the supervisor is gone.
    fn gather(&self) -> Result<Option<Vec<ToRecorder>>, Errno> {
        let mut messages = Vec::new();
        while messages.len() < MOST_AT_ONCE && self.is_told(messages.is_empty())? {
            match self.supervisor.receive()? {
                Arrived::Message(message, _) => messages.push(message),
                Arrived::Gone if messages.is_empty() => return Ok(None),
                // It is found to be gone again, after these.
                Arrived::Gone => break,
            }
        }
        Ok(Some(messages))
    }

    /// Whether there is something to read; waits for it before the first.
    fn is_told(&self, first: bool) -> Result<bool, Errno> {
        let timeout = if first { PollTimeout::NONE } else { PollTimeout::ZERO };
        loop {
            match poll(&mut [PollFd::new(self.supervisor.as_fd(), PollFlags::POLLIN)], timeout) {
                Err(Errno::EINTR) => {}
                polled => return Ok(polled? > 0),
            }
        }
    }

    fn obey(&mut self, messages: Vec<ToRecorder>) {
        let mut written = Vec::new();
        for message in messages {
            match message {
                ToRecorder::Room(count) => {
                    let answer = self.keep_room(count);
                    self.tell(&answer);
                }
                ToRecorder::Begun(beginning) => {
                    self.under_way.iter_mut().filter(|runs| runs.count() < MOST_ROOMS).for_each(|runs| {
                        runs.begin((*beginning).clone());
                    });
                }
                ToRecorder::Append(ticket, text, redeems) => written.push((ticket, self.append(&text, redeems))),
                ToRecorder::Ask(ticket, question) => {
                    if self.questions.try_send((ticket, question)).is_err() {
                        self.tell(&FromRecorder::Answered(ticket, Err("too many questions wait already".into())));
                    }
                }
            }
        }
        self.acknowledge(written);
    }

    fn keep_room(&mut self, count: u32) -> FromRecorder {
        let mut granted = 0;
        let most = MOST_ROOMS.saturating_sub(self.rooms.len());
        while (granted as usize) < most.min(count as usize) {
            let may_run = self.ledger().map(Ledger::may_run);
            let why = match may_run {
                Ok(MayRun::Yes(room)) => {
                    self.rooms.push(room);
                    granted += 1;
                    continue;
                }
                Ok(MayRun::Unrecorded(why) | MayRun::No(why)) | Err(why) => why,
            };
            if granted == 0 {
                return FromRecorder::Room(0, Some(self.no_room(&why)));
            }
            break;
        }
        let full = || NoRoom { message: "too many runs are under way".into(), remedy: None, nevertheless: false };
        FromRecorder::Room(granted, (granted == 0).then(full))
    }

    /// Writes a record. It is on the disk only once it was acknowledged.
    fn append(&mut self, text: &str, redeems: Redeems) -> Result<Link, NoRoom> {
        let written = match serde_json::from_str::<Verdict>(text) {
            Ok(verdict) => self.write(verdict),
            Err(_) => {
                Err(NoRoom { message: "cannot record what is no verdict".into(), remedy: None, nevertheless: false })
            }
        };
        if redeems == Redeems::Room {
            // After it was written, so that the space is not another's in between.
            drop(self.rooms.pop());
        }
        written
    }

    fn write(&mut self, mut verdict: Verdict) -> Result<Link, NoRoom> {
        let id = verdict.id.clone();
        let appended = self.ledger().and_then(|ledger| ledger.append_unsynced(&mut verdict));
        self.under_way.iter_mut().for_each(|runs| runs.end(&id));
        let Verdict { seq, previous, digest, .. } = verdict;
        appended.map(|()| Link { seq, previous, digest }).map_err(|error| self.no_room(&error))
    }

    /// Has what was written go to the disk, and tells those who wait for it.
    fn acknowledge(&mut self, written: Vec<Written>) {
        if written.is_empty() {
            return;
        }
        let synced = self.ledger.as_mut().map_or(Ok(()), Ledger::sync).map_err(|error| self.no_room(&error));
        let untold = self.ledger.as_ref().map_or(0, Ledger::untold);
        for (ticket, result) in written {
            let result = result.and_then(|link| synced.clone().map(|()| link));
            self.tell(&FromRecorder::Appended(ticket, result, untold));
        }
    }

    /// The ledger, opened again if it could not be.
    fn ledger(&mut self) -> Result<&mut Ledger, LedgerError> {
        let ledger = match self.ledger.take() {
            Some(ledger) => ledger,
            None => Ledger::open(self.settings.clone(), IMPATIENCE)?,
        };
        Ok(self.ledger.insert(ledger))
    }

    fn no_room(&self, error: &LedgerError) -> NoRoom {
        NoRoom {
            message: chain(error),
            remedy: error.hint().map(str::to_owned),
            nevertheless: self.settings.when_full == WhenFull::RunAndWarn,
        }
    }

    fn tell(&self, answer: &FromRecorder) {
        // A supervisor that is gone is noticed where it is listened to.
        let _ = self.supervisor.send(answer, &[]);
    }

    /// The supervisor has ended before these runs had their records. They have ended with it.
    fn record_what_was_cut_short(&mut self) {
        let left = self.under_way.as_mut().map(UnderWay::take).unwrap_or_default();
        self.record_cut_short(left);
    }

    /// An earlier recorder was killed before these had their records. Whatever it served has been ended since.
    fn record_what_was_left(&mut self) {
        let opened = Directory::write(&self.settings.path, self.settings.access);
        let Ok((under_way, mut left)) = opened.and_then(|directory| UnderWay::open(&directory)) else { return };
        self.under_way = Some(under_way);
        // It may have been killed between a record and the note of it.
        left.retain(|beginning| !is_recorded(&self.settings.path, &beginning.id));
        self.record_cut_short(left);
    }

    fn record_cut_short(&mut self, left: Vec<Beginning>) {
        let mut written = Ok(());
        for beginning in left {
            // Nobody is there to be told.
            written = written.and(self.write(cut_short(beginning)).map(drop).map_err(drop));
        }
        let synced = self.ledger.as_mut().map_or(Ok(()), Ledger::sync);
        if let (Ok(()), Ok(()), Some(under_way)) = (written, synced, &mut self.under_way) {
            let _ = under_way.clear();
        }
    }
}

/// Whether there is a record of the run `id` among the newest.
fn is_recorded(path: &Path, id: &str) -> bool {
    let filter = Filter { id: Some(id.to_owned()), ..Filter::default() };
    let bounds = Bounds { answers: 1, bytes: 1, looked_at: MOST_LOOKED_AT };
    let page = Directory::read(path).and_then(|directory| query::page(&directory, &filter, None, bounds));
    page.is_ok_and(|page| !page.lines.is_empty())
}

fn cut_short(beginning: Beginning) -> Verdict {
    let Beginning { id, time, uid, gid, agent, session, profile, argv } = beginning;
    let argv = argv.into_iter().map(String::into_bytes).collect();
    let asked = Asked { id, time, caller: Caller { uid, gid }, agent, session, profile, argv };
    let message = "the service ended before the run did, which then was ended too".to_owned();
    let reason = Reason { code: "failed.service".into(), message, remedy: None };
    Verdict::new(asked, &Seen::Failed(reason, None), Output::default())
}
