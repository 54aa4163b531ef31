//! What a whole jail may use: a group of its own in each controller. cgroups(7).
//!
//! Plain files: a group is a directory, a limit is one write. Groups are made while init builds the view, init joins them
//! itself before it confines itself, and they are removed when the jail is empty.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;

use crate::confine::Failed;
use crate::confine::identity::errno_of;
use crate::host::Controllers;
use crate::plan::Limits;

/// A jail's groups.
#[derive(Debug, Default)]
pub struct Group {
    /// Directory by controller: for v2 the same under `memory`, `pids` and `cpu`.
    directories: Vec<(&'static str, PathBuf)>,
    name: String,
    version: Version,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Version {
    #[default]
    None,
    V1,
    V2,
}

/// What a group says at the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Most memory at once, bytes.
    pub peak_memory: Option<u64>,
    /// Most processes at once.
    pub peak_processes: Option<u64>,
    /// Whether the kernel killed something for lack of memory.
    pub out_of_memory: bool,
}

/// One processor's worth of time in each period, microseconds; the kernel's own default period.
const PERIOD_US: u64 = 100_000;

impl Group {
    /// Makes the v2 group of a jail named `name`, so that its init can be cloned into it: joining later by a write costs
    /// milliseconds there. On v1 nothing is made yet.
    pub fn reserve(controllers: &Controllers, name: &str) -> Result<Group, Failed> {
        let mut group = Group { directories: Vec::new(), name: name.to_owned(), version: Version::None };
        match controllers {
            Controllers::None { .. } => {}
            Controllers::V1 { .. } => group.version = Version::V1,
            Controllers::V2 { parent, .. } => {
                group.version = Version::V2;
                group.make("", &parent.join(name))?;
            }
        }
        Ok(group)
    }

    /// The group to clone into (v2).
    pub fn to_clone_into(&self) -> Option<OwnedFd> {
        let directory = (self.version == Version::V2).then(|| self.directory(""))??;
        fs::File::open(directory).ok().map(OwnedFd::from)
    }

    /// Writes the limits, after making the v1 groups that they need.
    pub fn apply(&mut self, limits: &Limits) -> Result<(), Failed> {
        if let (Version::V1, Controllers::V1 { parents }) = (self.version, &limits.controllers) {
            for (controller, parent) in parents {
                if let Some(wanted) = wanted(controller, limits) {
                    self.make(wanted, &parent.join(&self.name))?;
                }
            }
        }
        self.limit(limits)
    }

    fn make(&mut self, controller: &'static str, directory: &Path) -> Result<(), Failed> {
        let made = match fs::create_dir(directory) {
            // The name holds our pid, so whoever made this is dead, and the power or somebody cut its clearing up short.
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                fs::remove_dir(directory).and_then(|()| fs::create_dir(directory))
            }
            made => made,
        };
        made.map_err(|error| Failed::on("cgroup", directory)(errno_of(&error)))?;
        self.directories.push((controller, directory.to_path_buf()));
        Ok(())
    }

