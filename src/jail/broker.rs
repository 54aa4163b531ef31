//! Making names on a command's behalf.
//!
//! Landlock cannot tell one name in a directory from another, so runs are denied to make any name in a shielded tree
//! (`confine::landlock::restrict_naming`), and their filter asks here about every call that would. A free name is made by
//! init; a shielded one is refused and counted.
//!
//! The filter is the door and Landlock the wall: whatever is not understood is answered `Continue`, and the kernel, which
//! reads the arguments again, then denies it if it lies in a shielded tree. So nothing that a command does to its own
//! memory, to links or to directories meanwhile can open more than init itself made.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::poll::PollFlags;

use super::asker::Asker;
use super::asking::{Asked, Unread, sets_mode};
use super::judging::{Answer, Judge};
use super::lost::{Lost, Question};
use super::naming;
use super::observing;
use super::recorder::{First, Recorder};
use crate::confine::shields::Shielded;
use crate::plan::Plan;
use crate::sys::seccomp::{self, Notification, NotificationId};
use crate::wire::privsep::{Denied, Observed, Run};

/// An answer, and the question if it was understood.
type Decided = (Option<Question>, Answer);

/// The broker of one jail.
pub struct Broker {
    judge: Judge,
    // Of a run that is over, what it left goes on asking; nobody is told any more.
    listeners: Vec<(Option<Run>, OwnedFd)>,
    lost: Lost,
    /// Questions that cannot be answered yet, each with its run and its listener.
    later: Vec<(Option<Run>, OwnedFd, Notification)>,
    recorder: Recorder,
}

impl Broker {
    /// For the shields of `plan`; `shielded` is what exists of them.
    pub fn new(plan: &Plan, shielded: Vec<Shielded>) -> Broker {
        Broker {
            judge: Judge::new(plan, shielded),
            listeners: Vec::new(),
            lost: Lost::default(),
            later: Vec::new(),
            recorder: Recorder::new(plan),
        }
    }

    /// The listeners to wait on, in the order of [`Broker::serve`].
    pub fn listeners(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(|(_, listener)| listener.as_fd())
    }

