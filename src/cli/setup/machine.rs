//! What setup asks of the machine: a user, and systemd.

use std::path::Path;
use std::process::{Command, Stdio};

use super::layout::{Layout, Scope};
use super::report::{Mode, Problem, Report};
use crate::daemon::config::DEFAULT_USER;
use crate::jail::accounts;

/// What starts services here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manager {
    /// systemd, the machine's or the user's.
    Systemd(Scope),
    /// Something that we know nothing of.
    None,
    /// It is not this machine that is set up.
    Elsewhere,
}

const UNITS: [&str; 2] = ["clawjail.socket", "clawjail.service"];

impl Manager {
    /// Looks for it: sd_booted(3), and for a user's the socket of their own.
    pub fn find(scope: Scope) -> Manager {
        let there = match scope {
            Scope::Machine => Path::new("/run/systemd/system").is_dir(),
            Scope::OneUser => std::env::var_os("XDG_RUNTIME_DIR")
                .is_some_and(|directory| Path::new(&directory).join("systemd/private").exists()),
        };
        if there { Manager::Systemd(scope) } else { Manager::None }
    }

    /// Has it running, now and after the next boot.
    pub fn start(self, units_changed: bool, report: &mut Report) -> Result<(), Problem> {
        let Manager::Systemd(scope) = self else { return Ok(()) };
        if units_changed && report.mode == Mode::Do {
            control(scope, &["daemon-reload"])?;
        }
        for unit in UNITS {
            let state = |word| control(scope, &[word, "--quiet", unit]).is_ok();
            if report.mode == Mode::Do && state("is-enabled") && state("is-active") {
                continue;
            }
            if report.mode == Mode::Do {
                control(scope, &["enable", "--quiet", "--now", unit])?;
            }
            report.change("started", "start", unit);
        }
        if units_changed && report.mode == Mode::Do && report.text.contains("updated") {
            let user = if scope == Scope::OneUser { " --user" } else { "" };
            report.say(&format!("`systemctl{user} restart clawjail` makes the new units count, and ends what runs"));
        }
        Ok(())
    }

    /// Has it stopped for good.
    pub fn stop(self, report: &mut Report) -> Result<(), Problem> {
        let Manager::Systemd(scope) = self else { return Ok(()) };
        for unit in UNITS {
            if report.mode == Mode::Do {
                control(scope, &["disable", "--quiet", "--now", unit])?;
            }
            report.change("stopped", "stop", unit);
        }
        Ok(())
    }

    /// Has it forget units that are gone.
    pub fn forget(self, report: &Report) -> Result<(), Problem> {
        match self {
            Manager::Systemd(scope) if report.mode == Mode::Do => control(scope, &["daemon-reload"]),
            _ => Ok(()),
        }
    }
}

fn control(scope: Scope, words: &[&str]) -> Result<(), Problem> {
    let of_user: &[&str] = if scope == Scope::OneUser { &["--user"] } else { &[] };
    ask("systemctl", &[of_user, words].concat())
}

/// Runs a program of the system's and wants it to succeed.
fn ask(program: &str, words: &[&str]) -> Result<(), Problem> {
    let asked = format!("`{program} {}`", words.join(" "));
    let output = Command::new(program).args(words).stdin(Stdio::null()).output();
    let output = output.map_err(|error| Problem::Failed(format!("cannot execute {asked}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().next().unwrap_or("no reason was given");
    Err(Problem::Failed(format!("{asked} did not work: {said}")))
}

/// Makes the user that the supervisor becomes, if there is none.
pub fn make_user(layout: &Layout, report: &mut Report) -> Result<(), Problem> {
    if accounts::user(DEFAULT_USER).is_some() {
        return Ok(());
    }
    report.change("made", "make", &format!("user {DEFAULT_USER}"));
    if report.mode == Mode::Tell {
        return Ok(());
    }
    let described = layout.files.iter().find(|file| file.path.ends_with("sysusers.d/clawjail.conf"));
    let by_systemd = described.map(|file| ask("systemd-sysusers", &[&file.path.to_string_lossy()]));
    let words = ["--system", "--no-create-home", "--home-dir", "/", "--shell", "/usr/sbin/nologin", DEFAULT_USER];
    match by_systemd {
        Some(Ok(())) => {}
        Some(Err(_)) | None => ask("useradd", &words)?,
    }
    match accounts::user(DEFAULT_USER) {
        Some(_) => Ok(()),
        None => Err(Problem::Failed(format!("there is no user `{DEFAULT_USER}`, although it was made"))),
    }
}
