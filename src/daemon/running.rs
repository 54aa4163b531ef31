//! One run, from a request to its verdict. This is where a newcomer starts reading.
//!
//! ```text
//!   asked --refused--> verdict
//!     '--admitted--> launching --Refused | Failed--> verdict
//!                       '--Started--> answered, running --Ended, client gone, killed--> verdict
//! ```

use std::future::Future;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use serde_json::value::{RawValue, to_raw_value};
use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::admission::Permit;
use super::attending::{self, Begun, Under};
use super::config::Limits;
use super::connection::Client;
use super::jails::{self, Inside};
use super::link;
use super::order::{self, Ends, Order};
use super::outbox::Outbox;
use super::prepared;
use super::ready::{self, Kind};
use super::recording::Claim;
use super::runs::Entry;
use crate::jail::channel::Channel;
use crate::supervise::watch;
use crate::sys::readiness;
use crate::verdict::{Asked, Caller, Output, Reason, Seen, Verdict};
use crate::wire::fault::{Fault, number};
use crate::wire::id::Id;
use crate::wire::privsep::{Cause, FromLauncher, ToLauncher, Work};
use crate::wire::reply::{self, Ended};
use crate::wire::request::{Run, RunBegin};
use crate::wire::text::Text;

/// How long a run takes before the next one is prepared beside it.
const A_WHILE: Duration = Duration::from_millis(20);

/// A run that is over before its command began, or one that was answered and goes on.
enum Began {
    Not(Seen),
    Running(Box<Under>),
}

/// What is to be recorded, and the values that must not be.
pub type Record = (Asked, Vec<Vec<u8>>);

/// A run whose command was never executed, and why.
struct Unbegun {
    record: Record,
    claim: Option<Claim>,
    seen: Seen,
    // Milliseconds after which it may work.
    retry: Option<u64>,
}

/// Starts a run and answers; the rest of it goes on by itself.
pub async fn run(client: &Rc<Client>, id: Id, asked: Run, descriptors: Vec<OwnedFd>) {
    start(client, id, asked, descriptors, None).await;
}

/// Starts a run that was prepared, perhaps by another client, who is told how it ended.
pub async fn begin_prepared(client: &Rc<Client>, id: Id, begin: &RunBegin, descriptors: Vec<OwnedFd>) {
    match prepared::take(client, begin).await {
        Ok((asked, by)) => {
            let asked = Run { descriptors: begin.descriptors, ..asked };
            start(client, id, asked, descriptors, Some((begin, by))).await;
        }
        Err(fault) => drop(client.fault(Some(&id), &fault).await),
    }
}

/// Starts a run, which may have a name already, and somebody to tell.
async fn start(
    client: &Rc<Client>,
    id: Id,
    asked: Run,
    descriptors: Vec<OwnedFd>,
    prepared: Option<(&RunBegin, Rc<Outbox>)>,
) {
    let typed = Typed::of(&asked);
    let mut order = match order(client, &id, asked, descriptors) {
        Ok(order) => order,
        Err(fault) => return turn_down(client, &id, typed.asked(client), fault).await,
    };
    if let Some((begin, _)) = &prepared {
        order.label.id = begin.run.clone();
    }
    let config = client.service.config();
    let (entry, signals) = Entry::new(order.label.clone(), config.limits.output_kept);
    // Whoever began it is told anyway.
    if let Some((_, by)) = prepared.filter(|(_, by)| !Rc::ptr_eq(by, &client.outbox)) {
        entry.tell(&by);
    }
    let record = record_of(client, &order);
    client.service.runs.enter(&entry);
    let admitted = tokio::select! {
        admitted = admit(client, &config.limits) => admitted,
        () = given_up(client, &entry, order.detach) => Err(Fault::refused("given_up", "given up before it began")),
    };
    match admitted {
        Ok(admitted) => launch(client, id, (entry, signals), order, (record, admitted)).await,
        Err(fault) => {
            let retry = fault.data.retry_after_ms;
            not_begun(client, &id, &entry, Unbegun { record, claim: None, seen: refused(fault), retry }).await;
        }
    }
}

