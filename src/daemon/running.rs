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

use nix::errno::Errno;
use serde_json::value::{RawValue, to_raw_value};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch as watch_channel};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::admission::Permit;
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
use super::streams::{Input, Loose, Pump, Sink, Tally, Target};
use crate::jail::channel::Channel;
use crate::supervise::watch;
use crate::sys::readiness;
use crate::verdict::{Asked, Caller, Output, Reason, Seen, Verdict};
use crate::wire::fault::{Fault, number};
use crate::wire::privsep::{Cause, Ended as End, FromLauncher, Started, ToLauncher, Work};
use crate::wire::reply::{self, Ended, Running, Stream};
use crate::wire::request::{Run, RunBegin, Stdin};
use crate::wire::rpc::Id;

/// How long a run takes before the next one is prepared beside it.
const A_WHILE: Duration = Duration::from_millis(20);

/// A run that is over before its command began, or one that was answered and goes on.
enum Began {
    Not(Seen),
    Running(Box<Under>),
}

/// What is to be recorded, and the values that must not be.
type Record = (Asked, Vec<Vec<u8>>);

/// A run whose command was never executed, and why.
struct Unbegun {
    record: Record,
    claim: Option<Claim>,
    seen: Seen,
    // Milliseconds after which it may work.
    retry: Option<u64>,
}

/// A run under way.
struct Under {
    keeper: AsyncFd<Rc<Channel>>,
    started: Box<Started>,
    // Where it was over when it was said to have begun.
    ended: Option<Box<End>>,
    pumps: Vec<JoinHandle<()>>,
    over: watch_channel::Sender<bool>,
    tally: Rc<Tally>,
    observed: bool,
}

/// Starts a run and answers; the rest of it goes on by itself.
pub async fn run(client: &Rc<Client>, id: Id, asked: Run, descriptors: Vec<OwnedFd>) {
    start(client, id, asked, descriptors, None).await;
}

