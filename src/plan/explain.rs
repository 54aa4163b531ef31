//! A plan as a person reads it, and as data.
//!
//! Owns the words for what a plan holds: every grant with its reason and origin, every promise with what keeps it. Pure,
//! and adds nothing: what is not in the plan is not said.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::digest::digest;
use super::view::{BARE_HOME, BARE_TMP};
use super::{Effect, Entry, HostPath, Identity, Naming, Plan, Rights};
use crate::host::{Controllers, Tier};
use crate::policy::egress::http::Look;
use crate::policy::egress::rule::Rule;
use crate::policy::egress::terms::Terms;
use crate::policy::syscalls::{Action, SyscallRule};
use crate::profile::units::{Bytes, Cpus, Span};

/// A plan as data, with what can be counted or computed from it.
#[derive(Clone, Debug, Serialize)]
pub struct Explained<'a> {
    /// SHA-256 of the canonical plan: what a verdict calls `plan`.
    pub digest: String,
    /// How many system calls there are of each kind.
    pub calls: Calls,
    /// All of it.
    pub plan: &'a Plan,
}

/// System calls by what happens to them. A call that no rule names is denied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Calls {
    /// Made whatever the arguments are.
    pub allowed: usize,
    /// Made with some arguments, refused with others.
    pub conditional: usize,
    /// Fail with `ENOSYS`, so that a program falls back.
    pub missing: usize,
    /// Fail with `EPERM`, and a rule says why.
    pub denied: usize,
}

/// The plan as data.
pub fn data(plan: &Plan) -> Explained<'_> {
    Explained { digest: digest(plan), calls: count(&plan.syscalls.rules), plan }
}

/// The plan as text, its sections one after the other.
pub fn text(plan: &Plan) -> String {
    let sections = [
        ("promises", promises(plan)),
        ("grants", grants(plan)),
        ("made for the jail", made(plan)),
        ("hidden and protected", shields(plan)),
        ("egress", egress(plan)),
        ("limits", limits(plan)),
        ("identity", identity(plan)),
        ("environment", environment(plan)),
        ("system calls", calls(plan)),
    ];
    let mut text = head(plan);
    for (title, rows) in sections.into_iter().filter(|(_, rows)| !rows.is_empty()) {
        text.push_str(&format!("\n{title}\n{}", aligned(&rows)));
    }
    text
}

/// Rows as lines, indented, every column as wide as its widest cell; the last one is never padded.
pub fn aligned(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        let padded = row.len().saturating_sub(1);
        widths.resize(widths.len().max(padded), 0);
        for (width, cell) in widths.iter_mut().zip(row.iter().take(padded)) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate().map(|(index, cell)| match widths.get(index) {
            Some(width) if index + 1 < row.len() => format!("{cell:<width$}"),
            _ => cell.clone(),
        });
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

/// What a path inside the jail is on the host, and what may be done with it; `None` when no grant reaches it.
pub fn on_the_host(plan: &Plan, inside: &Path) -> Option<(PathBuf, Rights)> {
    inside.ancestors().find_map(|ancestor| {
        let Some(Entry::Host(host)) = plan.view.entries.get(ancestor) else { return None };
        let rest = inside.strip_prefix(ancestor).ok()?;
        Some((if rest.as_os_str().is_empty() { host.source.clone() } else { host.source.join(rest) }, host.rights))
    })
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn head(plan: &Plan) -> String {
    let starts = shown(&plan.cwd);
    let rows = [
        row(["profile", &plan.profile]),
        row(["made from", &plan.sources.join(", then ")]),
        row(["tier", &format!("{}: {}", plan.tier.word(), tier(plan.tier))]),
        row(["starts in", &starts]),
        row(["plan", &format!("sha256:{}", digest(plan))]),
    ];
    // The head is no section: its rows stand at the margin.
    aligned(&rows).lines().map(|line| format!("{}\n", line.trim_start())).collect()
}

fn tier(tier: Tier) -> &'static str {
    match tier {
        Tier::Root => "all namespaces, a throw-away uid",
        Tier::User => "all namespaces, inside a user namespace",
        Tier::Bare => "no namespaces: Landlock, seccomp and rlimits over the host's own tree",
    }
}

/// The launcher puts the run's own directory where the placeholder stands.
fn shown(path: &Path) -> String {
    path.to_string_lossy().replace("{private}", "<private>")
}

fn promises(plan: &Plan) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (promise, keeping) in &plan.promises {
        let level = if keeping.missing.is_some() { "partial" } else { "full" };
        rows.push(row([promise.word(), level, promise.sentence()]));
        rows.extend(keeping.mechanisms.iter().map(|mechanism| row(["", "", &format!("with {mechanism}")])));
        rows.extend(keeping.missing.iter().map(|missing| row(["", "", &format!("missing: {missing}")])));
    }
    rows
}

