//! Runs that were told and not begun.
//!
//! Whoever prepares a run says all of it: what is to be executed, with which environment, where. Whoever begins it brings its
//! streams and nothing else, so a process that somebody else spawns for that needs neither a command line nor an environment.
//!
//! ```text
//!   run.prepare --> waiting --run.begin, by the same user, once--> a run as any other
//!                      '--its client is gone, nobody came in time--> forgotten
//! ```

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::budget::Room;
use super::config::Standing;
use super::connection::Client;
use super::order;
use super::outbox::Outbox;
use crate::wire::fault::Fault;
use crate::wire::reply;
use crate::wire::request::Run;

/// Runs that one caller may have prepared at once.
const MOST: usize = 1024;
/// How long one waits for whoever begins it.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often is looked whether there is room for another run.
const LOOK: Duration = Duration::from_millis(10);

/// The table.
#[derive(Default)]
pub struct Prepared {
    waiting: RefCell<BTreeMap<String, Waiting>>,
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
    }
}

/// Keeps what is to be run, and gives its name.
pub async fn prepare(client: &Rc<Client>, run: Run) -> Result<Value, Fault> {
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
    let id = uuid::Uuid::now_v7().to_string();
    let waiting =
        Waiting { uid: client.peer.uid, run, by: Rc::downgrade(client), until: Instant::now() + PATIENCE, _room: room };
    prepared.waiting.borrow_mut().insert(id.clone(), waiting);
    Ok(json!(reply::Prepared { run: id }))
}

fn size(run: &Run) -> usize {
    let argv: usize = run.argv.iter().map(|argument| argument.0.len()).sum();
    let variables = run.env.iter().chain(&run.inherit).map(|(name, value)| name.len() + value.0.len());
    argv + variables.sum::<usize>()
}

/// Takes the run `id` for whoever begins it, and who is to be told of its end. Waits until it would have its turn, so that one
/// that was prepared is not lost because many are.
pub async fn take(client: &Client, id: &str) -> Result<(Run, Rc<Outbox>), Fault> {
    let none = || Fault::refused("unknown_run", "there is no such run of yours, or it was begun already");
    let prepared = &client.service.prepared;
    loop {
        prepared.sweep();
        if prepared.waiting.borrow().get(id).is_none_or(|one| one.uid != client.peer.uid) {
            return Err(none());
        }
        if client.service.admission.has_room(client.peer.uid, &client.service.config().limits) {
            break;
        }
        tokio::select! {
            () = sleep(LOOK) => {}
            () = client.gone() => return Err(Fault::refused("given_up", "given up before it began")),
        }
    }
    let taken = prepared.waiting.borrow_mut().remove(id).ok_or_else(none)?;
    let by = taken.by.upgrade().ok_or_else(none)?;
    Ok((taken.run, by.outbox.clone()))
}
