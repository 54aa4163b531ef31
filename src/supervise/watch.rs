//! A run as the supervisor sees it, from request to end.
//!
//! ```text
//!   asked --Refused | Failed--> over
//!     '--Started--> running --signal of the caller--> pass on
//!                      '-----Ended | launcher gone--> over
//! ```

use std::io::{stderr, stdin, stdout};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::pipe2;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::outer::Raw;
use super::relay::{self, Ending, Tally};
use crate::jail::channel::{Arrived, Channel};
use crate::sys::terminal;
use crate::verdict::{Output, Reason, Seen};
use crate::wire::privsep::{Failure, FromLauncher, RunRequest, Started, Terminal, ToLauncher, UNHEARD};

/// Signals that are the command's, not ours.
const PASSED_ON: [i32; 7] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCONT];

/// Our end of the relay, then the command's.
pub struct Pipes {
    ours: [OwnedFd; 3],
    commands: [OwnedFd; 3],
}

/// Asks for `request` on the caller's own stdin, stdout and stderr. Needs no event loop yet: the launcher works while one is
/// made.
pub fn ask(launcher: &Channel, request: &RunRequest) -> std::io::Result<Pipes> {
    let pipes = Pipes::new()?;
    pipes.give(|all| launcher.send(&ToLauncher::Run(Box::new(request.clone())), all))?;
    Ok(pipes)
}

/// Attends to what was asked for until it is over.
pub async fn attend(
    launcher: &AsyncFd<Rc<Channel>>,
    terminal: Terminal,
    pipes: Pipes,
) -> std::io::Result<(Seen, Output)> {
    let mut signals = Signals::listen()?;
    let (started, master, ended) = match hear(launcher).await? {
        Some((FromLauncher::Started(started), mut descriptors)) => (started, descriptors.pop(), None),
        Some((FromLauncher::Ended(Some(started), ended), _)) => (started, None, Some(ended)),
        Some((other, _)) => return Ok((not_started(other), Output::default())),
        None => return Ok((launcher_gone(None), Output::default())),
    };
    let tally = Arc::new(Tally::default());
    let seen = match ended {
        Some(ended) => {
            drain(pipes, started.relayed, started.output, &tally, &Ending::Eof)?;
            Seen::Run { started, ended }
        }
        None => {
            let raw = if master.is_some() { Raw::enter()? } else { None };
            let relays = connect(pipes, started.relayed, started.output, master.as_ref(), &tally, &Ending::Eof)?;
            let seen = until_over(launcher, &mut signals, master.as_ref(), started).await?;
            drop(master);
            finish(relays)?;
            drop(raw);
            seen
        }
    };
    let seen = lost_output(seen, &tally);
    let observed = terminal != Terminal::None || observed(&seen);
    Ok((
        seen,
        Output {
            observed,
            bytes: tally.bytes.load(Ordering::Relaxed),
            truncated: tally.truncated.load(Ordering::Relaxed),
        },
    ))
}

fn lost_output(seen: Seen, tally: &Tally) -> Seen {
    match (seen, undelivered(tally)) {
        (Seen::Run { started, .. }, Some(reason)) => Seen::Failed(reason, Some(started)),
        (seen, _) => seen,
    }
}

/// Output that could not be delivered must not look like success; a reader who left wanted no more of it.
pub fn undelivered(tally: &Tally) -> Option<Reason> {
    let errno = Errno::from_raw(i32::try_from(tally.broken.load(Ordering::Relaxed)).unwrap_or(libc::EIO));
    let message = format!("cannot write the command's output: {}", errno.desc());
    let lost = errno as i32 != 0 && errno != Errno::EPIPE;
    lost.then(|| Reason { code: "failed.output".into(), message, remedy: None })
}

fn observed(seen: &Seen) -> bool {
    matches!(seen, Seen::Run { started, .. } if started.relayed[1] && started.relayed[2])
}

