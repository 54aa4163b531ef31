//! `clawjail log`: what was run, from the ledger.

use std::ops::ControlFlow;
use std::process::ExitCode;

pub use self::asked::Log;
use self::shown::{Shown, end, one};
use super::ledger::Source;
use super::{ledger, remote};
use crate::ledger::error::LedgerError;
use crate::ledger::files::Directory;
use crate::ledger::follow::Follower;
use crate::ledger::query::{self, Filter, Found, Seen};

pub mod asked;
pub mod shown;

/// Shows it.
pub fn run(log: &Log) -> ExitCode {
    let directory = match ledger::source(log.ledger.as_deref(), log.socket.as_deref()) {
        Source::Files(directory) => directory,
        Source::Service(why) => return remote::log(log, why.as_ref()),
        Source::None(error) => return ledger::fail(&error),
    };
    end(show(log, &directory))
}

fn show(log: &Log, directory: &Directory) -> Result<Shown, LedgerError> {
    let filter = filter(log);
    if log.follow {
        return follow(log, directory, &filter);
    }
    let (mut shown, mut left) = (Shown::default(), log.limit.unwrap_or(u64::MAX));
    if left == 0 {
        return Ok(shown);
    }
    shown.unreadable = query::newest_first(directory, &filter, |found| {
        left -= 1;
        let printed = shown.print(&line(log, &found));
        if left == 0 { ControlFlow::Break(()) } else { printed }
    })?;
    Ok(shown)
}

/// The newest few, oldest first, then each one that comes.
fn follow(log: &Log, directory: &Directory, filter: &Filter) -> Result<Shown, LedgerError> {
    let mut follower = Follower::at_end(directory)?;
    let (mut shown, mut before) = (Shown::default(), Vec::new());
    let most = usize::try_from(log.limit.unwrap_or(10)).unwrap_or(usize::MAX);
    if most > 0 {
        shown.unreadable = query::newest_first(directory, filter, |found| {
            before.push(line(log, &found));
            if before.len() >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    if before.iter().rev().any(|text| shown.print(text).is_break()) {
        return Ok(shown);
    }
    follower.follow(|bytes| match filter.see(bytes) {
        Seen::Found(found) => shown.print(&line(log, &found)),
        Seen::Other => ControlFlow::Continue(()),
        Seen::Unreadable => {
            shown.unreadable += 1;
            ControlFlow::Continue(())
        }
    })?;
    Ok(shown)
}

fn filter(log: &Log) -> Filter {
    Filter {
        id: None,
        agent: log.agent.clone(),
        profile: log.profile.clone(),
        outcome: log.outcome,
        denied: log.denied,
        since: log.since.map(|when| when.0),
        until: log.until.map(|when| when.0),
        caller: log.caller,
    }
}

fn line(log: &Log, found: &Found<'_>) -> String {
    one(log, &found.verdict, found.line)
}
