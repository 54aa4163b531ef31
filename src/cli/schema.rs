//! `clawjail schema`.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::answer;
use crate::daemon;
use crate::profile;
use crate::verdict;
use crate::wire;

/// Print a JSON Schema, made from the very types that are parsed and printed.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail schema requests | jq '.\"$defs\".Run'         what `run` takes, each member with its meaning
  clawjail schema replies | jq '.\"$defs\" | keys'
  clawjail schema profile > clawjail-profile.schema.json  for an editor's completion")]
pub struct Schema {
    /// Of what.
    #[arg(value_enum, value_name = "WHAT")]
    of: Of,
}

/// What has a schema.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Of {
    /// What a client may send to a service: docs/protocol.md.
    Requests,
    /// What a service sends.
    Replies,
    /// A verdict.
    Verdict,
    /// A profile file.
    Profile,
    /// The service's configuration.
    Configuration,
}

/// Prints it.
pub fn run(schema: &Schema) -> ExitCode {
    let schema = match schema.of {
        Of::Requests => wire::schema::requests(),
        Of::Replies => wire::schema::replies(),
        Of::Verdict => verdict::schema(),
        Of::Profile => profile::schema::schema(),
        Of::Configuration => daemon::schema::schema(),
    };
    answer::give(&answer::json(&schema))
}
