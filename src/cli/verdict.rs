//! `clawjail verdict`: what verdicts mean.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::answer;

/// Look at verdicts: what was asked, enforced and denied.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail verdict schema > clawjail-verdict.schema.json
  clawjail run --verdict v.json -- make && jq .enforcement v.json")]
pub struct Verdict {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with verdicts.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Print the JSON Schema of a verdict, with the meaning of every key.
    #[command(after_help = "Example:\n  clawjail verdict schema | jq '.properties | keys'")]
    Schema,
}

/// Does it.
pub fn run(verdict: &Verdict) -> ExitCode {
    match verdict.action {
        Action::Schema => answer::give(&answer::json(&crate::verdict::schema())),
    }
}