fn grants(plan: &Plan) -> Vec<Vec<String>> {
    let hosts = plan.view.entries.iter().filter_map(|(path, entry)| match entry {
        Entry::Host(host) => Some((path, host)),
        _ => None,
    });
    let mut rows: Vec<Vec<String>> =
        hosts.map(|(path, host)| row([&rights(host.rights), &place(path, host), &host.why, &host.from])).collect();
    rows.push(row(["what this host does not have is left out"]));
    rows
}

fn place(path: &Path, host: &HostPath) -> String {
    let inside = path.display();
    if host.source == path { inside.to_string() } else { format!("{inside} = {}", host.source.display()) }
}

/// As `ls` shows a mode: `r` read, `l` list only, `w` write, `x` execute.
fn rights(rights: Rights) -> String {
    let letter = |held, letter| if held { letter } else { '-' };
    let read = if rights.read { 'r' } else { letter(rights.list, 'l') };
    [read, letter(rights.write, 'w'), letter(rights.execute, 'x')].iter().collect()
}

fn made(plan: &Plan) -> Vec<Vec<String>> {
    if !plan.tier.has_namespaces() {
        let what = "a directory of the run's own on the host's disk, gone with it";
        return [BARE_HOME, BARE_TMP].map(|path| row([&shown(Path::new(path)), what])).to_vec();
    }
    let mut rows = Vec::new();
    let mut small: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (path, entry) in &plan.view.entries {
        let name = path.display().to_string();
        match entry {
            Entry::Host(_) => {}
            Entry::Private { size, execute, .. } => {
                let files = if *execute { "its files may be executed" } else { "nothing in it is executed" };
                rows.push(row([&name, &format!("private memory, {}, {files}", Bytes(*size))]));
            }
            Entry::Proc => rows.push(row([&name, "the jail's own processes"])),
            Entry::Terminals => rows.push(row([&name, "the jail's own terminals"])),
            Entry::Device => small.entry("devices").or_default().push(name),
            Entry::Directory => small.entry("empty directories").or_default().push(name),
            Entry::File { .. } | Entry::Trust { .. } | Entry::Over { .. } => {
                small.entry("files written for it").or_default().push(name)
            }
            Entry::Link { .. } => small.entry("links").or_default().push(name),
            Entry::Masked => small.entry("empty, for what they say of the host").or_default().push(name),
        }
    }
    rows.extend(small.into_iter().map(|(what, names)| row([what, &names.join(" ")])));
    rows
}

fn shields(plan: &Plan) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = plan
        .shields
        .iter()
        .map(|shield| {
            let word = match shield.effect {
                Effect::Hide => "hide",
                Effect::Protect => "protect",
                Effect::Vet => "vet",
            };
            row([word, &shield.pattern, &shield.why, &shield.from])
        })
        .collect();
    if plan.naming == Naming::Brokered {
        rows.push(row([
            "new names are made by init, after a look at these patterns: they hold for what does not exist yet, too",
        ]));
    }
    rows
}

