//! The table of methods: what each does, and for whom.

use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::json;
use tokio::time::Instant;

use super::config::{Role, Standing};
use super::connection::Client;
use super::{files, jails, prepared, running, top, verdicts};
use crate::jail::mandate::Profiles;
use crate::wire::fault::{Fault, number};
use crate::wire::id::Id;
use crate::wire::reply::{self, Done, PROTOCOL, Pong, SessionEnded, Written};
use crate::wire::request::{
    JailClose, RunAttach, RunCancel, RunOutput, RunResize, RunSignal, RunStdin, SessionEnd, SignalName,
};
use crate::wire::rpc::Request;

/// How long `run.output` waits at most.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// How many descriptors a request takes.
pub fn descriptors(request: &Request) -> usize {
    match request {
        Request::Run(run) => run.descriptors,
        Request::RunBegin(begin) => begin.descriptors,
        _ => 0,
    }
}

/// Answers one request.
pub async fn answer(client: &Rc<Client>, id: Id, request: Request, descriptors: Vec<OwnedFd>) {
    let answered = match request {
        Request::Run(run) => return running::run(client, id, *run, descriptors).await,
        Request::RunPrepare(run) => prepared::prepare(client, *run).await,
        Request::RunBegin(begin) => return running::begin_prepared(client, id, &begin, descriptors).await,
        Request::Ping(_) => Ok(json!(ping(client))),
        Request::RunStdin(input) => stdin(client, *input).await,
        Request::RunSignal(signal) => send_signal(client, &signal),
        Request::RunResize(size) => resize(client, &size),
        Request::RunOutput(asked) => output(client, &asked).await,
        Request::RunAttach(attach) => return attach_to(client, &id, &attach).await,
        Request::RunCancel(cancel) => give_up(client, &cancel),
        Request::SessionEnd(end) => end_session(client, &end).await,
        Request::JailOpen(open) => return jails::open(client, id, *open).await,
        Request::JailClose(close) => close_jail(client, &close).await,
        Request::JailList(_) => list_jails(client),
        Request::FsStat(asked) => return files::answer(client, &id, files::stat(*asked)).await,
        Request::FsRead(asked) => return files::answer(client, &id, files::read(*asked)).await,
        Request::FsWrite(asked) => return files::answer(client, &id, files::write(*asked)).await,
        Request::FsCreate(asked) => return files::answer(client, &id, files::create(*asked)).await,
        Request::FsMkdir(asked) => return files::answer(client, &id, files::make_directory(*asked)).await,
        Request::FsRemove(asked) => return files::answer(client, &id, files::remove(*asked)).await,
        Request::FsRename(asked) => return files::answer(client, &id, files::rename(*asked)).await,
        Request::FsList(asked) => return files::answer(client, &id, files::list(*asked)).await,
        Request::VerdictGet(asked) => return give(client, &id, verdicts::get(client, *asked).await).await,
        Request::VerdictQuery(asked) => return give(client, &id, verdicts::query(client, *asked).await).await,
        Request::VerdictFollow(asked) => verdicts::follow(client, &asked).map(|done| json!(done)),
        Request::Ps(_) => ps(client),
        Request::Top(_) => top::answer(client).await,
        Request::Reload(_) => reload(client).await,
    };
    give(client, &id, answered).await;
}

async fn give<T: serde::Serialize>(client: &Client, id: &Id, answered: Result<T, Fault>) {
    // A client that is gone wants no answer.
    drop(match answered {
        Ok(result) => client.answer(id, &result).await,
        Err(fault) => client.fault(Some(id), &fault).await,
    });
}

/// What they may do, if anything.
pub fn standing(client: &Client) -> Result<Standing, Fault> {
    let none = || Fault::refused("not_granted", format!("user `{}` may do nothing here", client.peer.name));
    client.standing().ok_or_else(none)
}

/// Refuses those whose role is less than `least`.
fn at_least(client: &Client, least: Role) -> Result<Standing, Fault> {
    let standing = standing(client)?;
    if standing.role >= least {
        return Ok(standing);
    }
    let message = format!("this takes the role `{}`, yours is `{}`", least.word(), standing.role.word());
    Err(Fault::refused("role", message))
}

/// Whose runs a client may see: their own, and all of them with the role for it.
pub fn may_see(client: &Client) -> Result<impl Fn(u32) -> bool + use<>, Fault> {
    let (own, all) = (client.peer.uid, standing(client)?.role == Role::Admin);
    Ok(move |uid| all || uid == own)
}

fn ping(client: &Client) -> Pong {
    let standing = client.standing();
    let (role, profiles, default) = match standing {
        None => ("none", Profiles::Only(Default::default()), None),
        Some(standing) => (standing.role.word(), standing.profiles, standing.default),
    };
    Pong {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        protocol: PROTOCOL,
        user: client.peer.name.clone(),
        uid: client.peer.uid,
        role: role.to_owned(),
        profiles: match profiles {
            Profiles::Any => vec!["*".to_owned()],
            Profiles::Only(names) => names.into_iter().collect(),
        },
        default,
    }
}

