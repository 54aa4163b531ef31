//! The guard: the first process of a service, which starts the others and starts them again when one was killed.
//!
//! It handles nothing that anybody sends, keeps the listening socket so that nobody is turned away meanwhile, and clears up
//! after those that were killed: whatever they leave becomes its child.
//!
//! ```text
//!   starting --> serving --SIGTERM--> stopping: the supervisor ends its runs, everything else follows
//!      ^            '--one of the two is gone--> clearing up: kill, reap, remove --'
//!      '---------------------------------- after a pause -----------------------'
//! ```

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::{Pid, getpid, pipe2};

use super::config::{Config, ConfigError, Known};
use super::configuring;
use super::launcher::{self, Launcher};
use super::notify::{self, Notify};
use super::{recorder, socket, supervisor};
use crate::confine::{Failed, Ids};
use crate::jail::channel::Channel;
use crate::jail::{accounts, descendants, remains};
use crate::ledger::error::LedgerError;
use crate::ledger::writer::Ledger;
use crate::sys::memory;
use crate::sys::process::{self, Fork};

/// How long the supervisor may take to end its runs.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the recorder may take to write down what the supervisor left, and to let go of the ledger.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// A pair that lives this long was sound, and the next pause is the shortest again.
const SOUND: Duration = Duration::from_secs(1);
/// The first pause before starting again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// Why there is no service.
#[derive(Debug)]
pub enum NoService {
    /// The configuration cannot be used.
    Config(ConfigError),
    /// The socket cannot be made.
    Socket(PathBuf, std::io::Error),
    /// The ledger cannot be written.
    Ledger(LedgerError),
    /// A step of ours did not work.
    Failed(Failed),
}

impl From<Failed> for NoService {
    fn from(failed: Failed) -> NoService {
        NoService::Failed(failed)
    }
}

/// What stays when launcher and supervisor do not.
struct Guard {
    path: PathBuf,
    own: Ids,
    listener: OwnedFd,
    metrics: Option<OwnedFd>,
    notify: Notify,
    signals: SignalFd,
    // The last one that could be used.
    config: Config,
    known: Rc<Known>,
}

/// Those that serve: two, and the one that records.
struct Pair {
    launcher: Pid,
    supervisor: Pid,
    recorder: Option<Pid>,
    // A byte comes each time the supervisor has become ready. Its end is kept, so that there is no end of file to wait for.
    ready: (OwnedFd, OwnedFd),
}

/// What the guard waits for.
enum Event {
    Signal(Signal),
    Ready,
    Nothing,
}

/// How a pair came to its end.
#[derive(PartialEq, Eq)]
enum Outcome {
    Asked,
    Died,
}

/// Serves until it is told to stop. `socket` wins over the configuration's.
pub fn serve(path: &Path, named: bool, socket: Option<&Path>) -> Result<(), NoService> {
    // What whoever started us left open is no business of ours, and less of the supervisor's.
    process::close_from(notify::first_not_given()).map_err(Failed::at("close_inherited"))?;
    let own = accounts::own_ids();
    let (mut config, known) = configuring::read(path, named, own).map_err(NoService::Config)?;
    if let Some(socket) = socket {
        config.socket = socket.to_owned();
    }
    try_ledger(&config)?;
    let metrics = config.metrics.as_ref().map(|metrics| {
        socket::listen_for_metrics(metrics).map_err(|error| NoService::Socket(metrics.socket.clone(), error))
    });
    let metrics = metrics.transpose()?;
    // Last: whoever can connect finds all the rest there.
    let listener = socket::listen(&config).map_err(|error| NoService::Socket(config.socket.clone(), error))?;
    let failed = Failed::at("guard");
    process::set_name(c"clawjail-guard").map_err(&failed)?;
    process::become_subreaper().map_err(&failed)?;
    // An earlier service may have been killed with its guard.
    remains::sweep();
    let signals = signals().map_err(&failed)?;
    // Every process of the service is a fork of this one, or of one of those.
    memory::give_back_freed();
    let guard = Guard {
        path: path.to_owned(),
        own,
        listener,
        metrics,
        notify: Notify::connect(),
        signals,
        config,
        known: Rc::new(known),
    };
    guard.keep_up()
}

