//! `clawjail report`: runs as a page to look at.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::found::{self, Wanted};
use super::{answer, verdict};
use crate::verdict::Verdict;

mod files;
pub mod html;
mod one;
mod whole;

/// Write what a run, or a session of runs, did and was denied as one page of HTML.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail report 019aa5c1 --html run.html                   a run of the service's ledger
  clawjail report nightly --ledger ./runs --html night.html  every run of the session `nightly`
  clawjail report --from v.json --html -                     a verdict in a file, to stdout

The page is one file: no script, and nothing is loaded from anywhere. What was recorded is what it shows: see
`[record] activity` in docs/evidence.md.")]
pub struct Report {
    /// The run, by its verdict's id or the beginning of it; or a session, by its word.
    #[arg(value_name = "RUN|SESSION", required_unless_present = "from", conflicts_with = "from")]
    which: Option<String>,
    /// Files with verdicts, as `clawjail run --verdict` writes them.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    from: Vec<PathBuf>,
    /// Where to write the page; `-` for stdout.
    #[arg(long, value_name = "FILE")]
    html: PathBuf,
    /// The directory of the ledger; the service's one if not given.
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    /// Ask the service at this socket; for a run alone.
    #[arg(long, value_name = "PATH", conflicts_with = "ledger")]
    socket: Option<PathBuf>,
}

/// Most runs that are on one page.
const MOST_RUNS: usize = 500;

/// Writes it.
pub fn run(report: &Report) -> ExitCode {
    let verdicts = match gather(report) {
        Ok(verdicts) => verdicts,
        Err(code) => return code,
    };
    let page = whole::page(&verdicts);
    if report.html.as_os_str() == "-" {
        return answer::give(&page);
    }
    let written = fs::File::create(&report.html).and_then(|mut file| file.write_all(page.as_bytes()));
    match written {
        Ok(()) => answer::give(&format!(
            "{}: {} runs, {} KiB\n",
            report.html.display(),
            verdicts.len(),
            page.len().div_ceil(1024)
        )),
        Err(error) => answer::fail(&format!("cannot write `{}`: {error}", report.html.display())),
    }
}

fn gather(report: &Report) -> Result<Vec<Verdict>, ExitCode> {
    let Some(which) = &report.which else {
        let mut all = Vec::new();
        for file in &report.from {
            all.extend(found::in_file(file)?);
        }
        all.truncate(MOST_RUNS);
        return if all.is_empty() { Err(answer::refuse("no verdict is in these files", None)) } else { Ok(all) };
    };
    let ledger = report.ledger.as_deref();
    if report.socket.is_none() {
        let session = found::of_session(ledger, which, MOST_RUNS);
        if let Ok(runs) = session
            && !runs.is_empty()
        {
            return Ok(runs);
        }
    }
    let id = verdict::parse_id(which).map_err(|_| {
        answer::refuse(
            &format!("no run of session `{}` is in the ledger", which.escape_debug()),
            Some("`clawjail log --json` shows the sessions"),
        )
    })?;
    let wanted = Wanted { id: Some(&id), from: None, ledger, socket: report.socket.as_deref() };
    found::one(&wanted).map(|verdict| vec![verdict])
}
