//! The supervisor of a service: the process that reads what clients send, and may do nothing else.

use std::io::{PipeWriter, Write};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::Pid;
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};
use tokio::task::LocalSet;

use super::config::Config;
use super::confinement;
use super::link::Link;
use super::metrics;
use super::privsep::Answer;
use super::recording::Recording;
use super::service::Service;
use crate::confine::{Failed, Ids};
use crate::jail::channel::Channel;
use crate::sys::process;

/// How long runs may take to end when the service stops.
const PATIENCE: Duration = Duration::from_secs(8);

/// To those beside the supervisor.
pub struct Channels {
    /// Who makes keepers.
    pub launcher: Channel,
    /// Who holds the ledger, if there is one.
    pub recorder: Option<Channel>,
    /// To the guard, who hears when we are ready.
    pub ready: PipeWriter,
    /// Where numbers are asked for, if they are given.
    pub metrics: Option<OwnedFd>,
}

/// Serves until the launcher is gone or the guard says to stop. Runs in a fork of the guard, made before any thread.
pub fn serve(channels: Channels, config: Config, own: Ids, guard: Pid) -> ! {
    let code = match begin(channels, config, own, guard) {
        Ok(()) => 0,
        Err(failed) => {
            let what = failed.what.as_deref().unwrap_or("nothing in particular");
            eprintln!("clawjail: failed: the supervisor ended at step `{}` on `{what}`: {}", failed.step, failed.errno);
            1
        }
    };
    process::leave(code)
}

fn begin(channels: Channels, config: Config, own: Ids, guard: Pid) -> Result<(), Failed> {
    let failed = Failed::at("supervisor");
    process::set_name(c"clawjail-super").map_err(&failed)?;
    SigSet::empty().thread_set_mask().map_err(&failed)?;
    for ignored in [Signal::SIGINT, Signal::SIGPIPE, Signal::SIGTSTP] {
        // A terminal sends it to all of us; the guard decides what it means.
        process::ignore_signal(ignored).map_err(&failed)?;
    }
    raise_descriptors();
    let prepared = confinement::prepare()?;
    let null = std::fs::File::options().read(true).write(true).open("/dev/null");
    let null: OwnedFd = null.map_err(|error| failed(crate::confine::identity::errno_of(&error)))?.into();
    confinement::confine(&prepared, &config, own, guard)?;
    for channel in [Some(&channels.launcher), channels.recorder.as_ref()].into_iter().flatten() {
        channel.never_wait().map_err(&failed)?;
    }
    let io = |error: std::io::Error| failed(crate::confine::identity::errno_of(&error));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(io)?;
    let served = LocalSet::new().block_on(&runtime, work(channels, config, own, null));
    runtime.shutdown_background();
    served.map_err(io)
}

/// As many as the system allows: each sleeping jail and each connection holds one.
fn raise_descriptors() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

async fn work(channels: Channels, config: Config, own: Ids, null: OwnedFd) -> std::io::Result<()> {
    let recording = Recording::new(channels.recorder)?;
    let service = Rc::new(Service::new(Link::new(channels.launcher)?, recording.clone(), config, own, null));
    if let Some(listener) = channels.metrics {
        tokio::task::spawn_local(metrics::serve(service.clone(), listener));
    }
    let mut hearing = tokio::task::spawn_local(async move { recording.hear().await });
    let mut reload = signal(SignalKind::hangup())?;
    let mut stop = signal(SignalKind::terminate())?;
    let ready = Rc::new(channels.ready);
    say_ready(&ready);
    loop {
        tokio::select! {
            heard = service.link.hear() => match heard? {
                Some((answer, descriptors)) => hear(&service, answer, descriptors),
                // The guard notices too, and starts both of us again.
                None => return Ok(()),
            },
            // The same: without it nothing could be recorded.
            _ = &mut hearing => return Ok(()),
            _ = reload.recv() => {
                let (service, ready) = (service.clone(), ready.clone());
                tokio::task::spawn_local(async move {
                    if let Err(fault) = service.reload().await {
                        eprintln!("clawjail: refused: {}", fault.message);
                    }
                    say_ready(&ready);
                });
            }
            _ = next(&mut stop) => {
                let ended = service.end_all_runs();
                let _ = tokio::time::timeout(PATIENCE, ended).await;
                return Ok(());
            }
        }
    }
}

/// Tells the guard that requests are served by what counts now.
fn say_ready(mut guard: &PipeWriter) {
    // One that is full has not been read yet, and says the same.
    let _ = guard.write_all(b"r");
}

async fn next(signals: &mut Signals) {
    signals.recv().await;
}

fn hear(service: &Rc<Service>, answer: Answer, mut descriptors: Vec<OwnedFd>) {
    match answer {
        Answer::Connected(number, peer) => {
            let Some(connection) = descriptors.pop() else { return };
            tokio::task::spawn_local(super::connection::serve(service.clone(), number, peer, connection));
        }
        Answer::Reloaded(config) => service.reloaded(Ok(*config)),
        Answer::NotReloaded { message, hint } => service.reloaded(Err((message, hint))),
    }
}
