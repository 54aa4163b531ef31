//! From what a run did to what a profile must grant it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::collapse::{Grant, collapse};
use super::draft::{Access, Learned, List, can_be_named};
use super::origins::{Map, Needed};
use crate::plan::sight::normal;
use crate::profile::units::{Bytes, Span};
use crate::verdict::Verdict;
use crate::verdict::activity::Connection;

/// Where every jail has something of its own, which nothing on the host stands for.
const OWN: [&str; 12] = [
    "/proc",
    "/sys",
    "/dev",
    "/run",
    "/tmp",
    "/var/tmp",
    "/home/agent",
    "/etc/passwd",
    "/etc/group",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/resolv.conf",
];

/// Where a run was.
#[derive(Clone, Debug)]
pub struct Where {
    /// The workspace, and the copy that it was.
    pub map: Map,
    /// The caller's home on the host.
    pub home: PathBuf,
    /// What it was shown besides.
    pub shown: Vec<PathBuf>,
}

/// What a run needed.
pub fn learn(verdict: &Verdict, place: &Where, base: &str) -> Learned {
    let mut needed = Needed { map: place.map.clone(), ..Needed::default() };
    let mut tmp = None;
    for command in &verdict.activity.commands {
        let path = normal(Path::new(&command.path));
        if place.counts(&path) {
            needed.executed(&path);
        } else if path.starts_with("/tmp") {
            tmp = Some(path);
        }
    }
    let reads = verdict.activity.reads.iter().map(|read| normal(Path::new(read)));
    reads.filter(|path| place.counts(path)).for_each(|path| needed.opened(&path));
    let own = needed.execute.iter().find(|path| place.map.holds(path)).cloned();
    for paths in [&mut needed.read, &mut needed.execute] {
        paths.retain(|path| !place.map.holds(path) && place.counts(path));
    }
    let mut learned = Learned { base: base.to_owned(), examples: vec![example(verdict)], ..Learned::default() };
    learned.access = Some(access(verdict, place));
    grant(&needed, place, &mut learned);
    if let Some(path) = own {
        let name = path.strip_prefix(&place.map.inside).unwrap_or(&path).display().to_string();
        learned.execute.insert("@workspace".into(), format!("`{name}` was executed or loaded"));
    }
    learned.tmp = Some(match tmp {
        Some(path) => (true, format!("`{}` was executed", path.display())),
        None => (false, "nothing in /tmp was executed".to_owned()),
    });
    whole_system(verdict, &mut learned);
    network(verdict, &mut learned);
    denied(verdict, &mut learned.asked);
    limits(verdict, &mut learned);
    learned
}

/// Where not all of what was used was recorded, the system's programs and libraries stand for the rest.
fn whole_system(verdict: &Verdict, learned: &mut Learned) {
    let more = verdict.activity.unlisted_reads + verdict.activity.unlisted_commands;
    for path in ["/usr", "/bin", "/sbin", "/lib", "/lib64"] {
        if more > 0 && Path::new(path).exists() {
            learned.execute.insert(path.to_owned(), format!("{more} paths more were used than are recorded"));
        }
    }
}

impl Where {
    /// Whether a path stands for something outside of the jail.
    fn counts(&self, path: &Path) -> bool {
        self.map.holds(path) || self.shown.iter().any(|shown| path.starts_with(shown)) || !is_own(path)
    }

    /// A path as a profile writes it.
    fn written(&self, path: &Path) -> Option<String> {
        let text = match path.strip_prefix(&self.home) {
            Ok(below) => format!("~/{}", below.to_str()?),
            Err(_) => path.to_str()?.to_owned(),
        };
        can_be_named(&text).then_some(text)
    }
}

fn is_own(path: &Path) -> bool {
    OWN.iter().any(|own| path.starts_with(own))
}

fn example(verdict: &Verdict) -> String {
    let day = verdict.time.split('T').next().unwrap_or_default();
    let ended = verdict.exit_code.map_or_else(|| verdict.outcome.word().to_owned(), |code| format!("exit {code}"));
    format!("{} ({ended}, {day})", verdict.argv.join(" "))
}

fn access(verdict: &Verdict, place: &Where) -> (Access, String) {
    let activity = &verdict.activity;
    let count = activity.files.len() as u64 + activity.unlisted_files;
    let first = activity.files.first().map(|file| {
        let path = Path::new(&file.path);
        path.strip_prefix(&place.map.inside).unwrap_or(path).display().to_string()
    });
    match first {
        Some(first) if count == 1 => (Access::Rw, format!("`{first}` was changed")),
        Some(first) => (Access::Rw, format!("{count} files were changed, such as `{first}`")),
        None => (Access::Ro, "nothing in it was changed".to_owned()),
    }
}

