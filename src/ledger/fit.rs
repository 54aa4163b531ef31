//! Making a verdict fit into a line.
//!
//! A command line may have megabytes and a command may be denied a million names, but room for a record is kept before its
//! run, so a record has a bound. Owns what is cut, and that the record says so.

use crate::verdict::Verdict;

use super::line::{LONGEST, seal};

/// What the links, the seal and the newline add at most.
const LINKS: usize = 512;

/// Most bytes of one text when a verdict is too long, then when it still is.
const TEXTS: [usize; 3] = [4096, 256, 64];

/// Most entries of one list, likewise.
const LISTS: [usize; 3] = [128, 64, 16];

/// Most arguments of each of many commands, in a verdict that is too long.
const MOST_ARGUMENTS: usize = 8;

/// Marks where something was left out.
const CUT: char = '\u{2026}';

/// The sealed line of a verdict whose links are set, with its newline; cut until it fits.
pub fn line_of(verdict: &mut Verdict) -> serde_json::Result<String> {
    sealed(&shortened(verdict)?)
}

/// A verdict as text, cut until it fits into a line once it is sealed.
pub fn shortened(verdict: &mut Verdict) -> serde_json::Result<String> {
    verdict.digest = None;
    let mut text = serde_json::to_string(verdict)?;
    for (texts, lists) in TEXTS.into_iter().zip(LISTS) {
        if text.len() + LINKS <= LONGEST {
            break;
        }
        cut(verdict, texts, lists);
        text = serde_json::to_string(verdict)?;
    }
    Ok(text)
}

/// Seals a text and ends it.
pub fn sealed(text: &str) -> serde_json::Result<String> {
    let too_long = || serde::ser::Error::custom("longer than a line of the ledger");
    let line = seal(text).filter(|line| line.len() < LONGEST).ok_or_else(too_long)?;
    Ok(line + "\n")
}

fn cut(verdict: &mut Verdict, texts: usize, lists: usize) {
    let left_out = verdict.argv.len().saturating_sub(lists);
    if left_out > 0 {
        verdict.argv.truncate(lists);
        verdict.argv.push(format!("{CUT} and {left_out} more"));
    }
    verdict.denials.truncate(lists);
    let activity = &mut verdict.activity;
    keep(&mut activity.connections, lists, &mut activity.unlisted);
    keep(&mut activity.commands, lists, &mut activity.unlisted_commands);
    keep(&mut activity.files, lists, &mut activity.unlisted_files);
    keep(&mut activity.reads, lists, &mut activity.unlisted_reads);
    activity.listening.truncate(lists);
    for command in &mut activity.commands {
        command.cut |= command.argv.len() > lists.min(MOST_ARGUMENTS);
        command.argv.truncate(lists.min(MOST_ARGUMENTS));
    }
    let contacts = verdict.activity.connections.iter_mut();
    let contacts = contacts.flat_map(|contact| [contact.name.as_mut(), Some(&mut contact.rule)]).flatten();
    let reason = verdict.reason.iter_mut().flat_map(|reason| [Some(&mut reason.message), reason.remedy.as_mut()]);
    let denials = verdict.denials.iter_mut().flat_map(|denial| {
        let grant = denial.grant.iter_mut().flat_map(|grant| [&mut grant.value, &mut grant.line]);
        [&mut denial.what, &mut denial.rule, &mut denial.remedy].into_iter().chain(grant)
    });
    let commands = verdict.activity.commands.iter_mut();
    let commands = commands.flat_map(|command| [&mut command.path].into_iter().chain(&mut command.argv));
    let files = verdict.activity.files.iter_mut();
    let files = files.flat_map(|file| [&mut file.path].into_iter().chain(&mut file.from));
    let did = commands.chain(files).chain(&mut verdict.activity.reads).chain(&mut verdict.denial_hint);
    let asked = [verdict.cwd.as_mut(), verdict.agent.as_mut(), verdict.session.as_mut()];
    let named = [Some(&mut verdict.id), Some(&mut verdict.profile), Some(&mut verdict.time)];
    let texts_of = verdict
        .argv
        .iter_mut()
        .chain(denials)
        .chain(did)
        .chain(contacts)
        .chain(reason.chain(asked).chain(named).flatten());
    texts_of.for_each(|text| cut_text(text, texts));
    verdict.shortened = true;
}

/// Truncates a list, and counts what that leaves out.
fn keep<T>(list: &mut Vec<T>, most: usize, unlisted: &mut u64) {
    let left_out = list.len().saturating_sub(most);
    list.truncate(most);
    *unlisted = unlisted.saturating_add(u64::try_from(left_out).unwrap_or(u64::MAX));
}

fn cut_text(text: &mut String, most: usize) {
    if text.len() > most {
        let at = text.floor_char_boundary(most);
        text.truncate(at);
        text.push(CUT);
    }
}
