//! How the log is shown: a line for each run.

use std::io::{self, ErrorKind, Write};
use std::ops::ControlFlow;
use std::process::ExitCode;

use jiff::Timestamp;

use super::super::{answer, ledger};
use super::asked::Log;
use crate::ledger::error::LedgerError;
use crate::policy::names::cut;
use crate::verdict::Verdict;

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