fn egress(plan: &Plan) -> Vec<Vec<String>> {
    let rows = |word, rules: &[Rule]| {
        let rows = rules.iter().map(|rule| row([word, &rule.text, &rule.why, &rule.from]));
        rows.collect::<Vec<_>>()
    };
    let mut all = rows("allow", &plan.egress.allow);
    all.extend(rows("deny", &plan.egress.deny));
    let known = plan.egress.hosts.iter().map(|(name, addresses)| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        row(["known", name.as_str(), &addresses.join(" ")])
    });
    all.extend(known);
    all.extend(plan.egress.http.iter().map(|rule| {
        let inject = rule.inject.iter().map(|inject| format!("puts in `{}` ({})", inject.secret, inject.header));
        row(["requests", &rule.host.text, &rule.summary(), &inject.collect::<String>()])
    }));
    if plan.egress.look == Look::IntoAll {
        all.push(row([
            "TLS to every host by name is ended by the gate, so that what stands for a secret leaves by none",
        ]));
    }
    all.extend(terms(&plan.egress.terms));
    if plan.has_gate() {
        all.push(row([
            "loopback of the host, private networks, cloud metadata and the like are denied unless named exactly",
        ]));
    }
    all
}

fn terms(terms: &Terms) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (word, most) in terms.budget.bounds().into_iter().filter_map(|(word, most)| Some((word, most?))) {
        let most = if word.starts_with("sent") { Bytes(most).to_string() } else { most.to_string() };
        rows.push(row(["budget", word, &most]));
    }
    rows.extend(terms.first_contact.iter().map(|first| row(["first contact", first.word()])));
    rows.extend(terms.proxy.iter().map(|proxy| row(["through", &proxy.to_string()])));
    rows.extend(terms.resolvers.iter().map(|server| row(["names from", &server.to_string()])));
    rows
}

fn limits(plan: &Plan) -> Vec<Vec<String>> {
    let limits = &plan.limits;
    let bytes = |bytes: Option<u64>| bytes.map_or_else(|| "unlimited".to_owned(), |bytes| Bytes(bytes).to_string());
    let processor = limits.cpu_milli.map_or_else(|| "unlimited".to_owned(), |milli| Cpus(milli).to_string());
    let processes = limits.processes.map_or_else(|| "unlimited".to_owned(), |count| count.to_string());
    let wall = limits.wall_ms.map_or_else(|| "unlimited".to_owned(), |wall| Span(wall).to_string());
    let open_files = limits.open_files.to_string();
    let mut rows = vec![
        row(["memory", &bytes(limits.memory), &rests_on(plan, "memory", "RLIMIT_DATA, each process by itself")]),
        row(["processors", &processor, &rests_on(plan, "cpu", "nothing: no cpu controller")]),
        row(["processes", &processes, &rests_on(plan, "pids", "RLIMIT_NPROC")]),
        row(["open files", &open_files, "RLIMIT_NOFILE, each process by itself"]),
        row(["file size", &bytes(limits.file_size), "RLIMIT_FSIZE"]),
        row(["wall time", &wall, "the launcher's clock"]),
        row(["output", &bytes(limits.output), "the supervisor, which reads on and throws away what is over"]),
    ];
    if let Controllers::None { why } = &limits.controllers {
        rows.push(row(["", "", &format!("no cgroup: {why}")]));
    }
    rows
}

fn rests_on(plan: &Plan, controller: &str, otherwise: &str) -> String {
    let (version, found) = match &plan.limits.controllers {
        Controllers::V2 { enabled, .. } => ("cgroup v2", enabled.iter().any(|name| name == controller)),
        Controllers::V1 { parents } => ("cgroup v1", parents.iter().any(|(name, _)| name == controller)),
        Controllers::None { .. } => ("", false),
    };
    if found { format!("{version}, the whole jail together") } else { otherwise.to_owned() }
}

