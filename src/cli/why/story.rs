//! The story of one run, from its verdict.

use crate::plan::explain::aligned;
use crate::policy::names::cut;
use crate::profile::units::Bytes;
use crate::verdict::activity::Connection;
use crate::verdict::evidence::Command;
use crate::verdict::{Denial, Outcome, Verdict};
use crate::wire::text::printable;

/// All that a verdict tells about what was denied, and what it took.
pub fn text(verdict: &Verdict) -> String {
    let mut text = head(verdict);
    text.push_str(&denials(verdict));
    text.push_str(&seen(verdict));
    text.push_str(&did(verdict));
    text.push_str(&missing(verdict));
    text
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(printable).to_vec()
}

fn head(verdict: &Verdict) -> String {
    let resources = &verdict.resources;
    let mut rows = vec![
        row(["run", &verdict.id]),
        row(["when", &verdict.time]),
        row(["command", &verdict.argv.join(" ")]),
        row(["profile", &verdict.profile]),
        row(["ended", &ended(verdict)]),
    ];
    if let Some(reason) = &verdict.reason {
        rows.push(row(["because", &reason.message]));
        rows.extend(reason.remedy.iter().map(|remedy| row(["hint", remedy])));
    }
    if let Some(hint) = &verdict.denial_hint {
        rows.push(row(["hint", hint]));
    }
    if verdict.plan.is_some() {
        let peak = Bytes(resources.peak_memory.div_ceil(1 << 20) << 20);
        rows.push(row(["took", &format!("{} ms, {peak} of memory", resources.wall_us / 1000)]));
    }
    aligned(&rows).lines().map(|line| format!("{}\n", line.trim_start())).collect()
}

fn ended(verdict: &Verdict) -> String {
    let profile = &verdict.profile;
    match (verdict.outcome, verdict.exit_code, verdict.signal) {
        (Outcome::Exited, Some(code), _) => format!("exited with {code}"),
        (Outcome::Signalled, _, Some(signal)) => format!("ended by signal {signal}"),
        (Outcome::TimedOut, ..) => format!("out of time: limit `wall` of `{profile}`, or --timeout"),
        (Outcome::OutOfMemory, ..) => format!("out of memory: limit `memory` of `{profile}`"),
        (Outcome::Killed, ..) => "killed: its caller asked for it, or went away".to_owned(),
        (Outcome::Refused, ..) => "refused: nothing was executed".to_owned(),
        (Outcome::Failed, ..) => "failed, by no fault of the command".to_owned(),
        (Outcome::NotExecuted, ..) => "not executed".to_owned(),
        (outcome, ..) => outcome.word().to_owned(),
    }
}

fn denials(verdict: &Verdict) -> String {
    if verdict.denials.is_empty() {
        return "\nnothing that is recorded was denied\n".to_owned();
    }
    let mut text = format!("\ndenied: {}\n", count(verdict));
    for denial in &verdict.denials {
        text.push_str(&one(denial));
    }
    text
}

/// Who looked for denials, and what they cannot see.
fn seen(verdict: &Verdict) -> String {
    let evidence = &verdict.evidence;
    if verdict.plan.is_none() || evidence.source.is_empty() {
        return String::new();
    }
    let mut text = format!("\nseen by {}", printable(&evidence.source.join(", ")));
    text.push_str(if evidence.complete { ", which see every denial\n" } else { ", which do not see every denial\n" });
    for unseen in &evidence.unseen {
        text.push_str(&format!("  not seen: {}\n", printable(unseen)));
    }
    for uncounted in &evidence.uncounted {
        text.push_str(&format!("  not counted: limits of {}\n", printable(uncounted)));
    }
    if evidence.lost > 0 {
        text.push_str(&format!("  {} denials happened and are not listed\n", evidence.lost));
    }
    text
}

/// Commands and hosts, as far as they were recorded.
fn did(verdict: &Verdict) -> String {
    const MOST: usize = 40;
    let activity = &verdict.activity;
    let mut text = String::new();
    let commands = activity.commands.len() as u64 + activity.unlisted_commands;
    if commands > 0 {
        text.push_str(&format!("\nexecuted: {commands}\n"));
        let rows: Vec<Vec<String>> = activity.commands.iter().take(MOST).map(command).collect();
        text.push_str(&aligned(&rows));
    }
    if !activity.connections.is_empty() {
        text.push_str("\nhosts\n");
        let rows: Vec<Vec<String>> = activity.connections.iter().take(MOST).map(host).collect();
        text.push_str(&aligned(&rows));
    }
    let files = activity.files.len() as u64 + activity.unlisted_files;
    if files > 0 {
        text.push_str(&format!("\nfiles changed: {files}; `clawjail report` shows them\n"));
    }
    text
}

fn command(command: &Command) -> Vec<String> {
    let words = if command.argv.is_empty() { command.path.clone() } else { command.argv.join(" ") };
    let ended = match (command.exit_code, command.signal) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => String::new(),
    };
    row([&format!("{} ms", command.after_us / 1000), &ended, &cut(&words, 160)])
}

fn host(connection: &Connection) -> Vec<String> {
    let host = connection.name.as_ref().or(connection.address.as_ref()).map_or("?", String::as_str);
    let bytes = format!("{} bytes out, {} in", connection.sent, connection.received);
    row([&connection.decision, &format!("{host}:{}", connection.port), &bytes, &connection.rule])
}

fn count(verdict: &Verdict) -> String {
    let times: u64 = verdict.denials.iter().map(|denial| denial.count).sum();
    let things = verdict.denials.len();
    let thing = if things == 1 { "1 thing".to_owned() } else { format!("{things} things") };
    if times > things as u64 { format!("{thing}, {times} times in all") } else { thing }
}

fn one(denial: &Denial) -> String {
    let times = if denial.count > 1 { format!(", {} times", denial.count) } else { String::new() };
    let by = denial.process.as_ref().map(|process| format!(", asked by {} ({})", process.name, process.pid));
    let by = printable(&by.unwrap_or_default());
    let mut text = format!("  {} `{}`{times}{by}\n", printable(&denial.kind), printable(&denial.what));
    let rule = if denial.rule.is_empty() { "no rule grants it".to_owned() } else { printable(&denial.rule) };
    text.push_str(&format!("    by the {}: {rule}\n", printable(&denial.mechanism)));
    if !denial.remedy.is_empty() {
        text.push_str(&format!("    hint: {}\n", printable(&denial.remedy)));
    }
    text
}

/// What was promised and not wholly kept.
fn missing(verdict: &Verdict) -> String {
    let partial = verdict.enforcement.promises.iter().filter_map(|kept| Some((&kept.promise, kept.missing.as_ref()?)));
    let rows: Vec<Vec<String>> = partial.map(|(promise, missing)| row([promise, missing])).collect();
    if rows.is_empty() { String::new() } else { format!("\nkept only in part\n{}", aligned(&rows)) }
}
