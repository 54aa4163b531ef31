//! The same program without a service and without a jail.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::wait::{WaitStatus, waitpid};

/// What everybody runs.
pub const PROGRAM: &str = "/bin/true";
const PATH: &CStr = c"/bin/true";

/// One run of it.
pub fn once() -> Duration {
    let actions = PosixSpawnFileActions::init().expect("there is memory");
    let attributes = PosixSpawnAttr::init().expect("there is memory");
    let begin = Instant::now();
    let pid = posix_spawn(PATH, &actions, &attributes, &[PATH], &[] as &[&CStr]).expect("it is on every system");
    let status = waitpid(pid, None).expect("our own child");
    let time = begin.elapsed();
    assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    time
}
