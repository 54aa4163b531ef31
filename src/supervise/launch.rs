//! The launcher, as its supervisor holds it: forked before anything else, asked, and waited for.

use std::os::fd::{AsFd, AsRawFd};
use std::rc::Rc;

use nix::sys::socket::{Shutdown, shutdown};
use nix::unistd::Pid;

use super::watch;
use crate::egress;
use crate::host::Tier;
use crate::jail::channel::{Arrived, Channel};
use crate::jail::mandate::Mandate;
use crate::jail::{launcher, remains};
use crate::sys::process::{self, Fork, How};
use crate::sys::readiness;
use crate::verdict::{Output, Seen};
use crate::wire::privsep::{Failure, FromLauncher, RunRequest};

/// A launcher of our own. It never outlives this.
pub struct Launcher {
    channel: Rc<Channel>,
    pid: Pid,
}

impl Launcher {
    /// Forks it. It comes before any thread and before the runtime, because it must be small and have one thread; and
    /// before the arguments are read, because it has a jail to begin meanwhile, of tier `expected` or the best.
    pub fn fork(expected: Option<Tier>, mandate: &Mandate) -> std::io::Result<Launcher> {
        let (channel, launchers) = Channel::pair()?;
        match process::fork_into(0, None)? {
            Fork::Child => {
                drop(channel);
                close_others(&launchers);
                launcher::serve(launchers, expected, mandate, egress::life::live)
            }
            Fork::Parent(pid) => {
                let launcher = Launcher { channel: Rc::new(channel), pid };
                // What a killed launcher leaves behind becomes ours to end.
                process::become_subreaper()?;
                Ok(launcher)
            }
        }
    }

    /// Has it run `request` on our own stdin, stdout and stderr, and attends until the command has ended.
    pub fn run(&self, request: &RunRequest) -> std::io::Result<(Seen, Output)> {
        let pipes = watch::ask(&self.channel, request)?;
        self.channel.never_wait()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
        let result = runtime.block_on(async {
            let launcher = readiness::watch(self.channel.clone())?;
            watch::attend(&launcher, request.terminal, pipes).await
        });
        // Threads that still wait for the caller's input must not hold us up.
        runtime.shutdown_background();
        // It ends everything else of the run meanwhile, and then itself: there is no further request.
        self.say_no_more();
        result
    }

    /// Waits until everything is gone, the launcher included. What it could not remove, it says.
    pub fn finish(self) -> Result<(), Failure> {
        self.say_no_more();
        let mut failed = Ok(());
        if self.channel.wait_again().is_ok() {
            while let Ok(Arrived::Message(message, _)) = self.channel.receive() {
                if let FromLauncher::Failed(failure) = message {
                    failed = Err(failure);
                }
            }
        }
        failed
    }

    /// Says that no request follows; more than once is as good.
    fn say_no_more(&self) {
        // If it is gone already, it knows.
        let _ = shutdown(self.channel.as_raw_fd(), Shutdown::Write);
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.say_no_more();
        // Waited for, so that nothing of ours is left behind; what a killed one leaves is ours to end.
        match process::wait_for(self.pid).map(|ended| ended.how) {
            Ok(How::Exited(_)) => {}
            Ok(How::Signalled(_)) | Err(_) => remains::clear_up_after(self.pid),
        }
    }
}

/// In the launcher's side of the fork: nothing of the caller's stays open but the channel, and for now stdio.
fn close_others(channel: &Channel) {
    let keep = u32::try_from(channel.as_fd().as_raw_fd()).unwrap_or(3);
    if keep > 3 {
        let _ = process::close_between(3, keep - 1);
    }
    let _ = process::close_from(keep.saturating_add(1));
}
