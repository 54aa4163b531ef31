//! A jail that stays: it keeps its processes, its /tmp and its loopback between runs, until it is closed.
//!
//! One loop over init, the supervisor, and a channel for each run inside. A run's channel carries what a launcher's channel
//! carries for a run with a jail of its own, so whoever attends to a run need not know in which kind it is.
//!
//! ```text
//!   raised --joined--> open --Enter--> starting --Running: Started--> running --Ended--> open
//!                        |  '--asked, idle, too old, init gone--> every run ends, closed
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;

use super::ahead::{Ahead, Setting};
use super::auditing::Auditing;
use super::channel::{Arrived, Channel};
use super::contacts::Memory;
use super::lookout;
use super::not_started::NotStarted;
use super::raised::Raised;
use super::start::{self, Own};
use super::stdio::{self, Given};
use super::usage;
use super::watch::{GRACE, together};
use super::witness::{self, Witness};
use crate::confine::Failed;
use crate::sys::memory;
use crate::wire::privsep::{
    Cause, Closing, Command, Denied, End, Ended, Finding, FromInit, FromLauncher, Keeps, Lifetime, Observed, Opened,
    Run, RunRequest, Started, ToLauncher, UNHEARD, Used, Work,
};

/// Most runs in one jail at once, whatever the supervisor asks for.
const MOST_RUNS: usize = 256;

/// An open jail, as its launcher holds it.
pub struct Kept<'a> {
    supervisor: &'a Channel,
    setting: Setting,
    raised: Raised,
    membership: Vec<Finding>,
    inside: BTreeMap<Run, Inside>,
    next: Run,
    lifetime: Lifetime,
    opened: Instant,
    // Since when nothing runs in it.
    quiet: Instant,
    // How many processes the kernel had killed for lack of memory when a run last ended.
    starvations: u64,
    // The kernel's own records of it, where they are read.
    audit: Option<Auditing>,
}

/// One run in the jail.
struct Inside {
    // None when whoever attended to it is gone.
    channel: Option<Channel>,
    began: Instant,
    until: Option<Instant>,
    cause: Option<Cause>,
    own: Own,
    witness: Witness,
    // The supervisor's, of what was made for the run's streams, until it is told of the run.
    ends: Vec<OwnedFd>,
    // Whether the supervisor knows that the command runs.
    announced: bool,
}

/// What a run's init said at its end.
struct Last {
    end: End,
    user_us: u64,
    system_us: u64,
    peak_memory: u64,
    denials: Vec<Denied>,
    observed: Box<Observed>,
    findings: Option<Vec<Finding>>,
}

impl Last {
    /// Of one that was ended from outside.
    fn killed(end: End) -> Last {
        let (denials, observed) = (Vec::new(), Box::default());
        Last { end, user_us: 0, system_us: 0, peak_memory: 0, denials, observed, findings: None }
    }
}

/// Opens the jail and says so.
pub fn open<'a>(
    supervisor: &'a Channel,
    request: &RunRequest,
    lifetime: Lifetime,
    ahead: Ahead,
) -> Result<Kept<'a>, NotStarted> {
    ahead.setting.mandate.admit_lasting()?;
    let lifetime = ahead.setting.mandate.shorten(lifetime);
    let (setting, mut raised) = start::raise(request, ahead, Keeps::ManyRuns)?;
    let membership = start::await_membership(&mut raised.jail)?;
    let plan = &raised.prepared.plan;
    let audit = witness::auditing(plan, raised.prepared.ids.uid);
    let opened = Opened {
        plan: raised.digest.clone(),
        profile: plan.profile.clone(),
        tier: plan.tier,
        workspace: plan.workspace.as_deref().map(bytes),
    };
    supervisor.send(&FromLauncher::Opened(Box::new(opened)), &[]).map_err(Failed::at("send_opened"))?;
    raised.prepared.keep_what_runs_take();
    memory::give_back_freed();
    memory::let_go_of_program();
    let now = Instant::now();
    Ok(Kept {
        supervisor,
        setting,
        raised,
        membership,
        inside: BTreeMap::new(),
        next: 0,
        lifetime,
        opened: now,
        quiet: now,
        starvations: 0,
        audit,
    })
}

