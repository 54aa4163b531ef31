//! The supervisor's side of the record: room for it before a run, the record itself before the answer.
//!
//! ```text
//!   claim: room kept ahead --none left--> asked for, a batch at once --none to be had--> refused, or run unrecorded
//!   append: sent, in the order in which runs end --> waited for, while others go on
//! ```

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

use super::link;
use crate::jail::channel::Channel;
use crate::ledger::fit;
use crate::supervise::watch;
use crate::sys::readiness;
use crate::verdict::{Reason, Verdict};
use crate::wire::fault::Fault;
use crate::wire::record::{Beginning, FromRecorder, Link, NoRoom, Question, Records, Redeems, Ticket, ToRecorder};

/// Records for which room is asked at once: a run seldom waits for its own.
const BATCH: u32 = 16;
/// How soon a run may be tried again that could not be recorded, in milliseconds.
const RETRY_MS: u64 = 1000;

/// The conversation with the recorder.
pub struct Recording {
    // None where nothing is recorded.
    recorder: Option<AsyncFd<Rc<Channel>>>,
    gone: Cell<bool>,
    next: Cell<Ticket>,
    // Room that was kept and nobody has claimed.
    room: Cell<usize>,
    asked_for_room: Cell<bool>,
    // Why there was none, the last time.
    none: RefCell<Option<NoRoom>>,
    news: Notify,
    answers: RefCell<BTreeMap<Ticket, oneshot::Sender<FromRecorder>>>,
    unrecorded: Cell<u64>,
    untold: Cell<u64>,
}

/// Leave to run something, as far as its record is concerned. What is not spent is given back.
#[must_use]
pub struct Claim {
    room_of: Option<Rc<Recording>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        if let Some(recording) = self.room_of.take() {
            recording.room.set(recording.room.get() + 1);
            recording.news.notify_waiters();
        }
    }
}

impl Recording {
    /// Speaks over `recorder`, which must not wait; without one, nothing is recorded.
    pub fn new(recorder: Option<Channel>) -> std::io::Result<Rc<Recording>> {
        let recorder = recorder.map(|channel| readiness::watch_reading(Rc::new(channel))).transpose()?;
        Ok(Rc::new(Recording {
            recorder,
            gone: Cell::new(false),
            next: Cell::new(1),
            room: Cell::new(0),
            asked_for_room: Cell::new(false),
            none: RefCell::default(),
            news: Notify::new(),
            answers: RefCell::default(),
            unrecorded: Cell::new(0),
            untold: Cell::new(0),
        }))
    }

    /// How many verdicts could not be recorded.
    pub fn unrecorded(&self) -> u64 {
        self.unrecorded.get()
    }

    /// How often journal, syslog or SIEM could not be told.
    pub fn untold(&self) -> u64 {
        self.untold.get()
    }

    /// Hands out what the recorder says, until it is gone. Then nothing more is run: it could not be recorded.
    pub async fn hear(&self) {
        let Some(recorder) = &self.recorder else { return std::future::pending().await };
        while let Ok(Some((answer, _))) = watch::hear::<FromRecorder>(recorder).await {
            let ticket = match &answer {
                FromRecorder::Room(granted, none) => {
                    self.room.set(self.room.get() + *granted as usize);
                    self.asked_for_room.set(false);
                    *self.none.borrow_mut() = none.clone();
                    self.news.notify_waiters();
                    continue;
                }
                FromRecorder::Appended(ticket, _, untold) => {
                    self.untold.set(*untold);
                    *ticket
                }
                FromRecorder::Answered(ticket, _) => *ticket,
            };
            if let Some(waiting) = self.answers.borrow_mut().remove(&ticket) {
                // Whoever asked may be gone.
                drop(waiting.send(answer));
            }
        }
        self.gone.set(true);
        self.answers.borrow_mut().clear();
        self.news.notify_waiters();
    }

    /// Waits for room for a record, or says why there will be none.
    pub async fn claim(self: &Rc<Self>) -> Result<Claim, Fault> {
        if self.recorder.is_none() {
            return Ok(Claim { room_of: None });
        }
        loop {
            let news = self.news.notified();
            if self.gone.get() {
                return Err(gone());
            }
            if self.room.get() > 0 {
                self.room.set(self.room.get() - 1);
                if self.room.get() < BATCH as usize / 2 {
                    self.ask_for_room().await?;
                }
                return Ok(Claim { room_of: Some(self.clone()) });
            }
            *self.none.borrow_mut() = None;
            self.ask_for_room().await?;
            news.await;
            let none = self.none.borrow().clone();
            match none.filter(|_| self.room.get() == 0) {
                Some(none) if none.nevertheless => return Ok(Claim { room_of: None }),
                Some(none) => return Err(no_room(none)),
                None => {}
            }
        }
    }