/// Has a run begun that has its turn. Once it was answered, the rest of it goes on by itself.
async fn launch(
    client: &Rc<Client>,
    id: Id,
    (entry, signals): (Rc<Entry>, mpsc::Receiver<i32>),
    order: Order,
    (record, (permit, claim)): (Record, (Permit, Claim)),
) {
    let detach = order.detach;
    // Held until the run is over: the jail knows how many are in it.
    let inside = order.jail.as_ref().map(Inside::of);
    let next = order.jail.is_none().then(|| Kind::of(&order.request));
    let under = match begin(client, &id, &entry, order, &record).await {
        Began::Running(under) => under,
        Began::Not(seen) => {
            let unbegun = Unbegun { record, claim: Some(claim), seen, retry: None };
            return not_begun(client, &id, &entry, unbegun).await;
        }
    };
    client.runs.set(client.runs.get() + 1);
    let client = client.clone();
    tokio::task::spawn_local(async move {
        let finished = pin!(attending::finish(&client, &entry, (record, claim), *under, signals, detach));
        match next {
            Some(next) => beside(finished, ready::make(&client, next)).await,
            None => finished.await,
        }
        drop((permit, inside));
        client.runs.set(client.runs.get().saturating_sub(1));
    });
}

fn record_of(client: &Client, order: &Order) -> Record {
    let asked = Asked {
        id: order.label.id.clone(),
        time: order.label.time.clone(),
        caller: Caller { uid: client.peer.uid, gid: client.peer.gid },
        agent: order.label.agent.clone(),
        session: order.label.session.clone(),
        profile: order.label.profile.clone(),
        argv: order.argv.clone(),
    };
    (asked, order.request.secrets())
}

/// Does `next` when a run has `finished`, or has taken a while: what most runs need least is something else beside them.
async fn beside(finished: Pin<&mut impl Future<Output = ()>>, next: impl Future<Output = ()>) {
    let mut finished = finished;
    let over = timeout(A_WHILE, finished.as_mut()).await.is_ok();
    next.await;
    if !over {
        finished.await;
    }
}

fn order(client: &Client, id: &Id, asked: Run, descriptors: Vec<OwnedFd>) -> Result<Order, Fault> {
    let jail = asked.jail.as_deref().map(|jail| client.service.jails.enter(jail, client.peer.uid)).transpose()?;
    order::understand(client, id, asked, jail, descriptors)
}

/// A turn, and room for the record.
async fn admit(client: &Client, limits: &Limits) -> Result<(Permit, Claim), Fault> {
    let permit = client.service.admission.admit(client.peer.uid, limits).await?;
    Ok((permit, client.service.recording.claim().await?))
}

/// What a request says of a run, for the record of one that is turned down.
struct Typed {
    agent: Option<String>,
    session: Option<String>,
    profile: Option<String>,
    argv: Vec<Text>,
}

impl Typed {
    fn of(run: &Run) -> Typed {
        let Run { agent, session, profile, argv, .. } = run;
        Typed { agent: agent.clone(), session: session.clone(), profile: profile.clone(), argv: argv.clone() }
    }

    fn asked(self, client: &Client) -> Asked {
        Asked {
            id: uuid::Uuid::now_v7().to_string(),
            time: jiff::Timestamp::now().to_string(),
            caller: Caller { uid: client.peer.uid, gid: client.peer.gid },
            agent: self.agent,
            session: self.session,
            profile: self.profile.unwrap_or_default(),
            argv: self.argv.into_iter().map(|argument| argument.0).collect(),
        }
    }
}

/// Refuses what never became a run. That is recorded too, as often as the caller may start runs.
pub async fn turn_down(client: &Client, id: &Id, typed: Asked, mut fault: Fault) {
    if fault.code == number::REFUSED {
        let limits = &client.service.config().limits;
        match client.service.admission.count(client.peer.uid, limits) {
            Ok(()) => {
                let mut verdict = Verdict::new(typed, &refused(fault.clone()), Output::default());
                verdict.redact(&[]);
                client.service.record(&mut verdict, None).await;
                fault.data.verdict = raw(&verdict);
            }
            Err(too_many) => fault = too_many,
        }
    }
    let _ = client.fault(Some(id), &fault).await;
}

fn refused(fault: Fault) -> Seen {
    Seen::Refused(Reason { code: fault.data.code, message: fault.message, remedy: fault.data.remedy })
}

/// Waits until nobody wants the run any more.
pub async fn given_up(client: &Client, entry: &Entry, detach: bool) {
    if detach {
        return entry.ending().await;
    }
    tokio::select! {
        () = entry.ending() => {}
        () = client.gone() => {}
    }
}

