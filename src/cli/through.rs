//! A run by way of a service: the same for whoever calls it, and the jail is somebody else's to make.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use serde::Serialize;
use serde_json::Value;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::client::{Client, Message, Problem};
use crate::supervise::outer::Raw;
use crate::supervise::relay::{Ending, Tally};
use crate::supervise::watch::{self, Pipes, Signals};
use crate::sys::readiness;
use crate::verdict::{Outcome, Output, Reason, Verdict};
use crate::wire::fault::Fault;
use crate::wire::privsep::{RunRequest, Terminal};
use crate::wire::reply::Running;
use crate::wire::request::{Run, RunBegin, RunSignal, SignalName, Tty};
use crate::wire::text::Text;

/// What came of it.
pub enum Went {
    /// A verdict.
    Judged(Box<Verdict>),
    /// Not through here, for this reason: nothing was executed, and it may be tried directly.
    Elsewhere(String),
    /// Neither a verdict nor a run, for this reason.
    Wrong(Reason),
}

/// How the service was chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chosen {
    /// Somebody named it: what it says counts.
    ByName,
    /// It was there: if it does not grant this, the run is ours to make.
    ByChance,
}

/// What a request says beyond what a run without a service needs.
#[derive(Clone, Debug, Default)]
pub struct Beyond {
    /// The agent.
    pub agent: Option<String>,
    /// The session.
    pub session: Option<String>,
    /// The open jail to run in.
    pub jail: Option<String>,
}

/// Refusals that say nothing about the run: it may be made without the service.
const NOT_HERE: [&str; 3] = ["refused.not_granted", "refused.profile_not_granted", "refused.tier_not_for_others"];

/// Runs by way of the service at `socket`, or at a usual place.
pub fn run(request: &RunRequest, beyond: &Beyond, socket: Option<&Path>) -> Went {
    let chosen = if socket.is_some() { Chosen::ByName } else { Chosen::ByChance };
    let client = match Client::find(socket) {
        Ok(client) => client,
        Err(Problem::Gone(path, error)) if chosen == Chosen::ByChance => {
            return Went::Elsewhere(format!("there is no service at `{}`: {error}", path.display()));
        }
        Err(problem) => return Went::Wrong(reason(problem)),
    };
    match attempt(client, request, beyond) {
        Ok(verdict) => Went::Judged(verdict),
        Err(Problem::Fault(fault)) => turned_down(*fault, chosen),
        Err(problem) => Went::Wrong(reason(problem)),
    }
}

/// Has the service at `socket`, or at a usual place, run it on its own, and gives the run's id.
pub fn detach(request: &RunRequest, beyond: &Beyond, socket: Option<&Path>) -> Result<String, Problem> {
    let mut client = Client::find(socket)?;
    let running = client.call("run", &Run { descriptors: 0, detach: true, ..params(request, beyond) })?;
    Ok(running.get("run").and_then(Value::as_str).unwrap_or_default().to_owned())
}

fn turned_down(fault: Fault, chosen: Chosen) -> Went {
    if chosen == Chosen::ByChance && NOT_HERE.contains(&fault.data.code.as_str()) {
        return Went::Elsewhere(format!("the service does not grant it: {}", fault.message));
    }
    let verdict = fault.data.verdict.as_ref().and_then(|raw| serde_json::from_str::<Verdict>(raw.get()).ok());
    match verdict {
        Some(verdict) => Went::Judged(Box::new(verdict)),
        None => Went::Wrong(reason(Problem::Fault(Box::new(fault)))),
    }
}

fn reason(problem: Problem) -> Reason {
    match problem {
        Problem::Gone(path, error) => Reason {
            code: "failed.service".into(),
            message: format!("cannot use the service at `{}`: {error}", path.display()),
            remedy: Some("`clawjail run --direct` runs without one".into()),
        },
        Problem::Fault(fault) => Reason { code: fault.data.code, message: fault.message, remedy: fault.data.remedy },
    }
}

/// Begins the run `id`, which another client has prepared, with our streams. A service that hangs up before it answers had
/// no connection to spare, and is asked again until `until`.
pub fn begin(id: &str, socket: Option<&Path>, wait_ms: u64, until: Instant) -> Result<Box<Verdict>, Problem> {
    let asked = RunBegin { run: id.to_owned(), descriptors: 6, wait_ms };
    loop {
        match converse(Client::find(socket)?, "run.begin", &asked, Streams::END_WITH_COMMAND) {
            Err(Problem::Gone(_, error)) if is_hang_up(&error) && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(20));
            }
            judged => return judged,
        }
    }
}

