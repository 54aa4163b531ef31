//! Runs that were told and not begun.
//!
//! Whoever prepares a run says all of it: what is to be executed, with which environment, where. Whoever begins it brings its
//! streams and nothing else, so a process that somebody else spawns for that needs neither a command line nor an environment.
//!
//! ```text
//!   run.prepare --> waiting --run.begin, by the same user, once--> a run as any other
//!        |             '--its client is gone, nobody came in time--> forgotten
//!        '--refused, with a name of the client's--> told to whoever begins it, unless it is prepared after all
//! ```
//!
//! A client that names the run itself need not wait for the answer: whatever comes of it, whoever begins the run hears of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::budget::Room;
use super::config::Standing;
use super::connection::Client;
use super::names::Names;
use super::order;
use super::outbox::Outbox;
use crate::wire::fault::Fault;
use crate::wire::reply;
use crate::wire::request::{Run, RunBegin};

/// Runs that one caller may have prepared at once.
const MOST: usize = 1024;
/// How long one waits for whoever begins it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether there is room for another run.
const LOOK: Duration = Duration::from_millis(10);
/// The refusal after which a client opens another jail and asks again.
const UNKNOWN_JAIL: &str = "refused.unknown_jail";

/// The table.
#[derive(Default)]
pub struct Prepared {
    waiting: RefCell<BTreeMap<String, Waiting>>,
    // Those with a name of their client's.
    refused: RefCell<BTreeMap<(u32, String), Refused>>,
    // Those that somebody has come to begin already.
    awaited: RefCell<BTreeMap<(u32, String), Rc<Notify>>>,
    names: RefCell<Names>,
}

/// One that was refused, for whoever comes to begin it.
struct Refused {
    fault: Fault,
    until: Instant,
}

/// One that waits.
struct Waiting {
    uid: u32,
    run: Run,
    by: Weak<Client>,
    until: Instant,
    // As long as it is kept.
    _room: Room,
}

impl Prepared {
    /// Lets go of those that nobody can or will begin.
    fn sweep(&self) {
        let now = Instant::now();
        let is_wanted = |one: &Waiting| one.until > now && one.by.upgrade().is_some_and(|by| !by.is_gone());
        self.waiting.borrow_mut().retain(|_, one| is_wanted(one));
        self.refused.borrow_mut().retain(|_, one| one.until > now);
    }

    /// Remembers why there is no run of that name.
    fn refuse(&self, uid: u32, name: String, fault: Fault) {
        let mut refused = self.refused.borrow_mut();
        let room = refused.keys().filter(|(of, _)| *of == uid).count() < MOST;
        if room && uuid::Uuid::try_parse(&name).is_ok() {
            self.tell(uid, &name);
            refused.insert((uid, name), Refused { fault, until: Instant::now() + PATIENCE });
        }
    }

    /// Whoever waits for the run of that name is to look again.
    fn tell(&self, uid: u32, name: &str) {
        if let Some(awaited) = self.awaited.borrow().get(&(uid, name.to_owned())) {
            awaited.notify_waiters();
        }
    }

    /// Why there is none of that name, if `uid` was told so.
    fn why_not(&self, uid: u32, name: &str) -> Option<Fault> {
        self.refused.borrow().get(&(uid, name.to_owned())).map(|one| one.fault.clone())
    }
}

/// Keeps what is to be run, and gives its name.
pub async fn prepare(client: &Rc<Client>, run: Run) -> Result<Value, Fault> {
    let name = run.name.clone();
    let kept = keep(client, run, name.as_deref()).await;
    if let (Some(name), Err(fault)) = (name, &kept) {
        client.service.prepared.refuse(client.peer.uid, name, fault.clone());
    }
    kept
}