    /// What else is to be waited on, if anything.
    pub fn ended(&self) -> Option<BorrowedFd<'_>> {
        self.recorder.ready()
    }

    /// Takes over the listener of a new run.
    pub fn listen(&mut self, run: Run, listener: Option<OwnedFd>, first: Option<First>) {
        if let Some(listener) = listener {
            // Faster where the kernel can (Linux 6.6); nothing is lost where it cannot.
            let _ = seccomp::wake_on_same_processor(listener.as_fd());
            self.listeners.push((Some(run), listener));
        }
        self.recorder.begin(run, first);
    }

    /// Answers one question of each listener that has one, and lets go of those that the kernel no longer answers for:
    /// closing one has every call that waits on it, and every later one, fail with `ENOSYS`. Returns those whose last
    /// process is ending.
    ///
    /// `states` are of the listeners that there were when they were waited for, in their order; whichever came since is heard next.
    pub fn serve(&mut self, states: &[State]) -> Vec<(Option<Run>, OwnedFd)> {
        let mut gone = Vec::new();
        let states = states.iter().copied().chain(std::iter::repeat(State::Quiet));
        for ((run, listener), state) in std::mem::take(&mut self.listeners).into_iter().zip(states) {
            let served = match state {
                State::Asking => self.answer_next(run, listener.as_fd()),
                State::Quiet => Ok(()),
                State::Gone => {
                    gone.push((run, listener));
                    continue;
                }
            };
            if served.is_ok() {
                self.listeners.push((run, listener));
            }
        }
        gone
    }

    /// Whether a question waits that nothing but time will answer.
    pub fn has_to_wait(&self) -> bool {
        !self.later.is_empty() || self.recorder.has_to_wait()
    }

    /// Looks again at questions that could not be answered. Those whose process has gone are not put back.
    pub fn look_again(&mut self) {
        self.recorder.look();
        for (run, listener, notification) in std::mem::take(&mut self.later) {
            let decided = self.decide(run, listener.as_fd(), &notification);
            // Whoever cannot be answered is not waited for either: with its listener gone the kernel ends the call.
            drop(self.answer(run, listener.as_fd(), notification, decided));
        }
    }

    /// What was noted of a run that is over, whose first process was `leader` and ended with `status`.
    pub fn finish(&mut self, run: Run, leader: u32, status: i32) -> (Vec<Denied>, Box<Observed>) {
        for (of, _) in self.listeners.iter_mut().filter(|(of, _)| *of == Some(run)) {
            *of = None;
        }
        self.recorder.finish(run, leader, status)
    }

    fn answer_next(&mut self, run: Option<Run>, listener: BorrowedFd<'_>) -> io::Result<()> {
        let Some(notification) = unless_gone(seccomp::receive(listener))? else { return Ok(()) };
        let decided = self.decide(run, listener, &notification);
        self.answer(run, listener, notification, decided)
    }

    fn answer(
        &mut self,
        run: Option<Run>,
        listener: BorrowedFd<'_>,
        notification: Notification,
        decided: Decided,
    ) -> io::Result<()> {
        let (question, answer) = decided;
        let answer = match answer {
            Answer::Later => {
                self.later.push((run, listener.try_clone_to_owned()?, notification));
                return Ok(());
            }
            Answer::Denied { path, action, pattern } => {
                let asker = Asker::new(listener, &notification);
                self.recorder.denied(run, asker.as_ref(), &path, action, pattern);
                Answer::Errno(Errno::EACCES)
            }
            answer => answer,
        };
        let told = tell(listener, notification.id, &answer)?;
        if let (None, Some(question)) = (told, question) {
            // If a signal was the reason, it asks again. The dead ask nothing.
            self.lost.keep(question, answer);
        }
        Ok(())
    }

    fn decide(&mut self, run: Option<Run>, listener: BorrowedFd<'_>, notification: &Notification) -> Decided {
        let Some(asker) = Asker::new(listener, notification) else { return (None, not_understood(notification)) };
        if observing::is_told(notification) {
            let told = observing::read(&asker, notification);
            // What is known is not noted again, so it does not matter whose it was.
            if !self.recorder.knows(run, &told) && asker.still_waits() {
                self.recorder.told(run, &asker, told);
            }
            return (None, Answer::Continue);
        }
        match Asked::read(&asker, notification) {
            // Everything was copied while the process certainly waited; from here on only our copies count.
            Ok(asked) if asker.still_waits() => {
                let question = Question::new(notification, &asked);
                self.recorder.before(run, &asked);
                let answer = self.lost.take(&question).unwrap_or_else(|| naming::answer(&self.judge, &asker, &asked));
                self.recorder.after(run, &asker, &asked, &answer);
                (Some(question), answer)
            }
            // What the kernel would say if nothing changed meanwhile. If the directory has come since, it would be a denial.
            Err(Unread::NoDirectory) => (None, Answer::Errno(Errno::ENOENT)),
            Ok(_) | Err(Unread::NotOurs) => (None, not_understood(notification)),
        }
    }
}

/// Sends an answer; `None` when nobody waits for it any more.
fn tell(listener: BorrowedFd<'_>, id: NotificationId, answer: &Answer) -> io::Result<Option<()>> {
    let simple = match answer {
        Answer::Continue => seccomp::Answer::Continue,
        Answer::Done => seccomp::Answer::Value(0),
        Answer::Errno(errno) => seccomp::Answer::Errno(*errno as i32),
        Answer::Denied { .. } => seccomp::Answer::Errno(libc::EACCES),
        // Nothing to say yet.
        Answer::Later => return Ok(Some(())),
        Answer::Opened(file, flags) => {
            match unless_gone(seccomp::send_descriptor(listener, id, file.as_fd(), *flags)) {
                Ok(told) => return Ok(told),
                // The process has no room for one more, for instance.
                Err(error) => seccomp::Answer::Errno(error.raw_os_error().unwrap_or(libc::EIO)),
            }
        }
    };
    unless_gone(seccomp::send(listener, id, simple))
}

/// For what the kernel judges again, the kernel's own answer. Modes it does not judge by Landlock: there it is a no.
fn not_understood(notification: &Notification) -> Answer {
    if sets_mode(notification.number) { Answer::Errno(Errno::EACCES) } else { Answer::Continue }
}

/// The asking process can be killed or interrupted at any moment, before, in (`ESRCH`) or after any of our calls; then
/// nobody waits, and that is no failure.
fn unless_gone<T>(called: io::Result<T>) -> io::Result<Option<T>> {
    match called {
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(None),
        called => called.map(Some),
    }
}

/// What a listener has for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// A question.
    Asking,
    /// Nothing.
    Quiet,
    /// Nobody is left who could ask.
    Gone,
}

impl State {
    /// As poll(2) says it.
    pub fn of(events: Option<PollFlags>) -> State {
        match events {
            Some(events) if events.contains(PollFlags::POLLIN) => State::Asking,
            Some(events) if events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) => State::Gone,
            _ => State::Quiet,
        }
    }
}
