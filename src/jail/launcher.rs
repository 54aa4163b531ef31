//! The privileged process: requests become plans, plans become jails.
//!
//! One thread, no runtime, little memory, so that forking it is cheap and safe. It trusts nobody: it finds out itself who
//! the caller is, reads profiles itself, opens host paths with the caller's credentials. It ends with its supervisor.
//!
//! ```text
//!   idle --Run--> resolving -> compiling -> opening --Started--> watching --ended, killed, out of time: Ended--> closing --> idle
//!                     '---------- Refused | Failed -----------------------------------------------------------^
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::ahead::Ahead;
use super::channel::{Arrived, Channel};
use super::failure;
use super::gate::Live;
use super::keeping;
use super::mandate::Mandate;
use super::not_started::NotStarted;
use super::start;
use super::stdio::Given;
use super::waiting::{Begun, Waiting};
use super::watch::{self, Over};
use crate::confine::Failed;
use crate::host::Tier;
use crate::sys::process;
use crate::wire::privsep::{FromLauncher, Lifetime, RunRequest, ToLauncher};

/// How long a jail may outlive the answer that its run has ended, milliseconds.
const ANSWER_MS: u8 = 2;

/// Serves one supervisor, who will ask for tier `expected` or does not care, until it is gone; for whom, `mandate` says. Runs
/// in a fork of `main`, made before any thread.
pub fn serve(supervisor: Channel, expected: Option<Tier>, mandate: &Mandate, gate: Live) -> ! {
    // A failure to start up leaves the supervisor with a closed channel, which it reports.
    if prepare().is_ok() {
        let mut begun = Some(Begun::Jail(Box::new(Ahead::begin(expected, mandate, gate))));
        while let Ok(Arrived::Message(message, descriptors)) = supervisor.receive::<ToLauncher>() {
            let new = || Begun::Jail(Box::new(Ahead::begin(expected, mandate, gate)));
            let mut ready = || begun.take().unwrap_or_else(new);
            let begins = matches!(message, ToLauncher::Run(_) | ToLauncher::Open(..));
            let told = match message {
                ToLauncher::Run(request) => run(&supervisor, *request, descriptors, ready(), mandate.is_for_one()),
                ToLauncher::Open(request, lifetime) => keep(&supervisor, &request, lifetime, ready().into_ahead()),
                ToLauncher::Prepare(request) => match Waiting::make(*request, ready().into_ahead()) {
                    Ok(waiting) => {
                        begun = Some(Begun::Whole(Box::new(waiting)));
                        Ok(())
                    }
                    // Whoever asks for it next is told why, by an attempt of its own.
                    Err(_) => Ok(()),
                },
                ToLauncher::Signal(_)
                | ToLauncher::Kill(_)
                | ToLauncher::Enter(..)
                | ToLauncher::Close
                | ToLauncher::Look => Ok(()),
            };
            if told.is_err() || begins && mandate.is_for_one() {
                break;
            }
        }
    }
    process::leave(0)
}

/// One run from request to end, and what is left of it ended. Fails when the supervisor cannot be told. Where this process is
/// `for_one`, nobody waits for its own end.
fn run(
    supervisor: &Channel,
    request: RunRequest,
    descriptors: Vec<OwnedFd>,
    begun: Begun,
    for_one: bool,
) -> Result<(), Errno> {
    let began = Instant::now();
    let started = Given::new(descriptors).map_err(NotStarted::from).and_then(|given| {
        let entered = begun.enter(&request)?;
        start::start(supervisor, &request, &given, entered, began)
    });
    let over = match started {
        Ok(running) => watch::watch(supervisor, running).map(|over| (None, over)).map_err(NotStarted::Failed),
        Err(NotStarted::Ended(started, over)) => Ok((Some(started), *over)),
        Err(not_started) => Err(not_started),
    };
    let (started, Over { ended, jail, ends }) = match over {
        Ok(over) => over,
        Err(not_started) => return supervisor.send(&not_started.answer(), &[]),
    };
    // First the answer: what follows is nothing that the caller needs to wait for.
    let last = FromLauncher::Ended(started, Box::new(ended));
    supervisor.send(&last, &ends.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
    if for_one {
        let_answer_pass(supervisor);
    }
    jail.close().or_else(|failed| supervisor.send(&FromLauncher::Failed(failure(failed)), &[]))
}

/// Waits until the supervisor has told the caller and hangs up, but not for long: taking a jail away keeps a processor busy for as
/// long as a small run takes, and this is not the time for it.
fn let_answer_pass(supervisor: &Channel) {
    // Hanging up is told without being asked for.
    let mut watched = [PollFd::new(supervisor.as_fd(), PollFlags::empty())];
    let _ = poll(&mut watched, PollTimeout::from(ANSWER_MS));
}

/// One jail that stays, until it is closed.
fn keep(supervisor: &Channel, request: &RunRequest, lifetime: Lifetime, ahead: Ahead) -> Result<(), Errno> {
    let last = match keeping::open(supervisor, request, lifetime, ahead) {
        Ok(kept) => match kept.attend() {
            Ok(closing) => FromLauncher::Closed(closing),
            Err(failed) => FromLauncher::Failed(failure(failed)),
        },
        Err(not_started) => not_started.answer(),
    };
    supervisor.send(&last, &[])
}

/// What any privileged process of ours does first.
pub fn prepare() -> Result<(), Failed> {
    let failed = Failed::at("prepare_launcher");
    process::set_name(c"clawjail-launch").map_err(&failed)?;
    process::become_subreaper().map_err(&failed)?;
    process::refuse_inspection().map_err(&failed)?;
    process::leave_realtime().map_err(&failed)?;
    for ignored in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGTSTP, Signal::SIGPIPE]
    {
        // A terminal sends these to the whole foreground group; what they mean for the run is the supervisor's to decide.
        process::ignore_signal(ignored).map_err(&failed)?;
    }
    super::forked::let_go_of_stdio()
}
