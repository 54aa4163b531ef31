//! One run on the page: what it was, what was denied, what it did, what it used.

use std::collections::BTreeMap;

use super::files;
use super::html::{Html, bytes, heading};
use crate::verdict::activity::Connection;
use crate::verdict::evidence::{Command, PeakUse};
use crate::verdict::{Denial, Level, Outcome, Verdict};

/// Of each kind as many are shown; the others are counted.
const MOST_DENIALS: usize = 200;
const MOST_COMMANDS: usize = 500;
const MOST_HOSTS: usize = 300;

/// Everything about one run.
pub fn run(page: &mut Html, verdict: &Verdict) {
    page.raw("<h1>");
    line(page, verdict);
    page.raw("</h1>\n");
    facts(page, verdict);
    denials(page, verdict);
    commands(page, verdict);
    files::section(page, &verdict.activity.files, verdict.activity.unlisted_files);
    hosts(page, verdict);
    listening(page, verdict);
    limits(page, verdict);
    promises(page, verdict);
}

/// A run in one line.
pub fn line(page: &mut Html, verdict: &Verdict) {
    let (class, word) = ended(verdict);
    page.raw(class).ours(&word).raw("</span> <code>").text(&verdict.argv.join(" ")).raw("</code>");
    if !verdict.denials.is_empty() {
        page.raw(" <span class=\"word bad\">").ours(&format!("{} denied", verdict.denials.len())).raw("</span>");
    }
}

fn ended(verdict: &Verdict) -> (&'static str, String) {
    const GOOD: &str = "<span class=\"word good\">";
    const BAD: &str = "<span class=\"word bad\">";
    match (verdict.outcome, verdict.exit_code, verdict.signal) {
        (Outcome::Exited, Some(0), _) => (GOOD, "exit 0".to_owned()),
        (Outcome::Exited, Some(code), _) => (BAD, format!("exit {code}")),
        (Outcome::Signalled, _, Some(signal)) => (BAD, format!("signal {signal}")),
        (outcome, ..) => (BAD, outcome.word().replace('_', " ")),
    }
}

fn fact(page: &mut Html, name: &'static str, value: &str) {
    page.raw("<dt>").raw(name).raw("</dt><dd>").text(value).raw("</dd>\n");
}

fn facts(page: &mut Html, verdict: &Verdict) {
    page.raw("<dl class=\"facts\">\n");
    fact(page, "profile", &verdict.profile);
    fact(page, "time", &verdict.time);
    fact(page, "run", &verdict.id);
    for (name, value) in [("agent", &verdict.agent), ("session", &verdict.session), ("starts in", &verdict.cwd)] {
        if let Some(value) = value {
            fact(page, name, value);
        }
    }
    if let Some(reason) = &verdict.reason {
        fact(page, "because", &reason.message);
        if let Some(remedy) = &reason.remedy {
            fact(page, "hint", remedy);
        }
    }
    if let Some(tier) = &verdict.tier {
        let level = match verdict.enforcement.level {
            Level::Full => "everything that the profile promises is enforced",
            Level::Partial => "enforced in part, see below",
            Level::None => "nothing ran",
        };
        fact(page, "kept", &format!("{level} (tier {tier})"));
    }
    page.raw("</dl>\n");
}

fn denials(page: &mut Html, verdict: &Verdict) {
    let evidence = &verdict.evidence;
    heading(page, "Denied", &verdict.denials.len().to_string());
    for denial in verdict.denials.iter().take(MOST_DENIALS) {
        one_denial(page, denial);
    }
    let left = verdict.denials.len().saturating_sub(MOST_DENIALS) as u64 + evidence.lost;
    if left > 0 {
        page.raw("<p class=\"warn\">").ours(&format!("and {left} more, not listed")).raw("</p>\n");
    }
    if verdict.plan.is_some() && !evidence.complete {
        page.raw("<p class=\"soft\">Not every denial can be seen here");
        for unseen in &evidence.unseen {
            page.raw("; ").text(unseen);
        }
        page.raw(".</p>\n");
    }
}

