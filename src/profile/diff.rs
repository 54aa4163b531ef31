//! What one resolved profile allows that another does not, in words.
//!
//! Owns the comparison for `clawjail profile diff`. Says nothing that follows from the host: two profiles are compared as what
//! they ask for. Must not load anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use serde::Serialize;

use super::promise::Demand;
use super::{Grant, Limits, Profile, WorkspaceAccess, WorkspaceAt};
use crate::policy::egress::rule::Rule;
use crate::policy::syscalls::{Action, SyscallPolicy, SyscallRule};

/// In which direction two profiles differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The second allows more.
    More,
    /// The second allows less.
    Less,
    /// Neither is the wider one.
    Other,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// In which direction.
    pub direction: Direction,
    /// The table of a profile that it is about.
    pub about: &'static str,
    /// What differs, as what the second one does.
    pub words: String,
}

/// Entries of one set that are told one by one; of more only the number and the first are.
const TOLD: usize = 4;

/// What differs when `other` is used instead of `one`, table by table.
pub fn compare(one: &Profile, other: &Profile) -> Vec<Difference> {
    let mut found = Vec::new();
    workspace(one, other, &mut found);
    files(one, other, &mut found);
    egress(one, other, &mut found);
    environment(one, other, &mut found);
    limits(&one.limits, &other.limits, &mut found);
    syscalls(&one.syscalls, &other.syscalls, &mut found);
    require(one, other, &mut found);
    found
}

fn tell(found: &mut Vec<Difference>, direction: Direction, about: &'static str, words: impl Into<String>) {
    found.push(Difference { direction, about, words: words.into() });
}

fn workspace(one: &Profile, other: &Profile, found: &mut Vec<Difference>) {
    let (was, is) = (one.workspace.access, other.workspace.access);
    let rank = |access| match access {
        WorkspaceAccess::None => 0,
        WorkspaceAccess::Ro => 1,
        WorkspaceAccess::Rw => 2,
    };
    let words = match is {
        WorkspaceAccess::None => "does not see the workspace",
        WorkspaceAccess::Ro => "reads the workspace and cannot change it",
        WorkspaceAccess::Rw => "changes the workspace",
    };
    match rank(is).cmp(&rank(was)) {
        std::cmp::Ordering::Greater => tell(found, Direction::More, "workspace", words),
        std::cmp::Ordering::Less => tell(found, Direction::Less, "workspace", words),
        std::cmp::Ordering::Equal => {}
    }
    if one.workspace.at != other.workspace.at {
        let words = match &other.workspace.at {
            WorkspaceAt::Same => "has the workspace at the path that it has on the host".to_owned(),
            WorkspaceAt::Path(path) => format!("has the workspace at `{path}`"),
        };
        tell(found, Direction::Other, "workspace", words);
    }
}

fn files(one: &Profile, other: &Profile, found: &mut Vec<Difference>) {
    for (verb, list) in [
        ("reads", Profile::readable as fn(&Profile) -> Vec<&Grant>),
        ("writes", |profile| profile.filesystem.write.iter().collect()),
        ("executes", |profile| profile.filesystem.execute.iter().collect()),
    ] {
        let (was, is) = (list(one), list(other));
        granted(Direction::More, verb, &beyond(&is, &was), found);
        granted(Direction::Less, &format!("no longer {verb}"), &beyond(&was, &is), found);
    }
    for (verb, was, is) in [
        ("hides", &one.filesystem.hide, &other.filesystem.hide),
        ("protects", &one.filesystem.protect, &other.filesystem.protect),
    ] {
        granted(Direction::More, &format!("no longer {verb}"), &missing(was, is), found);
        granted(Direction::Less, verb, &missing(is, was), found);
    }
    let (was, is) = (one.filesystem.tmp, other.filesystem.tmp);
    step(is.size.0, was.size.0, found, "filesystem", format!("has {} of /tmp instead of {}", is.size, was.size));
    let words = if is.execute { "executes files in /tmp" } else { "executes nothing in /tmp" };
    step(is.execute, was.execute, found, "filesystem", words.to_owned());
}

impl Profile {
    /// Whatever can be read: what is written or executed can be read too.
    fn readable(&self) -> Vec<&Grant> {
        let files = &self.filesystem;
        files.read.iter().chain(&files.write).chain(&files.execute).collect()
    }
}

fn step<T: Ord>(is: T, was: T, found: &mut Vec<Difference>, about: &'static str, words: String) {
    match is.cmp(&was) {
        std::cmp::Ordering::Greater => tell(found, Direction::More, about, words),
        std::cmp::Ordering::Less => tell(found, Direction::Less, about, words),
        std::cmp::Ordering::Equal => {}
    }
}

/// What of `these` is neither in `those` nor below something there.
fn beyond<'a>(these: &[&'a Grant], those: &[&Grant]) -> Vec<&'a Grant> {
    let new = these.iter().filter(|grant| !those.iter().any(|other| within(&grant.path, &other.path)));
    let new: BTreeMap<&str, &Grant> = new.map(|grant| (grant.path.as_str(), *grant)).collect();
    new.into_values().collect()
}

