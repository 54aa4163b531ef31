//! The binary: parse, dispatch, exit code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match clawjail::cli::Cli::try_parse() {
        Ok(cli) => clawjail::cli::dispatch(cli),
        Err(error) => clawjail::cli::report::usage(&error),
    }
}