fn one_denial(page: &mut Html, denial: &Denial) {
    page.raw("<div class=\"card denied\"><p><strong>")
        .text(&denial.kind)
        .raw("</strong> <code>")
        .text(&denial.what)
        .raw("</code>");
    if denial.count > 1 {
        page.ours(&format!(" {} times", denial.count));
    }
    page.raw("</p>\n<p class=\"soft\">by the ").text(&denial.mechanism);
    if !denial.rule.is_empty() {
        page.raw(": ").text(&denial.rule);
    }
    if let Some(process) = &denial.process {
        page.raw(", asked by ").text(&process.name).ours(&format!(" ({})", process.pid));
    }
    page.raw("</p>\n");
    if !denial.remedy.is_empty() {
        page.raw("<p>").text(&denial.remedy).raw("</p>\n");
    }
    page.raw("</div>\n");
}

fn commands(page: &mut Html, verdict: &Verdict) {
    let activity = &verdict.activity;
    if activity.commands.is_empty() {
        return;
    }
    heading(page, "Commands", &(activity.commands.len() as u64 + activity.unlisted_commands).to_string());
    let whole = verdict.resources.wall_us.max(1);
    let depths = depths(&activity.commands);
    for (command, depth) in activity.commands.iter().zip(depths).take(MOST_COMMANDS) {
        one_command(page, command, depth, whole);
    }
    let left = activity.commands.len().saturating_sub(MOST_COMMANDS) as u64 + activity.unlisted_commands;
    if left > 0 {
        page.raw("<p class=\"soft\">").ours(&format!("and {left} more")).raw("</p>\n");
    }
}

/// How many of the processes above each are on the list.
fn depths(commands: &[Command]) -> Vec<usize> {
    let mut known: BTreeMap<u32, usize> = BTreeMap::new();
    let mut depths = Vec::with_capacity(commands.len());
    for command in commands {
        let above = command.parent.and_then(|parent| known.get(&parent)).map(|depth| depth + 1);
        // One that becomes another program stays where it is.
        let depth = known.get(&command.pid).copied().or(above).unwrap_or(0).min(12);
        known.insert(command.pid, depth);
        depths.push(depth);
    }
    depths
}

fn one_command(page: &mut Html, command: &Command, depth: usize, whole: u64) {
    page.raw("<div class=\"row\"><div><span class=\"soft\">").ours(&"· ".repeat(depth)).raw("</span><code>");
    if command.argv.is_empty() {
        page.text(&command.path);
    } else {
        page.text(&command.argv.join(" "));
    }
    page.raw("</code>");
    let bad = match (command.exit_code, command.signal) {
        (Some(0), _) | (None, None) => None,
        (Some(code), _) => Some(format!("exit {code}")),
        (None, Some(signal)) => Some(format!("signal {signal}")),
    };
    if let Some(bad) = bad {
        page.raw(" <span class=\"bad\">").ours(&bad).raw("</span>");
    }
    page.raw("</div><div>");
    let lasted = command.lasted_us.unwrap_or_else(|| whole.saturating_sub(command.after_us));
    let share = |part: u64| part as f64 * 100.0 / whole as f64;
    let begin = share(command.after_us).min(99.0);
    bar(page, "used", begin, share(lasted).max(1.0).min(100.0 - begin));
    page.raw("<span class=\"soft\">").ours(&format!("after {}, for {}", span(command.after_us), span(lasted)));
    page.raw("</span></div></div>\n");
}

/// A bar on its track. Sizes are attributes of the drawing, because the page allows no style beside its own.
fn bar(page: &mut Html, kind: &'static str, begin: f64, width: f64) {
    page.raw("<svg class=\"bar\" viewBox=\"0 0 100 4\" preserveAspectRatio=\"none\" aria-hidden=\"true\">");
    page.raw("<rect class=\"track\" width=\"100\" height=\"4\"></rect><rect class=\"")
        .raw(kind)
        .raw("\" x=\"")
        .percent(begin);
    page.raw("\" width=\"").percent(width).raw("\" height=\"4\"></rect></svg>");
}

fn hosts(page: &mut Html, verdict: &Verdict) {
    let connections = &verdict.activity.connections;
    if connections.is_empty() {
        return;
    }
    heading(page, "Hosts", &(connections.len() as u64 + verdict.activity.unlisted).to_string());
    let most = connections.iter().map(|one| one.sent.saturating_add(one.received)).max().unwrap_or(0).max(1);
    for connection in connections.iter().take(MOST_HOSTS) {
        one_host(page, connection, most);
    }
    let left = connections.len().saturating_sub(MOST_HOSTS) as u64 + verdict.activity.unlisted;
    if left > 0 {
        page.raw("<p class=\"soft\">").ours(&format!("and {left} more")).raw("</p>\n");
    }
}

