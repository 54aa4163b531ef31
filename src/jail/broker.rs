//! Making names on a command's behalf.
//!
//! Landlock cannot tell one name in a directory from another, so runs are denied to make any name in a shielded tree
//! (`confine::landlock::restrict_naming`), and their filter asks here about every call that would. A free name is made by
//! init; a shielded one is refused and counted.
//!
//! The filter is the door and Landlock the wall: whatever is not understood is answered `Continue`, and the kernel, which
//! reads the arguments again, then denies it if it lies in a shielded tree. So nothing that a command does to its own
//! memory, to links or to directories meanwhile can open more than init itself made.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::asking::{Asked, Asker, sets_mode};
use super::lost::{Lost, Question};
use super::naming::{self, Answer, Judge};
use crate::confine::shields::Shielded;
use crate::plan::Plan;
use crate::sys::seccomp::{self, Notification, NotificationId};
use crate::wire::privsep::{Denied, Run};

/// Most names that one run's denials are kept of; more are counted under the last.
const MOST_DENIALS: usize = 256;

/// An answer, and the question if it was understood.
type Decided = (Option<Question>, Answer);

/// What was tried on which path, by which pattern it was denied, and how often.
type Denials = BTreeMap<(PathBuf, &'static str, String), u64>;

/// The broker of one jail.
pub struct Broker {
    judge: Judge,
    // Of a run that is over, what it left goes on asking; nobody is told any more.
    listeners: Vec<(Option<Run>, OwnedFd)>,
    lost: Lost,
    /// Questions that cannot be answered yet, each with its run and its listener.
    later: Vec<(Option<Run>, OwnedFd, Notification)>,
    denials: BTreeMap<Run, Denials>,
}

impl Broker {
    /// For the shields of `plan`; `shielded` is what exists of them.
    pub fn new(plan: &Plan, shielded: Vec<Shielded>) -> Broker {
        Broker {
            judge: Judge::new(plan, shielded),
            listeners: Vec::new(),
            lost: Lost::default(),
            later: Vec::new(),
            denials: BTreeMap::new(),
        }
    }

    /// The descriptors to wait on.
    pub fn listeners(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.iter().map(|(_, listener)| listener.as_fd())
    }

    /// Takes over the listener of a new run.
    pub fn listen(&mut self, run: Run, listener: Option<OwnedFd>) {
        if let Some(listener) = listener {
            // Faster where the kernel can (Linux 6.6); nothing is lost where it cannot.
            let _ = seccomp::wake_on_same_processor(listener.as_fd());
            self.listeners.push((Some(run), listener));
        }
    }

    /// Answers one question of each listener that has one, and lets go of those that the kernel no longer answers for:
    /// closing one has every call that waits on it, and every later one, fail with `ENOSYS`. Returns those whose last
    /// process is ending.
    pub fn serve(&mut self) -> Vec<(Option<Run>, OwnedFd)> {
        let mut gone = Vec::new();
        for (run, listener) in std::mem::take(&mut self.listeners) {
            let served = match state(listener.as_fd()) {
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
        !self.later.is_empty()
    }

    /// Looks again at questions that could not be answered. Those whose process has gone are not put back.
    pub fn look_again(&mut self) {
        for (run, listener, notification) in std::mem::take(&mut self.later) {
            let decided = self.decide(listener.as_fd(), &notification);
            // Whoever cannot be answered is not waited for either: with its listener gone the kernel ends the call.
            drop(self.answer(run, listener.as_fd(), notification, decided));
        }
    }

    /// What was denied to a run that is over, with the command's names for it.
    pub fn take_denials(&mut self, run: Run) -> Vec<Denied> {
        for (of, _) in self.listeners.iter_mut().filter(|(of, _)| *of == Some(run)) {
            *of = None;
        }
        let taken = self.denials.remove(&run).unwrap_or_default();
        taken
            .into_iter()
            .map(|((path, action, pattern), count)| {
                let path = std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec();
                let mechanism = "broker".to_owned();
                Denied { kind: action.to_owned(), what: path, mechanism, rule: pattern, count, when_us: None, by: None }
            })
            .collect()
    }

    fn answer_next(&mut self, run: Option<Run>, listener: BorrowedFd<'_>) -> io::Result<()> {
        let Some(notification) = unless_gone(seccomp::receive(listener))? else { return Ok(()) };
        let decided = self.decide(listener, &notification);
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
                self.note(run, (path, action, pattern));
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

    fn decide(&mut self, listener: BorrowedFd<'_>, notification: &Notification) -> Decided {
        let Some(asker) = Asker::new(listener, notification) else { return (None, not_understood(notification)) };
        match Asked::read(&asker, notification) {
            // Everything was copied while the process certainly waited; from here on only our copies count.
            Some(asked) if asker.still_waits() => {
                let question = Question::new(notification, &asked);
                let answer = self.lost.take(&question).unwrap_or_else(|| naming::answer(&self.judge, &asker, &asked));
                (Some(question), answer)
            }
            Some(_) | None => (None, not_understood(notification)),
        }
    }

    fn note(&mut self, run: Option<Run>, key: (PathBuf, &'static str, String)) {
        let Some(run) = run else { return };
        let denials = self.denials.entry(run).or_default();
        if denials.len() < MOST_DENIALS || denials.contains_key(&key) {
            *denials.entry(key).or_default() += 1;
        } else if let Some(mut last) = denials.last_entry() {
            *last.get_mut() += 1;
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

enum State {
    Asking,
    Quiet,
    Gone,
}

fn state(listener: BorrowedFd<'_>) -> State {
    let mut watched = [PollFd::new(listener, PollFlags::POLLIN)];
    match poll(&mut watched, PollTimeout::ZERO) {
        Ok(_) => {}
        Err(_) => return State::Quiet,
    }
    let [watched] = watched;
    match watched.revents() {
        Some(events) if events.contains(PollFlags::POLLIN) => State::Asking,
        Some(events) if events.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) => State::Gone,
        _ => State::Quiet,
    }
}
