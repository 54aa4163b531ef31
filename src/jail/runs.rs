//! What init does once its jail stands: start runs, hear their proof, pass signals on, reap, and make names.
//!
//! One loop over four kinds of descriptors: the launcher's channel, a signalfd for ended children, processes that have not
//! become their command yet, and the listeners of brokered runs. Nothing here blocks on what a command does.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::time::TimeSpec;
use nix::unistd::Pid;

use super::broker::{Broker, State};
use super::channel::{Arrived, Channel};
use super::command::{Assignment, Word, Worn};
use super::recorder::First;
use super::runner::{Heard, Runner};
use super::spare::Spare;
use super::{descendants, failure, stdio};
use crate::confine::Failed;
use crate::confine::shields::Shielded;
use crate::profile::recording::Recording;
use crate::sys::memory;
use crate::sys::process::{self, Ended, How};
use crate::wire::privsep::{Command, End, Filters, Finding, FromInit, Keeps, Orders, Run, Terminal, ToInit, Work};

/// How long a question is left alone that could not be answered.
const WAIT: Duration = Duration::from_millis(5);

/// How long a command runs before that is said: whatever ends sooner is said to have run when it is said to have ended, and
/// nobody is woken in between.
const ALONE: Duration = Duration::from_millis(2);

/// How long nothing has happened when a process is made ahead of the next run: whoever was told that a run is over gets
/// this processor first.
const QUIET: Duration = Duration::from_micros(500);

/// How long nothing has happened in a jail when the process that was made ahead is let go: of many jails most sleep. The next
/// run makes its own.
const SLEEP: Duration = Duration::from_secs(60);

/// Init at work.
pub struct Runs<'a> {
    launcher: &'a Channel,
    orders: Orders,
    filters: Filters,
    shielded: Vec<Shielded>,
    leaders: BTreeMap<Run, Leader>,
    spare: Spare,
    broker: Broker,
    proven: bool,
    // Since when nothing has happened.
    quiet: Instant,
}

/// The first process of a run.
struct Leader {
    runner: Runner,
    // Of the jail's own terminal, until the launcher has it.
    master: Option<OwnedFd>,
    // Whether somebody looks at it, who is not to be kept waiting.
    seen: bool,
    // What it found, until the launcher is told.
    findings: Option<Vec<Finding>>,
    // Until when nothing that it says is waited for.
    left_alone: Option<Instant>,
    // What it becomes, where that is recorded.
    first: Option<First>,
}

/// What there is to do.
#[derive(Default)]
struct Ready {
    told: bool,
    dead: bool,
    spare: bool,
    speaking: Vec<Run>,
    ended: bool,
    // Of each listener that was waited on.
    asked: Vec<State>,
}

/// Whether to go on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    Stop,
}

impl<'a> Runs<'a> {
    /// Takes over a jail that was built and confined.
    pub fn new(launcher: &'a Channel, orders: Orders, filters: Filters, shielded: Vec<Shielded>) -> Runs<'a> {
        let broker = Broker::new(&orders.plan, shielded.clone());
        let spare = if orders.keeps == Keeps::OneRun { Spare::None } else { Spare::Wanted };
        if let Spare::Wanted = spare {
            // A process that is made ahead has each of our pages, until it becomes its command.
            memory::give_back_freed();
        }
        Runs {
            launcher,
            orders,
            filters,
            shielded,
            leaders: BTreeMap::new(),
            spare,
            broker,
            proven: false,
            quiet: Instant::now(),
        }
    }

    /// Whether a run has shown that nothing gets out of this jail.
    pub fn were_proven(&self) -> bool {
        self.proven
    }

    /// Serves until the only run is over, or the launcher is gone. Whatever is left of any run dies with us.
    pub fn serve(&mut self) -> Result<(), Failed> {
        let failed = Failed::at("serve_runs");
        let mut children = SigSet::empty();
        children.add(Signal::SIGCHLD);
        children.thread_block().map_err(&failed)?;
        let ended = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK).map_err(&failed)?;
        loop {
            let ready = self.wait(&ended).map_err(&failed)?;
            self.broker.look_again();
            for run in &ready.speaking {
                self.hear_leader(*run)?;
                self.announce(*run)?;
            }
            if ready.spare {
                self.spare.hear()?;
            }
            if ready.is_asked() && self.serve_broker(&ready.asked)? == Next::Stop {
                return Ok(());
            }
            if ready.dead {
                while let Ok(Some(_)) = ended.read_signal() {}
                if self.reap()? == Next::Stop {
                    return Ok(());
                }
            }
            if ready.told && self.obey()? == Next::Stop {
                return Ok(());
            }
            if ready.anything() {
                self.quiet = Instant::now();
            } else {
                self.make_spare();
                self.fall_asleep();
            }
            self.listen_again();
        }
    }

