//! What runs under a profile used of what it grants.
//!
//! Owns the sums over runs and what follows from them for a grant. What no record tells is not judged: a list that nobody kept is
//! absent here, never empty. Must not read records.

use core::net::IpAddr;
use std::collections::BTreeSet;

use super::diff::within;
use super::units::{Bytes, Span};
use super::{Grant, Profile, WorkspaceAccess};
use crate::policy::egress::name::Name;
use crate::policy::egress::rule::{Protocol, Rule};

/// What some runs used together.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// How many there were; of none, nothing is said.
    pub runs: u64,
    /// Programs that were executed; `None` where it was not recorded.
    pub executed: Option<BTreeSet<String>>,
    /// Whether anything in the workspace was changed; `None` where it was not recorded.
    pub changed: Option<bool>,
    /// Hosts that were reached.
    pub reached: BTreeSet<Host>,
    /// Most bytes of memory.
    pub memory: u64,
    /// Most processes.
    pub processes: Option<u64>,
    /// Longest, in milliseconds.
    pub wall_ms: u64,
}

/// A host as a gate saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Host {
    /// By name.
    pub name: Option<String>,
    /// By address.
    pub address: Option<String>,
    /// On which port.
    pub port: u16,
    /// Over which protocol.
    pub protocol: Protocol,
}

/// A rule of lint, the place, what to find its line by, what was found and what to do.
pub type Unused = (&'static str, String, String, String, String);

/// A bound this many times above what was used is no bound to notice.
const LOOSE: u64 = 16;

/// Bounds below these are as small as they need to be, whatever was used.
const SMALL_MEMORY: u64 = 256 << 20;
const SMALL_PROCESSES: u64 = 64;
const SMALL_WALL_MS: u64 = 60_000;

/// What was granted and not used.
pub fn unused(profile: &Profile, usage: &Usage) -> Vec<Unused> {
    if usage.runs == 0 {
        return Vec::new();
    }
    let mut found = Vec::new();
    if usage.changed == Some(false) && profile.workspace.access == WorkspaceAccess::Rw {
        found.push(one(
            "unused-write",
            "[workspace] access",
            "access",
            format!("nothing in the workspace was changed in {}", runs(usage)),
            "access = \"ro\"",
        ));
    }
    programs(profile, usage, &mut found);
    hosts(profile, usage, &mut found);
    limits(profile, usage, &mut found);
    found
}

fn one(rule: &'static str, place: &str, anchor: &str, what: String, remedy: &str) -> Unused {
    (rule, place.to_owned(), anchor.to_owned(), what, remedy.to_owned())
}

fn runs(usage: &Usage) -> String {
    if usage.runs == 1 { "1 run".to_owned() } else { format!("{} runs", usage.runs) }
}

/// One finding for each entry that the profile names, a set as a whole.
fn programs(profile: &Profile, usage: &Usage, found: &mut Vec<Unused>) {
    let Some(executed) = &usage.executed else { return };
    let used = |grant: &Grant| {
        let tree = if grant.path == "@workspace" { "/workspace" } else { &grant.path };
        executed.iter().any(|path| within(path, tree) || grant.path.starts_with("~/") && ends_within(path, tree))
    };
    let execute = &profile.filesystem.execute;
    let entry = |grant: &Grant| if grant.from.starts_with('@') { grant.from.clone() } else { grant.path.clone() };
    for name in execute.iter().map(entry).collect::<BTreeSet<_>>() {
        let mut of_entry = execute.iter().filter(|grant| entry(grant) == name);
        // A library is loaded, not executed, and nobody records that.
        let holds_libraries =
            |grant: &Grant| grant.path.split('/').any(|part| part.starts_with("lib") || part == "usr");
        if name == "@workspace" || of_entry.clone().any(holds_libraries) || of_entry.any(used) {
            continue;
        }
        let what = format!("nothing of `{name}` was executed in {}", runs(usage));
        let place = format!("[filesystem] execute `{name}`");
        found.push(one("unused-program", &place, &format!("\"{name}\""), what, "take it out of `execute`"));
    }
}

/// Whether a path of the host lies in a place of somebody's home.
fn ends_within(path: &str, tree: &str) -> bool {
    let Some(below) = tree.strip_prefix('~') else { return false };
    path.find(below).is_some_and(|at| within(path.get(at..).unwrap_or_default(), below))
}

fn hosts(profile: &Profile, usage: &Usage, found: &mut Vec<Unused>) {
    for rule in &profile.egress.rules.allow {
        if usage.reached.iter().any(|host| allows(rule, host)) {
            continue;
        }
        let anchor = format!("\"{}\"", if rule.from.starts_with('@') { &rule.from } else { &rule.text });
        let what = format!("`{}` was not reached in {}", rule.text, runs(usage));
        let place = format!("[egress] allow `{}`", rule.text);
        found.push(one("unused-host", &place, &anchor, what, "take it out of `allow`"));
    }
}

/// Whether it is this rule's doing that a host could be reached.
fn allows(rule: &Rule, host: &Host) -> bool {
    let named = host.name.as_deref().and_then(|name| Name::parse(name).ok()).is_some_and(|name| rule.names(&name));
    let held = host.address.as_deref().and_then(|text| text.parse::<IpAddr>().ok()).is_some_and(|ip| rule.holds(ip));
    (named || held) && rule.covers(host.protocol, host.port)
}

fn limits(profile: &Profile, usage: &Usage, found: &mut Vec<Unused>) {
    let limits = &profile.limits;
    let loose = |limit: u64, used: u64, small: u64| used > 0 && limit > small && limit / LOOSE > used;
    if let Some(memory) = limits.memory
        && loose(memory.0, usage.memory, SMALL_MEMORY)
    {
        let peak = Bytes(usage.memory.div_ceil(1 << 20) << 20);
        let what = format!("at most {peak} of {memory} were used in {}", runs(usage));
        found.push(one("loose-limit", "[limits] memory", "memory", what, "write a lower bound"));
    }
    if let (Some(processes), Some(used)) = (limits.processes, usage.processes)
        && loose(processes, used, SMALL_PROCESSES)
    {
        let what = format!("at most {used} of {processes} processes were used in {}", runs(usage));
        found.push(one("loose-limit", "[limits] processes", "processes", what, "write a lower bound"));
    }
    if let Some(wall) = limits.wall
        && loose(wall.0, usage.wall_ms, SMALL_WALL_MS)
    {
        let what = format!("the longest of {} took {} of {wall}", runs(usage), Span(usage.wall_ms));
        found.push(one("loose-limit", "[limits] wall", "wall", what, "write a lower bound"));
    }
}
