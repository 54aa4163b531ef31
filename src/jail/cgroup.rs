//! What a whole jail may use: a group of its own in each controller. cgroups(7).
//!
//! Plain files: a group is a directory, a limit is one write. Groups are made while init builds the view, init joins them
//! itself before it confines itself, and they are removed when the jail is empty.

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::confine::Failed;
use crate::confine::identity::errno_of;
use crate::host::Controllers;
use crate::plan::Limits;
use crate::sys::process::{self, Fork};

/// A jail's groups.
#[derive(Debug, Default)]
pub struct Group {
    /// Directory by controller: for v2 the same under `memory`, `pids` and `cpu`.
    directories: Vec<(&'static str, PathBuf)>,
    name: String,
    version: Version,
    joined_later: bool,
    read_back: Vec<(&'static str, bool)>,
    // What is read at every run of a jail that stays is kept open.
    events: Counter,
    kills: Counter,
}

/// A file of counts that was opened when it was first read; none if it cannot be.
type Counter = OnceCell<Option<fs::File>>;

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
    /// Processor time of all that ever ran in it, microseconds: in user mode, in the kernel (v2).
    pub processor_us: Option<(u64, u64)>,
    /// Bytes read from and written to block devices (v2, where the controller can be had).
    pub transferred: Option<(u64, u64)>,
}

/// One value for one file of a group.
struct Setting {
    controller: &'static str,
    file: &'static str,
    value: String,
    role: Role,
}

/// What a setting is for, and whether every kernel has its file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Limit,
    Period,
    LimitIfThere,
    HabitIfThere,
}

/// One processor's worth of time in each period, microseconds; the kernel's own default period.
const PERIOD_US: u64 = 100_000;
/// The longest that it takes.
const LONGEST_PERIOD_US: u64 = 1_000_000;
/// Bytes of a file of counts: a few short lines, each with a name and a number.
const MOST_COUNTS: usize = 1024;
/// As many pids as there can be, `PID_MAX_LIMIT`; proc_sys_kernel(5).
const MOST_PIDS: u64 = 4_194_304;

