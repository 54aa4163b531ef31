//! Which mechanism keeps which promise on which host.
//!
//! One function a promise; each says what keeps it and, if anything, what is missing.

use super::{Effect, Identity, Keeping, Naming, Plan};
use crate::host::{Controllers, HostFacts, IdmappedMounts, Tier};
use crate::profile::promise::Promise;

/// The Landlock ABI from which truncation can be denied.
const TRUNCATION: u32 = 3;
/// The Landlock ABI from which a domain's signals stay in it.
pub const SIGNALS: u32 = 6;

/// By what `promise` is kept under `plan`.
pub fn keep(promise: Promise, plan: &Plan, host: &HostFacts) -> Keeping {
    match promise {
        Promise::Filesystem => filesystem(host),
        Promise::Shielded => shielded(plan, host),
        Promise::Network => network(plan, host),
        Promise::Identity => identity(plan, host),
        Promise::Syscalls => kept(vec!["seccomp allow-list".into()]),
        Promise::Processes => processes(host),
        Promise::Lifetime => lifetime(host),
        Promise::Limits => limits(plan, host),
    }
}

fn kept(mechanisms: Vec<String>) -> Keeping {
    Keeping { mechanisms, missing: None }
}

fn lacking(mechanisms: Vec<String>, missing: impl Into<String>) -> Keeping {
    Keeping { mechanisms, missing: Some(missing.into()) }
}

fn landlock(host: &HostFacts) -> String {
    format!("landlock abi {}", host.landlock_abi)
}

fn filesystem(host: &HostFacts) -> Keeping {
    match (host.tier.has_namespaces(), host.landlock_abi) {
        (_, 0) => lacking(vec![], "the kernel has no Landlock (add `landlock` to the `lsm=` boot parameter)"),
        (true, _) => kept(vec!["private root in a mount namespace".into(), landlock(host)]),
        // Below ABI 3 a readable file can still be truncated where its mode allows it.
        (false, abi) if abi < TRUNCATION => {
            lacking(vec![landlock(host)], "Landlock ABI 3 is needed to deny truncation (Linux 6.2)")
        }
        (false, _) => kept(vec![landlock(host)]),
    }
}

fn shielded(plan: &Plan, host: &HostFacts) -> Keeping {
    if plan.shields.is_empty() {
        return kept(vec!["nothing to shield".into()]);
    }
    let wall = if host.tier.has_namespaces() {
        "mounts over hidden and protected paths"
    } else {
        "landlock grants to siblings only"
    };
    let mut mechanisms = vec![wall.to_owned()];
    if !host.tier.has_namespaces() && host.landlock_abi < TRUNCATION {
        return lacking(mechanisms, "Landlock ABI 3 is needed to deny truncation of protected files (Linux 6.2)");
    }
    let protects = plan.shields.iter().any(|shield| shield.effect != Effect::Hide);
    let writable =
        plan.landlock.rules.iter().any(|(path, rights)| rights.write && plan.workspace.as_ref() == Some(path));
    if !protects || !writable {
        return kept(mechanisms);
    }
    if plan.naming == Naming::Brokered {
        mechanisms.push("new names by a broker (seccomp notification), denied to the command by landlock".into());
        if plan.vets_repositories() {
            mechanisms.push("settings of git by the broker, which lets through what runs nothing".into());
        }
        return kept(mechanisms);
    }
    lacking(
        mechanisms,
        "protecting names that do not exist yet needs seccomp user notification with ADDFD_SEND (Linux 5.14)",
    )
}

fn network(plan: &Plan, host: &HostFacts) -> Keeping {
    let mut mechanisms = vec![];
    if host.tier.has_namespaces() {
        if plan.has_gate() {
            mechanisms.push(
                "network namespace with loopback only, whose every connection ends at the gate (nftables)".into(),
            );
            mechanisms.push("the gate, which resolves and connects for the jail by the rules of [egress]".into());
        } else {
            mechanisms.push("network namespace with loopback only".to_owned());
        }
        mechanisms.push("seccomp: no socket families but inet, inet6 and route; none of the host's by name".to_owned());
        return kept(mechanisms);
    }
    if plan.has_gate() {
        mechanisms.push("seccomp: no sockets but TCP and connected pairs, and none that listens".to_owned());
        mechanisms.push(format!("{}: TCP to the gate's port alone", landlock(host)));
        mechanisms.push("the gate, a proxy that programs are asked to use, by the rules of [egress]".to_owned());
        let open = "without a network namespace TCP to the number of the gate's port is open on every host, \
                    and programs that know no proxy reach nothing";
        return lacking(mechanisms, open);
    }
    mechanisms.push("seccomp: no sockets but connected pairs".to_owned());
    if host.landlock_abi >= 4 {
        mechanisms.push(format!("{}: no TCP", landlock(host)));
    }
    kept(mechanisms)
}

