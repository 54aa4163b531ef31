//! What bounds a jail, and the small things: control groups, resource limits, keyrings, terminals.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{getpid, pause};

use super::super::cgroup::{self, Group};
use super::Setting;
use crate::confine::Failed;
use crate::confine::identity;
use crate::host::Controllers;
use crate::plan::Limits;
use crate::sys::process::{self, Fork, How};
use crate::sys::terminal;

/// Processes that the trial's group may have, and one more than that it tries to make.
const PROCESSES: usize = 16;

/// Makes a group with limits, puts a child into it, has it run into one of them, and removes the group.
pub fn control_groups(setting: &Setting<'_>) -> Result<String, Failed> {
    let (version, enabled) = match setting.controllers {
        Controllers::None { why } => return Err(missing(Errno::EACCES, why.clone())),
        Controllers::V2 { enabled, .. } => ("v2", enabled.clone()),
        Controllers::V1 { parents } => ("v1", parents.iter().map(|(name, _)| name.clone()).collect()),
    };
    let mut group = Group::reserve(setting.controllers, &format!("clawjail-doctor.{}", getpid()))?;
    group.apply(&limits(setting.controllers))?;
    fill(&mut group, enabled.iter().any(|name| name == "pids"))?;
    group.remove()?;
    let absent: Vec<&str> =
        ["memory", "pids", "cpu"].into_iter().filter(|name| !enabled.iter().any(|held| held == name)).collect();
    if absent.is_empty() {
        return Ok(format!("{version}: {}", enabled.join(" ")));
    }
    Err(missing(Errno::ENOENT, format!("{version} has {}, but not {}", enabled.join(" "), absent.join(" "))))
}

fn missing(errno: Errno, what: String) -> Failed {
    Failed { step: "control_groups", errno, what: Some(what) }
}

fn limits(controllers: &Controllers) -> Limits {
    Limits {
        controllers: controllers.clone(),
        memory: Some(64 << 20),
        cpu_milli: Some(500),
        processes: u64::try_from(PROCESSES).ok(),
        open_files: 64,
        file_size: None,
        wall_ms: None,
        output: None,
    }
}

fn fill(group: &mut Group, bounded: bool) -> Result<(), Failed> {
    let failed = Failed::at("join_group");
    match group.fork(0).map_err(&failed)? {
        Fork::Child => process::leave(multiply(group, bounded).map_or_else(|errno| errno as i32, |()| 0)),
        Fork::Parent(pid) => match process::wait_for(pid).map_err(&failed)?.how {
            How::Exited(0) => Ok(()),
            How::Exited(errno) => Err(failed(Errno::from_raw(errno))),
            How::Signalled(_) => Err(failed(Errno::EINTR)),
        },
    }
}

/// In the group: makes processes until the limit stops it, and ends them again.
fn multiply(group: &Group, bounded: bool) -> Result<(), Errno> {
    let groups = group.open_to_join().map_err(|failed| failed.errno)?;
    // Outside before, inside after: reading back must be able to tell the two apart.
    if !groups.is_empty() && group.holds(getpid().as_raw()) == Some(true) {
        return Err(Errno::EEXIST);
    }
    cgroup::join(&groups)?;
    if group.holds(getpid().as_raw()) == Some(false) {
        return Err(Errno::ESRCH);
    }
    let mut made = Vec::new();
    let stopped = loop {
        match process::fork() {
            Ok(Fork::Child) => {
                pause();
                process::leave(0)
            }
            Ok(Fork::Parent(pid)) => made.push(pid),
            Err(errno) => break errno,
        }
        if made.len() > PROCESSES {
            break Errno::ERANGE;
        }
    };
    for pid in made {
        kill(pid, Signal::SIGKILL)?;
        process::wait_for(pid)?;
    }
    match stopped {
        Errno::EAGAIN => Ok(()),
        Errno::ERANGE if !bounded => Ok(()),
        errno => Err(errno),
    }
}

/// Limits its open files to what it has, and is denied one more.
pub fn resource_limits(_: &Setting<'_>) -> Result<String, Failed> {
    setrlimit(Resource::RLIMIT_NOFILE, 3, 3).map_err(Failed::at("setrlimit"))?;
    match open("/dev/null", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty()) {
        Err(Errno::EMFILE) => Ok("set, and held".into()),
        _ => Err(Failed { step: "setrlimit", errno: Errno::EPROTO, what: Some("set, and not held".into()) }),
    }
}

/// Leaves the caller's keyring.
pub fn session_keyring(_: &Setting<'_>) -> Result<String, Failed> {
    identity::leave_keyring()?;
    Ok("out of reach".into())
}

/// Opens a terminal of the host, as a jail without devpts gets one.
pub fn terminals(_: &Setting<'_>) -> Result<String, Failed> {
    let failed = Failed::on("terminals", "/dev/ptmx");
    let master =
        open("/dev/ptmx", OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty()).map_err(&failed)?;
    terminal::unlock(master.as_fd()).map_err(&failed)?;
    terminal::open_peer(master.as_fd()).map_err(&failed)?;
    Ok("made".into())
}
