//! `clawjail completions` and `clawjail man`: made from the one definition of the command line.

use std::process::ExitCode;

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, answer};

/// Print shell completions.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail completions bash > ~/.local/share/bash-completion/completions/clawjail
  clawjail completions zsh > ~/.zfunc/_clawjail
  clawjail completions fish > ~/.config/fish/completions/clawjail.fish")]
pub struct Completions {
    /// For which shell.
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

/// Print the man page.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail man | man -l -
  clawjail man run > ~/.local/share/man/man1/clawjail-run.1")]
pub struct Man {
    /// Of a subcommand, such as `run` or `profile check`; of clawjail itself if not given.
    #[arg(value_name = "SUBCOMMAND")]
    path: Vec<String>,
}

/// Prints them.
pub fn completions(completions: &Completions) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(completions.shell, &mut Cli::command(), "clawjail", &mut script);
    answer::give(&String::from_utf8_lossy(&script))
}

/// Prints it.
pub fn man(man: &Man) -> ExitCode {
    let mut command = Cli::command();
    // Building gives every subcommand its full name.
    command.build();
    for word in &man.path {
        let Some(found) = command.find_subcommand(word) else {
            let known: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
            let hint = format!("expected one of `{}`", known.join("`, `"));
            return answer::refuse(&format!("`{}` has no subcommand `{word}`", command.get_name()), Some(&hint));
        };
        command = found.clone();
    }
    let mut page = Vec::new();
    match clap_mangen::Man::new(command).render(&mut page) {
        Ok(()) => answer::give(&String::from_utf8_lossy(&page)),
        Err(error) => answer::fail(&format!("cannot print the man page: {error}")),
    }
}
