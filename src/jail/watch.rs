//! A run that is under way, as the launcher sees it.
//!
//! ```text
//!             supervisor says Signal -> pass on
//!   watching  supervisor says Kill, or is gone -> ending (Killed)
//!             time is up -> ending (TimedOut): SIGTERM, a moment of grace, then the end
//!             init says Ended, or is gone -> closed
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::auditing::{Audited, Auditing};
use super::channel::{Arrived, Channel};
use super::opening::Jail;
use super::usage;
use super::witness::Witness;
use crate::confine::Failed;
use crate::wire::privsep::{Cause, Denied, End, Ended, FromInit, FromLauncher, Run, ToLauncher, Used};

/// How long a command may take to end after its time is up.
pub const GRACE: Duration = Duration::from_millis(500);

/// The number of a jail's only run.
const ONLY: Run = 0;

/// A run under way.
pub struct Running {
    /// Where.
    pub jail: Jail,
    /// Wall limit, milliseconds.
    pub deadline: Option<u64>,
    /// Since when.
    pub began: Instant,
    /// Who watches it.
    pub witness: Witness,
    /// The kernel's own records of it, where they are read.
    pub audit: Option<Auditing>,
    /// The supervisor's ends of its streams, where we made them, until it is told of the run.
    pub ends: Vec<OwnedFd>,
}

/// A run whose command has ended, and the jail that is to be closed.
#[derive(Debug)]
pub struct Over {
    /// How it ended.
    pub ended: Ended,
    /// Where.
    pub jail: Jail,
    /// The supervisor's ends of its streams, where it was not told of the run before.
    pub ends: Vec<OwnedFd>,
}

/// Whose turn it is.
#[derive(Clone, Copy)]
enum Turn {
    Supervisor,
    Init,
    Audit,
    Gate,
    Time,
}

/// Watches until the run is over.
pub fn watch(supervisor: &Channel, mut running: Running) -> Result<Over, Failed> {
    let mut until = running.deadline.and_then(|wall| running.began.checked_add(Duration::from_millis(wall)));
    let mut cause = None;
    loop {
        match next(supervisor, &running, until)? {
            Turn::Audit => running.audit.iter_mut().for_each(Auditing::read),
            Turn::Gate => running.jail.begin_gate(),
            Turn::Time if cause.is_none() => {
                cause = Some(Cause::TimedOut);
                until = Instant::now().checked_add(GRACE);
                running.jail.signal(ONLY, Signal::SIGTERM as i32)?;
            }
            Turn::Time => return killed(running, cause.unwrap_or(Cause::TimedOut)),
            Turn::Supervisor => match supervisor.receive() {
                Ok(Arrived::Message(ToLauncher::Signal(number), _)) => running.jail.signal(ONLY, number)?,
                Ok(Arrived::Message(ToLauncher::Kill(why), _)) => return killed(running, why),
                // One that is gone by now is heard of next.
                Ok(Arrived::Message(ToLauncher::Look, _)) => {
                    let _ = supervisor.send(&FromLauncher::Looked(usage::of(&running.jail.group)), &[]);
                }
                // Gone, or not making sense: either way nobody is owed a run any more.
                Ok(_) | Err(_) => return killed(running, Cause::Killed),
            },
            Turn::Init => match running.jail.channel.receive() {
                Ok(Arrived::Message(message @ FromInit::Ended { .. }, _)) => return ended(running, message, cause),
                Ok(Arrived::Message(FromInit::Failed(failure), _)) => {
                    let errno = Errno::from_raw(failure.errno);
                    let what = failure.what.map_or(failure.step.clone(), |what| format!("{} ({what})", failure.step));
                    return Err(Failed { step: "init", errno, what: Some(what) });
                }
                // The kernel killed init for memory, or the command found a way to: all of the jail is gone with it.
                Ok(_) | Err(_) => return killed(running, cause.unwrap_or(Cause::Killed)),
            },
        }
    }
}

fn next(supervisor: &Channel, running: &Running, until: Option<Instant>) -> Result<Turn, Failed> {
    // Whose turn it is first, where more than one can be heard.
    let turns = [
        (Turn::Init, Some(running.jail.channel.as_fd())),
        (Turn::Supervisor, Some(supervisor.as_fd())),
        (Turn::Gate, running.jail.knocks()),
        (Turn::Audit, running.audit.as_ref().map(Auditing::ready)),
    ];
    let turns = turns.into_iter().filter_map(|(turn, descriptor)| Some((turn, descriptor?)));
    let (turns, descriptors): (Vec<Turn>, Vec<_>) = turns.unzip();
    let mut watched: Vec<_> = descriptors.into_iter().map(|one| PollFd::new(one, PollFlags::POLLIN)).collect();
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Ok(Turn::Time);
        }
        // Rounded up, so that the last wait is not a busy one.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failed::at("watch")(errno)),
        }
        let mut ready = turns.iter().zip(&watched).filter(|(_, watched)| watched.any().unwrap_or(true));
        if let Some((turn, _)) = ready.next() {
            return Ok(*turn);
        }
    }
}

fn killed(running: Running, cause: Cause) -> Result<Over, Failed> {
    let last = FromInit::Ended {
        run: ONLY,
        end: End::Signalled(libc::SIGKILL),
        user_us: 0,
        system_us: 0,
        peak_memory: 0,
        denials: Vec::new(),
        observed: Box::default(),
        findings: None,
    };
    ended(running, last, Some(cause))
}

/// Sums up. What is left in the jail ends when it is closed.
pub fn ended(mut running: Running, last: FromInit, cause: Option<Cause>) -> Result<Over, Failed> {
    let FromInit::Ended { run: _, end, user_us, system_us, peak_memory, denials, observed, findings: _ } = last else {
        return Err(Failed::at("ended")(Errno::EPROTO));
    };
    let wall_us = u64::try_from(running.began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let counted = running.jail.group.read();
    let used = Used {
        wall_us,
        // What the group counted is of the whole jail, also of what nobody waited for.
        user_us: counted.processor_us.map_or(user_us, |(user, _)| user),
        system_us: counted.processor_us.map_or(system_us, |(_, system)| system),
        peak_memory: counted.peak_memory.unwrap_or(peak_memory),
        peak_processes: counted.peak_processes,
        transferred: counted.transferred,
    };
    let audited = running.audit.map(|mut audit| audit.leave(ONLY, end));
    let limited = running.witness.limited(&running.jail.group, end, counted.out_of_memory);
    let ended = Ended {
        end,
        cause: cause.filter(|_| !counted.out_of_memory),
        out_of_memory: counted.out_of_memory,
        used,
        peaks: running.witness.peaks(&used, &limited),
        denials: together(denials, audited.as_ref(), limited),
        watch: running.witness.watch(&observed, audited.as_ref()),
        observed,
        reached: running.jail.reached(running.began.elapsed()),
    };
    Ok(Over { ended, jail: running.jail, ends: running.ends })
}

/// All denials of a run. What init saw itself is not told again as the kernel tells it.
pub fn together(denials: Vec<Denied>, audited: Option<&Audited>, limited: Vec<Denied>) -> Vec<Denied> {
    let known = |one: &&Denied| !denials.iter().any(|seen| seen.what == one.what && seen.kind == one.kind);
    let recorded: Vec<Denied> =
        audited.map(|audited| &audited.denials).into_iter().flatten().filter(known).cloned().collect();
    denials.into_iter().chain(recorded).chain(limited).collect()
}
