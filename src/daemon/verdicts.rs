//! `verdict.*`: what was run, for those who may know.
//!
//! ```text
//!   admin, viewer   all of it
//!   operator        what they asked for themselves
//!   guest           the last of what they asked for themselves
//! ```

use std::cell::{Cell, RefCell};
use std::rc::{Rc, Weak};

use serde_json::value::{RawValue, to_raw_value};

use super::config::Role;
use super::connection::Client;
use super::librarian;
use super::methods::standing;
use super::outbox::Outbox;
use crate::ledger::query::{Filter, Seen};
use crate::verdict::Verdict;
use crate::wire::fault::{Fault, number};
use crate::wire::record::{Question, Records};
use crate::wire::reply::{self, Done};
use crate::wire::reply_verdicts::{One, Page, VerdictWritten};
use crate::wire::request_verdicts::{VerdictGet, VerdictQuery};

/// Verdicts on a page when nobody says how many.
const ON_A_PAGE: u32 = 100;
/// The shortest beginning of an id that names one.
const SHORTEST_ID: usize = 4;

/// Whose verdicts somebody may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    All,
    Own(u32),
    LastOwn(u32),
}

fn reach(client: &Client) -> Result<Reach, Fault> {
    Ok(match standing(client)?.role {
        Role::Admin | Role::Viewer => Reach::All,
        Role::Operator => Reach::Own(client.peer.uid),
        Role::Guest => Reach::LastOwn(client.peer.uid),
    })
}

/// `verdict.get`.
pub async fn get(client: &Client, asked: VerdictGet) -> Result<One, Fault> {
    let fits = asked.id.len() >= SHORTEST_ID && asked.id.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if !fits {
        return Err(Fault::invalid(number::PARAMETERS, "parameters", "`id` is not at least 4 digits of an id"));
    }
    let mut question = Question { id: Some(asked.id.to_ascii_lowercase()), limit: 1, ..Question::default() };
    let unknown = || Fault::refused("unknown_verdict", "there is no such verdict, or it is not yours to read");
    let records = match reach(client)? {
        Reach::LastOwn(uid) => last_own(client, uid, &question).await?,
        Reach::Own(uid) => {
            question.caller = Some(uid);
            first(client, question).await?
        }
        Reach::All => first(client, question).await?,
    };
    let line = records.lines.into_iter().next().ok_or_else(unknown)?;
    Ok(One { verdict: raw(line)? })
}

/// `verdict.query`.
pub async fn query(client: &Client, asked: VerdictQuery) -> Result<Page, Fault> {
    let question = question(client, &asked)?;
    let records = match reach(client)? {
        Reach::LastOwn(uid) => last_own(client, uid, &question).await?,
        Reach::Own(_) | Reach::All => client.service.recording.ask(question).await?,
    };
    let Records { lines, next, unreadable } = records;
    let verdicts = lines.into_iter().map(raw).collect::<Result<_, _>>()?;
    let next = next.map(|(file, offset)| format!("{file}:{offset}"));
    Ok(Page { verdicts, next, unreadable })
}

/// `verdict.follow`: each verdict that fits, as it is made.
pub fn follow(client: &Client, asked: &VerdictQuery) -> Result<Done, Fault> {
    let filter = filter(&question(client, asked)?)?;
    client.service.followers.add(&client.outbox, filter);
    Ok(Done {})
}

/// What is asked for, with the bounds of who asks.
fn question(client: &Client, asked: &VerdictQuery) -> Result<Question, Fault> {
    let caller = match reach(client)? {
        Reach::All => asked.caller,
        Reach::Own(uid) | Reach::LastOwn(uid) => Some(uid),
    };
    let question = Question {
        id: None,
        agent: asked.agent.clone(),
        profile: asked.profile.clone(),
        outcome: asked.outcome.clone(),
        denied: asked.denied,
        since: asked.since.clone(),
        until: asked.until.clone(),
        caller,
        limit: asked.limit.unwrap_or(ON_A_PAGE),
        place: asked.page.as_deref().map(place).transpose()?,
    };
    // A mistake is the client's, and said as that.
    filter(&question).map(|_| question)
}

fn filter(question: &Question) -> Result<Filter, Fault> {
    librarian::filter(question).map_err(|what| Fault::invalid(number::PARAMETERS, "parameters", what))
}

fn place(page: &str) -> Result<(u64, u64), Fault> {
    let parts = page.split_once(':').and_then(|(file, offset)| Some((file.parse().ok()?, offset.parse().ok()?)));
    parts.ok_or_else(|| Fault::invalid(number::PARAMETERS, "parameters", "`page` is no `next` of ours"))
}

/// The newest that answers, however far back it is.
async fn first(client: &Client, mut question: Question) -> Result<Records, Fault> {
    loop {
        let records = client.service.recording.ask(question.clone()).await?;
        if !records.lines.is_empty() || records.next.is_none() {
            return Ok(records);
        }
        question.place = records.next;
    }
}

/// The last of their own, if that is an answer.
async fn last_own(client: &Client, uid: u32, question: &Question) -> Result<Records, Fault> {
    let newest = Question { caller: Some(uid), limit: 1, ..Question::default() };
    let mut records = first(client, newest).await?;
    records.next = None;
    let filter = filter(question)?;
    records.lines.retain(|line| matches!(filter.see(line.as_bytes()), Seen::Found(_)));
    Ok(records)
}

/// A line was a verdict when it was read, so it is JSON.
fn raw(line: String) -> Result<Box<RawValue>, Fault> {
    RawValue::from_string(line).map_err(|error| Fault::failed("ledger", error.to_string()))
}

/// Those who want each verdict as it is made.
#[derive(Default)]
pub struct Followers {
    all: RefCell<Vec<Follower>>,
}

struct Follower {
    outbox: Weak<Outbox>,
    filter: Filter,
    // Verdicts that it did not have room for.
    missed: Cell<u64>,
}

impl Followers {
    /// One more; one a client, the last that it asked for.
    fn add(&self, outbox: &Rc<Outbox>, filter: Filter) {
        let mut all = self.all.borrow_mut();
        all.retain(|follower| follower.outbox.upgrade().is_some_and(|other| !Rc::ptr_eq(&other, outbox)));
        all.push(Follower { outbox: Rc::downgrade(outbox), filter, missed: Cell::new(0) });
    }

    /// Tells them. Whoever does not read is told later how many they missed.
    pub fn tell(&self, verdict: &Verdict) {
        let mut all = self.all.borrow_mut();
        all.retain(|follower| follower.outbox.upgrade().is_some_and(|outbox| !outbox.is_closed()));
        if all.is_empty() {
            return;
        }
        let Ok(raw) = to_raw_value(verdict) else { return };
        for follower in all.iter().filter(|follower| follower.filter.asks_for(verdict)) {
            let line = reply::notification(
                "verdict.written",
                &VerdictWritten { verdict: &raw, missed: follower.missed.get() },
            );
            let taken = follower.outbox.upgrade().is_some_and(|outbox| outbox.try_put(line));
            follower.missed.set(if taken { 0 } else { follower.missed.get() + 1 });
        }
    }
}