    fn limit(&self, limits: &Limits) -> Result<(), Failed> {
        let v2 = self.version == Version::V2;
        if let Some(bytes) = limits.memory {
            self.write("memory", if v2 { "memory.max" } else { "memory.limit_in_bytes" }, bytes)?;
            self.write_if_there(
                "memory",
                if v2 { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" },
                if v2 { 0 } else { bytes },
            )?;
            self.write_if_there("memory", if v2 { "memory.oom.group" } else { "memory.swappiness" }, u64::from(v2))?;
        }
        if let Some(count) = limits.processes {
            // One more for init.
            self.write("pids", "pids.max", count.saturating_add(1))?;
        }
        if let Some(milli) = limits.cpu_milli {
            let quota = PERIOD_US * u64::from(milli) / 1000;
            if v2 {
                self.write("cpu", "cpu.max", format!("{quota} {PERIOD_US}"))?;
            } else {
                self.write("cpu", "cpu.cfs_period_us", PERIOD_US)?;
                self.write("cpu", "cpu.cfs_quota_us", quota)?;
            }
        }
        Ok(())
    }

    fn directory(&self, controller: &str) -> Option<&Path> {
        let matching = |(name, _): &&(&str, PathBuf)| self.version == Version::V2 || *name == controller;
        self.directories.iter().find(matching).map(|(_, path)| path.as_path())
    }

    fn write(&self, controller: &str, file: &str, value: impl ToString) -> Result<(), Failed> {
        let Some(directory) = self.directory(controller) else { return Ok(()) };
        let path = directory.join(file);
        fs::write(&path, value.to_string()).map_err(|error| Failed::on("cgroup", &path)(errno_of(&error)))
    }

    /// For files that some kernels do not have (no swap accounting).
    fn write_if_there(&self, controller: &str, file: &str, value: impl ToString) -> Result<(), Failed> {
        match self.write(controller, file, value) {
            Err(failed) if matches!(failed.errno, nix::errno::Errno::ENOENT | nix::errno::Errno::EACCES) => Ok(()),
            written => written,
        }
    }

    /// Files into which init writes `0` to join (v1; on v2 it was born there). They outlive its way to them.
    pub fn open_to_join(&self) -> Result<Vec<OwnedFd>, Failed> {
        let v1 = self.directories.iter().filter(|_| self.version == Version::V1);
        v1.map(|(_, directory)| {
            let tasks = directory.join("tasks");
            let opened = fs::File::options().write(true).open(&tasks);
            opened.map(OwnedFd::from).map_err(|error| Failed::on("open_group", &tasks)(errno_of(&error)))
        })
        .collect()
    }

    /// Whether the process `pid` is in every group: read back, not assumed. `None` where there is no group.
    pub fn holds(&self, pid: i32) -> Option<bool> {
        let wanted = pid.to_string();
        let in_one = |directory: &PathBuf| {
            fs::read_to_string(directory.join("cgroup.procs"))
                .is_ok_and(|members| members.lines().any(|line| line == wanted))
        };
        (!self.directories.is_empty()).then(|| self.directories.iter().all(|(_, directory)| in_one(directory)))
    }

    /// What the groups counted.
    pub fn read(&self) -> Reading {
        let v2 = self.version == Version::V2;
        let number = |controller, file: &str| {
            let path = self.directory(controller)?.join(file);
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        Reading {
            peak_memory: number("memory", if v2 { "memory.peak" } else { "memory.max_usage_in_bytes" }),
            peak_processes: number("pids", "pids.peak"),
            out_of_memory: self.oom_kills() > 0,
        }
    }

    fn oom_kills(&self) -> u64 {
        let file = if self.version == Version::V2 { "memory.events" } else { "memory.oom_control" };
        let Some(directory) = self.directory("memory") else { return 0 };
        let text = fs::read_to_string(directory.join(file)).unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        count.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    /// Removes the groups. Members that are still being torn down by the kernel make it wait.
    pub fn remove(&mut self) -> Result<(), Failed> {
        for (_, directory) in self.directories.drain(..) {
            remove_patiently(&directory).map_err(|error| Failed::on("cgroup", &directory)(errno_of(&error)))?;
        }
        Ok(())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A failure was reported by `remove` if it was called; here nobody is left to tell.
        let _ = self.remove();
    }
}

/// Removes the groups of the jail `name`, wherever it had some.
pub fn remove_all(controllers: &Controllers, name: &str) {
    let parents: Vec<&PathBuf> = match controllers {
        Controllers::None { .. } => return,
        Controllers::V2 { parent, .. } => vec![parent],
        Controllers::V1 { parents } => parents.iter().map(|(_, parent)| parent).collect(),
    };
    for parent in parents {
        let _ = remove_patiently(&parent.join(name));
    }
}

/// Moves the calling process, which has one thread, into the groups whose `tasks` files these are.
pub fn join(groups: &[OwnedFd]) -> Result<(), Errno> {
    // `0` means the writer. `tasks` moves it without the grace period that `cgroup.procs` waits for.
    groups.iter().try_for_each(|tasks| nix::unistd::write(tasks, b"0").map(drop))
}

fn wanted(controller: &str, limits: &Limits) -> Option<&'static str> {
    match controller {
        "memory" if limits.memory.is_some() => Some("memory"),
        "pids" if limits.processes.is_some() => Some("pids"),
        "cpu" if limits.cpu_milli.is_some() => Some("cpu"),
        _ => None,
    }
}

fn remove_patiently(directory: &Path) -> io::Result<()> {
    for _ in 0..500 {
        match fs::remove_dir(directory) {
            Err(error) if error.kind() == ErrorKind::ResourceBusy => std::thread::sleep(Duration::from_millis(1)),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            removed => return removed,
        }
    }
    fs::remove_dir(directory)
}