    fn wait(&self, ended: &SignalFd) -> Result<Ready, Errno> {
        let speaking: Vec<(Run, BorrowedFd<'_>)> =
            self.leaders.iter().filter_map(|(run, leader)| Some((*run, leader.words()?))).collect();
        let spare = self.spare.words();
        let watch = |descriptor| PollFd::new(descriptor, PollFlags::POLLIN);
        let mut watched = vec![watch(self.launcher.as_fd()), watch(ended.as_fd())];
        watched.extend(speaking.iter().map(|(_, words)| watch(*words)));
        watched.extend(spare.map(watch));
        let ends = self.broker.ended();
        watched.extend(ends.map(watch));
        let listeners = watched.len();
        watched.extend(self.broker.listeners().map(watch));
        match ppoll(&mut watched, self.patience().map(TimeSpec::from_duration), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
        let asked = watched.iter().skip(listeners).map(|watched| State::of(watched.revents())).collect();
        let mut ready = watched.iter().map(|watched| watched.any().unwrap_or(true));
        let mut next = || ready.next().unwrap_or(true);
        Ok(Ready {
            told: next(),
            dead: next(),
            speaking: speaking.iter().filter(|_| next()).map(|(run, _)| *run).collect(),
            spare: spare.is_some() && next(),
            ended: ends.is_some() && next(),
            asked,
        })
    }

    fn patience(&self) -> Option<Duration> {
        let wanted = matches!(self.spare, Spare::Wanted);
        if wanted && self.leaders.is_empty() {
            Some(QUIET)
        } else if wanted || self.leaders.values().any(|leader| leader.left_alone.is_some()) {
            Some(ALONE)
        } else if self.broker.has_to_wait() {
            Some(WAIT)
        } else {
            self.could_sleep().then(|| SLEEP.saturating_sub(self.quiet.elapsed()))
        }
    }

    fn could_sleep(&self) -> bool {
        let lasts = self.orders.keeps == Keeps::ManyRuns && self.leaders.is_empty();
        lasts && matches!(self.spare, Spare::There(..))
    }

    /// Lets go of what waits for the next run, when there has been none for long.
    fn fall_asleep(&mut self) {
        if self.could_sleep() && self.quiet.elapsed() >= SLEEP {
            self.spare = Spare::None;
            // What a jail that sleeps keeps of memory, a thousand of them keep a thousand times.
            memory::give_back_freed();
            memory::let_go_of_program();
        }
    }

    /// Answers what is asked. A run whose listener has nobody left is ending: its first process is waited for at once,
    /// which takes it one wake-up less to be heard of.
    fn serve_broker(&mut self, states: &[State]) -> Result<Next, Failed> {
        let mut next = Next::Continue;
        for (run, listener) in self.broker.serve(states) {
            let leader = run.and_then(|run| self.leaders.get(&run)).map(|leader| leader.runner.pid);
            if let Some(pid) = leader {
                // Only those count as listened to that have not begun to end.
                let ended = process::wait_for(pid).map_err(Failed::at("serve_broker"))?;
                next = self.bury(ended)?;
            }
            // Last, because the kernel takes its time.
            drop(listener);
        }
        Ok(next)
    }

    /// Has those heard that have run for a while.
    fn listen_again(&mut self) {
        for leader in self.leaders.values_mut() {
            leader.left_alone = leader.left_alone.filter(|until| Instant::now() < *until);
        }
    }

    fn obey(&mut self) -> Result<Next, Failed> {
        match self.launcher.receive().map_err(Failed::at("obey"))? {
            Arrived::Gone => return Ok(Next::Stop),
            Arrived::Message(ToInit::Start(run, command), stdio) => match self.start(run, command, stdio) {
                Ok(()) => {}
                Err(failed) => self.tell(&FromInit::NotStarted(run, failure(failed)))?,
            },
            Arrived::Message(ToInit::Signal(run, number), _) => self.signal(run, number),
            Arrived::Message(ToInit::End(run), _) => {
                if let Some(leader) = self.leaders.get(&run) {
                    descendants::end_session(leader.runner.pid);
                }
            }
            Arrived::Message(ToInit::Orders(_) | ToInit::Confine(_), _) => {
                return Err(Failed::at("obey")(Errno::EPROTO));
            }
        }
        Ok(Next::Continue)
    }

    fn start(&mut self, run: Run, command: Box<Command>, given: Vec<OwnedFd>) -> Result<(), Failed> {
        if self.leaders.contains_key(&run) {
            return Err(Failed::at("start")(Errno::EBUSY));
        }
        let (stdio, master) = stdio::for_command(self.orders.plan.tier, command.terminal, given)?;
        let seen = command.terminal != Terminal::None;
        let recorded = self.orders.plan.recording != Recording::Off && command.work == Work::Execute;
        let first = recorded.then(|| First::of(&command)).flatten();
        let assignment = Assignment { command, stdio };
        let (runner, proof) = match std::mem::replace(&mut self.spare, Spare::None) {
            Spare::Broken(findings) => {
                self.spare = Spare::Broken(findings.clone());
                return self.tell(&FromInit::Broken(run, findings));
            }
            Spare::There(runner, proof) if runner.assign(&assignment).is_ok() => (runner, proof),
            Spare::There(..) | Spare::None | Spare::Wanted => (self.fork(Some(assignment))?, None),
        };
        if self.orders.keeps == Keeps::ManyRuns {
            self.spare = Spare::Wanted;
        }
        self.leaders.insert(run, Leader { runner, master, seen, findings: None, left_alone: None, first });
        if let Some((findings, listener)) = proof {
            self.prove(run, findings, listener);
        }
        Ok(())
    }

    fn fork(&self, assigned: Option<Assignment>) -> Result<Runner, Failed> {
        let worn = Worn { orders: &self.orders, brokered: &self.filters.brokered, shielded: &self.shielded };
        Runner::fork(worn, assigned)
    }

    /// Makes the process for the next run, if one is wanted. That it cannot be made now is for that run to find out.
    fn make_spare(&mut self) {
        if let Spare::Wanted = self.spare {
            self.spare = self.fork(None).map_or(Spare::None, |runner| Spare::There(runner, None));
        }
    }

    fn hear_leader(&mut self, run: Run) -> Result<(), Failed> {
        let Some(leader) = self.leaders.get_mut(&run) else { return Ok(()) };
        match leader.runner.hear()? {
            Heard::Proven(findings, listener) => self.prove(run, findings, listener),
            Heard::Broken(findings) => self.tell(&FromInit::Broken(run, findings))?,
            Heard::Nothing => {}
        }
        Ok(())
    }

    fn prove(&mut self, run: Run, findings: Vec<Finding>, listener: Option<OwnedFd>) {
        self.proven = true;
        let first = self.leaders.get_mut(&run).and_then(|leader| leader.first.take());
        self.broker.listen(run, listener, first);
        if let Some(leader) = self.leaders.get_mut(&run) {
            leader.findings = Some(findings);
            let until = || Instant::now() + ALONE;
            leader.left_alone = (!leader.seen).then(until);
        }
    }

    /// Says that the command runs, if it does and that was not said.
    fn announce(&mut self, run: Run) -> Result<(), Failed> {
        let Some(leader) = self.leaders.get_mut(&run) else { return Ok(()) };
        if !leader.runner.has_become() {
            return Ok(());
        }
        let Some(findings) = leader.findings.take() else { return Ok(()) };
        let master = leader.master.take();
        let master: Vec<_> = master.iter().map(AsFd::as_fd).collect();
        self.launcher.send(&FromInit::Running(run, findings), &master).map_err(Failed::at("send_running"))
    }

    fn signal(&self, run: Run, number: i32) {
        let (Some(leader), Ok(signal)) = (self.leaders.get(&run), Signal::try_from(number)) else { return };
        let leader = leader.runner.pid;
        // What a terminal sends goes to the whole group, as a terminal would; what a person sends goes to the command.
        let whole_group =
            matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGHUP | Signal::SIGTSTP | Signal::SIGCONT);
        let target = if whole_group { Pid::from_raw(-leader.as_raw()) } else { leader };
        // It may have ended a moment ago.
        let _ = kill(target, signal);
    }

    fn reap(&mut self) -> Result<Next, Failed> {
        let mut next = Next::Continue;
        while let Ok(Some(ended)) = process::reap(None) {
            if self.bury(ended)? == Next::Stop {
                next = Next::Stop;
            }
        }
        Ok(next)
    }

    /// A child has ended. If it was the first process of a run, so has the run.
    fn bury(&mut self, ended: Ended) -> Result<Next, Failed> {
        let of_run = self.leaders.iter().find(|(_, leader)| leader.runner.pid == ended.pid).map(|(run, _)| *run);
        let Some(run) = of_run else { return Ok(Next::Continue) };
        // What it said before it ended comes first.
        while self.leaders.get(&run).is_some_and(|leader| leader.runner.words().is_some()) {
            self.hear_leader(run)?;
        }
        if self.leaders.get(&run).is_some_and(|leader| leader.seen) {
            // What it wrote to its terminal is read by whoever gets the other end with this.
            self.announce(run)?;
        }
        let Some(leader) = self.leaders.remove(&run) else { return Ok(Next::Continue) };
        self.say_how(run, leader, ended)?;
        // A jail that was made ahead is for somebody who waits for an answer: our end, which costs the kernel more than a run
        // does, is left to the launcher, who has passed the answer on by then.
        Ok(if self.orders.keeps == Keeps::OneRun { Next::Stop } else { Next::Continue })
    }

    fn say_how(&mut self, run: Run, leader: Leader, ended: Ended) -> Result<(), Failed> {
        let end = match (leader.runner.last, ended.how) {
            // The launcher was told, and it has ended itself.
            (Some(Word::Broken(_) | Word::Proven(_)), _) => return Ok(()),
            (Some(Word::Failed(failure)), _) => return self.tell(&FromInit::NotStarted(run, failure)),
            (Some(Word::NotExecuted(errno)), _) => End::NotExecuted(errno),
            (None, How::Exited(code)) => End::Exited(code),
            (None, How::Signalled(signal)) => End::Signalled(signal),
        };
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let status = match ended.how {
            How::Exited(code) => (code & 0xff) << 8,
            How::Signalled(signal) => signal & 0x7f,
        };
        let (denials, observed) = self.broker.finish(run, ended.pid.as_raw().unsigned_abs(), status);
        self.tell(&FromInit::Ended {
            run,
            end,
            user_us: micros(ended.user),
            system_us: micros(ended.system),
            peak_memory: ended.peak,
            denials,
            observed,
            findings: leader.findings,
        })
    }

    fn tell(&self, message: &FromInit) -> Result<(), Failed> {
        self.launcher.send(message, &[]).map_err(Failed::at("tell"))
    }
}

impl Leader {
    /// Where its words come from, while they are waited for.
    fn words(&self) -> Option<BorrowedFd<'_>> {
        self.runner.words().filter(|_| self.left_alone.is_none())
    }
}

impl Ready {
    fn anything(&self) -> bool {
        self.told || self.dead || self.spare || self.ended || self.is_asked() || !self.speaking.is_empty()
    }

    fn is_asked(&self) -> bool {
        self.asked.iter().any(|state| *state != State::Quiet)
    }
}