fn one_host(page: &mut Html, connection: &Connection, most: u64) {
    let host = connection.name.as_ref().or(connection.address.as_ref()).map_or("?", String::as_str);
    page.raw("<div class=\"row\"><div><code>").text(host).ours(&format!(":{}", connection.port)).raw("</code> ");
    page.raw(if connection.decision == "allowed" { "<span class=\"word good\">" } else { "<span class=\"word bad\">" });
    page.text(&connection.decision)
        .raw("</span> <span class=\"soft\">")
        .text(&connection.rule)
        .raw("</span></div><div>");
    let all = connection.sent.saturating_add(connection.received);
    bar(page, "used", 0.0, all as f64 * 100.0 / most as f64);
    page.raw("<span class=\"soft\">").ours(&format!(
        "{} out, {} in",
        bytes(connection.sent),
        bytes(connection.received)
    ));
    page.raw("</span></div></div>\n");
}

fn listening(page: &mut Html, verdict: &Verdict) {
    let all = &verdict.activity.listening;
    if all.is_empty() {
        return;
    }
    heading(page, "Listened", &all.len().to_string());
    page.raw("<ul>\n");
    for socket in all.iter().take(MOST_HOSTS) {
        page.raw("<li><code>")
            .text(&socket.address)
            .ours(&format!(":{}", socket.port))
            .raw("</code> <span class=\"soft\">");
        page.ours(&format!("process {}, after {}", socket.pid, span(socket.after_us))).raw("</span></li>\n");
    }
    page.raw("</ul>\n");
}

fn limits(page: &mut Html, verdict: &Verdict) {
    if verdict.plan.is_none() {
        return;
    }
    heading(page, "Used", "");
    let used = &verdict.resources;
    let processor = used.cpu_user_us + used.cpu_system_us;
    let known: Vec<&str> = verdict.activity.peaks.iter().map(|peak| peak.limit.as_str()).collect();
    let plain = [("memory", used.peak_memory), ("wall", used.wall_us / 1000)].map(|(limit, used)| PeakUse {
        limit: limit.to_owned(),
        used,
        most: None,
        reached: 0,
    });
    for peak in plain.iter().filter(|peak| !known.contains(&peak.limit.as_str())).chain(&verdict.activity.peaks) {
        one_limit(page, peak);
    }
    page.raw("<p class=\"soft\">").ours(&format!("{} of processor time", span(processor))).raw("</p>\n");
}

fn one_limit(page: &mut Html, peak: &PeakUse) {
    let shown = |value: u64| match peak.limit.as_str() {
        "memory" | "output" | "disk" | "file_size" => bytes(value),
        "wall" => span(value.saturating_mul(1000)),
        _ => value.to_string(),
    };
    page.raw("<div class=\"row\"><div>").text(&peak.limit).ours(" ").ours(&shown(peak.used));
    if let Some(most) = peak.most {
        page.raw(" <span class=\"soft\">of ").ours(&shown(most)).raw("</span>");
    }
    if peak.reached > 0 {
        page.raw(" <span class=\"bad\">").ours(&format!("reached {} times", peak.reached)).raw("</span>");
    }
    page.raw("</div><div>");
    if let Some(most) = peak.most.filter(|most| *most > 0) {
        let share = peak.used as f64 * 100.0 / most as f64;
        bar(page, if share >= 90.0 || peak.reached > 0 { "over" } else { "used" }, 0.0, share);
    }
    page.raw("</div></div>\n");
}

fn promises(page: &mut Html, verdict: &Verdict) {
    let promises = &verdict.enforcement.promises;
    if promises.is_empty() {
        return;
    }
    page.raw("<details><summary>What was enforced, and tried</summary>\n<dl class=\"facts\">\n");
    for kept in promises {
        page.raw("<dt>").text(&kept.promise).raw("</dt><dd>").text(&kept.mechanisms.join("; "));
        if let Some(missing) = &kept.missing {
            page.raw(" <span class=\"warn\">missing: ").text(missing).raw("</span>");
        }
        if kept.probed {
            page.raw(" <span class=\"good\">").ours(&format!("{} attempts failed", kept.probes.len())).raw("</span>");
        }
        page.raw("</dd>\n");
    }
    page.raw("</dl></details>\n");
}

/// Microseconds as a person reads them.
fn span(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{} ms", micros / 1_000),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}
