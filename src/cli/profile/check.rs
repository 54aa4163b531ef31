//! `clawjail profile check`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::super::answer;
use super::sources;
use crate::profile::check;

/// Find everything that is wrong with profile files.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail profile check ./my-profile.toml
  clawjail profile check profiles/*.toml        in a pull request

Exit code: 0 when every file can be used, 126 when one cannot.")]
pub struct Check {
    /// The files; they may lie anywhere.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// Checks them all, whatever the first one says.
pub fn run(check: &Check) -> ExitCode {
    let sources = sources();
    let library = sources.library();
    let mut good = String::new();
    let mut worst = None;
    for file in &check.files {
        let errors = check::check(file, &sources, &library);
        if errors.is_empty() {
            good.push_str(&format!("{}: good\n", file.display()));
        }
        for error in &errors {
            worst = Some(answer::refuse_profile(error));
        }
    }
    answer::give_with(&good, worst.unwrap_or(ExitCode::SUCCESS))
}