    async fn ask_for_room(&self) -> Result<(), Fault> {
        if self.asked_for_room.replace(true) { Ok(()) } else { self.send(&ToRecorder::Room(BATCH)).await }
    }

    /// Says that a run begins, which the `verdict` that is made would record. Not waited for.
    pub async fn begin(&self, verdict: impl FnOnce() -> Verdict) {
        if self.recorder.is_none() {
            return;
        }
        let verdict = verdict();
        let beginning = Beginning {
            id: verdict.id,
            time: verdict.time,
            uid: verdict.caller.uid,
            gid: verdict.caller.gid,
            agent: verdict.agent,
            session: verdict.session,
            profile: verdict.profile,
            argv: verdict.argv,
        };
        // A recorder that is gone is noticed at the record itself.
        let _ = self.send(&ToRecorder::Begun(Box::new(beginning))).await;
    }

    /// Records `verdict`, cut to what fits, and gives it its place. A claim is spent on what was run.
    pub async fn append(&self, verdict: &mut Verdict, claim: Option<Claim>) -> Result<(), Reason> {
        if self.recorder.is_none() {
            return Ok(());
        }
        let redeems = match claim.and_then(|mut claim| claim.room_of.take()) {
            Some(_) => Redeems::Room,
            None => Redeems::Nothing,
        };
        let text = fit::shortened(verdict).map_err(|error| reason(error.to_string(), None))?;
        let answered = self.call(|ticket| ToRecorder::Append(ticket, text, redeems)).await;
        let written = match answered {
            Some(FromRecorder::Appended(_, written, _)) => written,
            _ => Err(NoRoom { message: GONE.into(), remedy: None, nevertheless: false }),
        };
        match written {
            Ok(Link { seq, previous, digest }) => {
                (verdict.seq, verdict.previous, verdict.digest) = (seq, previous, digest);
                Ok(())
            }
            Err(why) => {
                self.unrecorded.set(self.unrecorded.get() + 1);
                if why.nevertheless { Ok(()) } else { Err(reason(why.message, why.remedy)) }
            }
        }
    }

    /// Records that answer `question`.
    pub async fn ask(&self, question: Question) -> Result<Records, Fault> {
        if self.recorder.is_none() {
            let fault = Fault::refused("no_ledger", "this service keeps no ledger");
            return Err(fault.with_remedy("have the operator add [ledger] to its configuration"));
        }
        match self.call(|ticket| ToRecorder::Ask(ticket, Box::new(question))).await {
            Some(FromRecorder::Answered(_, Ok(records))) => Ok(records),
            Some(FromRecorder::Answered(_, Err(why))) => Err(Fault::failed("ledger", why)),
            _ => Err(gone()),
        }
    }

    async fn call(&self, message: impl FnOnce(Ticket) -> ToRecorder) -> Option<FromRecorder> {
        let ticket = self.next.replace(self.next.get() + 1);
        let (sender, receiver) = oneshot::channel();
        self.answers.borrow_mut().insert(ticket, sender);
        if self.gone.get() || self.send(&message(ticket)).await.is_err() {
            self.answers.borrow_mut().remove(&ticket);
            return None;
        }
        receiver.await.ok()
    }

    async fn send(&self, message: &ToRecorder) -> Result<(), Fault> {
        let Some(recorder) = &self.recorder else { return Ok(()) };
        link::send(recorder, message, &[]).await.map_err(|_| gone())
    }
}

const GONE: &str = "the recorder, who holds the ledger, is gone";

fn gone() -> Fault {
    Fault::failed("ledger", GONE).with_retry_after(RETRY_MS)
}

fn no_room(NoRoom { message, remedy, .. }: NoRoom) -> Fault {
    let fault = Fault::refused("ledger", format!("the run could not be recorded: {message}"));
    let remedy = remedy.unwrap_or_else(|| "make room where the ledger is; `when_full` in [ledger] decides".into());
    fault.with_remedy(remedy).with_retry_after(RETRY_MS)
}

fn reason(message: String, remedy: Option<String>) -> Reason {
    Reason { code: "failed.ledger".into(), message: format!("the run is not recorded: {message}"), remedy }
}
