//! Verdicts to be looked at: from files, from a ledger, or from the service.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::ExitCode;

use super::ledger::Source;
use super::{answer, ledger, remote};
use crate::ledger::error::LedgerError;
use crate::ledger::query::{self, Filter};
use crate::policy::names::shown;
use crate::verdict::Verdict;

/// A larger file is no verdict of ours.
const LARGEST: u64 = 64 << 20;

/// Which verdict.
pub struct Wanted<'a> {
    /// By its id, or the beginning of it.
    pub id: Option<&'a str>,
    /// In this file.
    pub from: Option<&'a Path>,
    /// In this ledger.
    pub ledger: Option<&'a Path>,
    /// From the service at this socket.
    pub socket: Option<&'a Path>,
}

/// The one that is meant; the exit code where there is none, said already.
pub fn one(wanted: &Wanted<'_>) -> Result<Verdict, ExitCode> {
    if let Some(path) = wanted.from {
        let mut all = in_file(path)?;
        return all.pop().ok_or_else(|| answer::refuse(&format!("no verdict is in `{}`", path.display()), None));
    }
    let id = wanted.id.unwrap_or_default();
    let directory = match ledger::source(wanted.ledger, wanted.socket) {
        Source::Files(directory) => directory,
        Source::Service(why) => return remote::one(id, wanted.socket, why.as_ref()),
        Source::None(error) => return Err(ledger::fail(&error)),
    };
    let filter = Filter { id: Some(id.to_owned()), ..Filter::default() };
    let mut newest = None;
    let searched = query::newest_first(&directory, &filter, |found| {
        newest = Some(found.verdict);
        ControlFlow::Break(())
    });
    match (searched, newest) {
        (_, Some(verdict)) => Ok(verdict),
        (Ok(_), None) => {
            let message = format!("no verdict `{}` is in the ledger", shown(id));
            Err(answer::refuse(&message, Some("`clawjail log` lists them")))
        }
        (Err(error), None) => Err(ledger::fail(&error)),
    }
}

/// The verdicts of a file, one after the other: as `--verdict` writes one, or lines as `clawjail log --json` prints them.
pub fn in_file(path: &Path) -> Result<Vec<Verdict>, ExitCode> {
    let name = path.display();
    let size = fs::metadata(path).map(|about| about.len());
    if size.as_ref().is_ok_and(|size| *size > LARGEST) {
        return Err(answer::refuse(&format!("`{name}` is larger than any verdict"), None));
    }
    let text = size.and_then(|_| fs::read_to_string(path));
    let text = text.map_err(|error| answer::fail(&format!("cannot read `{name}`: {error}")))?;
    let verdicts: Result<Vec<Verdict>, _> = serde_json::Deserializer::from_str(&text).into_iter().collect();
    verdicts.map_err(|error| answer::fail(&format!("cannot read `{name}` as a verdict: {error}")))
}

/// Those of a ledger that fit, the oldest first, at most `most`.
pub fn several(path: Option<&Path>, filter: &Filter, most: usize) -> Result<Vec<Verdict>, ExitCode> {
    let directory = ledger::open(path).map_err(|error| ledger::fail(&error))?;
    let mut all = Vec::new();
    let searched = query::newest_first(&directory, filter, |found| {
        all.push(found.verdict);
        if all.len() >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    searched.map_err(|error| ledger::fail(&error))?;
    all.reverse();
    Ok(all)
}

/// The runs of one session in a ledger, the oldest first, at most `most`. A ledger that cannot be read is said where it is needed.
pub fn of_session(path: Option<&Path>, session: &str, most: usize) -> Result<Vec<Verdict>, LedgerError> {
    let directory = ledger::open(path)?;
    let mut all = Vec::new();
    query::newest_first(&directory, &Filter::default(), |found| {
        if found.verdict.session.as_deref() == Some(session) {
            all.push(found.verdict);
        }
        if all.len() >= most { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    all.reverse();
    Ok(all)
}
