//! `clawjail verdict`: one verdict from the ledger, and what verdicts mean.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::ledger::Source;
use super::{answer, ledger, remote};
use crate::ledger::query::{self, Filter};
use crate::policy::names::shown;

/// Look at verdicts: what was asked, enforced and denied.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "\
Examples:
  clawjail verdict 019aa5c1                    from the service's ledger, or by asking the service
  clawjail verdict --ledger ./runs 019aa5c1
  clawjail verdict schema > clawjail-verdict.schema.json
  clawjail run --verdict v.json -- make && jq .enforcement v.json")]
pub struct Verdict {
    /// Its id, or the beginning of it: the newest that fits is shown.
    #[arg(required = true, value_name = "ID", value_parser = parse_id)]
    pub id: Option<String>,
    /// The directory of the ledger; the service's one if not given.
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH", conflicts_with = "ledger")]
    pub socket: Option<PathBuf>,
    /// What else to do.
    #[command(subcommand)]
    pub action: Option<Action>,
}

/// What to do with verdicts.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Print the JSON Schema of a verdict, with the meaning of every key.
    #[command(after_help = "Example:\n  clawjail verdict schema | jq '.properties | keys'")]
    Schema,
}

/// Reads the beginning of an id.
pub fn parse_id(text: &str) -> Result<String, String> {
    let fits = text.len() >= 4 && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    if fits { Ok(text.to_ascii_lowercase()) } else { Err("expected at least 4 digits of an id".to_owned()) }
}

/// Does it.
pub fn run(verdict: &Verdict) -> ExitCode {
    match (&verdict.action, &verdict.id) {
        (Some(Action::Schema), _) => answer::give(&answer::json(&crate::verdict::schema())),
        (None, Some(id)) => show(verdict, id),
        (None, None) => answer::refuse("no id was given", None),
    }
}

fn show(verdict: &Verdict, id: &str) -> ExitCode {
    let filter = Filter { id: Some(id.to_owned()), ..Filter::default() };
    let mut text = None;
    let directory = match ledger::source(verdict.ledger.as_deref(), verdict.socket.as_deref()) {
        Source::Files(directory) => directory,
        Source::Service(why) => return remote::verdict(id, verdict.socket.as_deref(), why.as_ref()),
        Source::None(error) => return ledger::fail(&error),
    };
    let searched = query::newest_first(&directory, &filter, |found| {
        text = Some(answer::json(&found.verdict));
        ControlFlow::Break(())
    });
    match (searched, text) {
        (_, Some(text)) => answer::give(&text),
        (Ok(_), None) => {
            answer::refuse(&format!("no verdict `{}` is in the ledger", shown(id)), Some("`clawjail log` lists them"))
        }
        (Err(error), None) => ledger::fail(&error),
    }
}
