//! `clawjail reload`: new configuration and profiles for a service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::answer;
use super::client::Client;

/// Have a service read its configuration again: all of it counts from then on, or, when anything is wrong, nothing has
/// changed. What runs keeps what it was given.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  clawjail reload")]
pub struct Reload {
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Asks for it.
pub fn run(reload: &Reload) -> ExitCode {
    match Client::find(reload.socket.as_deref()).and_then(|mut client| client.call("reload", &json!({}))) {
        Ok(_) => ExitCode::SUCCESS,
        Err(problem) => answer::problem(&problem),
    }
}