/// Nothing was executed: that is a verdict too, and the answer.
async fn not_begun(client: &Client, id: &Id, entry: &Entry, unbegun: Unbegun) {
    let Unbegun { record: (asked, known), claim, seen, retry } = unbegun;
    let mut verdict = Verdict::new(asked, &seen, Output::default());
    verdict.redact(&known);
    client.service.record(&mut verdict, claim).await;
    let mut fault = match &seen {
        Seen::Refused(reason) | Seen::Failed(reason, _) => Fault::of_reason(reason),
        Seen::Run { .. } => Fault::refused("not_executed", "the command cannot be executed"),
    };
    fault.data.retry_after_ms = retry;
    fault.data.verdict = raw(&verdict);
    settle(client, entry, &verdict);
    let _ = client.fault(Some(id), &fault).await;
}

fn raw(verdict: &Verdict) -> Option<Box<RawValue>> {
    to_raw_value(verdict).ok()
}

/// It is over: whoever attached is told.
pub fn settle(client: &Client, entry: &Entry, verdict: &Verdict) -> Vec<u8> {
    let ended = Ended { run: &entry.label.id, verdict, lost: entry.lost() };
    let line = reply::notification("run.ended", &ended);
    entry.over(line.clone());
    client.service.runs.retire(entry);
    line
}

/// Has a keeper made and asks it, until the command is about to run.
async fn begin(client: &Client, id: &Id, entry: &Rc<Entry>, order: Order, (asked, known): &Record) -> Began {
    let failed = |error: &std::io::Error| {
        let message = format!("cannot supervise the run: {error}");
        Began::Not(Seen::Failed(Reason { code: "failed.supervise".into(), message, remedy: None }, None))
    };
    let detach = order.detach;
    let within = order.jail.is_some();
    let (keeper, ends) = match ask(client, order).await {
        Ok(asked) => asked,
        // Somebody killed the jail's keeper, and with it the jail; nobody has noticed yet.
        Err(error) if within && error.kind() == std::io::ErrorKind::BrokenPipe => {
            return Began::Not(refused(jails::unknown()));
        }
        Err(error) => return failed(&error),
    };
    // While the keeper works: what is cut short with us is recorded by others.
    let beginning = || {
        let mut begun = Verdict::new(asked.clone(), &watch::launcher_gone(None), Output::default());
        begun.redact(known);
        begun
    };
    client.service.recording.begin(beginning).await;
    let first = tokio::select! {
        first = watch::hear(&keeper) => first,
        () = given_up(client, entry, detach) => {
            // It hears of it as soon as it listens, and says how it ended.
            let _ = keeper.get_ref().send(&ToLauncher::Kill(Cause::Killed), &[]);
            watch::hear(&keeper).await
        }
    };
    let (started, made, ended) = match first {
        Ok(Some((FromLauncher::Started(started), made))) => (started, made, None),
        Ok(Some((FromLauncher::Ended(Some(started), ended), made))) => (started, made, Some(ended)),
        Ok(Some((other, _))) => return Began::Not(watch::not_started(other)),
        Ok(None) | Err(_) => return Began::Not(watch::launcher_gone(None)),
    };
    match attending::answer(client, id, entry, Begun { keeper, started, ended, made, ends }).await {
        Ok(under) => Began::Running(Box::new(under)),
        Err(error) => failed(&error),
    }
}

async fn ask(client: &Client, order: Order) -> std::io::Result<(AsyncFd<Rc<Channel>>, Ends)> {
    let (given, ends) = order.wiring.connect(&client.service.null)?;
    let mut given_as: Vec<_> = given.iter().chain(ends.lent()).map(AsFd::as_fd).collect();
    let ready = if order.jail.is_none() { ready::take(client, &order.request) } else { None };
    let request = Box::new(order.request);
    if let Some(keeper) = ready {
        let sent = link::send(&keeper, &ToLauncher::Run(request.clone()), &given_as).await;
        // One that somebody killed meanwhile is as good as none.
        if !sent.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe) {
            return sent.map(|()| (keeper, ends));
        }
    }
    let keeper = match &order.jail {
        Some(jail) => {
            let (ours, keepers) = Channel::pair()?;
            given_as.push(keepers.as_fd());
            link::send(&jail.keeper, &ToLauncher::Enter(request, Work::Execute), &given_as).await?;
            ours.never_wait()?;
            readiness::watch_reading(Rc::new(ours))?
        }
        None => client.service.link.keeper(client.number, &ToLauncher::Run(request), &given_as).await?,
    };
    Ok((keeper, ends))
}
