//! `clawjail profile lint`: what a profile grants without need, and what is dangerous.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::{answer, found};
use super::{sources, which};
use crate::ledger::query::Filter;
use crate::policy::egress::rule::Protocol;
use crate::profile::lint::{Finding, RULES, lint};
use crate::profile::usage::{Host, Usage};
use crate::verdict::Verdict;
use crate::wire::text::printable;

/// Find what a profile grants without need, and what is dangerous.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail profile lint untrusted
  clawjail profile lint ./my-profile.toml                       a file is named by a path
  clawjail profile lint web --ledger ./runs                     and what runs under it never used
  clawjail profile lint ./learned.toml --from v1.json v2.json
  clawjail profile lint --rules                                 what is looked for

A line whose comment says `lint: RULE`, and why, grants what the rule warns of on purpose.

Exit code: 0 when nothing was found; 1 when something was; 126 when the profile cannot be used.")]
pub struct Lint {
    /// The profiles: names, or paths of files.
    #[arg(value_name = "PROFILE", required_unless_present = "rules")]
    profiles: Vec<String>,
    /// What the runs of this ledger under the profile used.
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    ledger: Option<PathBuf>,
    /// What the runs of these verdicts used, whatever their profile.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    from: Vec<PathBuf>,
    /// Show findings for which the profile states its reason, too.
    #[arg(long)]
    stated: bool,
    /// List the rules.
    #[arg(long)]
    rules: bool,
    /// The findings as data, those with a stated reason too.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    profile: &'a str,
    runs: u64,
    findings: Vec<Finding>,
}

/// Most verdicts of a ledger that are read for one profile.
const MOST: usize = 10_000;

/// Looks.
pub fn run(lint: &Lint) -> ExitCode {
    if lint.rules {
        return answer::give(&RULES.map(|(rule, what)| format!("{rule:<18}  {what}\n")).concat());
    }
    match look(lint) {
        Ok(answers) => {
            let bad = answers.iter().flat_map(|answer| &answer.findings).any(|finding| finding.stated.is_none());
            let text = if lint.json {
                answer::json(&answers)
            } else {
                answers.iter().map(|one| text(one, lint.stated)).collect()
            };
            answer::give_with(&text, if bad { ExitCode::from(1) } else { ExitCode::SUCCESS })
        }
        Err(code) => code,
    }
}

fn look(asked: &Lint) -> Result<Vec<Answer<'_>>, ExitCode> {
    let sources = sources();
    let library = sources.library();
    let mut answers = Vec::new();
    for name in &asked.profiles {
        let usage = usage(asked, name)?;
        let findings = lint(which(name), &usage, &sources, &library).map_err(|error| answer::refuse_profile(&error))?;
        answers.push(Answer { profile: name, runs: usage.runs, findings });
    }
    Ok(answers)
}

fn usage(asked: &Lint, profile: &str) -> Result<Usage, ExitCode> {
    if let Some(directory) = &asked.ledger {
        let name = PathBuf::from(profile).file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let filter = Filter { profile: name, ..Filter::default() };
        return Ok(sum(&found::several(Some(directory), &filter, MOST)?));
    }
    let mut all = Vec::new();
    for file in &asked.from {
        all.extend(found::in_file(file)?);
    }
    Ok(sum(&all))
}

/// What these runs used together. Those that never began used nothing.
pub fn sum(verdicts: &[Verdict]) -> Usage {
    let mut usage = Usage::default();
    for verdict in verdicts.iter().filter(|verdict| verdict.plan.is_some()) {
        usage.runs += 1;
        usage.reached.extend(reached(verdict));
        used(verdict, &mut usage);
        usage.memory = usage.memory.max(verdict.resources.peak_memory);
        usage.processes = usage.processes.max(verdict.resources.peak_processes);
        usage.wall_ms = usage.wall_ms.max(verdict.resources.wall_us / 1000);
    }
    usage
}

/// What was executed and changed, where that was recorded in every run.
fn used(verdict: &Verdict, usage: &mut Usage) {
    let (activity, recorded) = (&verdict.activity, verdict.evidence.activity.as_str());
    let first = usage.runs == 1;
    let commands = ["commands", "full"].contains(&recorded) && activity.unlisted_commands == 0;
    usage.executed = usage.executed.take().or(first.then(BTreeSet::new)).filter(|_| commands);
    if let Some(executed) = &mut usage.executed {
        executed.extend(activity.commands.iter().map(|command| command.path.clone()));
    }
    usage.changed = usage.changed.or(first.then_some(false)).filter(|_| recorded == "full");
    usage.changed = usage.changed.map(|changed| changed || !activity.files.is_empty() || activity.unlisted_files > 0);
}

fn reached(verdict: &Verdict) -> BTreeSet<Host> {
    let connections = verdict.activity.connections.iter().filter(|connection| connection.decision != "denied");
    let host = connections.map(|connection| Host {
        name: connection.name.clone(),
        address: connection.address.clone(),
        port: connection.port,
        protocol: if connection.protocol == "udp" { Protocol::Udp } else { Protocol::Tcp },
    });
    host.collect()
}

fn text(answer: &Answer<'_>, stated: bool) -> String {
    let profile = printable(answer.profile);
    let shown = answer.findings.iter().filter(|finding| stated || finding.stated.is_none());
    let mut text: String = shown.map(|finding| told(&profile, finding)).collect();
    let open = answer.findings.iter().filter(|finding| finding.stated.is_none()).count();
    let with_reason = answer.findings.len() - open;
    let besides =
        if with_reason > 0 { format!(", {with_reason} with a reason stated in the profile") } else { String::new() };
    let runs = if answer.runs > 0 { format!(" (beside {} runs)", answer.runs) } else { String::new() };
    let word = match open {
        0 => "clean".to_owned(),
        1 => "1 finding".to_owned(),
        open => format!("{open} findings"),
    };
    text.push_str(&format!("{profile}: {word}{besides}{runs}\n"));
    text
}

fn told(profile: &str, finding: &Finding) -> String {
    let line = format!("{profile}: {}: {}: {}\n", finding.rule, printable(&finding.place), printable(&finding.what));
    match &finding.stated {
        Some(reason) => format!("{line}  stated: {}\n", printable(reason)),
        None => format!("{line}  hint: {}\n", printable(&finding.remedy)),
    }
}