fn identity(plan: &Plan) -> Vec<Vec<String>> {
    let who = match plan.identity {
        Identity::ThrowAway { first, count } => {
            let last = u64::from(first) + u64::from(count) - 1;
            format!(
                "a uid and gid that nobody else has, between {first} and {last}; new files belong to the workspace's owner"
            )
        }
        Identity::Mapped(owner) => {
            format!("uid {} and gid {}, alone in a user namespace where they own nothing else", owner.uid, owner.gid)
        }
        Identity::Caller(owner) => format!("uid {} and gid {}, as outside", owner.uid, owner.gid),
    };
    vec![row([&who]), row(["no capability, no supplementary group, no_new_privs, no keyring within reach"])]
}

fn environment(plan: &Plan) -> Vec<Vec<String>> {
    let passed = |name: &str| plan.pass.iter().any(|pass| pass == name);
    let mut rows: Vec<Vec<String>> = plan
        .environment
        .iter()
        .map(|(name, value)| {
            let when = if passed(name) { "where the caller has none" } else { "" };
            row([&format!("{name}={}", shown(Path::new(value))), when])
        })
        .collect();
    if !plan.pass.is_empty() {
        rows.push(row([&format!("from the caller: {}", plan.pass.join(" "))]));
    }
    rows
}

fn calls(plan: &Plan) -> Vec<Vec<String>> {
    let calls = count(&plan.syscalls.rules);
    vec![
        row(["allowed", &calls.allowed.to_string()]),
        row(["with conditions", &format!("{}: by their arguments", calls.conditional)]),
        row(["missing", &format!("{}: ENOSYS, so that programs fall back", calls.missing)]),
        row(["denied", &format!("{} by name, and every call that no rule names: EPERM", calls.denied)]),
    ]
}

/// Counts the calls that `rules` are about by what happens to them.
pub fn count(rules: &[SyscallRule]) -> Calls {
    let mut by_call: BTreeMap<&str, Vec<&SyscallRule>> = BTreeMap::new();
    for rule in rules {
        by_call.entry(&rule.call).or_default().push(rule);
    }
    let mut calls = Calls::default();
    for rules in by_call.values() {
        // The greatest unconditional action is what happens, unless a greater one has conditions.
        let always = rules.iter().filter(|rule| rule.when.is_empty()).map(|rule| rule.action).max();
        let sometimes = rules.iter().filter(|rule| !rule.when.is_empty()).map(|rule| rule.action).max();
        match always {
            Some(Action::Deny) => calls.denied += 1,
            Some(Action::Missing) if sometimes < Some(Action::Missing) => calls.missing += 1,
            Some(action) if sometimes <= Some(action) => calls.allowed += 1,
            _ => calls.conditional += 1,
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_where_their_text_does() {
        let rows = [row(["a", "bb", "c"]), row(["dddd", "", ""]), row(["a whole sentence is no column"])];
        assert_eq!(aligned(&rows), "  a     bb  c\n  dddd\n  a whole sentence is no column\n");
    }

    #[test]
    fn a_call_that_is_denied_with_some_arguments_counts_as_conditional() {
        let rule = |call: &str, action, when: bool| SyscallRule {
            call: call.to_owned(),
            action,
            when: if when {
                vec![crate::policy::syscalls::Condition { arg: 0, mask: 1, value: 1 }]
            } else {
                Vec::new()
            },
            why: String::new(),
        };
        let rules = [
            rule("read", Action::Allow, false),
            rule("ioctl", Action::Allow, false),
            rule("ioctl", Action::Deny, true),
            rule("socket", Action::Allow, true),
            rule("clone3", Action::Missing, false),
            rule("bpf", Action::Deny, false),
        ];
        assert_eq!(count(&rules), Calls { allowed: 1, conditional: 2, missing: 1, denied: 1 });
    }
}
