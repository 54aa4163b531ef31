//! `clawjail contacts`: which hosts an agent has reached, for profiles with `first_contact`.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::answer;
use crate::confine::Failed;
use crate::jail::accounts;
use crate::jail::contacts::{Memory, host};
use crate::jail::not_started::NotStarted;

/// Look after the hosts that agents have reached, for profiles with `first_contact`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail contacts list
  clawjail contacts add api.example.org                 no first contact any more: `first_contact = \"deny\"` lets it through
  sudo clawjail contacts add api.example.org --user 1000 --agent coder      of an agent of the service

What a rule does not allow is denied all the same. Kept in /var/lib/clawjail/contacts by root and by the service, in the state
directory of everybody else.")]
pub struct Contacts {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Print the hosts that were reached.
    #[command(after_help = "Example:\n  clawjail contacts list --agent coder")]
    List(Whose),
    /// Say that hosts are known.
    #[command(after_help = "Example:\n  clawjail contacts add api.example.org 192.0.2.7")]
    Add(Named),
    /// Forget hosts, so that they are met for the first time again.
    #[command(after_help = "Example:\n  clawjail contacts forget api.example.org")]
    Forget(Named),
}

/// Of whom.
#[derive(Debug, Args)]
pub struct Whose {
    /// The agent of the service; none for runs without one.
    #[arg(long)]
    agent: Option<String>,
    /// The user, by number; yourself if not given.
    #[arg(long, value_name = "UID")]
    user: Option<u32>,
}

/// Hosts, and of whom.
#[derive(Debug, Args)]
pub struct Named {
    /// Names or addresses.
    #[arg(required = true)]
    hosts: Vec<String>,
    #[command(flatten)]
    whose: Whose,
}

/// Does it.
pub fn run(contacts: &Contacts) -> ExitCode {
    let done = match &contacts.action {
        Action::List(whose) => return list(whose),
        Action::Add(named) => read(named).and_then(|hosts| memory(&named.whose).remember(&hosts).map_err(failed)),
        Action::Forget(named) => read(named).and_then(|hosts| forget(&memory(&named.whose), &hosts)),
    };
    done.map_or_else(|code| code, |()| ExitCode::SUCCESS)
}

fn forget(memory: &Memory, hosts: &[String]) -> Result<(), ExitCode> {
    hosts.iter().try_for_each(|host| match memory.forget(host) {
        Ok(true) => Ok(()),
        Ok(false) => Err(answer::fail(&format!("`{host}` is not known"))),
        Err(error) => Err(failed(error)),
    })
}

fn failed(failed: Failed) -> ExitCode {
    answer::refuse_start(&NotStarted::Failed(failed))
}

fn memory(whose: &Whose) -> Memory {
    let own = accounts::own_ids();
    Memory::of(own, whose.user.unwrap_or(accounts::this_caller().uid), whose.agent.as_deref())
}

fn list(whose: &Whose) -> ExitCode {
    match memory(whose).known() {
        Ok(known) => answer::give(&known.iter().map(|host| format!("{host}\n")).collect::<String>()),
        Err(error) => failed(error),
    }
}

fn read(named: &Named) -> Result<Vec<String>, ExitCode> {
    let none = |text: &str| answer::fail(&format!("`{}` is no host: write a name or an address", text.escape_debug()));
    named.hosts.iter().map(|text| host(text).ok_or_else(|| none(text))).collect()
}