fn identity(plan: &Plan, host: &HostFacts) -> Keeping {
    let mut mechanisms =
        vec!["no capabilities, empty bounding set".to_owned(), "no_new_privs".into(), "keyrings out of reach".into()];
    match (plan.tier, plan.identity) {
        (_, Identity::ThrowAway { .. }) => mechanisms.insert(0, "throw-away uid, idmapped mounts".into()),
        (Tier::Root, Identity::Caller(owner)) => {
            let cause = match host.idmapped_mounts {
                IdmappedMounts::NoUserNamespace => {
                    "the workspace cannot be idmapped without a user namespace (user.max_user_namespaces)"
                }
                IdmappedMounts::Work | IdmappedMounts::NotOfThisFilesystem => {
                    "the workspace's filesystem cannot be idmapped"
                }
            };
            return lacking(mechanisms, format!("{cause}, the command would run as uid {}", owner.uid));
        }
        (_, Identity::Mapped(_)) => mechanisms.insert(0, "user namespace with one uid".into()),
        (_, Identity::Caller(_)) => mechanisms.insert(0, "the caller's uid".into()),
    }
    kept(mechanisms)
}

fn processes(host: &HostFacts) -> Keeping {
    match (host.tier.has_namespaces(), host.landlock_abi) {
        (true, _) => kept(vec!["pid and ipc namespaces".into()]),
        (false, SIGNALS..) => kept(vec![format!("{}: signal and ptrace scope, no /proc of others", landlock(host))]),
        (false, _) => lacking(
            vec![landlock(host)],
            "Landlock ABI 6 is needed to deny signals without a pid namespace (Linux 6.12)",
        ),
    }
}

fn lifetime(host: &HostFacts) -> Keeping {
    if host.tier.has_namespaces() {
        return kept(vec!["pid namespace: all die with its init, which dies with the launcher".into()]);
    }
    let mut mechanisms = vec!["subreapers: init, launcher and supervisor each end what is left".to_owned()];
    if matches!(host.controllers, Controllers::V2 { .. }) {
        mechanisms.insert(0, "cgroup v2: all members are killed at once".to_owned());
    }
    if host.landlock_abi < SIGNALS {
        // Whoever can signal can end those who would end it.
        return lacking(
            mechanisms,
            "Landlock ABI 6 is needed to deny signals to those who end what is left (Linux 6.12)",
        );
    }
    kept(mechanisms)
}

fn limits(plan: &Plan, host: &HostFacts) -> Keeping {
    let limits = &plan.limits;
    let wanted: Vec<&str> =
        [limits.memory.map(|_| "memory"), limits.processes.map(|_| "pids"), limits.cpu_milli.map(|_| "cpu")]
            .into_iter()
            .flatten()
            .collect();
    let (name, enabled): (&str, Vec<&str>) = match &limits.controllers {
        Controllers::V2 { enabled, .. } => ("cgroup v2", enabled.iter().map(String::as_str).collect()),
        Controllers::V1 { parents } => {
            ("cgroup v1", parents.iter().map(|(controller, _)| controller.as_str()).collect())
        }
        Controllers::None { why } => {
            return lacking(
                vec!["rlimits".into()],
                format!("memory is bounded by process and processor time not at all: {why}"),
            );
        }
    };
    let absent: Vec<&str> = wanted.iter().copied().filter(|controller| !enabled.contains(controller)).collect();
    let mechanisms = vec![format!("{name}: {}", enabled.join(" ")), "rlimits".into()];
    if !absent.is_empty() {
        return lacking(mechanisms, format!("controller not available: {}", absent.join(" ")));
    }
    if !host.tier.has_namespaces() {
        return lacking(mechanisms, "the size of private places is not bounded without a mount namespace");
    }
    kept(mechanisms)
}
