//! The privileged process: requests become plans, plans become jails.
//!
//! One thread, no runtime, little memory, so that forking it is cheap and safe. It trusts nobody: it finds out itself who
//! the caller is, reads profiles itself, opens host paths with the caller's credentials. It ends with its supervisor.
//!
//! ```text
//!   idle --Run--> resolving -> compiling -> opening --Started--> watching --ended, killed, out of time--> closing --> idle
//!                     '---------- Refused | Failed -----------------------------------------------------------^
//! ```

use nix::sys::signal::Signal;

use super::channel::{Arrived, Channel};
use super::failure;
use super::start::{self, NotStarted};
use super::watch;
use crate::confine::Failed;
use crate::sys::process;
use crate::wire::privsep::{FromLauncher, ToLauncher};

/// Serves one supervisor until it is gone. Runs in a fork of `main`, made before any thread.
pub fn serve(supervisor: Channel) -> ! {
    // A failure to start up leaves the supervisor with a closed channel, which it reports.
    if prepare().is_ok() {
        while let Ok(Arrived::Message(message, descriptors)) = supervisor.receive::<ToLauncher>() {
            let ToLauncher::Run(request) = message else { continue };
            let answer = run(&supervisor, *request, descriptors);
            if supervisor.send(&answer, &[]).is_err() {
                break;
            }
        }
    }
    process::leave(0)
}

/// One run from request to end. What is returned is the last thing that the supervisor hears of it.
fn run(
    supervisor: &Channel,
    request: crate::wire::privsep::RunRequest,
    descriptors: Vec<std::os::fd::OwnedFd>,
) -> FromLauncher {
    match start::start(supervisor, &request, descriptors) {
        Ok(running) => match watch::watch(supervisor, running) {
            Ok(ended) => FromLauncher::Ended(Box::new(ended)),
            Err(failed) => FromLauncher::Failed(failure(failed)),
        },
        Err(NotStarted::Refused(refused)) => {
            FromLauncher::Refused { code: refused.code.to_owned(), message: refused.message, remedy: refused.remedy }
        }
        Err(NotStarted::Failed(failed)) => FromLauncher::Failed(failure(failed)),
        Err(NotStarted::ByInit(failure)) => FromLauncher::Failed(failure),
        Err(NotStarted::Ended(ended)) => FromLauncher::Ended(ended),
    }
}

fn prepare() -> Result<(), Failed> {
    let failed = Failed::at("prepare_launcher");
    process::set_name(c"clawjail-launch").map_err(&failed)?;
    process::become_subreaper().map_err(&failed)?;
    process::refuse_inspection().map_err(&failed)?;
    for ignored in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGTSTP, Signal::SIGPIPE]
    {
        // A terminal sends these to the whole foreground group; what they mean for the run is the supervisor's to decide.
        process::ignore_signal(ignored).map_err(&failed)?;
    }
    super::init::let_go_of_stdio()
}