fn missing<'a>(these: &'a [Grant], those: &[Grant]) -> Vec<&'a Grant> {
    let known: BTreeSet<&str> = those.iter().map(|grant| grant.path.as_str()).collect();
    these.iter().filter(|grant| !known.contains(grant.path.as_str())).collect()
}

/// Whether `path` is `tree` or lies in it, as profiles write both.
pub fn within(path: &str, tree: &str) -> bool {
    path.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// One line for each set, and for each path that a profile names itself.
fn granted(direction: Direction, verb: &str, grants: &[&Grant], found: &mut Vec<Difference>) {
    let mut by_origin: BTreeMap<&str, Vec<&Grant>> = BTreeMap::new();
    for grant in grants {
        by_origin.entry(&grant.from).or_default().push(grant);
    }
    for (origin, grants) in by_origin {
        let named = grants.iter().map(|grant| format!("`{}` ({})", grant.path, grant.why));
        if !origin.starts_with('@') || grants.len() <= TOLD {
            named.for_each(|name| tell(found, direction, "filesystem", format!("{verb} {name}")));
            continue;
        }
        let first = grants.iter().take(TOLD).map(|grant| format!("`{}`", grant.path)).collect::<Vec<_>>().join(", ");
        let words = format!("{verb} {} paths of `{origin}`, such as {first}", grants.len());
        tell(found, direction, "filesystem", words);
    }
}

fn egress(one: &Profile, other: &Profile, found: &mut Vec<Difference>) {
    let (was, is) = (&one.egress.rules, &other.egress.rules);
    match (was.allow_nothing(), is.allow_nothing()) {
        (true, false) => tell(found, Direction::More, "egress", "has a network, by way of the gate"),
        (false, true) => tell(found, Direction::Less, "egress", "has no network at all"),
        _ => {}
    }
    for rule in new_rules(&is.allow, &was.allow) {
        tell(found, Direction::More, "egress", format!("reaches `{}`", rule.text));
    }
    for rule in new_rules(&was.allow, &is.allow) {
        tell(found, Direction::Less, "egress", format!("no longer reaches `{}`", rule.text));
    }
    for rule in new_rules(&was.deny, &is.deny) {
        tell(found, Direction::More, "egress", format!("no longer denies `{}`", rule.text));
    }
    for rule in new_rules(&is.deny, &was.deny) {
        tell(found, Direction::Less, "egress", format!("denies `{}`", rule.text));
    }
    if was.hosts != is.hosts {
        tell(found, Direction::Other, "egress", "knows other addresses of names");
    }
    if was.terms != is.terms {
        tell(found, Direction::Other, "egress", "keeps to other terms: budget, first contact, proxy or name servers");
    }
    if (&was.http, &was.secrets, was.look) != (&is.http, &is.secrets, is.look) {
        tell(found, Direction::Other, "egress", "has other rules for requests");
    }
}

fn new_rules<'a>(these: &'a [Rule], those: &'a [Rule]) -> impl Iterator<Item = &'a Rule> {
    these.iter().filter(|rule| !those.iter().any(|other| other.text == rule.text))
}

fn environment(one: &Profile, other: &Profile, found: &mut Vec<Difference>) {
    let (was, is) = (&one.environment, &other.environment);
    let new = |these: &[String], those: &[String]| -> Vec<String> {
        these.iter().filter(|name| !those.contains(name)).map(|name| format!("`{name}`")).collect()
    };
    let (more, less) = (new(&is.pass, &was.pass), new(&was.pass, &is.pass));
    if !more.is_empty() {
        tell(found, Direction::More, "environment", format!("is given the caller's {}", more.join(", ")));
    }
    if !less.is_empty() {
        tell(found, Direction::Less, "environment", format!("is not given the caller's {}", less.join(", ")));
    }
    for name in was.set.keys().chain(is.set.keys()).collect::<BTreeSet<_>>() {
        let words = match (was.set.get(name), is.set.get(name)) {
            (Some(old), Some(new)) if old == new => continue,
            (_, Some(new)) => format!("has {name}=`{new}`"),
            (_, None) => format!("has no {name}"),
        };
        tell(found, Direction::Other, "environment", words);
    }
}

fn limits(was: &Limits, is: &Limits, found: &mut Vec<Difference>) {
    fn one<T: Ord + Display + Copy>(name: &str, was: Option<T>, is: Option<T>, found: &mut Vec<Difference>) {
        let shown = |limit: Option<T>| limit.map_or_else(|| "no limit".to_owned(), |limit| limit.to_string());
        // Without a limit is above each limit.
        let height = |limit: Option<T>| (limit.is_none(), limit);
        let words = format!("{name}: {} instead of {}", shown(is), shown(was));
        step(height(is), height(was), found, "limits", words);
    }
    one("memory", was.memory, is.memory, found);
    one("processors", was.cpus, is.cpus, found);
    one("processes", was.processes, is.processes, found);
    one("open files", Some(was.open_files), Some(is.open_files), found);
    one("size of a file", was.file_size, is.file_size, found);
    one("wall time", was.wall, is.wall, found);
    one("output", was.output, is.output, found);
    one("private home", Some(was.disk), Some(is.disk), found);
    one("runs a minute", was.runs_per_minute, is.runs_per_minute, found);
}

fn syscalls(was: &SyscallPolicy, is: &SyscallPolicy, found: &mut Vec<Difference>) {
    let (was, is) = (by_call(was), by_call(is));
    let allowed = |rules: Option<&Vec<&SyscallRule>>| {
        rules.is_some_and(|rules| rules.iter().any(|rule| rule.action == Action::Allow))
    };
    for call in was.keys().chain(is.keys()).collect::<BTreeSet<_>>() {
        let (old, new) = (was.get(call), is.get(call));
        match (allowed(old), allowed(new)) {
            (false, true) => tell(found, Direction::More, "syscalls", format!("makes the system call `{call}`")),
            (true, false) => tell(found, Direction::Less, "syscalls", format!("does not make `{call}`")),
            _ if same(old, new) => {}
            _ => tell(found, Direction::Other, "syscalls", format!("`{call}` under other conditions")),
        }
    }
}

fn by_call(policy: &SyscallPolicy) -> BTreeMap<&str, Vec<&SyscallRule>> {
    let mut by_call: BTreeMap<&str, Vec<&SyscallRule>> = BTreeMap::new();
    for rule in &policy.rules {
        by_call.entry(&rule.call).or_default().push(rule);
    }
    by_call
}

/// Whether two lists of rules say the same, whatever their reasons.
fn same(one: Option<&Vec<&SyscallRule>>, other: Option<&Vec<&SyscallRule>>) -> bool {
    let what = |rules: Option<&Vec<&SyscallRule>>| -> Vec<_> {
        rules.into_iter().flatten().map(|rule| (rule.action, rule.when.clone())).collect()
    };
    what(one) == what(other)
}

fn require(one: &Profile, other: &Profile, found: &mut Vec<Difference>) {
    let demand = |profile: &Profile, promise| profile.require.get(&promise).copied().unwrap_or(Demand::Full);
    for promise in super::promise::Promise::ALL {
        match (demand(one, promise), demand(other, promise)) {
            (Demand::Full, Demand::Partial) => {
                let words = format!("runs also where `{}` is kept only in part", promise.word());
                tell(found, Direction::More, "require", words);
            }
            (Demand::Partial, Demand::Full) => {
                let words = format!("does not run where `{}` is kept only in part", promise.word());
                tell(found, Direction::Less, "require", words);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::library::Library;
    use crate::profile::load::Sources;
    use crate::profile::resolve::resolve;

    fn shipped(name: &str) -> Profile {
        resolve(name, &Sources::default(), &Library::built_in()).expect("a shipped profile")
    }

    fn words(one: &str, other: &str, direction: Direction) -> Vec<String> {
        let all = compare(&shipped(one), &shipped(other)).into_iter();
        all.filter(|found| found.direction == direction).map(|found| found.words).collect()
    }

    #[test]
    fn a_profile_does_not_differ_from_itself() {
        for name in ["base", "offline", "openclaw", "readonly", "skill-test", "trusted", "untrusted"] {
            assert_eq!(compare(&shipped(name), &shipped(name)), [], "{name}");
        }
    }

    #[test]
    fn what_is_more_one_way_is_less_the_other_way() {
        for (one, other) in [("untrusted", "offline"), ("untrusted", "readonly"), ("trusted", "skill-test")] {
            let (there, back) = (compare(&shipped(one), &shipped(other)), compare(&shipped(other), &shipped(one)));
            let count = |found: &[Difference], direction| found.iter().filter(|f| f.direction == direction).count();
            assert_eq!(count(&there, Direction::More), count(&back, Direction::Less), "{one} {other}");
            assert_eq!(count(&there, Direction::Less), count(&back, Direction::More), "{one} {other}");
        }
    }

    #[test]
    fn a_profile_that_only_narrows_allows_nothing_more() {
        assert_eq!(words("untrusted", "readonly", Direction::More), Vec::<String>::new());
        let less = words("untrusted", "readonly", Direction::Less);
        assert!(less.contains(&"reads the workspace and cannot change it".to_owned()), "{less:?}");
        assert!(less.contains(&"wall time: 2m instead of 5m".to_owned()), "{less:?}");
    }

    #[test]
    fn a_shield_that_is_gone_counts_as_more() {
        let more = words("untrusted", "trusted", Direction::More);
        assert!(
            more.iter().any(|words| words.starts_with("no longer protects") && words.contains("@agent-memory")),
            "{more:?}"
        );
        assert!(more.contains(&"output: no limit instead of 1G".to_owned()), "{more:?}");
    }

    #[test]
    fn a_path_below_one_that_is_granted_is_nothing_more() {
        assert!(within("/usr/lib", "/usr") && within("/usr", "/usr"));
        assert!(!within("/usrlocal", "/usr") && !within("/usr", "/usr/lib"));
    }
}
