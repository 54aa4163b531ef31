//! `clawjail serve`: the service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{answer, ledger};
use crate::daemon::config::DEFAULT_PATH;
use crate::daemon::guard::{self, NoService};

/// Serve callers on a socket, until told to stop.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail serve                                     as root, by /etc/clawjail/clawjail.toml, if there is one
  clawjail serve --config ./clawjail.toml --socket ./socket

SIGHUP reads the configuration again, SIGTERM ends all runs and stops.
Exit code: 0; 125 when clawjail failed; 126 when the configuration cannot be used.")]
pub struct Serve {
    /// The configuration; profiles and policies are looked for beside it.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where to make the socket, whatever the configuration says.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Serves.
pub fn run(serve: &Serve) -> ExitCode {
    let (path, named) = match &serve.config {
        Some(path) => (absolute(path), true),
        None => (default_path(), false),
    };
    let socket = serve.socket.as_ref().map(absolute);
    match guard::serve(&path, named, socket.as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(NoService::Config(error)) => answer::refuse(&error.to_string(), error.hint().as_deref()),
        Err(NoService::Socket(path, error)) => {
            answer::fail(&format!("cannot make the socket `{}`: {error}", path.display()))
        }
        Err(NoService::Ledger(error)) => ledger::fail(&error),
        Err(NoService::Failed(failed)) => {
            answer::fail(&format!("cannot serve at step `{}`: {}", failed.step, failed.errno.desc()))
        }
    }
}

/// Root's configuration, or that of the user whose service it is.
fn default_path() -> PathBuf {
    let home = std::env::var_os("HOME").filter(|_| !nix::unistd::geteuid().is_root());
    home.map_or_else(|| PathBuf::from(DEFAULT_PATH), |home| PathBuf::from(home).join(".config/clawjail/clawjail.toml"))
}

fn absolute(path: &PathBuf) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.clone())
}
