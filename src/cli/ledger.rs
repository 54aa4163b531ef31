//! `clawjail ledger`: whether the ledger is as it was written.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use super::answer;
use crate::jail::chain;
use crate::ledger::config::DEFAULT_PATH;
use crate::ledger::error::LedgerError;
use crate::ledger::files::Directory;
use crate::ledger::line::Head;
use crate::ledger::resume;
use crate::ledger::verify::{self, Anchors, Break, Report, Sound};

/// Look after the ledger: the record of all runs, which cannot be changed unnoticed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail ledger verify                       the service's ledger, every line of it
  clawjail ledger head > /elsewhere/head       keep this where nobody who can write the ledger can write
  clawjail ledger verify --expect $(cat /elsewhere/head)")]
pub struct Ledger {
    /// What to do with it.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with it.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Check every line: whether one was altered, removed, added or moved.
    Verify(Verify),
    /// Print the number and hash of the newest line.
    Head(HeadOf),
}

/// Check every line: whether one was altered, removed, added or moved.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail ledger verify
  clawjail ledger verify --ledger ./runs --json
  clawjail ledger verify --expect 812:5f0c..   and that line 812 is still there and still has this hash

What the chain alone cannot show is that its newest lines were cut off, or that all of it was written anew:
that takes a head which was kept elsewhere, and --expect.

Exit code: 0 sound; 1 tampered with; 2 sound, but for a torn line at the very end, as power cuts leave it;
125 it could not be read.")]
pub struct Verify {
    /// The directory of the ledger; the service's one if not given.
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// A line that must be there, as `clawjail ledger head` printed it.
    #[arg(long, value_name = "SEQ:HASH")]
    pub expect: Option<Head>,
    /// The line before the first one that is there, where older files were moved away.
    #[arg(long, value_name = "SEQ:HASH")]
    pub from: Option<Head>,
    /// Print the findings as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Print the number and hash of the newest line.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail ledger head
  clawjail ledger head --ledger ./runs | ssh elsewhere 'cat >> heads'")]
pub struct HeadOf {
    /// The directory of the ledger; the service's one if not given.
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
}

/// Does it.
pub fn run(ledger: &Ledger) -> ExitCode {
    match &ledger.action {
        Action::Verify(verify) => run_verify(verify),
        Action::Head(head) => run_head(head),
    }
}

/// The ledger that is meant.
pub fn open(path: Option<&Path>) -> Result<Directory, LedgerError> {
    Directory::read(path.unwrap_or(Path::new(DEFAULT_PATH)))
}

/// Where verdicts are to be had.
pub enum Source {
    /// From the files.
    Files(Directory),
    /// From the service, because the files cannot be read, or because it was named.
    Service(Option<LedgerError>),
    /// From nowhere.
    None(LedgerError),
}

/// The files that are named, or the service that is; else the service's files, or itself where those are not ours to read.
pub fn source(path: Option<&Path>, socket: Option<&Path>) -> Source {
    if socket.is_some() {
        return Source::Service(None);
    }
    match open(path) {
        Ok(directory) => Source::Files(directory),
        Err(error) if path.is_none() => Source::Service(Some(error)),
        Err(error) => Source::None(error),
    }
}

/// Says why a ledger cannot be read.
pub fn fail(error: &LedgerError) -> ExitCode {
    let hint = error.is_absent().then_some("--ledger names another directory");
    match hint.or(error.hint()) {
        Some(hint) => answer::refuse(&chain(error), Some(hint)),
        None => answer::fail(&chain(error)),
    }
}

fn run_head(head: &HeadOf) -> ExitCode {
    match open(head.ledger.as_deref()).and_then(|directory| resume::find(&directory)) {
        Ok(end) => answer::give(&format!("{}\n", end.head)),
        Err(error) => fail(&error),
    }
}

fn run_verify(verify: &Verify) -> ExitCode {
    let anchors = Anchors { expect: verify.expect, from: verify.from };
    let report =
        open(verify.ledger.as_deref()).and_then(|directory| verify::verify(&directory, anchors, verify::PATIENCE));
    let report = match report {
        Ok(report) => report,
        Err(error) => return fail(&error),
    };
    let text = if verify.json { answer::json(&Findings::of(&report)) } else { text(&report) };
    let code = match report.sound() {
        Sound::Yes => 0,
        Sound::No => 1,
        Sound::Torn => 2,
    };
    answer::give_with(&text, ExitCode::from(code))
}

fn text(report: &Report) -> String {
    let mut lines: Vec<String> = report.breaks.first.iter().map(Break::to_string).collect();
    let told = lines.len() as u64;
    if report.breaks.count > told {
        lines.push(format!("and {} more", report.breaks.count - told));
    }
    for torn in &report.unnamed {
        let name = crate::ledger::files::name(torn.file);
        lines.push(format!("{name}: torn after byte {}: {} bytes are no whole line", torn.offset, torn.bytes));
    }
    for torn in &report.torn {
        let name = crate::ledger::files::name(torn.file);
        lines.push(format!("{name}: was torn after byte {}, which the next file says", torn.offset));
    }
    if report.lost > 0 {
        lines.push(format!("{} verdicts were lost while it could not be written, which it says itself", report.lost));
    }
    let (files, count) = (report.files, report.lines);
    lines.push(format!("{}: {} verdicts in {count} lines of {files} files", report.sound().word(), report.verdicts));
    lines.push(format!("head: {}", report.head));
    lines.join("\n") + "\n"
}

/// For programs.
#[derive(Serialize)]
struct Findings<'a> {
    result: &'static str,
    head: String,
    files: u64,
    lines: u64,
    verdicts: u64,
    lost: u64,
    breaks: &'a [Break],
    breaks_in_all: u64,
    torn: &'a [crate::ledger::event::Torn],
    torn_at_end: &'a [crate::ledger::event::Torn],
}

impl Findings<'_> {
    fn of(report: &Report) -> Findings<'_> {
        Findings {
            result: report.sound().word(),
            head: report.head.to_string(),
            files: report.files,
            lines: report.lines,
            verdicts: report.verdicts,
            lost: report.lost,
            breaks: &report.breaks.first,
            breaks_in_all: report.breaks.count,
            torn: &report.torn,
            torn_at_end: &report.unnamed,
        }
    }
}
