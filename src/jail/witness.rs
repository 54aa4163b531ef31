//! Who watches a run for denials, what none of them sees, and how near the run came to its limits.
//!
//! Owns the words, so that no verdict claims to be complete where it is not.

use super::auditing::{Audited, Auditing};
use super::cgroup::Group;
use crate::host::Tier;
use crate::plan::{Identity, Limits, Plan};
use crate::profile::recording::Recording;
use crate::wire::privsep::{Denied, End, Observed, Peak, Used, Watch};

/// The ABI of Landlock from which on it logs.
const LOGGING: u32 = 7;

/// What of a plan says who can watch.
#[derive(Clone, Debug)]
pub struct Witness {
    tier: Tier,
    asks: bool,
    gate: bool,
    recording: Recording,
    // Whether this kernel writes what Landlock denies, where its audit is on (Linux 6.15).
    logs: bool,
    limits: Limits,
    // How often the group had said no when the run began.
    refused: u64,
}

/// The kernel's records of a jail of `plan` whose commands have `uid`, where they are wanted and can be had: only there is the uid
/// nobody else's.
pub fn auditing(plan: &Plan, uid: u32) -> Option<Auditing> {
    let own = plan.tier == Tier::Root && matches!(plan.identity, Identity::ThrowAway { .. });
    (own && plan.recording != Recording::Off).then(|| Auditing::begin(uid, &plan.syscalls)).flatten()
}

impl Witness {
    /// For a run of `plan` in `group`, which others may have been in before.
    pub fn new(plan: &Plan, group: &Group) -> Witness {
        Witness {
            tier: plan.tier,
            asks: plan.asks,
            gate: plan.has_gate(),
            recording: plan.recording,
            logs: plan.landlock.abi >= LOGGING,
            limits: plan.limits.clone(),
            refused: group.refused_processes(),
        }
    }

    /// Who watched, and what was not seen.
    pub fn watch(&self, observed: &Observed, audited: Option<&Audited>) -> Watch {
        let source = |is: bool, name: &str| is.then(|| name.to_owned());
        let sources = [
            source(self.asks, "broker"),
            source(self.asks, "view"),
            source(self.gate, "gate"),
            source(self.asks && !self.gate && self.tier.has_namespaces(), "network"),
            source(self.logs && audited.is_some_and(|audited| audited.landlock), "landlock_audit"),
            source(audited.is_some() && self.recording == Recording::Full, "seccomp_audit"),
            Some("limits".to_owned()),
        ];
        Watch {
            sources: sources.into_iter().flatten().collect(),
            unseen: self.unseen(audited),
            uncounted: vec![
                "open_files, file_size of other processes than the first, sizes of /tmp and home".to_owned(),
            ],
            lost: observed.more_denials.saturating_add(audited.map_or(0, |audited| audited.lost)),
        }
    }

    fn unseen(&self, audited: Option<&Audited>) -> Vec<String> {
        let calls = audited.is_some() && self.recording == Recording::Full;
        let landlock = self.logs && audited.is_some_and(|audited| audited.landlock);
        let say = |is: bool, what: &str| is.then(|| what.to_owned());
        let all = [
            say(!self.asks, "names that cannot be made or changed: this kernel asks nobody (Linux 5.14)"),
            say(
                self.asks && self.recording < Recording::Full,
                "reads of what is hidden or not there: seen with `[record] activity = \"full\"`",
            ),
            say(!calls, "system calls that the filter refuses"),
            say(!landlock, "signals, tracing and abstract sockets to the outside, and what else Landlock alone denies"),
            say(!self.tier.has_namespaces(), "sockets that the filter refuses"),
            say(
                audited.is_some_and(|audited| (landlock || calls) && !audited.counted),
                "what the host's audit had no room for: to ask it needs CAP_AUDIT_CONTROL",
            ),
        ];
        all.into_iter().flatten().collect()
    }

    /// Limits that something was denied for.
    pub fn limited(&self, group: &Group, end: End, out_of_memory: bool) -> Vec<Denied> {
        let refused = group.refused_processes().saturating_sub(self.refused);
        let large = u64::from(end == End::Signalled(libc::SIGXFSZ));
        let counts = [("processes", refused), ("memory", u64::from(out_of_memory)), ("file_size", large)];
        let reached = counts.into_iter().filter(|(_, count)| *count > 0);
        let denied = |(limit, count): (&str, u64)| Denied {
            kind: "limit".to_owned(),
            what: limit.as_bytes().to_vec(),
            mechanism: "limit".to_owned(),
            rule: self.at(limit),
            count,
            when_us: None,
            by: None,
        };
        reached.map(denied).collect()
    }

    fn most(&self, limit: &str) -> Option<u64> {
        match limit {
            "memory" => self.limits.memory,
            "processes" => self.limits.processes,
            "file_size" => self.limits.file_size,
            "wall" => self.limits.wall_ms,
            _ => None,
        }
    }

    fn at(&self, limit: &str) -> String {
        self.most(limit).map_or_else(String::new, |most| format!("{limit} = {most}"))
    }

    /// How near it came.
    pub fn peaks(&self, used: &Used, limited: &[Denied]) -> Vec<Peak> {
        let reached =
            |limit: &str| limited.iter().filter(|one| one.what == limit.as_bytes()).map(|one| one.count).sum();
        let peak = |limit: &str, used: u64| Peak {
            limit: limit.to_owned(),
            used,
            most: self.most(limit),
            reached: reached(limit),
        };
        // Init counts among the group's processes, and not among the limit's.
        let processes = used.peak_processes.map(|count| peak("processes", count.saturating_sub(1)));
        let all = [Some(peak("memory", used.peak_memory)), processes, Some(peak("wall", used.wall_us / 1000))];
        all.into_iter().flatten().collect()
    }
}
