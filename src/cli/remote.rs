//! Verdicts by way of the service, for those who cannot read its ledger.

use std::path::Path;
use std::process::ExitCode;

use serde::Deserialize;
use serde_json::Value;

use super::client::{Client, Message, Problem};
use super::log::asked::Log;
use super::log::shown::{self, Shown};
use super::{answer, ledger};
use crate::ledger::error::LedgerError;
use crate::verdict::Verdict;
use crate::wire::request_verdicts::{VerdictGet, VerdictQuery};

/// Verdicts asked for at once.
const ON_A_PAGE: u32 = 200;

#[derive(Deserialize)]
struct Page {
    verdicts: Vec<Value>,
    next: Option<String>,
    unreadable: u64,
}

/// Shows one verdict. `why` the ledger's files could not be read.
pub fn verdict(id: &str, socket: Option<&Path>, why: Option<&LedgerError>) -> ExitCode {
    one(id, socket, why).map_or_else(|code| code, |verdict| answer::give(&answer::json(&verdict)))
}

/// One verdict; the exit code where there is none, said already.
pub fn one(id: &str, socket: Option<&Path>, why: Option<&LedgerError>) -> Result<Verdict, ExitCode> {
    let asked = VerdictGet { id: id.to_owned() };
    let mut answered = match Client::find(socket).and_then(|mut client| client.call("verdict.get", &asked)) {
        Ok(answered) => answered,
        Err(problem) => return Err(no_answer(&problem, why)),
    };
    let verdict = answered.get_mut("verdict").map(Value::take).unwrap_or_default();
    serde_json::from_value(verdict)
        .map_err(|error| answer::fail(&format!("cannot read what the service answers: {error}")))
}

/// Shows what was run.
pub fn log(log: &Log, why: Option<&LedgerError>) -> ExitCode {
    let shown = Client::find(log.socket.as_deref()).and_then(|mut client| {
        let mut shown = Shown::default();
        if log.follow { follow(log, &mut client, &mut shown) } else { show(log, &mut client, &mut shown) }
            .map(|()| shown)
    });
    match shown {
        Ok(shown) => shown::end(Ok(shown)),
        Err(problem) => no_answer(&problem, why),
    }
}

fn no_answer(problem: &Problem, why: Option<&LedgerError>) -> ExitCode {
    match (problem, why) {
        // Nobody named a service: what is wrong is that there is no ledger to be read.
        (Problem::Gone(..), Some(error)) => ledger::fail(error),
        _ => answer::problem(problem),
    }
}

fn show(log: &Log, client: &mut Client, shown: &mut Shown) -> Result<(), Problem> {
    let mut left = log.limit.unwrap_or(u64::MAX);
    let mut query = query(log);
    while left > 0 {
        query.limit = Some(u32::try_from(left).map_or(ON_A_PAGE, |left| left.min(ON_A_PAGE)));
        let page = page(client, &query)?;
        shown.unreadable += page.unreadable;
        for verdict in page.verdicts {
            left -= 1;
            if shown.print(&line(log, verdict, client)?).is_break() {
                return Ok(());
            }
        }
        match page.next {
            Some(next) => query.page = Some(next),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// The newest few, oldest first, then each one that comes.
fn follow(log: &Log, client: &mut Client, shown: &mut Shown) -> Result<(), Problem> {
    // Asked for first, so that nothing is missed in between.
    client.send("verdict.follow", &query(log), &[])?;
    let (newest, early) = newest_and_early(log, client)?;
    shown.unreadable += newest.unreadable;
    // What is in both is printed once.
    let known: Vec<Option<Value>> = newest.verdicts.iter().map(id_of).collect();
    for verdict in newest.verdicts.into_iter().rev() {
        if shown.print(&line(log, verdict, client)?).is_break() {
            return Ok(());
        }
    }
    let mut early = early.into_iter();
    loop {
        let verdict = match early.next() {
            Some(verdict) => verdict,
            None => written(client.wait()?)?,
        };
        let is_new = !verdict.is_null() && !known.contains(&id_of(&verdict));
        if is_new && shown.print(&line(log, verdict, client)?).is_break() {
            return Ok(());
        }
    }
}

/// The newest few that are there, and those that were made until that was known.
fn newest_and_early(log: &Log, client: &mut Client) -> Result<(Page, Vec<Value>), Problem> {
    let limit = u32::try_from(log.limit.unwrap_or(10)).unwrap_or(ON_A_PAGE);
    let asked = client.send("verdict.query", &VerdictQuery { limit: Some(limit.max(1)), ..query(log) }, &[])?;
    let mut early = Vec::new();
    loop {
        match client.wait()? {
            Message::Result(id, page) if id == asked => {
                let mut page: Page = read(client, page)?;
                page.verdicts.truncate(limit as usize);
                return Ok((page, early));
            }
            message => early.push(written(message)?),
        }
    }
}

/// The verdict of a notification; null where it is something else.
fn written(message: Message) -> Result<Value, Problem> {
    match message {
        Message::Notification(method, mut params) if method == "verdict.written" => {
            Ok(params.get_mut("verdict").map(Value::take).unwrap_or_default())
        }
        Message::Fault(_, fault) => Err(Problem::Fault(fault)),
        Message::Notification(..) | Message::Result(..) => Ok(Value::Null),
    }
}

fn id_of(verdict: &Value) -> Option<Value> {
    verdict.get("id").cloned()
}

fn page(client: &mut Client, query: &VerdictQuery) -> Result<Page, Problem> {
    let page = client.call("verdict.query", query)?;
    read(client, page)
}

fn read<T: for<'a> Deserialize<'a>>(client: &Client, value: Value) -> Result<T, Problem> {
    serde_json::from_value(value).map_err(|error| Problem::Gone(client.path.clone(), error.into()))
}

fn line(log: &Log, verdict: Value, client: &Client) -> Result<String, Problem> {
    let verdict: Verdict = read(client, verdict)?;
    // In the order of its keys, and so as it stands in the ledger.
    let text = serde_json::to_string(&verdict).map_err(|error| Problem::Gone(client.path.clone(), error.into()))?;
    Ok(shown::one(log, &verdict, &text))
}

fn query(log: &Log) -> VerdictQuery {
    VerdictQuery {
        agent: log.agent.clone(),
        profile: log.profile.clone(),
        outcome: log.outcome.map(|outcome| outcome.word().to_owned()),
        denied: log.denied,
        since: log.since.map(|when| when.0.to_string()),
        until: log.until.map(|when| when.0.to_string()),
        caller: log.caller,
        limit: None,
        page: None,
    }
}
