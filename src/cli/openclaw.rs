//! `clawjail openclaw`: what OpenClaw itself asks us, and what its operator does.

use std::process::ExitCode;

use clap::{Args, Subcommand};

mod doctor;
mod install_policy;

/// For OpenClaw: what is unsafe in its settings, and whether it may install a skill.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail openclaw doctor                            what is unsafe in its settings; changes nothing
  clawjail openclaw install-policy < request.json     whether a skill may be installed; OpenClaw calls this itself")]
pub struct Openclaw {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Say what is unsafe in how OpenClaw is set up, and what switching to clawjail changes.
    Doctor(doctor::Doctor),
    /// Answer OpenClaw's request to install a skill or plugin: allow, warn or block.
    InstallPolicy(install_policy::InstallPolicy),
}

/// Does it.
pub fn run(openclaw: &Openclaw) -> ExitCode {
    match &openclaw.action {
        Action::Doctor(doctor) => doctor::run(doctor),
        Action::InstallPolicy(policy) => install_policy::run(policy),
    }
}