/// Starts a run that was prepared, perhaps by another client, who is told how it ended.
pub async fn begin_prepared(client: &Rc<Client>, id: Id, begin: &RunBegin, descriptors: Vec<OwnedFd>) {
    match prepared::take(client, &begin.run).await {
        Ok((asked, by)) => {
            let asked = Run { descriptors: begin.descriptors, ..asked };
            start(client, id, asked, descriptors, Some((&begin.run, by))).await;
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
    prepared: Option<(&str, Rc<Outbox>)>,
) {
    let typed = as_typed(client, &asked);
    let mut order = match order(client, &id, asked, descriptors) {
        Ok(order) => order,
        Err(fault) => return turn_down(client, &id, typed, fault).await,
    };
    if let Some((run, _)) = &prepared {
        order.label.id = (*run).to_owned();
    }
    let kept = client.service.config().limits.output_kept;
    let (entry, signals) = Entry::new(order.label.clone(), kept);
    // Whoever began it is told anyway.
    if let Some((_, by)) = prepared.filter(|(_, by)| !Rc::ptr_eq(by, &client.outbox)) {
        entry.tell(&by);
    }
    let record = record_of(client, &order);
    client.service.runs.enter(&entry);
    let config = client.service.config();
    let admitted = tokio::select! {
        admitted = admit(client, &config.limits) => admitted,
        () = given_up(client, &entry, order.detach) => Err(Fault::refused("given_up", "given up before it began")),
    };
    let (permit, claim) = match admitted {
        Ok(admitted) => admitted,
        Err(fault) => {
            let retry = fault.data.retry_after_ms;
            let unbegun = Unbegun { record, claim: None, seen: refused(fault), retry };
            return not_begun(client, &id, &entry, unbegun).await;
        }
    };
    let detach = order.detach;
    // Held until the run is over: the jail knows how many are in it.
    let inside = order.jail.as_ref().map(Inside::of);
    let next = order.jail.is_none().then(|| Kind::of(&order.request));
    match begin(client, &id, &entry, order, &record).await {
        Began::Not(seen) => {
            not_begun(client, &id, &entry, Unbegun { record, claim: Some(claim), seen, retry: None }).await;
        }
        Began::Running(under) => {
            client.runs.set(client.runs.get() + 1);
            let client = client.clone();
            tokio::task::spawn_local(async move {
                let finished = pin!(finish(&client, &entry, (record, claim), *under, signals, detach));
                match next {
                    Some(next) => beside(finished, ready::make(&client, next)).await,
                    None => finished.await,
                }
                drop((permit, inside));
                client.runs.set(client.runs.get().saturating_sub(1));
            });
        }
    }
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

fn as_typed(client: &Client, run: &Run) -> Asked {
    Asked {
        id: uuid::Uuid::now_v7().to_string(),
        time: jiff::Timestamp::now().to_string(),
        caller: Caller { uid: client.peer.uid, gid: client.peer.gid },
        agent: run.agent.clone(),
        session: run.session.clone(),
        profile: run.profile.clone().unwrap_or_default(),
        argv: run.argv.iter().map(|argument| argument.0.clone()).collect(),
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
async fn given_up(client: &Client, entry: &Entry, detach: bool) {
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
fn settle(client: &Client, entry: &Entry, verdict: &Verdict) -> Vec<u8> {
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
    let (started, master, ended) = match first {
        Ok(Some((FromLauncher::Started(started), mut descriptors))) => (started, descriptors.pop(), None),
        Ok(Some((FromLauncher::Ended(Some(started), ended), _))) => (started, None, Some(ended)),
        Ok(Some((other, _))) => return Began::Not(watch::not_started(other)),
        Ok(None) | Err(_) => return Began::Not(watch::launcher_gone(None)),
    };
    match answer(client, id, entry, keeper, started, master, ends).await {
        Ok(under) => Began::Running(Box::new(Under { ended, ..under })),
        Err(error) => failed(&error),
    }
}

async fn ask(client: &Client, order: Order) -> std::io::Result<(AsyncFd<Rc<Channel>>, Ends)> {
    let (given, ends) = order.wiring.connect(&client.service.null)?;
    let mut given_as: Vec<_> = given.iter().map(AsFd::as_fd).collect();
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
            readiness::watch(Rc::new(ours))?
        }
        None => client.service.link.keeper(client.number, &ToLauncher::Run(request), &given_as).await?,
    };
    Ok((keeper, ends))
}

/// Answers the client, and connects the streams.
async fn answer(
    client: &Client,
    id: &Id,
    entry: &Rc<Entry>,
    keeper: AsyncFd<Rc<Channel>>,
    started: Box<Started>,
    master: Option<OwnedFd>,
    ends: Ends,
) -> std::io::Result<Under> {
    let relays = matches!(ends, Ends::None);
    let running = Running {
        run: entry.label.id.clone(),
        profile: started.profile.clone(),
        tier: started.tier.word().to_owned(),
        plan: started.plan.clone(),
        cwd: started.cwd.clone(),
        relayed: if relays { started.relayed } else { [false; 3] },
        output_limit: started.output,
        wall_ms: started.wall_ms,
    };
    let (ours, theirs) = if relays { (None, master) } else { (master, None) };
    let tally = Rc::new(Tally::default());
    let pumps = connect(client, entry, &started, ours.as_ref(), ends, &tally).await?;
    let observed = pumps.iter().any(|pump| pump.stream == Stream::Terminal)
        || (started.relayed[1] && started.relayed[2] && !relays)
        || pumps.iter().filter(|pump| matches!(pump.sink, Sink::Client(_))).count() >= 2;
    entry.started(ours);
    // The answer comes before the first output. A client that is gone is noticed where that is waited for.
    let _ = client.outbox.put(reply::result(id, &running), theirs.into_iter().collect()).await;
    let (over, told) = watch_channel::channel(false);
    let pumps = pumps.into_iter().map(|pump| tokio::task::spawn_local(pump.run(told.clone()))).collect();
    Ok(Under { keeper, started, ended: None, pumps, over, tally, observed })
}

async fn connect(
    client: &Client,
    entry: &Rc<Entry>,
    started: &Started,
    master: Option<&OwnedFd>,
    ends: Ends,
    tally: &Rc<Tally>,
) -> std::io::Result<Vec<Pump>> {
    let limit = started.output;
    let pump = |from: OwnedFd, stream, sink| -> std::io::Result<Pump> {
        Ok(Pump { from: Loose::new(from)?, stream, entry: entry.clone(), sink, limit, tally: tally.clone() })
    };
    let notified = || Sink::Client(client.outbox.clone());
    match ends {
        Ends::None => Ok(Vec::new()),
        Ends::Counted([_, output, error], targets) => {
            let mut targets = targets.into_iter().skip(1);
            let mut pumps = Vec::new();
            for (from, stream, relayed) in
                [(output, Stream::Stdout, started.relayed[1]), (error, Stream::Stderr, started.relayed[2])]
            {
                if let Some(target) = targets.next().filter(|_| relayed) {
                    pumps.push(pump(from, stream, Sink::Descriptor(Target::new(target)?))?);
                }
            }
            Ok(pumps)
        }
        Ends::Notified([input, output, error], stdin) => {
            let mut pumps = vec![pump(error, Stream::Stderr, notified())?];
            if let Some(master) = master {
                *entry.input.lock().await = Some(Input::to_terminal(master.try_clone()?)?);
                pumps.push(pump(master.try_clone()?, Stream::Terminal, notified())?);
            } else {
                pumps.push(pump(output, Stream::Stdout, notified())?);
                if stdin == Stdin::Pipe {
                    *entry.input.lock().await = Some(Input::to_pipe(input)?);
                }
            }
            Ok(pumps)
        }
    }
}

/// Attends to the run until it is over, and says how it was.
async fn finish(
    client: &Client,
    entry: &Entry,
    ((asked, known), claim): (Record, Claim),
    under: Under,
    signals: mpsc::Receiver<i32>,
    detach: bool,
) {
    let stays = entry.label.jail.is_some();
    let Under { keeper, started, ended, pumps, over, tally, observed } = under;
    let seen = match ended {
        Some(ended) => Seen::Run { started, ended },
        None => until_over(client, entry, &keeper, started, signals, detach).await,
    };
    *entry.input.lock().await = None;
    if stays {
        // What it left in its jail may hold its streams open: from here on only what is there already is waited for.
        over.send_replace(true);
    }
    for pump in pumps {
        let _ = pump.await;
    }
    let output = Output { observed, bytes: tally.bytes.get(), truncated: tally.truncated.get() };
    let mut verdict = Verdict::new(asked, &seen, output);
    verdict.redact(&known);
    client.service.record(&mut verdict, Some(claim)).await;
    if let Some(jail) = &entry.label.jail {
        client.service.jails.count_denials(jail, &verdict);
    }
    let line = settle(client, entry, &verdict);
    let _ = client.outbox.put(line, Vec::new()).await;
}

async fn until_over(
    client: &Client,
    entry: &Entry,
    keeper: &AsyncFd<Rc<Channel>>,
    started: Box<Started>,
    mut signals: mpsc::Receiver<i32>,
    detach: bool,
) -> Seen {
    let mut killed = false;
    loop {
        tokio::select! {
            heard = watch::hear(keeper) => break match heard {
                Ok(Some((FromLauncher::Ended(_, ended), _))) => Seen::Run { started, ended },
                Ok(Some((FromLauncher::Failed(failure), _))) => Seen::Failed(watch::cut_short(&failure), Some(started)),
                Ok(Some((FromLauncher::Looked(usage), _))) => {
                    entry.gauge.tell(usage);
                    continue;
                }
                Ok(_) | Err(_) => watch::launcher_gone(Some(started)),
            },
            () = entry.gauge.asked() => tell(keeper, &ToLauncher::Look),
            Some(signal) = signals.recv() => tell(keeper, &ToLauncher::Signal(signal)),
            () = given_up(client, entry, detach), if !killed => {
                killed = true;
                tell(keeper, &ToLauncher::Kill(Cause::Killed));
            }
        }
    }
}

fn tell(keeper: &AsyncFd<Rc<Channel>>, message: &ToLauncher) {
    match keeper.get_ref().send(message, &[]) {
        // It has just ended, and says so next; or so many wait already that one more makes no difference.
        Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET | Errno::EAGAIN) => {}
        Err(_) => {}
    }
}