fn bytes(path: &Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

/// What can be read now.
struct Ready {
    init: bool,
    supervisor: bool,
    audit: bool,
    knocks: bool,
    runs: Vec<Run>,
}

impl Kept<'_> {
    /// Attends to the jail until it is closed, and everything of it is gone.
    pub fn attend(mut self) -> Result<Closing, Failed> {
        let closing = loop {
            let ready = self.wait()?;
            self.audit.iter_mut().filter(|_| ready.audit).for_each(Auditing::read);
            if ready.knocks {
                self.raised.jail.begin_gate();
            }
            if ready.init && !self.hear_init()? {
                break Closing::Broken;
            }
            for run in ready.runs {
                self.hear_run(run)?;
            }
            if ready.supervisor && !self.hear_supervisor()? {
                break Closing::Asked;
            }
            self.keep_time()?;
            if let Some(closing) = self.is_due() {
                break closing;
            }
        };
        self.close(closing)
    }

    fn wait(&self) -> Result<Ready, Failed> {
        let mut watched = vec![
            PollFd::new(self.raised.jail.channel.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.supervisor.as_fd(), PollFlags::POLLIN),
        ];
        let attended = || self.inside.iter().filter_map(|(run, inside)| Some((*run, inside.channel.as_ref()?)));
        watched.extend(self.audit.as_ref().map(|audit| PollFd::new(audit.ready(), PollFlags::POLLIN)));
        let knocks = self.raised.jail.knocks();
        watched.extend(knocks.map(|knocks| PollFd::new(knocks, PollFlags::POLLIN)));
        watched.extend(attended().map(|(_, channel)| PollFd::new(channel.as_fd(), PollFlags::POLLIN)));
        let left = self.next_time().saturating_duration_since(Instant::now());
        // Rounded up, so that the last wait is not a busy one.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Failed::at("attend")(errno)),
        }
        let mut ready = watched.iter().map(|watched| watched.any().unwrap_or(true));
        let (init, supervisor) = (ready.next().unwrap_or(true), ready.next().unwrap_or(true));
        let audit = self.audit.is_some() && ready.next().unwrap_or(true);
        let knocks = knocks.is_some() && ready.next().unwrap_or(true);
        let runs = attended().zip(ready).filter(|(_, ready)| *ready).map(|((run, _), _)| run).collect();
        Ok(Ready { init, supervisor, audit, knocks, runs })
    }

    fn next_time(&self) -> Instant {
        let age = self.opened + Duration::from_millis(self.lifetime.age_ms);
        let idle = self.quiet + Duration::from_millis(self.lifetime.idle_ms);
        let idle = self.inside.is_empty().then_some(idle);
        self.inside.values().filter_map(|inside| inside.until).chain(idle).fold(age, Instant::min)
    }

    fn is_due(&self) -> Option<Closing> {
        let now = Instant::now();
        let reached = |since: Instant, ms| now >= since + Duration::from_millis(ms);
        if reached(self.opened, self.lifetime.age_ms) {
            return Some(Closing::Age);
        }
        (self.inside.is_empty() && reached(self.quiet, self.lifetime.idle_ms)).then_some(Closing::Idle)
    }

    /// Ends the runs whose time is up: first by a word, then for good.
    fn keep_time(&mut self) -> Result<(), Failed> {
        let now = Instant::now();
        for (run, inside) in &mut self.inside {
            if inside.until.is_none_or(|until| until > now) {
                continue;
            }
            if inside.cause.is_none() {
                inside.cause = Some(Cause::TimedOut);
                inside.until = Some(now + GRACE);
                self.raised.jail.signal(*run, Signal::SIGTERM as i32)?;
            } else {
                // Killed again until init has seen it end: something may have been forked meanwhile.
                inside.until = Some(now + GRACE);
                self.raised.jail.end(*run)?;
            }
        }
        Ok(())
    }

    /// False when there is no supervisor any more, or it wants the jail closed.
    fn hear_supervisor(&mut self) -> Result<bool, Failed> {
        match self.supervisor.receive() {
            Ok(Arrived::Message(ToLauncher::Enter(request, work), mut descriptors)) => {
                let Some(channel) = descriptors.pop().map(Channel::new) else { return Ok(false) };
                match self.enter(&request, work, descriptors) {
                    Ok(inside) => inside.channel = Some(channel),
                    Err(not_started) => tell(Some(&channel), &not_started.answer(), &[]),
                }
                Ok(true)
            }
            Ok(Arrived::Message(ToLauncher::Look, _)) => {
                tell(Some(self.supervisor), &FromLauncher::Looked(usage::of(&self.raised.jail.group)), &[]);
                Ok(true)
            }
            // Close, gone, or not making sense: either way nobody is owed this jail any more.
            Ok(_) | Err(_) => Ok(false),
        }
    }

    /// Starts a run, which then wants its channel.
    fn enter(&mut self, request: &RunRequest, work: Work, given: Vec<OwnedFd>) -> Result<&mut Inside, NotStarted> {
        let began = Instant::now();
        start::refuse_malformed(request)?;
        if self.inside.len() >= MOST_RUNS {
            return Err(Failed::at("enter")(Errno::EAGAIN).into());
        }
        let given = Given::new(given)?;
        lookout::shield_again(&self.raised, &self.setting)?;
        if let Some(gate) = &mut self.raised.jail.gate {
            let Setting { own, caller, .. } = &self.setting;
            gate.serve_agent(Memory::of(*own, caller.uid, request.agent.as_deref()))?;
        }
        let command = Command { work, ..self.raised.command(request, &self.setting)? };
        let plan = &self.raised.prepared.plan;
        let stdio = stdio::choose(&given, request.terminal, plan, plan.tier)?;
        let own = Own::of(request, plan, &command, stdio.relayed);
        let run = self.next;
        self.next = self.next.wrapping_add(1);
        // Before anything can be denied.
        self.audit.iter_mut().for_each(|audit| audit.enter(run));
        if let Err(failed) = self.raised.jail.start(run, command, &stdio.for_init()) {
            self.audit.iter_mut().for_each(|audit| audit.forget(run));
            return Err(failed.into());
        }
        let inside = Inside {
            channel: None,
            began,
            until: own.wall_ms.and_then(|wall| began.checked_add(Duration::from_millis(wall))),
            cause: None,
            own,
            witness: Witness::new(plan, &self.raised.jail.group),
            ends: stdio.ends,
            announced: false,
        };
        Ok(self.inside.entry(run).or_insert(inside))
    }

    /// What the supervisor says about one run. A channel that is gone ends it.
    fn hear_run(&mut self, run: Run) -> Result<(), Failed> {
        let Some(inside) = self.inside.get_mut(&run) else { return Ok(()) };
        let Some(channel) = &inside.channel else { return Ok(()) };
        let cause = match channel.receive() {
            Ok(Arrived::Message(ToLauncher::Signal(number), _)) => return self.raised.jail.signal(run, number),
            Ok(Arrived::Message(ToLauncher::Kill(cause), _)) => cause,
            Ok(_) | Err(_) => {
                inside.channel = None;
                Cause::Killed
            }
        };
        inside.cause = inside.cause.or(Some(cause));
        inside.until = Some(Instant::now() + GRACE);
        self.raised.jail.end(run)
    }

    /// False when init is gone, or is not to be trusted with another run.
    fn hear_init(&mut self) -> Result<bool, Failed> {
        let Ok(Arrived::Message(message, mut descriptors)) = self.raised.jail.channel.receive() else {
            return Ok(false);
        };
        match message {
            FromInit::Broken(run, findings) => {
                self.give_up(run, start::unsound(&findings));
                return Ok(false);
            }
            FromInit::Running(run, findings) => self.announce(run, &findings, descriptors.pop()),
            FromInit::NotStarted(run, failure) => {
                if let Some(inside) = self.inside.remove(&run) {
                    self.audit.iter_mut().for_each(|audit| audit.forget(run));
                    tell(inside.channel.as_ref(), &FromLauncher::Failed(failure), &[]);
                }
            }
            FromInit::Ended { run, end, user_us, system_us, peak_memory, denials, observed, findings } => {
                self.end(run, Last { end, user_us, system_us, peak_memory, denials, observed, findings });
            }
            FromInit::Failed(_) | FromInit::Joined | FromInit::Gateway(_) => return Ok(false),
        }
        self.mark_quiet();
        Ok(true)
    }

    /// Ends a run that was not said to have begun.
    fn give_up(&mut self, run: Run, failed: Failed) {
        if let Some(inside) = self.inside.remove(&run) {
            self.audit.iter_mut().for_each(|audit| audit.forget(run));
            tell(inside.channel.as_ref(), &FromLauncher::Failed(super::failure(failed)), &[]);
        }
    }

    /// Says that the command runs.
    fn announce(&mut self, run: Run, findings: &[Finding], master: Option<OwnedFd>) {
        let Some(inside) = self.inside.get_mut(&run) else { return };
        inside.announced = true;
        let ends = master.into_iter().chain(inside.ends.drain(..)).collect::<Vec<_>>();
        if let Some(inside) = self.inside.get(&run) {
            let started = FromLauncher::Started(self.describe(inside, findings));
            tell(inside.channel.as_ref(), &started, &ends);
        }
    }

    fn describe(&self, inside: &Inside, findings: &[Finding]) -> Box<Started> {
        let findings = [findings, &self.membership].concat();
        Box::new(start::describe(&self.raised.prepared.plan, self.raised.digest.clone(), &findings, &inside.own))
    }

    fn end(&mut self, run: Run, last: Last) {
        let Some(inside) = self.inside.remove(&run) else { return };
        let audited = self.audit.as_mut().map(|audit| audit.leave(run, last.end));
        let started = last.findings.map(|findings| self.describe(&inside, &findings));
        if started.is_none() && !inside.announced {
            let failed = Failed::at("become_command")(Errno::ESRCH);
            return tell(inside.channel.as_ref(), &FromLauncher::Failed(super::failure(failed)), &[]);
        }
        let starvations = self.raised.jail.group.oom_kills();
        let starved = starvations > self.starvations && last.end == End::Signalled(libc::SIGKILL);
        self.starvations = starvations;
        let used = Used {
            wall_us: u64::try_from(inside.began.elapsed().as_micros()).unwrap_or(u64::MAX),
            user_us: last.user_us,
            system_us: last.system_us,
            peak_memory: last.peak_memory,
            peak_processes: None,
            transferred: None,
        };
        let limited = inside.witness.limited(&self.raised.jail.group, last.end, starved);
        let ended = Ended {
            end: last.end,
            cause: inside.cause.filter(|_| !starved),
            out_of_memory: starved,
            used,
            peaks: inside.witness.peaks(&used, &limited),
            denials: together(last.denials, audited.as_ref(), limited),
            watch: inside.witness.watch(&last.observed, audited.as_ref()),
            observed: last.observed,
            reached: self.raised.jail.reached(inside.began.elapsed()),
        };
        tell(inside.channel.as_ref(), &FromLauncher::Ended(started, Box::new(ended)), &inside.ends);
    }

    fn mark_quiet(&mut self) {
        if self.inside.is_empty() {
            self.quiet = Instant::now();
        }
    }

    /// Ends everything inside, says so to each run, and takes the jail away.
    fn close(mut self, closing: Closing) -> Result<Closing, Failed> {
        let runs: Vec<Run> = self.inside.keys().copied().collect();
        for run in runs {
            if self.inside.get(&run).is_some_and(|inside| !inside.announced) {
                self.give_up(run, Failed::at(UNHEARD)(Errno::ESRCH));
            }
            if let Some(inside) = self.inside.get_mut(&run) {
                inside.cause = inside.cause.or(Some(Cause::Killed));
            }
            let end = End::Signalled(libc::SIGKILL);
            self.end(run, Last::killed(end));
        }
        self.raised.jail.close()?;
        Ok(closing)
    }
}

/// Says something about a run to whoever attends to it. If they are gone, so is who wanted to know.
fn tell(channel: Option<&Channel>, message: &FromLauncher, descriptors: &[OwnedFd]) {
    let Some(channel) = channel else { return };
    let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
    let _ = channel.send(message, &descriptors);
}