fn is_hang_up(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::ConnectionReset | std::io::ErrorKind::BrokenPipe)
}

fn attempt(client: Client, request: &RunRequest, beyond: &Beyond) -> Result<Box<Verdict>, Problem> {
    let streams = Streams { terminal: request.terminal, stays: beyond.jail.is_some(), signals: Signalled::PassOn };
    converse(client, "run", &params(request, beyond), streams)
}

/// How a run's streams and signals are dealt with.
#[derive(Clone, Copy)]
struct Streams {
    terminal: Terminal,
    // A jail that stays may hold streams open that the command had.
    stays: bool,
    signals: Signalled,
}

/// What a signal to us means.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Signalled {
    /// The same to the command.
    PassOn,
    /// The end of the command with all that it started: whoever sends it does not look after what is left.
    EndAll,
}

impl Streams {
    const END_WITH_COMMAND: Streams = Streams { terminal: Terminal::None, stays: true, signals: Signalled::EndAll };

    /// When output ends, and what is closed to say so where nothing else does.
    fn ending(self) -> std::io::Result<(Option<OwnedFd>, Ending)> {
        if !self.stays {
            return Ok((None, Ending::Eof));
        }
        let (reader, writer) = std::io::pipe()?;
        Ok((Some(writer.into()), Ending::Told(Arc::new(reader.into()))))
    }

    /// Whether all output of `running` passes through us.
    fn observed(self, running: &Running, has_terminal: bool) -> bool {
        has_terminal || self.terminal != Terminal::None || (running.relayed[1] && running.relayed[2])
    }
}

fn converse<T: Serialize>(
    mut client: Client,
    method: &str,
    params: &T,
    streams: Streams,
) -> Result<Box<Verdict>, Problem> {
    let path = client.path.clone();
    let gone = |error: std::io::Error| Problem::Gone(path.clone(), error);
    let pipes = Pipes::new().map_err(&gone)?;
    let asked = pipes.give(|all| client.send(method, params, all))?;
    let running: Running = loop {
        match client.wait()? {
            Message::Result(id, result) if id == asked => {
                break serde_json::from_value(result).map_err(|error| gone(error.into()))?;
            }
            Message::Fault(_, fault) => return Err(Problem::Fault(fault)),
            _ => {}
        }
    };
    let master = client.take_descriptor();
    match ended_already(&mut client)? {
        Some(verdict) if master.is_none() => collect(verdict, &running, pipes, streams).map_err(gone),
        ended => follow(client, running, Outside { streams, pipes, master, ended }),
    }
}

/// The verdict, if it came with the answer: a command that ends at once is said to have begun when it is said to have ended.
fn ended_already(client: &mut Client) -> Result<Option<Verdict>, Problem> {
    match client.next_message()? {
        Some(Message::Notification(method, params)) if method == "run.ended" => {
            let path = client.path.clone();
            verdict(params).map(Some).map_err(|error| Problem::Gone(path, error))
        }
        _ => Ok(None),
    }
}

/// The end of a run that is over: nothing to wait for, and no signal to pass on.
fn collect(verdict: Verdict, running: &Running, pipes: Pipes, streams: Streams) -> std::io::Result<Box<Verdict>> {
    let tally = Tally::default();
    let ending = if streams.stays { Ending::Over } else { Ending::Eof };
    watch::drain(pipes, running.relayed, running.output_limit, &tally, &ending)?;
    Ok(Box::new(with_output(verdict, &tally, streams.observed(running, false))))
}

/// Attends to a run until it is over.
fn follow(client: Client, running: Running, outside: Outside) -> Result<Box<Verdict>, Problem> {
    let path = client.path.clone();
    let gone = |error: std::io::Error| Problem::Gone(path.clone(), error);
    client.never_wait()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().map_err(&gone)?;
    let judged = runtime.block_on(attend(client, running, outside));
    // Threads that still wait for the caller's input must not hold us up.
    runtime.shutdown_background();
    judged
}

