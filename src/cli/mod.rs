//! The command line: one file a subcommand.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::supervise::launch::Launcher;

pub mod answer;
pub mod attach;
pub mod begin;
pub mod client;
pub mod contacts;
pub mod denied;
pub mod doctor;
pub mod found;
pub mod jail;
pub mod kill;
pub mod learn;
pub mod ledger;
pub mod log;
pub mod openclaw;
pub mod page;
pub mod policy;
pub mod profile;
pub mod ps;
pub mod reload;
pub mod remote;
pub mod report;
pub mod run;
pub mod schema;
pub mod serve;
pub mod setup;
pub mod shell;
pub mod through;
pub mod top;
pub mod typing;
pub mod verdict;
pub mod why;

/// Runs the commands of AI agents in a jail, and proves it.
#[derive(Debug, Parser)]
#[command(name = "clawjail", version, about, max_term_width = 100)]
#[command(after_help = "\
Examples:
  clawjail run -- npm test                     in the current directory, with nothing else and no network
  clawjail profile explain untrusted           what that means here, and why
  clawjail doctor                              whether this host can do it")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do. Only the one that is asked for is defined whole: all of them take a third of a millisecond of each start.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub enum Command {
    /// Run a command in a jail of its own.
    Run(run::Run),
    /// Serve callers on a socket, until told to stop.
    Serve(serve::Serve),
    /// Set up the service: a configuration, units, a user for it, and start it.
    Setup(setup::Setup),
    /// Open a jail that stays between runs, list or close such jails.
    Jail(jail::Jail),
    /// List the runs of a service.
    Ps(ps::Ps),
    /// Show what the jails of a service use, again and again.
    Top(top::Top),
    /// Send a signal to a run of a service.
    Kill(kill::Kill),
    /// Show a run's output so far, and from now on.
    Attach(attach::Attach),
    /// Begin a run that a client of a service has prepared, with our input and output.
    Begin(begin::Begin),
    /// Have a service read its configuration again.
    Reload(reload::Reload),
    /// Look at profiles: what a command may do.
    Profile(profile::Profile),
    /// Make policies from what this machine is set to.
    Policy(policy::Policy),
    /// Look after the hosts that agents have reached, for profiles with `first_contact`.
    Contacts(contacts::Contacts),
    /// Try every mechanism for real: what works here, what does not, and what to do about it.
    Doctor(doctor::Doctor),
    /// Look at verdicts: what was asked, enforced and denied.
    Verdict(verdict::Verdict),
    /// Say why something was denied in a run, or whether it would be.
    Why(why::Why),
    /// Write the least profile under which a command does what it does, from watching it.
    Learn(learn::Learn),
    /// Write what a run, or a session of runs, did and was denied as one page of HTML.
    Report(page::Report),
    /// Show what was run, newest first.
    Log(log::Log),
    /// Look after the ledger: the record of all runs, which cannot be changed unnoticed.
    Ledger(ledger::Ledger),
    /// For OpenClaw: what is unsafe in its settings, and whether it may install a skill.
    Openclaw(openclaw::Openclaw),
    /// Print a JSON Schema: of requests, replies, verdicts, profiles or the service's configuration.
    Schema(schema::Schema),
    /// Print shell completions.
    Completions(shell::Completions),
    /// Print the man page.
    Man(shell::Man),
}

/// Reads the command line, does what it asks for and gives the exit code.
pub fn main() -> ExitCode {
    // Before anything is forked: a caller may ignore SIGCHLD, and we would inherit that.
    crate::sys::process::keep_ended_children();
    // A limit of file sizes is then an error of the write, and has a line of its own.
    let _ = crate::sys::process::ignore_signal(nix::sys::signal::Signal::SIGXFSZ);
    report::give_up_in_one_line();
    let launcher = run::launch_ahead(std::env::args_os());
    match Cli::try_parse() {
        Ok(cli) => dispatch(cli, launcher),
        Err(error) => report::usage(&error),
    }
}

fn dispatch(cli: Cli, launcher: Option<std::io::Result<Launcher>>) -> ExitCode {
    match cli.command {
        Command::Run(run) => run::run(&run, launcher),
        Command::Serve(serve) => serve::run(&serve),
        Command::Setup(setup) => setup::run(&setup),
        Command::Jail(jail) => jail::run(&jail),
        Command::Ps(ps) => ps::run(&ps),
        Command::Top(top) => top::run(&top),
        Command::Kill(kill) => kill::run(&kill),
        Command::Attach(attach) => attach::run(&attach),
        Command::Begin(begin) => begin::run(&begin),
        Command::Reload(reload) => reload::run(&reload),
        Command::Profile(profile) => profile::run(&profile),
        Command::Policy(policy) => policy::run(&policy),
        Command::Contacts(contacts) => contacts::run(&contacts),
        Command::Doctor(doctor) => doctor::run(&doctor),
        Command::Verdict(verdict) => verdict::run(&verdict),
        Command::Why(why) => why::run(&why),
        Command::Learn(learn) => learn::run(&learn),
        Command::Report(report) => page::run(&report),
        Command::Log(log) => log::run(&log),
        Command::Ledger(ledger) => ledger::run(&ledger),
        Command::Openclaw(openclaw) => openclaw::run(&openclaw),
        Command::Schema(schema) => schema::run(&schema),
        Command::Completions(completions) => shell::completions(&completions),
        Command::Man(man) => shell::man(&man),
    }
}
