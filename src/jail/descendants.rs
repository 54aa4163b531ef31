//! Ending what is left where no pid namespace does it for us.
//!
//! A subreaper sees every orphan of its tree as its own child; `/proc/<pid>/task/*/children` lists them. Stopping comes
//! first, so that nothing forks while we kill.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid};

use crate::sys::process;

/// How long ending may take before we give up and report it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills and reaps every descendant of this process. `ETIMEDOUT` when some remain.
pub fn end_all() -> Result<(), Errno> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut living = Vec::new();
        collect(getpid(), &mut living);
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            for pid in &living {
                // One that ended in between is no failure.
                let _ = kill(*pid, signal);
            }
        }
        loop {
            match process::reap(None) {
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(_) => return Ok(()),
            }
        }
        if Instant::now() > deadline {
            return Err(Errno::ETIMEDOUT);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Kills every descendant of this process but the children `spared` and what is below them, and reaps nobody else.
/// `ETIMEDOUT` when some remain.
pub fn end_all_but(spared: &[Pid]) -> Result<(), Errno> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut found = spared.to_vec();
        collect(getpid(), &mut found);
        let living = found.split_off(spared.len());
        if living.is_empty() {
            return Ok(());
        }
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            for pid in &living {
                // One that ended in between is no failure.
                let _ = kill(*pid, signal);
            }
        }
        for pid in &living {
            // Those further down become ours when those above them are gone.
            let _ = process::reap(Some(*pid));
        }
        if Instant::now() > deadline {
            return Err(Errno::ETIMEDOUT);
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// Kills the process `leader`, what is in its session and what descends from it, and reaps nobody. What left both is another
/// run's business no more than this one's: it lives on until its jail is closed.
pub fn end_session(leader: Pid) {
    // Stopped first, nothing of it forks any more; a second look finds what was forked during the first.
    for signal in [Signal::SIGSTOP, Signal::SIGSTOP, Signal::SIGKILL] {
        let mut found = vec![leader];
        collect(leader, &mut found);
        found.extend(members(leader));
        for pid in found {
            // One that ended in between is no failure.
            let _ = kill(pid, signal);
        }
    }
}

/// The processes whose session is `session`; proc_pid_stat(5).
fn members(session: Pid) -> Vec<Pid> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_member = |pid: &i32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Behind the name, which may hold anything: state, parent, group, session.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_ascii_whitespace().nth(3).and_then(|word| word.parse().ok()) == Some(session.as_raw())
    };
    pids.filter(is_member).map(Pid::from_raw).collect()
}

/// Kills and reaps everything in this process's Landlock domain. Only for a process whose domain scopes its signals:
/// the kernel then reaches all of the domain, and nothing else, in one step that no fork can outrun.
pub fn end_my_domain() {
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        // -1: everybody whom we may signal, and not us; kill(2).
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        match process::reap(None) {
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(Duration::from_micros(100)),
            Err(_) => return,
        }
    }
}

/// Adds what descends from `parent` to `found`.
pub fn collect(parent: Pid, found: &mut Vec<Pid>) {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{parent}/task")) else { return };
    for thread in threads.flatten() {
        let Ok(children) = std::fs::read_to_string(thread.path().join("children")) else { continue };
        for pid in children.split_ascii_whitespace().filter_map(|word| word.parse().ok()) {
            let pid = Pid::from_raw(pid);
            if !found.contains(&pid) {
                found.push(pid);
                collect(pid, found);
            }
        }
    }
}
