//! `clawjail profile schema`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::super::answer;
use crate::profile;
use crate::verdict;

/// Print a JSON Schema.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail profile schema > clawjail-profile.schema.json      for an editor's completion
  clawjail profile schema verdict                             what `--verdict` and `--json` print")]
pub struct Schema {
    /// Of what.
    #[arg(value_enum, default_value_t = Of::Profile)]
    of: Of,
}

/// What has a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Of {
    /// A profile file.
    Profile,
    /// A verdict.
    Verdict,
}

/// Prints it.
pub fn run(schema: &Schema) -> ExitCode {
    match schema.of {
        Of::Profile => answer::give(&answer::json(&profile::schema::schema())),
        Of::Verdict => answer::give(&answer::json(&verdict::schema())),
    }
}
