//! Asking a ledger for verdicts.
//!
//! Owns what can be asked for, and which records answer it. Whether they are genuine is `verify`'s.

use std::ops::ControlFlow;

use jiff::Timestamp;
use serde::Deserialize;

use super::error::LedgerError;
use super::files::Directory;
use super::walk::{self, Place};
use crate::verdict::{Outcome, Verdict};

/// What a verdict must be to be an answer; what is not given is not asked.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Its id, or the beginning of it.
    pub id: Option<String>,
    /// For this agent.
    pub agent: Option<String>,
    /// With this profile.
    pub profile: Option<String>,
    /// Ended so.
    pub outcome: Option<Outcome>,
    /// Refused, or with a denial.
    pub denied: bool,
    /// Begun then or later.
    pub since: Option<Timestamp>,
    /// Begun before then.
    pub until: Option<Timestamp>,
    /// Asked for by this user.
    pub caller: Option<u32>,
}

/// A record that answers.
#[derive(Debug)]
pub struct Found<'a> {
    /// What it says.
    pub verdict: Verdict,
    /// As it stands in the ledger.
    pub line: &'a str,
}

/// What a line turned out to be.
#[derive(Debug)]
pub enum Seen<'a> {
    /// An answer.
    Found(Box<Found<'a>>),
    /// A verdict that was not asked for, or what the ledger says of itself.
    Other,
    /// Not to be read.
    Unreadable,
}

impl Filter {
    /// Looks at one line.
    pub fn see<'a>(&self, line: &'a [u8]) -> Seen<'a> {
        #[derive(Deserialize)]
        struct Kind {
            event: Option<serde::de::IgnoredAny>,
        }
        let Ok(line) = std::str::from_utf8(line) else { return Seen::Unreadable };
        if let Some(id) = &self.id
            && !line.contains(id.as_str())
        {
            // Most lines of a search for one record need not be read at all.
            return Seen::Other;
        }
        match (serde_json::from_str::<Verdict>(line), serde_json::from_str::<Kind>(line)) {
            (Ok(verdict), _) if self.asks_for(&verdict) => Seen::Found(Box::new(Found { verdict, line })),
            (Ok(_), _) | (_, Ok(Kind { event: Some(_) })) => Seen::Other,
            (Err(_), _) => Seen::Unreadable,
        }
    }

    /// Whether it is an answer.
    pub fn asks_for(&self, verdict: &Verdict) -> bool {
        fn same<T: PartialEq>(asked: &Option<T>, is: Option<&T>) -> bool {
            asked.as_ref().is_none_or(|asked| Some(asked) == is)
        }
        same(&self.agent, verdict.agent.as_ref())
            && same(&self.profile, Some(&verdict.profile))
            && same(&self.outcome, Some(&verdict.outcome))
            && same(&self.caller, Some(&verdict.caller.uid))
            && self.id.as_ref().is_none_or(|id| verdict.id.starts_with(id.as_str()))
            && (!self.denied || verdict.outcome == Outcome::Refused || !verdict.denials.is_empty())
            && self.in_time(&verdict.time)
    }

    fn in_time(&self, time: &str) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let Ok(time) = time.parse::<Timestamp>() else { return false };
        self.since.is_none_or(|since| time >= since) && self.until.is_none_or(|until| time < until)
    }
}

/// Gives the answers to `take`, newest first, until it has enough. Says how many lines could not be read.
pub fn newest_first(
    directory: &Directory,
    filter: &Filter,
    mut take: impl FnMut(Found<'_>) -> ControlFlow<()>,
) -> Result<u64, LedgerError> {
    let mut unreadable = 0;
    walk::newest_first(directory, filter.since, |line| match filter.see(line) {
        Seen::Found(found) => take(*found),
        Seen::Other => ControlFlow::Continue(()),
        Seen::Unreadable => {
            unreadable += 1;
            ControlFlow::Continue(())
        }
    })?;
    Ok(unreadable)
}

/// Some of the answers, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// As they stand in the ledger.
    pub lines: Vec<String>,
    /// From where to go on, if there may be more.
    pub next: Option<Place>,
    /// Lines among them that could not be read.
    pub unreadable: u64,
}

/// How much a page may be, so that one question does not hold up others.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Most answers.
    pub answers: usize,
    /// Most bytes of them, but for the last.
    pub bytes: usize,
    /// Most bytes that are looked at.
    pub looked_at: u64,
}

/// The answers before `place`, or the newest.
pub fn page(directory: &Directory, filter: &Filter, place: Option<Place>, bounds: Bounds) -> Result<Page, LedgerError> {
    let mut page = Page::default();
    let (mut bytes, mut looked_at) = (0, 0);
    walk::before(directory, place, filter.since, |at, line| {
        looked_at += line.len() as u64;
        match filter.see(line) {
            Seen::Found(found) => {
                bytes += found.line.len();
                page.lines.push(found.line.to_owned());
            }
            Seen::Other => {}
            Seen::Unreadable => page.unreadable += 1,
        }
        if page.lines.len() < bounds.answers && bytes < bounds.bytes && looked_at < bounds.looked_at {
            return ControlFlow::Continue(());
        }
        page.next = Some(at);
        ControlFlow::Break(())
    })?;
    Ok(page)
}