/// Programs and libraries first: what can be executed can be read, too.
fn grant(needed: &Needed, place: &Where, learned: &mut Learned) {
    let execute = collapse(&needed.execute, &place.home);
    let covered = |path: &PathBuf| execute.iter().any(|grant| path.starts_with(&grant.path));
    let read = collapse(&needed.read.iter().filter(|path| !covered(path)).cloned().collect(), &place.home);
    // Collapsing what is read can reach above what is executed; both then stand.
    let listed = |grants: &[Grant], verb: &str| -> List {
        let entry = |grant: &Grant| Some((place.written(&grant.path)?, seen(grant, verb)));
        grants.iter().filter_map(entry).collect()
    };
    learned.execute.extend(listed(&execute, "executed or loaded"));
    learned.read.extend(listed(&read, "read"));
}

fn seen(grant: &Grant, verb: &str) -> String {
    let example = grant.example.strip_prefix(&grant.path).ok().filter(|below| !below.as_os_str().is_empty());
    match (grant.count, example) {
        (1, None) => format!("it was {verb}"),
        (1, Some(below)) => format!("`{}` was {verb}", below.display()),
        (count, Some(below)) => format!("{count} files were {verb}, such as `{}`", below.display()),
        (count, None) => format!("{count} files were {verb}"),
    }
}

fn network(verdict: &Verdict, learned: &mut Learned) {
    let mut hosts: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    for connection in verdict.activity.connections.iter().filter(|connection| connection.decision == "allowed") {
        let Some(host) = host(connection) else { continue };
        let sum = hosts.entry(host).or_default();
        *sum = (sum.0 + connection.count, sum.1 + connection.received);
    }
    for (host, (count, bytes)) in hosts {
        let connections = if count == 1 { "1 connection".to_owned() } else { format!("{count} connections") };
        learned.allow.insert(host, format!("{connections}, {} received", round(bytes)));
    }
}

/// The rule that allows just this connection.
fn host(connection: &Connection) -> Option<String> {
    let address =
        || connection.address.as_ref().map(|text| if text.contains(':') { format!("[{text}]") } else { text.clone() });
    let host = connection.name.clone().or_else(address)?;
    let over = if connection.protocol == "udp" { "udp://" } else { "" };
    Some(format!("{over}{host}:{}", connection.port))
}

/// Hosts that were asked for and denied, each as the rule that would allow it.
pub fn wanted_hosts(verdict: &Verdict) -> Vec<String> {
    let denied = verdict.denials.iter().filter(|denial| denial.mechanism == "gate");
    let mut hosts: Vec<String> = denied
        .filter_map(|denial| match denial.kind.as_str() {
            "look_up" => Some(denial.what.clone()),
            "connect" => denial.what.split(' ').next().map(str::to_owned),
            _ => None,
        })
        .collect();
    hosts.sort();
    hosts.dedup();
    hosts
}

fn denied(verdict: &Verdict, asked: &mut List) {
    const MOST: usize = 40;
    for denial in verdict.denials.iter().take(MOST) {
        let times = if denial.count == 1 { "once".to_owned() } else { format!("{} times", denial.count) };
        asked.insert(
            format!("{} `{}`", denial.kind, denial.what),
            format!("denied by the {} {times}", denial.mechanism),
        );
    }
}

/// Twice what was used, or as little as makes no difference.
fn limits(verdict: &Verdict, learned: &mut Learned) {
    const MIB: u64 = 1 << 20;
    let used = &verdict.resources;
    let mut set = |key: &str, used: u64, least: u64, step: u64, shown: String| {
        let value = used.saturating_mul(2).max(least).div_ceil(step) * step;
        learned.limits.insert(key.to_owned(), (value, format!("at most {shown} seen, and as much again")));
    };
    set("memory", used.peak_memory, 64 * MIB, 16 * MIB, round(used.peak_memory));
    if let Some(processes) = used.peak_processes {
        set("processes", processes, 16, 8, processes.to_string());
    }
    // A busier machine takes longer.
    let wall = used.wall_us / 1000;
    set("wall", wall.saturating_mul(4), 30_000, 10_000, Span(wall.div_ceil(1000) * 1000).to_string());
    if verdict.output.observed {
        set("output", verdict.output.bytes, MIB, MIB, round(verdict.output.bytes));
    }
    let largest = verdict.activity.files.iter().filter_map(|file| file.after).max().unwrap_or(0);
    set("file_size", largest, 64 * MIB, 16 * MIB, round(largest));
}

fn round(bytes: u64) -> String {
    let step = if bytes < 1 << 20 { 1 << 10 } else { 1 << 20 };
    Bytes(bytes.div_ceil(step) * step).to_string()
}
