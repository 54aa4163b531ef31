//! `clawjail profile list`.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::answer;
use super::sources;
use crate::plan::explain::aligned;
use crate::profile::listing::{self, Listed};

/// List every profile that can be asked for.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail profile list
  clawjail profile list --json | jq -r '.[].name'

A profile of your own goes into /etc/clawjail/profiles (owned by root), or, for runs without root,
into ~/.config/clawjail/profiles.")]
pub struct List {
    /// The same as data.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    summary: Option<&'a str>,
    error: Option<String>,
    source: &'a str,
}

/// Lists them.
pub fn run(list: &List) -> ExitCode {
    let listed = listing::list(&sources());
    if list.json {
        return answer::give(&answer::json(&listed.iter().map(row).collect::<Vec<_>>()));
    }
    let rows: Vec<Vec<String>> = listed.iter().map(cells).collect();
    answer::give(&aligned(&rows).lines().map(|line| format!("{}\n", line.trim_start())).collect::<String>())
}

fn row(listed: &Listed) -> Row<'_> {
    Row {
        name: &listed.name,
        summary: listed.summary.as_deref().ok(),
        error: listed.summary.as_ref().err().map(|error| crate::jail::chain(error)),
        source: &listed.source,
    }
}

fn cells(listed: &Listed) -> Vec<String> {
    let summary = match &listed.summary {
        Ok(summary) => summary.clone(),
        Err(error) => format!("unusable: {}", crate::jail::chain(error)),
    };
    vec![listed.name.clone(), listed.source.clone(), summary]
}
