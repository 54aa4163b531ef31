//! `clawjail ps`: the runs of a service.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};

use super::answer;
use super::client::{Client, Problem};
use crate::plan::explain::aligned;
use crate::wire::reply::Listed;

/// List the runs of a service: your own, or all of them for an admin.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail ps
  clawjail ps --json | jq -r '.[] | select(.agent == \"coder\").run'")]
pub struct Ps {
    /// As data.
    #[arg(long)]
    json: bool,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Lists them.
pub fn run(ps: &Ps) -> ExitCode {
    match list(ps) {
        Ok(text) => answer::give(&text),
        Err(problem) => answer::problem(&problem),
    }
}

fn list(ps: &Ps) -> Result<String, Problem> {
    let mut listed = Client::find(ps.socket.as_deref())?.call("ps", &json!({}))?;
    let runs = listed.get_mut("runs").map(Value::take).unwrap_or_default();
    if ps.json {
        return Ok(answer::json(&runs));
    }
    let runs: Vec<Listed> = serde_json::from_value(runs).unwrap_or_default();
    let head = ["run", "state", "jail", "agent", "profile", "command"].map(str::to_owned).to_vec();
    let none = || "-".to_owned();
    let rows = runs.into_iter().map(|run| {
        let command: String = run.argv.join(" ").chars().take(60).flat_map(char::escape_debug).collect();
        vec![run.run, run.state, run.jail.unwrap_or_else(none), run.agent.unwrap_or_else(none), run.profile, command]
    });
    Ok(aligned(&[head].into_iter().chain(rows).collect::<Vec<_>>()))
}
