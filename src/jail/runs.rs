//! What init does once its jail stands: start runs, hear their proof, pass signals on, reap, and make names.
//!
//! One loop over three kinds of descriptors: the launcher's channel, a signalfd for ended children, and the listeners of
//! brokered runs. Nothing here blocks on what a command does.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::broker::Broker;
use super::channel::{Arrived, Channel};
use super::command::{Stdio, Word, Worn, become_command};
use super::{descendants, failure};
use crate::confine::shields::Shielded;
use crate::confine::{Failed, descriptors};
use crate::host::Tier;
use crate::sys::process::{self, Ended, Fork, How};
use crate::sys::terminal;
use crate::wire::privsep::{Command, End, Filters, FromInit, Keeps, Orders, Run, Terminal, ToInit};

/// How long a question is left alone that could not be answered.
const WAIT_MS: u16 = 5;

/// Init at work.
pub struct Runs<'a> {
    launcher: &'a Channel,
    orders: Orders,
    filters: Filters,
    shielded: Vec<Shielded>,
    leaders: BTreeMap<Run, Pid>,
    broker: Broker,
    proven: bool,
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
        Runs { launcher, orders, filters, shielded, leaders: BTreeMap::new(), broker, proven: false }
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
            let [told, dead, asked] = self.wait(&ended).map_err(&failed)?;
            self.broker.look_again();
            if asked {
                self.broker.serve();
            }
            if dead {
                while let Ok(Some(_)) = ended.read_signal() {}
                if self.reap()? == Next::Stop {
                    return Ok(());
                }
            }
            if told && self.obey()? == Next::Stop {
                return Ok(());
            }
        }
    }

    fn wait(&self, ended: &SignalFd) -> Result<[bool; 3], Errno> {
        let mut watched =
            vec![PollFd::new(self.launcher.as_fd(), PollFlags::POLLIN), PollFd::new(ended.as_fd(), PollFlags::POLLIN)];
        watched.extend(self.broker.listeners().map(|listener| PollFd::new(listener, PollFlags::POLLIN)));
        loop {
            let patience = if self.broker.has_to_wait() { PollTimeout::from(WAIT_MS) } else { PollTimeout::NONE };
            match poll(&mut watched, patience) {
                Err(Errno::EINTR) => {}
                polled => {
                    polled?;
                    break;
                }
            };
        }
        let mut ready = watched.iter().map(|watched| watched.any().unwrap_or(true));
        Ok([ready.next().unwrap_or(true), ready.next().unwrap_or(true), ready.any(|ready| ready)])
    }

    fn obey(&mut self) -> Result<Next, Failed> {
        match self.launcher.receive().map_err(Failed::at("obey"))? {
            Arrived::Gone => return Ok(Next::Stop),
            Arrived::Message(ToInit::Start(run, command), stdio) => match self.start(run, &command, stdio) {
                Ok(()) => {}
                Err(failed) => self.tell(&FromInit::NotStarted(run, failure(failed)))?,
            },
            Arrived::Message(ToInit::Signal(run, number), _) => self.signal(run, number),
            Arrived::Message(ToInit::End(run), _) => {
                if let Some(leader) = self.leaders.get(&run) {
                    descendants::end_session(*leader);
                }
            }
            Arrived::Message(ToInit::Orders(_) | ToInit::Confine(_), _) => {
                return Err(Failed::at("obey")(Errno::EPROTO));
            }
        }
        Ok(Next::Continue)
    }

    fn start(&mut self, run: Run, command: &Command, given: Vec<OwnedFd>) -> Result<(), Failed> {
        if self.leaders.contains_key(&run) {
            return Err(Failed::at("start")(Errno::EBUSY));
        }
        let (stdio, master) = self.stdio(command.terminal, given)?;
        let (mine, childs) = Channel::pair().map_err(Failed::at("start"))?;
        let pid = match process::fork().map_err(Failed::at("fork"))? {
            Fork::Child => {
                drop(mine);
                let worn = Worn { orders: &self.orders, brokered: &self.filters.brokered, shielded: &self.shielded };
                become_command(command, worn, stdio, childs)
            }
            Fork::Parent(pid) => pid,
        };
        drop(childs);
        drop(stdio);
        self.leaders.insert(run, pid);
        self.hear_out(run, &mine)?;
        let master: Vec<_> = master.iter().map(AsFd::as_fd).collect();
        if self.leaders.contains_key(&run) {
            self.launcher.send(&FromInit::Running(run), &master).map_err(Failed::at("send_running"))?;
        }
        Ok(())
    }

    /// Listens until the new process has become the command, which closes its end, or says why it has not.
    fn hear_out(&mut self, run: Run, process: &Channel) -> Result<(), Failed> {
        loop {
            match process.receive().map_err(Failed::at("hear_out"))? {
                Arrived::Gone => return Ok(()),
                Arrived::Message(Word::Proven(findings), mut listener) => {
                    self.proven = true;
                    self.broker.listen(run, listener.pop());
                    self.tell(&FromInit::Proven(run, findings))?;
                }
                Arrived::Message(Word::Broken(findings), _) => {
                    self.forget_leader(run)?;
                    return self.tell(&FromInit::Proven(run, findings));
                }
                Arrived::Message(Word::NotExecuted(errno), _) => {
                    let ended = self.forget_leader(run)?;
                    return self.report(run, End::NotExecuted(errno), ended);
                }
                Arrived::Message(Word::Failed(failure), _) => {
                    self.forget_leader(run)?;
                    return self.tell(&FromInit::NotStarted(run, failure));
                }
            }
        }
    }

    fn forget_leader(&mut self, run: Run) -> Result<Option<Ended>, Failed> {
        let Some(pid) = self.leaders.remove(&run) else { return Ok(None) };
        process::wait_for(pid).map(Some).map_err(Failed::at("forget_leader"))
    }

    /// The run's descriptors: those given, or a terminal of the jail's own.
    fn stdio(&self, wanted: Terminal, given: Vec<OwnedFd>) -> Result<(Stdio, Option<OwnedFd>), Failed> {
        let failed = Failed::at("stdio");
        let mut given = given.into_iter();
        let mut next = || given.next().ok_or_else(|| failed(Errno::EPROTO)).and_then(descriptors::above_stdio);
        let Terminal::Own { rows, columns, stderr } = wanted else {
            return Ok((Stdio { descriptors: [next()?, next()?, next()?], terminal: false }, None));
        };
        let (master, slave) = match self.orders.plan.tier {
            // No devpts of its own there: the launcher made the terminal, and Landlock grants no other.
            Tier::Bare => (None, next()?),
            Tier::Root | Tier::User => open_terminal(rows, columns)?,
        };
        let copy = || slave.try_clone().map_err(|_| failed(Errno::EMFILE));
        let error = if stderr { copy()? } else { next()? };
        Ok((Stdio { descriptors: [copy()?, copy()?, error], terminal: true }, master))
    }

    fn signal(&self, run: Run, number: i32) {
        let (Some(leader), Ok(signal)) = (self.leaders.get(&run).copied(), Signal::try_from(number)) else { return };
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
            let of_run = self.leaders.iter().find(|(_, leader)| **leader == ended.pid).map(|(run, _)| *run);
            if let Some(run) = of_run {
                self.leaders.remove(&run);
                let end = match ended.how {
                    How::Exited(code) => End::Exited(code),
                    How::Signalled(signal) => End::Signalled(signal),
                };
                self.report(run, end, Some(ended))?;
                if self.orders.keeps == Keeps::OneRun {
                    next = Next::Stop;
                }
            }
        }
        Ok(next)
    }

    fn report(&mut self, run: Run, end: End, ended: Option<Ended>) -> Result<(), Failed> {
        let micros = |time: Option<std::time::Duration>| {
            time.map_or(0, |time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
        };
        let denials = self.broker.take_denials(run);
        self.tell(&FromInit::Ended {
            run,
            end,
            user_us: micros(ended.map(|ended| ended.user)),
            system_us: micros(ended.map(|ended| ended.system)),
            peak_memory: ended.map_or(0, |ended| ended.peak),
            denials,
        })
    }

    fn tell(&self, message: &FromInit) -> Result<(), Failed> {
        self.launcher.send(message, &[]).map_err(Failed::at("tell"))
    }
}

/// A terminal from the jail's own devpts.
fn open_terminal(rows: u16, columns: u16) -> Result<(Option<OwnedFd>, OwnedFd), Failed> {
    let failed = Failed::at("open_terminal");
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = open("/dev/pts/ptmx", flags, Mode::empty()).map_err(&failed)?;
    terminal::unlock(master.as_fd()).map_err(&failed)?;
    terminal::resize(master.as_fd(), terminal::Size { rows, columns }).map_err(&failed)?;
    let slave = terminal::open_peer(master.as_fd()).map_err(&failed)?;
    Ok((Some(master), slave))
}
