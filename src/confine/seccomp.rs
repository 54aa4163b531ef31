//! The last step of confinement: the system call filter.
//!
//! Owns the way from a compiled program to an installed filter. Must not change the program. It goes last because it
//! removes calls that the steps before it need. Runs after fork: one allocation for the instructions, no logging.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use super::Failed;
use super::identity::errno_of;
use crate::plan::filter::Program;
use crate::sys::seccomp::{self as system, Instruction, Refusals, Wait};

/// Installs the filter that denies, on the calling thread and what it will fork. `no_new_privs` must be set.
pub fn install(program: &Program) -> Result<(), Failed> {
    install_with(program, Refusals::Silent)
}

/// The same, with the kernel writing a record of what it refuses or not.
pub fn install_with(program: &Program, refusals: Refusals) -> Result<(), Failed> {
    let installed = instructions(program).and_then(|instructions| system::install(&instructions, refusals));
    installed.map_err(|error| Failed::at("seccomp")(errno_of(&error)))
}

/// Installs the filter that asks, and gives the descriptor on which it does. Where the kernel cannot make the wait
/// killable, a signal restarts the question, so the listener may be asked about one call twice. A kernel that cannot give
/// a waiting call a descriptor is found out here: later the command would wait for files that it never gets.
pub fn install_with_listener(program: &Program) -> Result<OwnedFd, Failed> {
    let listener = listen(program).map_err(|error| Failed::at("seccomp_listener")(errno_of(&error)))?;
    system::can_send_descriptors(listener.as_fd()).map_err(|error| Failed {
        step: "seccomp_listener",
        errno: errno_of(&error),
        what: Some("giving a waiting call a descriptor, Linux 5.14".into()),
    })?;
    Ok(listener)
}

fn listen(program: &Program) -> io::Result<OwnedFd> {
    let instructions = instructions(program)?;
    match system::install_with_listener(&instructions, Wait::Killable) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            system::install_with_listener(&instructions, Wait::Interruptible)
        }
        result => result,
    }
}

/// The program as the kernel reads it. An empty one is refused here too, so that no way leads to a jail without a filter.
fn instructions(program: &Program) -> io::Result<Vec<Instruction>> {
    if program.instructions.is_empty() {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    let converted = program.instructions.iter();
    Ok(converted.map(|one| Instruction { code: one.code, jt: one.jt, jf: one.jf, k: one.k }).collect())
}
