//! Limits of each process, setrlimit(2). What the whole jail may use is the cgroup's to say.

use std::os::unix::fs::MetadataExt;

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};

use super::Failed;
use crate::host::Controllers;
use crate::plan::Limits;

/// Locked memory: enough for keys and small rings, too little to starve a host.
const LOCKED_BYTES: u64 = 8 << 20;
/// Queued signals.
const PENDING_SIGNALS: u64 = 4096;
/// Bytes in POSIX message queues.
const QUEUE_BYTES: u64 = 819_200;

/// Whose processes the kernel counts against this jail's limit, where no controller counts them; user_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// The jail's own.
    Jail,
    /// All that the user has, whatever made them.
    User,
}

/// Sets every limit, hard and soft, for this process and all that it makes. Never raises one that is lower already.
pub fn set(limits: &Limits, counted: Counted) -> Result<(), Failed> {
    // Soft and hard alike; init itself has these few descriptors and writes no file.
    apply(Resource::RLIMIT_NOFILE, limits.open_files)?;
    apply(Resource::RLIMIT_CORE, 0)?;
    apply(Resource::RLIMIT_MEMLOCK, LOCKED_BYTES)?;
    apply(Resource::RLIMIT_SIGPENDING, PENDING_SIGNALS)?;
    apply(Resource::RLIMIT_MSGQUEUE, QUEUE_BYTES)?;
    apply(Resource::RLIMIT_RTPRIO, 0)?;
    apply(Resource::RLIMIT_NICE, 0)?;
    if let Some(bytes) = limits.file_size {
        apply(Resource::RLIMIT_FSIZE, bytes)?;
    }
    if lacks(&limits.controllers, "memory")
        && let Some(bytes) = limits.memory
    {
        // By process, not by jail: RLIMIT_AS would kill runtimes that reserve address space (node).
        apply(Resource::RLIMIT_DATA, bytes)?;
    }
    if lacks(&limits.controllers, "pids")
        && let Some(count) = limits.processes
    {
        // What the user has running already must not use the limit up.
        let others = if counted == Counted::User { threads_of_this_user() } else { 0 };
        apply(Resource::RLIMIT_NPROC, count.saturating_add(others))?;
    }
    Ok(())
}

/// How many threads the user of this process has now. Those that end meanwhile are counted, which leaves room.
fn threads_of_this_user() -> u64 {
    let uid = nix::unistd::getuid().as_raw();
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = processes.filter(|entry| {
        let is_process = entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit);
        is_process && entry.metadata().is_ok_and(|about| about.uid() == uid)
    });
    let threads = own.map(|entry| std::fs::read_dir(entry.path().join("task")).map_or(0, Iterator::count) as u64);
    threads.sum()
}

fn lacks(controllers: &Controllers, name: &str) -> bool {
    match controllers {
        Controllers::V2 { enabled, .. } => !enabled.iter().any(|controller| controller == name),
        Controllers::V1 { parents } => !parents.iter().any(|(controller, _)| controller == name),
        Controllers::None { .. } => true,
    }
}

fn apply(resource: Resource, wanted: u64) -> Result<(), Failed> {
    let failed = Failed::at("limits");
    let (_, hard) = nix::sys::resource::getrlimit(resource).map_err(&failed)?;
    let value = wanted.min(hard);
    match setrlimit(resource, value, value) {
        Err(Errno::EINVAL) => Err(failed(Errno::EINVAL)),
        set => set.map_err(failed),
    }
}
