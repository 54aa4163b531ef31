//! `clawjail log`: what was run, from the ledger.

use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use super::ledger::Source;
use super::{answer, ledger, remote};
use crate::ledger::error::LedgerError;
use crate::ledger::files::Directory;
use crate::ledger::follow::Follower;
use crate::ledger::query::{self, Filter, Found, Seen};
use crate::policy::names::cut;
use crate::profile::units::Span;
use crate::verdict::{Outcome, Verdict};

/// Show what was run, newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail log --since 1h                      the last hour
  clawjail log --denied --agent coder          what one agent was refused or denied
  clawjail log --follow --json | jq .argv      each run as it ends
  clawjail log --ledger ./runs --limit 5       of a ledger of your own, as `clawjail run --ledger` writes it

It reads the files of the ledger where it may, and asks the service where not: that shows everything to admins and
viewers, and to operators what they asked for themselves.")]
pub struct Log {
    /// Show the newest few, then each one as it is written.
    #[arg(long, short)]
    pub follow: bool,
    /// For this agent.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// With this profile.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// That ended so.
    #[arg(long, value_name = "OUTCOME", value_parser = outcomes())]
    pub outcome: Option<Outcome>,
    /// Refused, or with something denied.
    #[arg(long)]
    pub denied: bool,
    /// Begun since then: so long ago (`1h`), a day (`2026-01-31`) or a time (`2026-01-31T12:00:00Z`).
    #[arg(long, value_name = "TIME")]
    pub since: Option<When>,
    /// Begun before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<When>,
    /// Asked for by this user id.
    #[arg(long, value_name = "UID")]
    pub caller: Option<u32>,
    /// At most so many; with --follow, so many to begin with (10 if not given).
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<u64>,
    /// Print the records as they are, one a line.
    #[arg(long)]
    pub json: bool,
    /// The directory of the ledger; the service's one if not given.
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH", conflicts_with = "ledger")]
    pub socket: Option<PathBuf>,
}

fn outcomes() -> impl TypedValueParser<Value = Outcome> {
    let of = |word: String| Outcome::ALL.into_iter().find(|outcome| outcome.word() == word).ok_or("no outcome");
    PossibleValuesParser::new(Outcome::ALL.map(Outcome::word)).try_map(of)
}

/// A time as typed.
#[derive(Clone, Copy, Debug)]
pub struct When(pub Timestamp);

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(span) = text.parse::<Span>() {
            let past = i64::try_from(span.0).map(jiff::SignedDuration::from_millis);
            let then = past.ok().and_then(|past| Timestamp::now().checked_sub(past).ok());
            return then.map(When).ok_or_else(|| format!("`{text}` is before all time"));
        }
        let day = format!("{text}T00:00:00Z");
        let time = text.parse::<Timestamp>().or_else(|_| day.parse());
        time.map(When).map_err(|_| "expected a span such as `1h`, a day or a time with its zone".to_owned())
    }
}

/// Shows it.
pub fn run(log: &Log) -> ExitCode {
    let directory = match ledger::source(log.ledger.as_deref(), log.socket.as_deref()) {
        Source::Files(directory) => directory,
        Source::Service(why) => return remote::log(log, why.as_ref()),
        Source::None(error) => return ledger::fail(&error),
    };
    end(show(log, &directory))
}

/// Says how it ended.
pub fn end(shown: Result<Shown, LedgerError>) -> ExitCode {
    match shown {
        Ok(Shown { unwritten: Some(error), .. }) => answer::fail(&format!("cannot write the answer: {error}")),
        Ok(Shown { unreadable: 0, .. }) => ExitCode::SUCCESS,
        Ok(Shown { unreadable, .. }) => {
            answer::fail(&format!("cannot read {unreadable} lines of the ledger; see `clawjail ledger verify`"))
        }
        Err(error) => ledger::fail(&error),
    }
}

/// What came of it.
#[derive(Default)]
pub struct Shown {
    /// Lines that are none.
    pub unreadable: u64,
    unwritten: Option<io::Error>,
}

impl Shown {
    /// Prints one; whoever closes the pipe has read enough.
    pub fn print(&mut self, text: &str) -> ControlFlow<()> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => ControlFlow::Break(()),
            Err(error) => {
                self.unwritten = Some(error);
                ControlFlow::Break(())
            }
        }
    }
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

/// A verdict as it is shown.
pub fn one(log: &Log, verdict: &Verdict, line: &str) -> String {
    if log.json { format!("{line}\n") } else { text(verdict) }
}

/// One line for a person: when, which, how it ended, under what, for whom, how long, what.
fn text(verdict: &Verdict) -> String {
    let time = verdict.time.parse::<Timestamp>().map_or(verdict.time.clone(), |time| format!("{time:.0}"));
    let ended = match (verdict.exit_code, verdict.signal) {
        (Some(number), _) | (None, Some(number)) => format!("{} {number}", verdict.outcome.word()),
        (None, None) => verdict.outcome.word().to_owned(),
    };
    let denials: u64 = verdict.denials.iter().map(|denial| denial.count).sum();
    let denied = if denials > 0 { format!("  {denials} denied") } else { String::new() };
    let agent = verdict.agent.as_ref().map(|agent| format!("{}  ", cut(agent, 40))).unwrap_or_default();
    let milliseconds = verdict.resources.wall_us / 1000;
    let argv = cut(&verdict.argv.join(" "), 160);
    let (id, profile) = (cut(&verdict.id, 64), cut(&verdict.profile, 64));
    format!("{time}  {id}  {ended:<12}  {profile:<10}  {agent}{milliseconds} ms{denied}  {argv}\n")
}