/// A ledger that cannot be written is said now, to whoever starts us. Later it is a reason to refuse runs.
fn try_ledger(config: &Config) -> Result<(), NoService> {
    let Some(settings) = &config.ledger else { return Ok(()) };
    if let Some(above) = settings.path.parent() {
        std::fs::create_dir_all(above).map_err(LedgerError::system("make", above)).map_err(NoService::Ledger)?;
    }
    Ledger::open(settings.clone(), LAST_WORDS).map(drop).map_err(NoService::Ledger)
}

fn watched_signals() -> SigSet {
    [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGCHLD].into_iter().collect()
}

fn signals() -> Result<SignalFd, Errno> {
    let set = watched_signals();
    set.thread_block()?;
    SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

impl Guard {
    fn keep_up(mut self) -> Result<(), NoService> {
        let mut pause = PAUSES.0;
        loop {
            let began = Instant::now();
            let pair = self.start()?;
            let outcome = self.watch(&pair)?;
            self.clear_up(&pair);
            if outcome == Outcome::Asked {
                return Ok(());
            }
            pause = if began.elapsed() > SOUND { PAUSES.0 } else { (pause * 2).min(PAUSES.1) };
            if self.rest(pause)? == Outcome::Asked {
                return Ok(());
            }
            self.read_again();
        }
    }

    fn start(&self) -> Result<Pair, Failed> {
        let failed = Failed::at("start_pair");
        let guard = getpid();
        let (recorder, to_recorder) = self.start_recorder()?.unzip();
        let (to_launcher, to_supervisor) = Channel::pair().map_err(&failed)?;
        let launcher = match process::fork_into(0, None).map_err(&failed)? {
            Fork::Child => {
                drop((to_launcher, to_recorder));
                self.become_launcher(to_supervisor, guard)
            }
            Fork::Parent(pid) => pid,
        };
        drop(to_supervisor);
        let (ready, say_ready) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK).map_err(&failed)?;
        match process::fork_into(0, None) {
            Ok(Fork::Child) => {
                let metrics = self.metrics.as_ref().and_then(|listener| listener.try_clone().ok());
                let ready = say_ready.into();
                let channels = supervisor::Channels { launcher: to_launcher, recorder: to_recorder, ready, metrics };
                supervisor::serve(channels, self.config.clone(), self.own, guard)
            }
            Ok(Fork::Parent(supervisor)) => Ok(Pair { launcher, supervisor, recorder, ready: (ready, say_ready) }),
            // Its channels are gone with us, and so the others end.
            Err(errno) => Err(failed(errno)),
        }
    }

    /// The process that holds the ledger, and the other end of its channel, where there is to be one.
    fn start_recorder(&self) -> Result<Option<(Pid, Channel)>, Failed> {
        let failed = Failed::at("start_recorder");
        let Some(settings) = &self.config.ledger else { return Ok(None) };
        let (ours, recorders) = Channel::pair().map_err(&failed)?;
        match process::fork_into(0, None).map_err(&failed)? {
            Fork::Child => {
                drop(ours);
                match launcher::only(&[recorders.as_fd()]) {
                    Ok(()) => recorder::serve(recorders, settings.clone(), self.own),
                    Err(_) => process::leave(1),
                }
            }
            Fork::Parent(pid) => Ok(Some((pid, ours))),
        }
    }

    fn become_launcher(&self, supervisor: Channel, guard: Pid) -> ! {
        let bound = process::set_parent_death_signal(Signal::SIGKILL).is_ok()
            && nix::unistd::getppid() == guard
            && SigSet::empty().thread_set_mask().is_ok();
        let listener = self.listener.try_clone();
        let (true, Ok(listener)) = (bound, listener) else { process::leave(1) };
        launcher::serve(Launcher {
            supervisor,
            listener,
            own: self.own,
            path: self.path.clone(),
            config: self.config.clone(),
            known: self.known.clone(),
            connections: Default::default(),
            keepers: Default::default(),
            next: 1,
        })
    }

    /// Passes on what it is told until one of the pair is gone or it is to stop.
    fn watch(&self, pair: &Pair) -> Result<Outcome, Failed> {
        loop {
            match self.next(None, Some(pair))? {
                // The manager hears it from us, whom it knows; the supervisor could tell it anything.
                Event::Ready => self.notify.tell("READY=1"),
                Event::Signal(Signal::SIGHUP) => {
                    self.notify.tell("RELOADING=1");
                    let _ = kill(pair.supervisor, Signal::SIGHUP);
                }
                Event::Signal(Signal::SIGCHLD) if self.one_is_gone(pair) => return Ok(Outcome::Died),
                Event::Signal(Signal::SIGCHLD) | Event::Nothing => {}
                Event::Signal(_) => {
                    self.notify.tell("STOPPING=1");
                    self.stop(pair)?;
                    return Ok(Outcome::Asked);
                }
            }
        }
    }

    /// Reaps, and says whether one of those that serve was among them.
    fn one_is_gone(&self, pair: &Pair) -> bool {
        let mut gone = false;
        while let Ok(Some(ended)) = process::reap(None) {
            gone |= ended.pid == pair.launcher || ended.pid == pair.supervisor || Some(ended.pid) == pair.recorder;
        }
        gone
    }

    fn stop(&self, pair: &Pair) -> Result<(), Failed> {
        let until = Instant::now() + PATIENCE;
        let _ = kill(pair.supervisor, Signal::SIGTERM);
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if matches!(self.next(Some(left), None)?, Event::Signal(Signal::SIGCHLD)) && self.one_is_gone(pair) {
                break;
            }
        }
        Ok(())
    }

    /// Nothing of the pair stays: no process, no group, no private place.
    fn clear_up(&self, pair: &Pair) {
        for pid in [pair.supervisor, pair.launcher] {
            // Gone already, or gone now.
            let _ = kill(pid, Signal::SIGKILL);
        }
        // A failure leaves something to the next sweep.
        let _ = descendants::end_all_but(pair.recorder.as_slice());
        self.await_last_words(pair);
        let _ = descendants::end_all();
        remains::sweep();
    }

    /// The recorder ends by itself, once it has written down what the supervisor has left.
    fn await_last_words(&self, pair: &Pair) {
        let Some(recorder) = pair.recorder else { return };
        let until = Instant::now() + LAST_WORDS;
        // ECHILD: it was reaped already.
        while matches!(process::reap(Some(recorder)), Ok(None)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn rest(&self, pause: Duration) -> Result<Outcome, Failed> {
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            if matches!(self.next(Some(left), None)?, Event::Signal(Signal::SIGTERM | Signal::SIGINT)) {
                return Ok(Outcome::Asked);
            }
        }
        Ok(Outcome::Died)
    }

    /// A configuration that was broken meanwhile must not keep the service down: then the last one counts.
    fn read_again(&mut self) {
        if let Ok((read, known)) = configuring::read(&self.path, true, self.own) {
            let Config { socket, becomes, ledger, metrics, .. } = self.config.clone();
            self.config = Config { socket, becomes, ledger, metrics, ..read };
            self.known = Rc::new(known);
        }
    }

    /// What comes next: a signal, or word from `pair`'s supervisor; nothing when `left` has passed.
    fn next(&self, left: Option<Duration>, pair: Option<&Pair>) -> Result<Event, Failed> {
        let failed = Failed::at("next_event");
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX)
        });
        let mut watched = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        watched.extend(pair.map(|pair| PollFd::new(pair.ready.0.as_fd(), PollFlags::POLLIN)));
        match poll(&mut watched, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let read = self.signals.read_signal().map_err(&failed)?;
        let number = read.and_then(|read| i32::try_from(read.ssi_signo).ok());
        if let Some(signal) = number.and_then(|number| Signal::try_from(number).ok()) {
            return Ok(Event::Signal(signal));
        }
        let told = pair.is_some_and(|pair| nix::unistd::read(&pair.ready.0, &mut [0; 16]).is_ok_and(|count| count > 0));
        Ok(if told { Event::Ready } else { Event::Nothing })
    }
}