async fn keep(client: &Rc<Client>, run: Run, name: Option<&str>) -> Result<Value, Fault> {
    client.standing().filter(Standing::runs).ok_or_else(|| order::not_granted(&client.peer.name))?;
    if run.descriptors > 0 || run.detach {
        return Err(Fault::refused("request_invalid", "`descriptors` and `detach` are for whoever begins the run"));
    }
    if let Some(jail) = run.jail.as_deref() {
        // Here, where whoever knows what else to do about it can be told.
        client.service.jails.enter(jail, client.peer.uid)?;
    }
    let prepared = &client.service.prepared;
    prepared.sweep();
    let own = |one: &&Waiting| one.uid == client.peer.uid;
    if prepared.waiting.borrow().values().filter(own).count() >= MOST {
        let message = format!("{MOST} runs of yours are prepared already");
        return Err(Fault::refused("busy", message).with_retry_after(1000));
    }
    let room = client.budget.take(size(&run)).await?;
    let id = name.map_or_else(|| uuid::Uuid::now_v7().to_string(), str::to_owned);
    if name.is_some() {
        prepared.names.borrow_mut().take(client.peer.uid, &id, Instant::now().into_std())?;
    }
    let waiting = Waiting {
        uid: client.peer.uid,
        run: Run { name: None, ..run },
        by: Rc::downgrade(client),
        until: Instant::now() + PATIENCE,
        _room: room,
    };
    prepared.refused.borrow_mut().remove(&(client.peer.uid, id.clone()));
    prepared.waiting.borrow_mut().insert(id.clone(), waiting);
    prepared.tell(client.peer.uid, &id);
    Ok(json!(reply::Prepared { run: id }))
}

fn size(run: &Run) -> usize {
    let argv: usize = run.argv.iter().map(|argument| argument.0.len()).sum();
    let variables = run.env.iter().chain(&run.inherit).map(|(name, value)| name.len() + value.0.len());
    argv + variables.sum::<usize>()
}

/// Takes the run `id` for whoever begins it, and who is to be told of its end. Waits until it would have its turn, so that one
/// that was prepared is not lost because many are; and for as long as is asked for, if it is not prepared yet.
pub async fn take(client: &Client, begin: &RunBegin) -> Result<(Run, Rc<Outbox>), Fault> {
    let id = begin.run.as_str();
    let none = || Fault::refused("unknown_run", "there is no such run of yours, or it was begun already");
    let prepared = &client.service.prepared;
    let late = Instant::now() + Duration::from_millis(begin.wait_ms).min(PATIENCE);
    prepared.sweep();
    loop {
        let is_there = prepared.waiting.borrow().get(id).is_some_and(|one| one.uid == client.peer.uid);
        if !is_there {
            let why_not = prepared.why_not(client.peer.uid, id);
            let is_final = why_not.as_ref().is_some_and(|fault| fault.data.code != UNKNOWN_JAIL);
            if is_final || Instant::now() >= late {
                return Err(why_not.unwrap_or_else(none));
            }
            await_news(client, id, late).await?;
        } else if client.service.admission.has_room(client.peer.uid, &client.service.config().limits) {
            break;
        } else {
            tokio::select! {
                () = sleep(LOOK) => {}
                () = client.gone() => return Err(given_up()),
            }
        }
    }
    let taken = prepared.waiting.borrow_mut().remove(id).ok_or_else(none)?;
    let by = taken.by.upgrade().ok_or_else(none)?;
    Ok((taken.run, by.outbox.clone()))
}

fn given_up() -> Fault {
    Fault::refused("given_up", "given up before it began")
}

/// Waits until something is known of the run that its client calls `name`, or it is too late. Woken for that run alone: many may wait.
async fn await_news(client: &Client, name: &str, late: Instant) -> Result<(), Fault> {
    let (awaited, key) = (&client.service.prepared.awaited, (client.peer.uid, name.to_owned()));
    if awaited.borrow().keys().filter(|(uid, _)| *uid == client.peer.uid).count() >= MOST {
        let message = format!("{MOST} processes of yours wait for runs that are not prepared");
        return Err(Fault::refused("busy", message).with_retry_after(1000));
    }
    let news = awaited.borrow_mut().entry(key.clone()).or_default().clone();
    let told = tokio::select! {
        () = news.notified() => Ok(()),
        () = sleep_until(late) => Ok(()),
        () = client.gone() => Err(given_up()),
    };
    // The table's own and this one: nobody else waits for it.
    if Rc::strong_count(&news) == 2 {
        awaited.borrow_mut().remove(&key);
    }
    told
}