fn params(request: &RunRequest, beyond: &Beyond) -> Run {
    let named = |(name, value): &(Vec<u8>, Vec<u8>)| Some((String::from_utf8(name.clone()).ok()?, Text(value.clone())));
    let tty = match request.terminal {
        Terminal::None => None,
        Terminal::Own { rows, columns, stderr } => Some(Tty { rows, columns, stderr }),
    };
    Run {
        argv: request.argv.iter().cloned().map(Text).collect(),
        profile: Some(request.profile.clone()).filter(|profile| !profile.is_empty()),
        jail: beyond.jail.clone(),
        agent: beyond.agent.clone(),
        session: beyond.session.clone(),
        workspace: Some(Text(request.workspace.clone())).filter(|workspace| !workspace.0.is_empty()),
        cwd: request.cwd.clone().map(Text),
        env: request.set.iter().filter_map(named).collect(),
        inherit: request.inherited.iter().filter_map(named).collect(),
        pass: request.pass.iter().filter_map(|name| String::from_utf8(name.clone()).ok()).collect(),
        tty,
        descriptors: 6,
        timeout_ms: request.timeout_ms,
        narrow: Some(request.narrow.clone()).filter(|narrow| *narrow != Default::default()),
        tier: request.tier.map(|tier| tier.word().to_owned()),
        ..Run::default()
    }
}

/// What we have to do with the command's streams.
struct Outside {
    streams: Streams,
    pipes: Pipes,
    // Of the command's terminal.
    master: Option<OwnedFd>,
    // It is over already.
    ended: Option<Verdict>,
}

/// Relays, passes signals on, and waits for the verdict.
async fn attend(client: Client, running: Running, outside: Outside) -> Result<Box<Verdict>, Problem> {
    let Outside { streams, pipes, master, ended } = outside;
    let path = client.path.clone();
    let gone = |error: std::io::Error| Problem::Gone(path.clone(), error);
    let has_terminal = master.is_some();
    let mut signals = Signals::listen().map_err(&gone)?;
    let tally = Arc::new(Tally::default());
    let raw = if has_terminal { Raw::enter().map_err(|errno| gone(errno.into()))? } else { None };
    let (told, ending) = streams.ending().map_err(&gone)?;
    let relays = watch::connect(pipes, running.relayed, running.output_limit, master.as_ref(), &tally, &ending)
        .map_err(&gone)?;
    let verdict = match ended {
        Some(verdict) => verdict,
        None => until_over(client, &mut signals, master.as_ref(), &running.run, streams.signals).await?,
    };
    drop((master, told));
    watch::finish(relays).map_err(&gone)?;
    drop(raw);
    Ok(Box::new(with_output(verdict, &tally, streams.observed(&running, has_terminal))))
}

/// Passes signals on until the service says how it ended.
async fn until_over(
    client: Client,
    signals: &mut Signals,
    master: Option<&OwnedFd>,
    run: &str,
    meant: Signalled,
) -> Result<Verdict, Problem> {
    let path = client.path.clone();
    let gone = |error: std::io::Error| Problem::Gone(path.clone(), error);
    let mut client = readiness::watch(client).map_err(&gone)?;
    loop {
        tokio::select! {
            heard = hear(&mut client) => match heard? {
                Message::Notification(method, params) if method == "run.ended" => return verdict(params).map_err(&gone),
                _ => {}
            },
            number = signals.next() => match (number, master) {
                (libc::SIGWINCH, Some(master)) => watch::follow_size(master.as_fd()),
                (libc::SIGWINCH, None) => {}
                (number, _) => {
                    let number = if meant == Signalled::EndAll { libc::SIGKILL } else { number };
                    let params = RunSignal { run: run.to_owned(), signal: SignalName::Number(number) };
                    client.get_mut().send("run.signal", &params, &[])?;
                }
            },
        }
    }
}

async fn hear(client: &mut AsyncFd<Client>) -> Result<Message, Problem> {
    loop {
        if let Some(message) = client.get_mut().next_message()? {
            return Ok(message);
        }
        let path = client.get_ref().path.clone();
        let gone = |error: std::io::Error| Problem::Gone(path.clone(), error);
        let mut ready = client.ready_mut(Interest::READABLE).await.map_err(&gone)?;
        match ready.get_inner_mut().fill() {
            Ok(true) | Err(Errno::EINTR) => {}
            Ok(false) => return Err(gone(std::io::ErrorKind::ConnectionReset.into())),
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(errno) => return Err(gone(errno.into())),
        }
    }
}

fn verdict(mut params: Value) -> Result<Verdict, std::io::Error> {
    Ok(serde_json::from_value(params.get_mut("verdict").map(Value::take).unwrap_or_default())?)
}

/// The service's verdict, with what only we could see: the output that passed through us.
fn with_output(mut verdict: Verdict, tally: &Tally, observed: bool) -> Verdict {
    if !verdict.output.observed {
        verdict.output = Output {
            observed,
            bytes: tally.bytes.load(Ordering::Relaxed),
            truncated: tally.truncated.load(Ordering::Relaxed),
        };
    }
    if let Some(reason) = watch::undelivered(tally) {
        verdict.outcome = Outcome::Failed;
        verdict.reason = Some(reason);
    }
    verdict
}
