//! The reader of a service's ledger: answers questions, one after the other, beside the recorder's own work.

use std::path::Path;
use std::sync::mpsc::Receiver;

use jiff::Timestamp;

use crate::jail::chain;
use crate::jail::channel::Channel;
use crate::ledger::files::Directory;
use crate::ledger::query::{self, Bounds, Filter, Page};
use crate::ledger::walk::Place;
use crate::verdict::Outcome;
use crate::wire::record::{FromRecorder, Question, Records, Ticket};

/// A question, and the number that its answer has.
pub type Asked = (Ticket, Box<Question>);

/// Most records of one answer, whatever was asked for.
const MOST_ANSWERS: usize = 1000;
/// Most bytes of one answer, but for its last record.
const MOST_BYTES: usize = 512 << 10;
/// Bytes of the ledger that are looked at for one answer: the next question waits for no more than this takes.
const MOST_LOOKED_AT: u64 = 16 << 20;

/// Answers until nobody asks any more.
pub fn read_for_ever(path: &Path, asked: &Receiver<Asked>, answers: &Channel) {
    while let Ok((ticket, question)) = asked.recv() {
        // A supervisor that is gone is noticed by the recorder.
        let _ = answers.send(&FromRecorder::Answered(ticket, answer(path, &question)), &[]);
    }
}

fn answer(path: &Path, question: &Question) -> Result<Records, String> {
    let filter = filter(question)?;
    let place = question.place.map(|(file, offset)| Place { file, offset });
    let answers = usize::try_from(question.limit).unwrap_or(MOST_ANSWERS).clamp(1, MOST_ANSWERS);
    let bounds = Bounds { answers, bytes: MOST_BYTES, looked_at: MOST_LOOKED_AT };
    let page = Directory::read(path).and_then(|directory| query::page(&directory, &filter, place, bounds));
    let Page { lines, next, unreadable } = page.map_err(|error| chain(&error))?;
    Ok(Records { lines, next: next.map(|Place { file, offset }| (file, offset)), unreadable })
}

/// What a question asks for; an error names what is none.
pub fn filter(question: &Question) -> Result<Filter, String> {
    let time = |text: &Option<String>| {
        let parsed = text.as_ref().map(|text| text.parse::<Timestamp>().map_err(|_| format!("`{text}` is no time")));
        parsed.transpose()
    };
    let outcome = |word: &String| {
        let known = Outcome::ALL.into_iter().find(|outcome| outcome.word() == word);
        known.ok_or_else(|| format!("`{word}` is no outcome"))
    };
    Ok(Filter {
        id: question.id.clone(),
        agent: question.agent.clone(),
        profile: question.profile.clone(),
        outcome: question.outcome.as_ref().map(outcome).transpose()?,
        denied: question.denied,
        since: time(&question.since)?,
        until: time(&question.until)?,
        caller: question.caller,
    })
}