/// Passes signals on until the launcher says how it ended.
async fn until_over(
    launcher: &AsyncFd<Rc<Channel>>,
    signals: &mut Signals,
    master: Option<&OwnedFd>,
    started: Box<Started>,
) -> std::io::Result<Seen> {
    loop {
        tokio::select! {
            heard = hear(launcher) => return Ok(match heard? {
                Some((FromLauncher::Ended(_, ended), _)) => Seen::Run { started, ended },
                Some((FromLauncher::Failed(failure), _)) => Seen::Failed(cut_short(&failure), Some(started)),
                Some(_) | None => launcher_gone(Some(started)),
            }),
            number = signals.next() => match (number, master) {
                (libc::SIGWINCH, Some(master)) => follow_size(master.as_fd()),
                (libc::SIGWINCH, None) => {}
                (number, _) => pass_on(launcher.get_ref(), number)?,
            },
        }
    }
}

fn pass_on(launcher: &Channel, number: i32) -> std::io::Result<()> {
    match launcher.send(&ToLauncher::Signal(number), &[]) {
        // It has just ended, and says so next.
        Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Gives the command's terminal the size of the caller's.
pub fn follow_size(master: BorrowedFd<'_>) {
    if let Ok(size) = terminal::size(stdin().as_fd()) {
        // A terminal without a size keeps the one it has.
        let _ = terminal::resize(master, size);
    }
}

/// The next message, with its descriptors; none when the other end is gone.
pub async fn hear<T: DeserializeOwned>(channel: &AsyncFd<Rc<Channel>>) -> std::io::Result<Option<(T, Vec<OwnedFd>)>> {
    loop {
        let mut ready = channel.ready(Interest::READABLE).await?;
        match ready.get_inner().receive() {
            Ok(Arrived::Message(message, descriptors)) => return Ok(Some((message, descriptors))),
            Ok(Arrived::Gone) => return Ok(None),
            Err(Errno::EAGAIN) => ready.clear_ready(),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What a first word that is not `Started` means.
pub fn not_started(message: FromLauncher) -> Seen {
    match message {
        FromLauncher::Refused { code, message, remedy } => {
            Seen::Refused(Reason { code: format!("refused.{code}"), message, remedy })
        }
        FromLauncher::Failed(failure) => Seen::Failed(reason(&failure), None),
        FromLauncher::Started(_)
        | FromLauncher::Ended(..)
        | FromLauncher::Opened(_)
        | FromLauncher::Closed(_)
        | FromLauncher::Looked(_) => launcher_gone(None),
    }
}

/// A step that did not work while the command ran: something was executed, and it is over.
pub fn cut_short(failure: &Failure) -> Reason {
    let message = format!("the run was ended at {}", what_failed(failure));
    Reason { message, ..reason(failure) }
}

fn reason(failure: &Failure) -> Reason {
    let what = what_failed(failure);
    let message = match failure.step.as_str() {
        UNHEARD => format!("lost the jail at {what} (the command may have been executed)"),
        _ => format!("cannot confine the command at {what} (nothing was executed)"),
    };
    Reason { code: format!("failed.{}", failure.step), message, remedy: None }
}

/// The step, on what, and the kernel's word for it.
pub fn what_failed(failure: &Failure) -> String {
    let on = failure.what.as_ref().map_or(String::new(), |what| format!(" on `{what}`"));
    format!("step `{}`{on}: {}", failure.step, Errno::from_raw(failure.errno).desc())
}

/// The channel was closed without a last word.
pub fn launcher_gone(started: Option<Box<Started>>) -> Seen {
    let message = "the launcher ended unexpectedly; the jail died with it".to_owned();
    Seen::Failed(Reason { code: "failed.launcher".into(), message, remedy: None }, started)
}

/// Connects the caller's streams to the command's where they were not handed over: those that `relayed` says, and the
/// terminal, if there is one. `limit` is of all output together.
pub fn connect(
    pipes: Pipes,
    relayed: [bool; 3],
    limit: Option<u64>,
    master: Option<&OwnedFd>,
    tally: &Arc<Tally>,
    ending: &Ending,
) -> std::io::Result<Vec<JoinHandle<()>>> {
    let Pipes { ours: [input, output, error], commands } = pipes;
    // Ours must be the only ends left, or end of file never comes.
    drop(commands);
    let mut relays = Vec::new();
    if let Some(master) = master {
        relay::input(stdin().as_fd().try_clone_to_owned()?, master.try_clone()?)?;
        relays.push(relay::output(
            master.try_clone()?,
            stdout().as_fd().try_clone_to_owned()?,
            limit,
            tally.clone(),
            ending.clone(),
        )?);
    }
    if relayed[0] {
        // Not waited for: a caller's terminal may never send another byte.
        relay::input(stdin().as_fd().try_clone_to_owned()?, input)?;
    }
    if relayed[1] {
        relays.push(relay::output(
            output,
            stdout().as_fd().try_clone_to_owned()?,
            limit,
            tally.clone(),
            ending.clone(),
        )?);
    }
    if relayed[2] {
        relays.push(relay::output(
            error,
            stderr().as_fd().try_clone_to_owned()?,
            limit,
            tally.clone(),
            ending.clone(),
        )?);
    }
    Ok(relays)
}

/// Waits for all that the command has said. A relay that panicked has lost output, which must not look like success.
pub fn finish(relays: Vec<JoinHandle<()>>) -> std::io::Result<()> {
    relays
        .into_iter()
        .try_for_each(|relay| relay.join().map_err(|_| std::io::Error::other("a relay of output panicked")))
}

/// The same as [`connect`] and [`finish`] for a command that has ended before anybody could attend to it, as most do.
pub fn drain(
    pipes: Pipes,
    relayed: [bool; 3],
    limit: Option<u64>,
    tally: &Tally,
    ending: &Ending,
) -> std::io::Result<()> {
    let Pipes { ours: [_, output, error], commands } = pipes;
    drop(commands);
    if relayed[1] {
        relay::drain(output, stdout().as_fd().try_clone_to_owned()?, limit, tally, ending);
    }
    if relayed[2] {
        relay::drain(error, stderr().as_fd().try_clone_to_owned()?, limit, tally, ending);
    }
    Ok(())
}

impl Pipes {
    /// New ones.
    pub fn new() -> std::io::Result<Pipes> {
        let (stdin_read, stdin_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (stdout_read, stdout_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (stderr_read, stderr_write) = pipe2(OFlag::O_CLOEXEC)?;
        Ok(Pipes { ours: [stdin_write, stdout_read, stderr_read], commands: [stdin_read, stdout_write, stderr_write] })
    }

    /// Calls `send` with what a launcher is given: the caller's own stdin, stdout and stderr, then the command's ends.
    pub fn give<T>(&self, send: impl FnOnce(&[BorrowedFd<'_>]) -> T) -> T {
        let (input, output, error) = (stdin(), stdout(), stderr());
        let own: [BorrowedFd<'_>; 3] = [input.as_fd(), output.as_fd(), error.as_fd()];
        let all: Vec<BorrowedFd<'_>> = own.into_iter().chain(self.commands.iter().map(AsFd::as_fd)).collect();
        send(&all)
    }
}

/// The caller's signals.
pub struct Signals {
    streams: Vec<(i32, Signal)>,
}

impl Signals {
    /// Those that are passed on, and changes of the window's size.
    pub fn listen() -> std::io::Result<Signals> {
        let numbers = PASSED_ON.into_iter().chain([libc::SIGWINCH]);
        let streams = numbers.map(|number| Ok((number, signal(SignalKind::from_raw(number))?)));
        Ok(Signals { streams: streams.collect::<std::io::Result<_>>()? })
    }

    /// The next one.
    pub async fn next(&mut self) -> i32 {
        std::future::poll_fn(|context| {
            for (number, stream) in &mut self.streams {
                if stream.poll_recv(context).is_ready() {
                    return std::task::Poll::Ready(*number);
                }
            }
            std::task::Poll::Pending
        })
        .await
    }
}
