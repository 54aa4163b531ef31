//! `clawjail profile`: what profiles there are, what they mean, and what would be enforced.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::jail::{accounts, mandate};
use crate::profile::load::Sources;

mod check;
mod explain;
mod list;
mod reach;
mod schema;
mod show;

/// Look at profiles: what a command may do.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail profile list
  clawjail profile explain untrusted -- npm test
  clawjail profile check ./my-profile.toml")]
pub struct Profile {
    /// What to do with them.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with profiles.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// List every profile that can be asked for.
    List(list::List),
    /// Print a profile with its parents and sets resolved.
    Show(show::Show),
    /// Find everything that is wrong with profile files.
    Check(check::Check),
    /// Print the plan that would be enforced here, with the reason of every grant.
    Explain(explain::Explain),
    /// Print a JSON Schema.
    Schema(schema::Schema),
}

/// Does it.
pub fn run(profile: &Profile) -> ExitCode {
    match &profile.action {
        Action::List(list) => list::run(list),
        Action::Show(show) => show::run(show),
        Action::Check(check) => check::run(check),
        Action::Explain(explain) => explain::run(explain),
        Action::Schema(schema) => schema::run(schema),
    }
}

/// Where this caller's profiles are looked for: as a run would.
fn sources() -> Sources {
    mandate::sources(accounts::own_ids(), &accounts::this_caller())
}
