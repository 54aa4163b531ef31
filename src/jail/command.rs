//! A run's first process, from the fork to `execve`.
//!
//! It wears init's confinement already. What is left is its own: session, terminal, descriptors, signals, and (for brokered
//! workspaces) the second Landlock domain and the notifying filter.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::setsid;

use super::channel::Channel;
use crate::confine::{Failed, descriptors, landlock, seccomp};
use crate::plan::filter::Program;
use crate::plan::{Naming, Plan};
use crate::sys::{process, terminal};
use crate::wire::privsep::{Command, Failure};

/// What a run's first process says before it becomes the command.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum Word {
    /// The listener of its notifying filter, as a descriptor.
    Listener,
    /// A step did not work.
    Failed(Failure),
    /// `execve` said no.
    NotExecuted(i32),
}

/// The run's three descriptors, and whether they are a terminal of its own.
pub struct Stdio {
    /// stdin, stdout, stderr.
    pub descriptors: [OwnedFd; 3],
    /// Whether the first is the terminal that should control the session.
    pub terminal: bool,
}

/// Becomes the command, or says over `report` why not. Runs in a fork of init.
pub fn become_command(command: &Command, plan: &Plan, broker: &Program, stdio: Stdio, report: &Channel) -> ! {
    let word = match prepare(command, plan, broker, stdio, report) {
        Ok(()) => Word::NotExecuted(execute(command) as i32),
        Err(failed) => Word::Failed(super::failure(failed)),
    };
    // If nobody listens any more there is nobody to tell.
    let _ = report.send(&word, &[]);
    process::leave(127)
}

fn prepare(command: &Command, plan: &Plan, broker: &Program, stdio: Stdio, report: &Channel) -> Result<(), Failed> {
    setsid().map_err(Failed::at("setsid"))?;
    descriptors::place_stdio(&stdio.descriptors)?;
    if stdio.terminal {
        terminal::make_controlling(std::io::stdin().as_fd()).map_err(Failed::at("controlling_terminal"))?;
    }
    let cwd = Path::new(OsStr::from_bytes(&command.cwd));
    nix::unistd::chdir(cwd).map_err(Failed::on("chdir", cwd))?;
    umask(Mode::from_bits_truncate(0o022));
    process::reset_signals().map_err(Failed::at("reset_signals"))?;
    if plan.naming == Naming::Brokered {
        landlock::restrict_naming(plan)?;
        let listener = seccomp::install_with_listener(broker)?;
        report.send(&Word::Listener, &[listener.as_fd()]).map_err(Failed::at("send_listener"))?;
    }
    // Everything else is close-on-exec, the report included: its end of file says that the command runs.
    drop(stdio);
    Ok(())
}

/// Finds the program as execvp(3) does and becomes it; says why not.
fn execute(command: &Command) -> Errno {
    let (Some(arguments), Some(environment)) = (strings(&command.argv), strings(&command.environment)) else {
        return Errno::EINVAL;
    };
    let Some(name) = command.argv.first().filter(|name| !name.is_empty()) else { return Errno::ENOENT };
    if name.contains(&b'/') {
        return try_one(name, &arguments, &environment);
    }
    let mut denied = None;
    for directory in search_path(&command.environment).split(|byte| *byte == b':') {
        let directory = if directory.is_empty() { b".".as_slice() } else { directory };
        match try_one(&[directory, b"/", name].concat(), &arguments, &environment) {
            // A directory of that name, or one we may not enter, does not end the search; it explains its failure.
            Errno::EACCES => denied = Some(Errno::EACCES),
            Errno::ENOENT | Errno::ENOTDIR | Errno::ESTALE | Errno::ENODEV | Errno::ETIMEDOUT => {}
            other => return other,
        }
    }
    denied.unwrap_or(Errno::ENOENT)
}

fn try_one(path: &[u8], arguments: &[CString], environment: &[CString]) -> Errno {
    let Ok(program) = CString::new(path) else { return Errno::ENOENT };
    match process::execute(&program, arguments, environment) {
        // A script without a first line that names its interpreter is the shell's.
        Errno::ENOEXEC => {
            let mut shell = vec![c"sh".to_owned(), program];
            shell.extend(arguments.iter().skip(1).cloned());
            process::execute(&c"/bin/sh".to_owned(), &shell, environment)
        }
        errno => errno,
    }
}

fn search_path(environment: &[Vec<u8>]) -> &[u8] {
    environment.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(b"/usr/local/bin:/usr/bin:/bin")
}

fn strings(texts: &[Vec<u8>]) -> Option<Vec<CString>> {
    texts.iter().map(|text| CString::new(text.as_slice()).ok()).collect()
}
