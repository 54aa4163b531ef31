//! `clawjail kill`: a signal to a run of a service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::answer;
use super::client::Client;
use crate::wire::request::{RunSignal, SignalName};

/// Send a signal to a run of a service; without one, end it with all that it started.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail kill 01a1fdc3-9fca-7683-9000-da8d1a7b9937
  clawjail kill --signal TERM 01a1fdc3-9fca-7683-9000-da8d1a7b9937")]
pub struct Kill {
    /// The run, as `clawjail ps` calls it.
    #[arg(value_name = "RUN")]
    run: String,
    /// By name or by number.
    #[arg(long, short, value_name = "SIGNAL", default_value = "KILL")]
    signal: String,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Sends it.
pub fn run(kill: &Kill) -> ExitCode {
    let signal = kill.signal.parse().map_or_else(|_| SignalName::Name(kill.signal.clone()), SignalName::Number);
    let params = RunSignal { run: kill.run.clone(), signal };
    match Client::find(kill.socket.as_deref()).and_then(|mut client| client.call("run.signal", &params)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(problem) => answer::problem(&problem),
    }
}
