//! A run under way: answered, its streams connected, attended to until its verdict is sent.

use std::os::fd::OwnedFd;
use std::rc::Rc;

use nix::errno::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, watch as watch_channel};
use tokio::task::JoinHandle;

use super::connection::Client;
use super::order::Ends;
use super::pipes::{Input, Loose};
use super::recording::Claim;
use super::running::{Record, given_up, settle};
use super::runs::Entry;
use super::streams::{Pump, Sink, Tally, Target};
use crate::jail::channel::Channel;
use crate::supervise::watch;
use crate::verdict::{Output, Seen, Verdict};
use crate::wire::id::Id;
use crate::wire::privsep::{Cause, Ended as End, FromLauncher, Started, ToLauncher};
use crate::wire::reply::{self, Running, Stream};
use crate::wire::request::Stdin;

/// A run that its keeper has said to have begun.
pub struct Begun {
    /// Who attends to it.
    pub keeper: AsyncFd<Rc<Channel>>,
    /// As what it began.
    pub started: Box<Started>,
    /// Where it was over when it was said to have begun.
    pub ended: Option<Box<End>>,
    /// What the keeper made for its streams.
    pub made: Vec<OwnedFd>,
    /// What we made.
    pub ends: Ends,
}

/// A run under way.
pub struct Under {
    keeper: AsyncFd<Rc<Channel>>,
    started: Box<Started>,
    // Where it was over when it was said to have begun.
    ended: Option<Box<End>>,
    // The answer, where nothing comes between it and the end: whoever waits for both is woken once.
    first: Vec<u8>,
    pumps: Vec<JoinHandle<()>>,
    over: watch_channel::Sender<bool>,
    tally: Rc<Tally>,
    observed: bool,
}

/// Answers the client, and connects the streams.
pub async fn answer(client: &Client, id: &Id, entry: &Rc<Entry>, begun: Begun) -> std::io::Result<Under> {
    let Begun { keeper, started, ended, made, ends } = begun;
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
    // Whoever relays by itself gets the other end of its terminal.
    let (theirs, made) = if relays { (made, Vec::new()) } else { (Vec::new(), made) };
    let tally = Rc::new(Tally::default());
    let (pumps, master) = connect(client, entry, &started, made, ends, &tally).await?;
    let observed = pumps.iter().any(|pump| pump.stream == Stream::Terminal)
        || (started.relayed[1] && started.relayed[2] && !relays)
        || pumps.iter().filter(|pump| matches!(pump.sink, Sink::Client(_))).count() >= 2;
    entry.started(master);
    let mut first = reply::result(id, &running);
    if ended.is_none() || !pumps.is_empty() || !theirs.is_empty() {
        // The answer comes before the first output. A client that is gone is noticed where that is waited for.
        let _ = client.outbox.put(std::mem::take(&mut first), theirs).await;
    }
    let (over, told) = watch_channel::channel(false);
    let pumps = pumps.into_iter().map(|pump| tokio::task::spawn_local(pump.run(told.clone()))).collect();
    Ok(Under { keeper, started, ended, first, pumps, over, tally, observed })
}

/// What moves the output, and the other end of a terminal.
type Connected = (Vec<Pump>, Option<OwnedFd>);

async fn connect(
    client: &Client,
    entry: &Rc<Entry>,
    started: &Started,
    made: Vec<OwnedFd>,
    ends: Ends,
    tally: &Rc<Tally>,
) -> std::io::Result<Connected> {
    let limit = started.output;
    let pump = |from: OwnedFd, stream, sink| -> std::io::Result<Pump> {
        Ok(Pump { from: Loose::new(from)?, stream, entry: entry.clone(), sink, limit, tally: tally.clone() })
    };
    let notified = || Sink::Client(client.outbox.clone());
    let mut made = made.into_iter();
    match ends {
        Ends::None => Ok((Vec::new(), None)),
        Ends::Counted(targets) => {
            let outputs = targets.into_iter().zip(started.relayed).skip(1).zip([Stream::Stdout, Stream::Stderr]);
            let relayed = outputs.filter(|((_, relayed), _)| *relayed).zip(made);
            let pumps =
                relayed.map(|(((target, _), stream), from)| pump(from, stream, Sink::Descriptor(Target::new(target)?)));
            Ok((pumps.collect::<Result<_, _>>()?, None))
        }
        Ends::Notified([input, output, error], stdin) => {
            let mut pumps = vec![pump(error, Stream::Stderr, notified())?];
            let master = made.next();
            if let Some(master) = &master {
                *entry.input.lock().await = Some(Input::to_terminal(master.try_clone()?)?);
                pumps.push(pump(master.try_clone()?, Stream::Terminal, notified())?);
            } else {
                pumps.push(pump(output, Stream::Stdout, notified())?);
                if stdin == Stdin::Pipe {
                    *entry.input.lock().await = Some(Input::to_pipe(input)?);
                }
            }
            Ok((pumps, master))
        }
    }
}

/// Attends to the run until it is over, and says how it was.
pub async fn finish(
    client: &Client,
    entry: &Entry,
    ((asked, known), claim): (Record, Claim),
    under: Under,
    signals: mpsc::Receiver<i32>,
    detach: bool,
) {
    let stays = entry.label.jail.is_some();
    let Under { keeper, started, ended, first, pumps, over, tally, observed } = under;
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
    let _ = client.outbox.put([first, line].concat(), Vec::new()).await;
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
