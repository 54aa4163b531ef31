//! `clawjail profile`: what profiles there are, what they mean, and what would be enforced.

use std::path::Path;
use std::process::ExitCode;

use clap::{Args, Subcommand};

use crate::jail::{accounts, mandate};
use crate::profile::lint::Which;
use crate::profile::load::Sources;

mod check;
pub mod diff;
mod explain;
pub mod lint;
mod list;
pub mod reach;
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
    /// Say in words what one profile allows more than another, and what less.
    Diff(diff::Diff),
    /// Find what a profile grants without need, and what is dangerous.
    Lint(lint::Lint),
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
        Action::Diff(diff) => diff::run(diff),
        Action::Lint(lint) => lint::run(lint),
        Action::Schema(schema) => schema::run(schema),
    }
}

/// Where this caller's profiles are looked for: as a run would.
pub fn sources() -> Sources {
    mandate::sources(accounts::own_ids(), &accounts::this_caller())
}

/// What was typed for a profile: a name has neither a slash nor a dot.
pub fn which(typed: &str) -> Which<'_> {
    if typed.contains(['/', '.']) { Which::Draft(Path::new(typed)) } else { Which::Named(typed) }
}