impl Group {
    /// Makes the v2 group of a jail named `name`, so that its init can be cloned into it: joining later by a write costs
    /// milliseconds there. On v1 nothing is made yet.
    pub fn reserve(controllers: &Controllers, name: &str) -> Result<Group, Failed> {
        let mut group = Group::default();
        name.clone_into(&mut group.name);
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

    /// Forks, with new `namespaces`, into the v2 group. On v1, and where a container hides clone3(2), which alone can do that,
    /// the child is told to join by [`Group::open_to_join`].
    pub fn fork(&mut self, namespaces: u64) -> Result<Fork, Errno> {
        let directory = (self.version == Version::V2).then(|| self.directory("")).flatten();
        if let Some(directory) = directory {
            let directory = fs::File::open(directory).map_err(|error| errno_of(&error))?;
            match process::fork_into(namespaces, Some(directory.as_fd())) {
                Err(Errno::ENOSYS) => self.joined_later = true,
                forked => return forked,
            }
        }
        process::fork_into(namespaces, None)
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

    fn limit(&mut self, limits: &Limits) -> Result<(), Failed> {
        for Setting { controller, file, value, role } in self.settings(limits) {
            let Some(directory) = self.directory(controller) else { continue };
            let path = directory.join(file);
            let said = match write_and_read(&path, &value) {
                Ok(said) => said,
                // Not every kernel has these (no swap accounting).
                Err(Errno::ENOENT | Errno::EACCES) if matches!(role, Role::LimitIfThere | Role::HabitIfThere) => {
                    continue;
                }
                Err(errno) => return Err(Failed::on("cgroup", &path)(errno)),
            };
            match role {
                Role::Limit | Role::LimitIfThere => self.read_back.push((file, is_no_laxer(&said, &value))),
                // A shorter one would make the same quota mean more.
                Role::Period => self.read_back.push((file, said.trim_end() == value)),
                Role::HabitIfThere => {}
            }
        }
        Ok(())
    }

    /// What is written into a jail's groups, in this order.
    fn settings(&self, limits: &Limits) -> Vec<Setting> {
        let v2 = self.version == Version::V2;
        let mut settings = Vec::with_capacity(6);
        let mut add = |controller, (file, value): (&'static str, String), role| {
            settings.push(Setting { controller, file, value, role });
        };
        if let Some(bytes) = limits.memory {
            let bytes = bytes.to_string();
            add("memory", (if v2 { "memory.max" } else { "memory.limit_in_bytes" }, bytes.clone()), Role::Limit);
            let swap = if v2 { ("memory.swap.max", "0".into()) } else { ("memory.memsw.limit_in_bytes", bytes) };
            add("memory", swap, Role::LimitIfThere);
            let habit = if v2 { ("memory.oom.group", "1") } else { ("memory.swappiness", "0") };
            add("memory", (habit.0, habit.1.into()), Role::HabitIfThere);
        }
        if let Some(count) = limits.processes {
            // One more for init. The kernel takes no number that is larger than all pids there can be.
            let count = count.saturating_add(1).min(MOST_PIDS);
            add("pids", ("pids.max", count.to_string()), Role::Limit);
        }
        if let Some(milli) = limits.cpu_milli {
            // No quota is taken below a millisecond, so a small share needs the longest period.
            let period = if milli < 10 { LONGEST_PERIOD_US } else { PERIOD_US };
            let quota = period * u64::from(milli) / 1000;
            if v2 {
                add("cpu", ("cpu.max", format!("{quota} {period}")), Role::Limit);
            } else {
                add("cpu", ("cpu.cfs_period_us", period.to_string()), Role::Period);
                add("cpu", ("cpu.cfs_quota_us", quota.to_string()), Role::Limit);
            }
        }
        settings
    }

    /// Each limit that was written, and whether what the kernel then said is no more than was wanted.
    pub fn read_back(&self) -> &[(&'static str, bool)] {
        &self.read_back
    }

    fn directory(&self, controller: &str) -> Option<&Path> {
        let matching = |(name, _): &&(&str, PathBuf)| self.version == Version::V2 || *name == controller;
        self.directories.iter().find(matching).map(|(_, path)| path.as_path())
    }

    /// Files into which init writes `0` to join, if it was not born in the group. They outlive its way to them.
    pub fn open_to_join(&self) -> Result<Vec<OwnedFd>, Failed> {
        let joined = self.directories.iter().filter(|_| self.version == Version::V1 || self.joined_later);
        // A v2 group takes threads only where all of its hierarchy does.
        let name = if self.version == Version::V1 { "tasks" } else { "cgroup.procs" };
        joined
            .map(|(_, directory)| {
                let members = directory.join(name);
                let opened = fs::File::options().write(true).open(&members);
                opened.map(OwnedFd::from).map_err(|error| Failed::on("open_group", &members)(errno_of(&error)))
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
            processor_us: self
                .text("cpu.stat")
                .and_then(|text| Some((keyed(&text, "user_usec")?, keyed(&text, "system_usec")?))),
            transferred: self.text("io.stat").map(|text| transferred(&text)),
        }
    }

    /// What a file of the group of `controller` says.
    pub fn file(&self, controller: &str, file: &str) -> Option<String> {
        fs::read_to_string(self.directory(controller)?.join(file)).ok()
    }

    /// A file of the v2 group that is there whatever it was limited by.
    fn text(&self, file: &str) -> Option<String> {
        let directory = (self.version == Version::V2).then(|| self.directory(""))??;
        fs::read_to_string(directory.join(file)).ok()
    }

    /// How many processes the kernel has killed for lack of memory.
    pub fn oom_kills(&self) -> u64 {
        let file = if self.version == Version::V2 { "memory.events" } else { "memory.oom_control" };
        self.count(&self.kills, ("memory", file), "oom_kill")
    }

    /// How many processes were not made because there were too many.
    pub fn refused_processes(&self) -> u64 {
        self.count(&self.events, ("pids", "pids.events"), "max")
    }

    fn count(&self, counter: &Counter, (controller, name): (&str, &str), key: &str) -> u64 {
        let open = || fs::File::open(self.directory(controller)?.join(name)).ok();
        let Some(file) = counter.get_or_init(open) else { return 0 };
        let mut text = [0; MOST_COUNTS];
        let length = nix::sys::uio::pread(file, &mut text, 0).unwrap_or(0);
        let text = text.get(..length).and_then(|text| std::str::from_utf8(text).ok());
        text.and_then(|text| keyed(text, key)).unwrap_or(0)
    }

    /// Kills every member at once, which no fork can outrun (v2; on v1 nothing happens).
    pub fn end_members(&self) -> Result<(), Failed> {
        let Some(directory) = (self.version == Version::V2).then(|| self.directory("")).flatten() else {
            return Ok(());
        };
        end_members_of(directory).map_err(|error| Failed::on("cgroup", directory)(errno_of(&error)))
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
    for parent in parents(controllers) {
        let _ = remove_patiently(&parent.join(name));
    }
}

/// Kills at once all that is in the group of the jail `name`, where there is one hierarchy.
pub fn end_members(controllers: &Controllers, name: &str) {
    if let Controllers::V2 { parent, .. } = controllers {
        // Not there, or empty: nobody to end.
        let _ = end_members_of(&parent.join(name));
    }
}

/// The launchers that have groups here, living or not.
pub fn launchers(controllers: &Controllers) -> BTreeSet<Pid> {
    let entries = parents(controllers).into_iter().flat_map(fs::read_dir).flatten().flatten();
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("clawjail.")?.parse().ok();
    entries.filter_map(pid).map(Pid::from_raw).collect()
}

/// Who is in the groups of the jail `name`. 0 stands for somebody of another pid namespace; cgroups(7).
pub fn members(controllers: &Controllers, name: &str) -> BTreeSet<Pid> {
    let files = parents(controllers).into_iter().map(|parent| parent.join(name).join("cgroup.procs"));
    let texts = files.map(|file| fs::read_to_string(file).unwrap_or_default());
    let pids = texts.flat_map(|text| text.lines().filter_map(|line| line.parse().ok()).collect::<Vec<_>>());
    pids.map(Pid::from_raw).collect()
}

fn parents(controllers: &Controllers) -> Vec<&PathBuf> {
    match controllers {
        Controllers::None { .. } => Vec::new(),
        Controllers::V2 { parent, .. } => vec![parent],
        Controllers::V1 { parents } => parents.iter().map(|(_, parent)| parent).collect(),
    }
}

/// Moves the calling process, which has one thread, into the groups whose files of members these are.
pub fn join(groups: &[OwnedFd]) -> Result<(), Errno> {
    // `0` means the writer. `tasks` moves it without the grace period that `cgroup.procs` waits for.
    groups.iter().try_for_each(|tasks| nix::unistd::write(tasks, b"0").map(drop))
}

/// Writes a value and reads back by the same descriptor what the kernel made of it: opening costs most of all this.
fn write_and_read(path: &Path, value: &str) -> Result<String, Errno> {
    let file = fs::File::options().read(true).write(true).open(path).map_err(|error| errno_of(&error))?;
    nix::unistd::write(&file, value.as_bytes())?;
    let mut said = [0; 64];
    let length = nix::sys::uio::pread(&file, &mut said, 0)?;
    Ok(String::from_utf8_lossy(said.get(..length).unwrap_or_default()).into_owned())
}

/// Whether what a file says is the wanted limit, or less: the kernel rounds bytes down to pages. Of a quota and its period
/// the second must be as it was written.
fn is_no_laxer(said: &str, wanted: &str) -> bool {
    let numbers = |text: &str| text.split_ascii_whitespace().map(str::parse).collect::<Result<Vec<i64>, _>>();
    match (numbers(said).as_deref(), numbers(wanted).as_deref()) {
        (Ok([said, said_rest @ ..]), Ok([wanted, wanted_rest @ ..])) => {
            // Below zero is how v1 says that there is none.
            (0..=*wanted).contains(said) && said_rest == wanted_rest
        }
        // A word, such as `max`.
        _ => false,
    }
}

fn end_members_of(directory: &Path) -> io::Result<()> {
    fs::write(directory.join("cgroup.kill"), "1")
}

/// The number behind `key` in a file of `key number` lines.
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '));
    line?.trim().parse().ok()
}

/// Bytes read and written over all devices, from lines such as `8:0 rbytes=4096 wbytes=0 rios=1 ...`.
fn transferred(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let words = text.split_ascii_whitespace();
        words.filter_map(|word| word.strip_prefix(key)?.strip_prefix('=')?.parse::<u64>().ok()).sum()
    };
    (sum("rbytes"), sum("wbytes"))
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

#[cfg(test)]
mod tests {
    use super::{is_no_laxer, keyed, transferred};

    #[test]
    fn a_limit_is_kept_when_the_kernel_says_as_much_or_less_and_never_when_it_says_a_word_or_nothing() {
        for (said, wanted, kept) in [
            ("4096\n", "4096", true),
            ("4096\n", "5000", true),
            ("8192\n", "5000", false),
            ("max\n", "5000", false),
            ("-1\n", "5000", false),
            ("", "5000", false),
            ("50000 100000\n", "50000 100000", true),
            ("50000 50000\n", "50000 100000", false),
            ("max 100000\n", "50000 100000", false),
            ("50000\n", "50000 100000", false),
            ("9223372036854771712\n", "9223372036854775807", true),
        ] {
            assert_eq!(is_no_laxer(said, wanted), kept, "{said:?} for {wanted:?}");
        }
    }

    #[test]
    fn a_number_is_found_by_its_whole_key() {
        let events = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 4\n";
        assert_eq!((keyed(events, "oom"), keyed(events, "oom_kill"), keyed(events, "kill")), (Some(2), Some(1), None));
    }

    #[test]
    fn bytes_are_summed_over_devices() {
        let stat = "8:0 rbytes=4096 wbytes=100 rios=1 wios=1 dbytes=9 dios=1\n253:1 rbytes=1 wbytes=10 rios=1 wios=1\n";
        assert_eq!((transferred(stat), transferred("")), ((4097, 110), (0, 0)));
    }
}
