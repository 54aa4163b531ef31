//! `clawjail begin`: begin a run that somebody else has prepared, with our own streams.
//!
//! For programs that spawn a process for each command of theirs, and must not hand that process the command or its environment.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;

use super::answer;
use super::client::Problem;
use super::report;
use super::through;
use crate::verdict::Verdict;

/// How long we ask again when the service has no connection to spare.
const PATIENCE: Duration = Duration::from_secs(60);

/// Begin a run that a client of a service has prepared (`run.prepare`), with our stdin, stdout and stderr. The exit code is the
/// run's. SIGTERM, SIGINT, SIGHUP and SIGQUIT end the run with everything that it started.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail begin 01a1fef2-21fb-7071-8429-98d14ba693fa                       a run that a client of the service at its usual socket has prepared
  clawjail begin --socket /run/clawjail/socket --quiet 01a1fef2-21fb-7071-8429-98d14ba693fa <input >output

docs/protocol.md has `run.prepare`.")]
pub struct Begin {
    /// The run, as `run.prepare` called it.
    #[arg(value_name = "RUN")]
    run: String,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// Wait for the run if it is not prepared yet, for at most so many milliseconds: whoever named it is still asking for it.
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 0)]
    wait: u64,
    /// Say nothing of our own on stderr.
    #[arg(long, short)]
    quiet: bool,
}

/// Begins it, and waits for its end.
pub fn run(begin: &Begin) -> ExitCode {
    match through::begin(&begin.run, begin.socket.as_deref(), begin.wait, Instant::now() + PATIENCE) {
        Ok(verdict) => over(begin, &verdict),
        Err(Problem::Fault(fault)) => {
            let verdict = fault.data.verdict.as_ref().and_then(|raw| serde_json::from_str::<Verdict>(raw.get()).ok());
            match verdict {
                Some(verdict) => over(begin, &verdict),
                None => answer::problem(&Problem::Fault(fault)),
            }
        }
        Err(problem) => answer::problem(&problem),
    }
}

fn over(begin: &Begin, verdict: &Verdict) -> ExitCode {
    match report::Sink::open(None, false, begin.quiet) {
        Ok(sink) => report::finish(&sink, verdict, Ok(()), Ok(())),
        Err(message) => report::fail_early(&message),
    }
}
