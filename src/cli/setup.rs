//! `clawjail setup`: a service that works, from what is found on this machine.
//!
//! Owns the order: files, then the user, then whether the configuration can be used, then the start. A file that somebody
//! has changed is never written over.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use self::layout::{Layout, Scope};
use self::machine::Manager;
use self::report::{Mode, Problem, Report};
use self::written::{Found, Outcome};
use super::answer;
use super::client::Client;
use crate::daemon::configuring;
use crate::jail::accounts;

mod layout;
mod machine;
mod report;
mod written;

/// Set up the service: a configuration, units, a user for it, and start it. A second time changes nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  sudo clawjail setup --dry-run     what would be written and started
  sudo clawjail setup               for this machine: whoever asks sudo, and OpenClaw's user if there is one, may use it
  clawjail setup --user             for yourself alone, without root
  sudo clawjail setup --remove      stop it, and take away what was written and not changed since

A file that was changed is kept, and the difference is shown.
Exit code: 0; 125 when clawjail failed; 126 when it cannot be set up here.")]
pub struct Setup {
    /// Only say what would be done.
    #[arg(long)]
    dry_run: bool,
    /// Put the files below DIR, and neither make a user nor start anything: for images and packages.
    #[arg(long, value_name = "DIR")]
    prefix: Option<PathBuf>,
    /// For this user alone, by their own systemd; no root is needed.
    #[arg(long)]
    user: bool,
    /// Stop it and take it away. The ledger and the user `clawjail` stay.
    #[arg(long)]
    remove: bool,
}

/// Does it.
pub fn run(setup: &Setup) -> ExitCode {
    let mode = if setup.dry_run { Mode::Tell } else { Mode::Do };
    let mut report = Report { mode, text: String::new(), changes: 0 };
    let done = if setup.remove { remove(setup, &mut report) } else { install(setup, &mut report) };
    let printed = answer::give(&report.text);
    match done {
        Ok(()) => printed,
        Err(Problem::Refused(message, hint)) => answer::refuse(&message, hint.as_deref()),
        Err(Problem::Failed(message)) => answer::fail(&message),
    }
}

fn find_layout(setup: &Setup) -> Result<Layout, Problem> {
    let scope = if setup.user { Scope::OneUser } else { Scope::Machine };
    Layout::find(scope, setup.prefix.as_deref())
}

/// For files that are not this machine's own, nothing is made or started.
fn manager(setup: &Setup, layout: &Layout) -> Manager {
    if setup.prefix.is_some() { Manager::Elsewhere } else { Manager::find(layout.scope) }
}

fn install(setup: &Setup, report: &mut Report) -> Result<(), Problem> {
    let layout = find_layout(setup)?;
    let manager = manager(setup, &layout);
    let mut units_changed = false;
    for file in &layout.files {
        units_changed |= keep_up(file, report)? && file.is_unit();
    }
    if !layout.state.is_dir() {
        report.change("made", "make", &layout.state.display().to_string());
        if report.mode == Mode::Do {
            written::make_directory(&layout.state).map_err(|error| Problem::failed("make", &layout.state, &error))?;
        }
    }
    if layout.scope == Scope::Machine && manager != Manager::Elsewhere {
        machine::make_user(&layout, report)?;
    }
    if report.mode == Mode::Do && manager != Manager::Elsewhere {
        let read = configuring::read(layout.configuration(), true, accounts::own_ids());
        read.map_err(|error| Problem::Refused(error.to_string(), error.hint()))?;
    }
    manager.start(units_changed, report)?;
    if report.changes == 0 {
        report.say("all of it is there already");
    }
    tell_how_to_go_on(&layout, manager, report)
}

/// Writes a file if it is not what it should be and nobody has changed it. Says whether it is another one now.
fn keep_up(file: &layout::File, report: &mut Report) -> Result<bool, Problem> {
    let shown = file.path.display().to_string();
    match written::look(file).map_err(|error| Problem::failed("read", &file.path, &error))? {
        Found::Same => return Ok(false),
        Found::Changed(difference) => {
            report.say(&format!("kept      {shown}, which was changed; `-` is there, `+` is what setup would write:"));
            report.say(&difference);
            return Ok(false);
        }
        Found::Nothing => report.change("wrote", "write", &shown),
        Found::Outdated => report.change("updated", "update", &shown),
    }
    if report.mode == Mode::Do {
        written::write(file).map_err(|error| Problem::failed("write", &file.path, &error))?;
    }
    Ok(true)
}

fn tell_how_to_go_on(layout: &Layout, manager: Manager, report: &mut Report) -> Result<(), Problem> {
    if report.mode == Mode::Tell {
        return Ok(());
    }
    match manager {
        Manager::Elsewhere => {}
        Manager::None => report.say(&format!(
            "no systemd runs here: start it with `{} serve`, from whatever starts services on this machine",
            layout.binary.display()
        )),
        Manager::Systemd(_) => {
            Client::connect(&layout.socket)
                .and_then(|mut client| client.call("ping", &serde_json::json!({})))
                .map_err(|_| Problem::Failed(format!("no service answers at `{}`", layout.socket.display())))?;
            report.say(&format!("the service answers at {}; try: clawjail run -- ls -a", layout.socket.display()));
            if layout.scope == Scope::OneUser {
                report.say("it runs while you are logged in; `loginctl enable-linger` keeps it beyond that");
            }
        }
    }
    Ok(())
}

fn remove(setup: &Setup, report: &mut Report) -> Result<(), Problem> {
    let layout = find_layout(setup)?;
    let manager = manager(setup, &layout);
    if layout.files.iter().any(|file| file.is_unit() && file.path.exists()) {
        manager.stop(report)?;
    }
    for file in &layout.files {
        let outcome = written::remove(file, report.mode == Mode::Do);
        let shown = file.path.display().to_string();
        match outcome.map_err(|error| Problem::failed("remove", &file.path, &error))? {
            Outcome::Absent => {}
            Outcome::Removed => report.change("removed", "remove", &shown),
            Outcome::Kept => report.say(&format!("kept      {shown}, which was changed")),
        }
    }
    match report.changes {
        0 => report.say("there is nothing to remove"),
        _ => manager.forget(report)?,
    }
    if layout.scope == Scope::Machine && manager != Manager::Elsewhere && report.mode == Mode::Do {
        report.say("the user `clawjail` and /var/lib/clawjail are left as they are");
    }
    Ok(())
}