async fn stdin(client: &Client, input: RunStdin) -> Result<serde_json::Value, Fault> {
    let entry = client.service.runs.find(&input.run, may_see(client)?)?;
    let mut open = entry.input.lock().await;
    let Some(to) = open.as_ref() else {
        return Err(Fault::refused("no_input", "the run takes no input, or no more of it"));
    };
    if to.write(&input.data.0).await.is_err() {
        *open = None;
        return Err(Fault::refused("no_input", "the command has closed its input"));
    }
    if let Some(to) = open.take_if(|_| input.close) {
        to.close().await;
    }
    Ok(json!(Written { written: input.data.0.len() }))
}

fn send_signal(client: &Client, asked: &RunSignal) -> Result<serde_json::Value, Fault> {
    let entry = client.service.runs.find(&asked.run, may_see(client)?)?;
    entry.signal(signal_number(&asked.signal)?)?;
    Ok(json!(Done {}))
}

fn signal_number(name: &SignalName) -> Result<i32, Fault> {
    let unknown = || Fault::invalid(number::PARAMETERS, "parameters", "`signal` is none that can be sent");
    let signal = match name {
        SignalName::Number(number) => Signal::try_from(*number).ok(),
        SignalName::Name(name) => {
            let bare = name.strip_prefix("SIG").unwrap_or(name);
            format!("SIG{bare}").parse().ok()
        }
    };
    signal.map(|signal: Signal| signal as i32).ok_or_else(unknown)
}

fn resize(client: &Client, size: &RunResize) -> Result<serde_json::Value, Fault> {
    let entry = client.service.runs.find(&size.run, may_see(client)?)?;
    entry.resize(size.rows, size.columns)?;
    Ok(json!(Done {}))
}

/// A run has no id for its client until it is answered, but the request for it has.
fn give_up(client: &Client, asked: &RunCancel) -> Result<serde_json::Value, Fault> {
    let request = (client.number, asked.request.clone());
    let runs = client.service.runs.all();
    let waiting = runs.iter().find(|entry| entry.is_waiting() && entry.label.request == request);
    let none = || Fault::refused("unknown_request", "no `run` of that `id` waits on this connection");
    waiting.ok_or_else(none)?.end();
    Ok(json!(Done {}))
}

/// Whose a session is does not depend on its name: another caller may use the same.
async fn end_session(client: &Client, asked: &SessionEnd) -> Result<serde_json::Value, Fault> {
    standing(client)?;
    let own = |uid: u32, session: &Option<String>| uid == client.peer.uid && session.as_ref() == Some(&asked.session);
    let runs = client.service.runs.all().into_iter();
    let runs = runs.filter(|entry| own(entry.label.uid, &entry.label.session) && !entry.is_over());
    let ended = runs.inspect(|entry| entry.end()).count();
    let jails = client.service.jails.all().into_iter();
    let jails: Vec<_> = jails.filter(|jail| own(jail.shown.uid, &jail.shown.session)).collect();
    for jail in &jails {
        jail.close().await;
    }
    Ok(json!(SessionEnded { jails: jails.len(), runs: ended }))
}

async fn output(client: &Client, asked: &RunOutput) -> Result<serde_json::Value, Fault> {
    let entry = client.service.runs.find(&asked.run, may_see(client)?)?;
    let most = usize::try_from(asked.limit.unwrap_or(u64::MAX)).unwrap_or(usize::MAX).max(1);
    let until = Instant::now() + Duration::from_millis(asked.wait_ms).min(LONGEST_WAIT);
    tokio::select! {
        kept = entry.read(asked.offset, most, until) => Ok(json!(kept)),
        () = client.gone() => Err(Fault::refused("given_up", "nobody waits for it any more")),
    }
}

async fn attach_to(client: &Client, id: &Id, asked: &RunAttach) {
    let found = may_see(client).and_then(|may_see| client.service.runs.find(&asked.run, may_see));
    match found {
        Ok(entry) => {
            // For its output as lines, which wait here until the client reads them.
            let room = match client.budget.take(entry.kept_bytes().saturating_mul(4)).await {
                Ok(room) => room,
                Err(fault) => return drop(client.fault(Some(id), &fault).await),
            };
            if client.answer(id, &entry.listed()).await.is_ok() {
                entry.attach(&client.outbox).await;
            }
            drop(room);
        }
        Err(fault) => drop(client.fault(Some(id), &fault).await),
    }
}

async fn close_jail(client: &Client, asked: &JailClose) -> Result<serde_json::Value, Fault> {
    let jail = client.service.jails.find(&asked.jail, may_see(client)?)?;
    jail.close().await;
    Ok(json!(Done {}))
}

fn list_jails(client: &Client) -> Result<serde_json::Value, Fault> {
    let may_see = may_see(client)?;
    let jails = client.service.jails.all();
    let listed = jails.iter().filter(|jail| may_see(jail.shown.uid)).map(|jail| jail.listed());
    Ok(json!(reply::Jails { jails: listed.collect() }))
}

fn ps(client: &Client) -> Result<serde_json::Value, Fault> {
    let may_see = may_see(client)?;
    let runs = client.service.runs.all();
    let listed = runs.iter().filter(|entry| may_see(entry.label.uid) && !entry.is_over()).map(|entry| entry.listed());
    Ok(json!(reply::Runs { runs: listed.collect() }))
}

async fn reload(client: &Client) -> Result<serde_json::Value, Fault> {
    at_least(client, Role::Admin)?;
    client.service.reload().await?;
    Ok(json!(Done {}))
}
