//! `clawjail openclaw doctor`: what is unsafe in how OpenClaw is set up, and mending it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use crate::cli::answer;
use crate::jail::accounts;
use crate::openclaw::doctor::fix::{self, Outcome};
use crate::openclaw::doctor::place::{self, Environment};
use crate::openclaw::doctor::{self, Finding, Setup};
use crate::openclaw::skill::rules::Severity;

/// Say what is unsafe in how OpenClaw is set up, and what switching to clawjail changes.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail openclaw doctor                     as the user that OpenClaw runs as; changes nothing
  clawjail openclaw doctor --fix               mends what can be mended, after a backup of openclaw.json
  clawjail openclaw doctor --json | jq -r '.findings[].checkId'
  OPENCLAW_STATE_DIR=/srv/openclaw clawjail openclaw doctor

The configuration is found as OpenClaw finds it: OPENCLAW_CONFIG_PATH, OPENCLAW_STATE_DIR, OPENCLAW_HOME,
OPENCLAW_PROFILE. docs/openclaw.md says what is looked for and what --fix does.

Exit code: 0 nothing critical and no warning; 1 some; 125 clawjail failed; 126 there is no OpenClaw here.")]
pub struct Doctor {
    /// Mend what can be mended. The configuration is backed up beside it first; a second time changes nothing.
    #[arg(long)]
    fix: bool,
    /// The same as data.
    #[arg(long)]
    json: bool,
    /// As after `openclaw --profile NAME`.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

/// Findings of one check that are shown; data has all.
const SHOWN: usize = 8;

/// What is printed.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    state: &'a Path,
    config: &'a Path,
    summary: BTreeMap<&'static str, usize>,
    findings: &'a [Finding],
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<&'a Outcome>,
}

/// Looks, and mends if told to.
pub fn run(doctor: &Doctor) -> ExitCode {
    let place = place::find(&environment(), doctor.profile.as_deref(), Path::exists);
    let program = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/usr/local/bin/clawjail"));
    let read = || Setup::read(place.clone(), accounts::own_ids().uid, program.clone());
    let setup = read();
    if !setup.exists() {
        let message = format!("there is no OpenClaw at `{}`", place.state.display());
        return answer::refuse(
            &message,
            Some("run it as OpenClaw's user, or set OPENCLAW_STATE_DIR or OPENCLAW_CONFIG_PATH"),
        );
    }
    let found = doctor::look(&setup);
    let mended = match (&found, doctor.fix) {
        (Ok(found), true) => fix::apply(&setup, found, &stamp()).map(Some),
        _ => Ok(None),
    };
    let (outcome, found) = match (mended, found) {
        (Err(message), _) | (_, Err(message)) => return answer::fail(&message),
        (Ok(None), Ok(found)) => (None, Ok(found)),
        (Ok(outcome), Ok(_)) => (outcome, doctor::look(&read())),
    };
    match found {
        Ok(findings) => print(doctor, &setup, &findings, outcome.as_ref()),
        Err(message) => answer::fail(&message),
    }
}

fn environment() -> Environment {
    let variables = std::env::vars_os();
    let variables = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    Environment {
        variables: variables.collect(),
        home: accounts::this_caller().home,
        current: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
    }
}

/// For the name of a backup: the time, to the second.
fn stamp() -> String {
    jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn print(doctor: &Doctor, setup: &Setup, findings: &[Finding], outcome: Option<&Outcome>) -> ExitCode {
    let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let (critical, warn, info) = (count(Severity::Critical), count(Severity::Warn), count(Severity::Info));
    let text = if doctor.json {
        let summary = BTreeMap::from([("critical", critical), ("warn", warn), ("info", info)]);
        answer::json(&Report {
            state: &setup.place.state,
            config: &setup.place.config,
            summary,
            findings,
            fix: outcome,
        })
    } else {
        let mut text =
            format!("state {}, configuration {}\n", setup.place.state.display(), setup.place.config.display());
        text.push_str(&findings_as_text(findings));
        text.push_str(&outcome.map(outcome_as_text).unwrap_or_default());
        text.push_str(&format!("\n{critical} critical, {warn} to look at, {info} to know\n"));
        let fixable = findings.iter().filter(|finding| finding.fixable).count();
        if fixable > 0 && outcome.is_none() {
            text.push_str(&format!("`clawjail openclaw doctor --fix` mends {fixable} of them\n"));
        }
        text
    };
    answer::give_with(&text, ExitCode::from(u8::from(critical + warn > 0)))
}

fn findings_as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for alike in findings.chunk_by(|one, other| one.check_id == other.check_id) {
        let Some(first) = alike.first() else { continue };
        let word = match first.severity {
            Severity::Critical => "critical",
            Severity::Warn => "warn",
            Severity::Info | Severity::Part => "info",
        };
        text.push_str(&format!("\n{word:<9} {} ({})\n", first.title, first.check_id));
        for finding in alike.iter().take(SHOWN) {
            let fixable = if finding.fixable { "  [--fix]" } else { "" };
            text.push_str(&format!("          {}{fixable}\n", finding.detail));
        }
        if alike.len() > SHOWN {
            text.push_str(&format!("          and {} more\n", alike.len() - SHOWN));
        }
        for (label, line) in
            [("why", Some(&first.why)), ("do", Some(&first.remediation)), ("with clawjail", first.clawjail.as_ref())]
        {
            if let Some(line) = line {
                text.push_str(&format!("          {label}: {line}\n"));
            }
        }
        text.push_str(&format!("          see {}\n", first.reference));
    }
    text
}

fn outcome_as_text(outcome: &Outcome) -> String {
    let mut text = String::from("\n");
    for line in &outcome.mended {
        text.push_str(&format!("mended    {} ({})\n", line.what, line.check_id));
    }
    for line in &outcome.left {
        text.push_str(&format!("left      {} ({})\n", line.what, line.check_id));
    }
    match (&outcome.backup, outcome.mended.is_empty()) {
        (Some(backup), _) => text.push_str(&format!("backup    {}\n", backup.display())),
        (None, true) => text.push_str("nothing was changed\n"),
        (None, false) => {}
    }
    text
}
