//! A run's first process, from the fork to `execve`.
//!
//! It wears init's confinement already. What is left is its own: first what every run wears (session, signals, for brokered
//! workspaces the second Landlock domain and the notifying filter) and the proof that all of it holds; then the place of
//! the one command: descriptors, terminal, directory.

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::stat::{Mode, umask};
use nix::unistd::setsid;

use super::channel::{Arrived, Channel};
use super::files;
use super::probe::{self, Proof};
use crate::confine::shields::Shielded;
use crate::confine::{Failed, descriptors, landlock, seccomp};
use crate::plan::Naming;
use crate::plan::filter::Program;
use crate::sys::{memory, process, terminal};
use crate::wire::privsep::{Command, Failure, Finding, Keeps, Orders, Terminal, Work};

/// What a run's first process says before it becomes the command.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub enum Word {
    /// Every promise held; what is left is to become the command. Descriptor: the listener of its notifying filter, if it has one.
    Proven(Vec<Finding>),
    /// A promise did not hold, so it executes nothing.
    Broken(Vec<Finding>),
    /// A step did not work.
    Failed(Failure),
    /// `execve` said no.
    NotExecuted(i32),
}

/// What a run wears, and what it is tried against.
#[derive(Clone, Copy)]
pub struct Worn<'a> {
    /// What init was told.
    pub orders: &'a Orders,
    /// The filter of brokered runs.
    pub brokered: &'a Program,
    /// What was covered or frozen.
    pub shielded: &'a [Shielded],
}

impl From<Failed> for Word {
    fn from(failed: Failed) -> Word {
        Word::Failed(super::failure(failed))
    }
}

/// The run's three descriptors, and whether they are a terminal of its own.
pub struct Stdio {
    /// stdin, stdout, stderr.
    pub descriptors: [OwnedFd; 3],
    /// Whether the first is the terminal that should control the session.
    pub terminal: bool,
}

/// What a run's process is to become.
pub struct Assignment {
    /// The command.
    pub command: Box<Command>,
    /// Its descriptors.
    pub stdio: Stdio,
}

/// Becomes what it is `assigned`, or what `words` bring once it wears everything; says there why not. Runs in a fork of
/// init.
pub fn become_command(assigned: Option<Assignment>, worn: Worn<'_>, words: Channel) -> ! {
    let haste = if assigned.is_some() { Haste::Run } else { Haste::Next };
    let word = match dress(worn, &words, haste).and_then(|()| take_up(assigned, &words)) {
        Ok(command) => match &command.work {
            Work::Execute => Word::NotExecuted(execute(&command) as i32),
            Work::File(job) => {
                // As an `execve` would: init has heard all that there is, and answers what this process asks of its broker.
                drop(words);
                files::work(job)
            }
        },
        Err(word) => word,
    };
    // If nobody listens any more there is nobody to tell.
    let _ = words.send(&word, &[]);
    process::leave(127)
}

/// Who waits for it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Haste {
    /// A run.
    Run,
    /// Nobody yet: it is made for the next run.
    Next,
}

/// What every run wears, and its proof. None of it depends on the command.
fn dress(worn: Worn<'_>, words: &Channel, haste: Haste) -> Result<(), Word> {
    let Worn { orders, brokered, shielded } = worn;
    setsid().map_err(Failed::at("setsid"))?;
    if orders.keeps == Keeps::ManyRuns {
        // What leaves its parent stays below the command while that runs, and so can be ended with it. Survives `execve`.
        process::become_subreaper().map_err(Failed::at("become_subreaper"))?;
    }
    umask(Mode::from_bits_truncate(0o022));
    process::reset_signals().map_err(Failed::at("reset_signals"))?;
    if orders.plan.naming == Naming::Brokered {
        landlock::restrict_naming(&orders.plan)?;
    }
    // Before the filter that asks init: what is tried must be denied by the kernel, whatever init would answer.
    let findings = match probe::attempt(orders, shielded) {
        Proof::Sound(findings) => findings,
        Proof::Broken(findings) => return Err(Word::Broken(findings)),
    };
    if haste == Haste::Next {
        // Before anything of it would be asked about.
        memory::let_go_of_program();
        // Whatever keeps it from this is met by the run too, which says so.
        let _ = rehearse();
    }
    let listener = if orders.plan.asks { Some(seccomp::install_with_listener(brokered)?) } else { None };
    let listener: Vec<_> = listener.iter().map(AsFd::as_fd).collect();
    words.send(&Word::Proven(findings), &listener).map_err(Failed::at("send_proof"))?;
    Ok(())
}

/// Takes the place of the command: its descriptors, its terminal, its directory. Everything else that is open is
/// close-on-exec, `words` included: its end of file says that the command runs.
fn take_up(assigned: Option<Assignment>, words: &Channel) -> Result<Box<Command>, Word> {
    let Assignment { command, stdio } = match assigned {
        Some(assigned) => assigned,
        None => await_assignment(words)?,
    };
    descriptors::place_stdio(&stdio.descriptors)?;
    if stdio.terminal {
        terminal::make_controlling(std::io::stdin().as_fd()).map_err(Failed::at("controlling_terminal"))?;
    }
    let cwd = Path::new(OsStr::from_bytes(&command.cwd));
    nix::unistd::chdir(cwd).map_err(Failed::on("chdir", cwd))?;
    Ok(command)
}

/// Takes up a command that is none: what of our program and memory a run needs is in place then, and little else, which its
/// `execve` would have to take down.
fn rehearse() -> Result<(), Failed> {
    let failed = Failed::at("rehearse");
    let (ours, theirs) = Channel::pair().map_err(&failed)?;
    let command = Command {
        argv: vec![Vec::new()],
        environment: vec![b"PATH=/usr/bin".to_vec()],
        cwd: b"/".to_vec(),
        terminal: Terminal::None,
        work: Work::Execute,
    };
    let null = std::io::stdin();
    ours.send(&(&command, false), &[null.as_fd(); 3]).map_err(&failed)?;
    let Assignment { command, stdio } = await_assignment(&theirs)?;
    // The same again: nothing was given to it yet.
    descriptors::place_stdio(&stdio.descriptors)?;
    // Of no name, so nothing is looked for.
    match execute(&command) {
        Errno::ENOENT => Ok(()),
        errno => Err(failed(errno)),
    }
}

fn await_assignment(words: &Channel) -> Result<Assignment, Failed> {
    let failed = Failed::at("await_assignment");
    match words.receive().map_err(&failed)? {
        Arrived::Message((command, terminal), given) => {
            let given: Result<Vec<_>, Failed> = given.into_iter().map(descriptors::above_stdio).collect();
            let descriptors = given?.try_into().map_err(|_| failed(Errno::EPROTO))?;
            Ok(Assignment { command, stdio: Stdio { descriptors, terminal } })
        }
        // Nobody needs it: the jail is being closed.
        Arrived::Gone => process::leave(0),
    }
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

/// Where a program is looked for that is named without a slash.
pub fn search_path(environment: &[Vec<u8>]) -> &[u8] {
    environment.iter().find_map(|entry| entry.strip_prefix(b"PATH=")).unwrap_or(b"/usr/local/bin:/usr/bin:/bin")
}

fn strings(texts: &[Vec<u8>]) -> Option<Vec<CString>> {
    texts.iter().map(|text| CString::new(text.as_slice()).ok()).collect()
}
