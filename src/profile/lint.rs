//! What a profile allows that it hardly needs, or that is dangerous whatever it is for.
//!
//! Owns the rules of `clawjail profile lint`, each with a name that does not change. A finding is no error: a profile that needs
//! what a rule warns of says so on the line that grants it, with `lint: NAME` and the reason in its comment. Must not load
//! anything, and knows of runs only what it is told.

use core::net::IpAddr;
use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::diff::within;
use super::error::ProfileError;
use super::lineage::{self, Layer};
use super::load::Sources;
use super::resolve::{combine_all, trace_draft};
use super::usage::{self, Usage};
use super::{Grant, Profile, WorkspaceAccess, WorkspaceAt};
use crate::policy::document::Authority;
use crate::policy::egress::address::special;
use crate::policy::egress::rule::{Host, Rule};
use crate::policy::library::Library;
use crate::policy::paths::{Anchor, Member};

/// The rules, and what each finds. The last four need to be told of runs.
pub const RULES: [(&str, &str); 14] = [
    ("too-wide", "a directory that holds the things of many, as a whole"),
    ("reads-home", "the home of a person, as a whole"),
    ("secrets-in-reach", "places where tools keep secrets, readable and not hidden"),
    ("write-on-path", "a directory that somebody's PATH names, or what holds one, writable"),
    ("write-execute", "what can be written can be executed in the same place"),
    ("writes-startup", "files that shells and sessions run at their start, writable and not protected"),
    ("unprotected-hooks", "a workspace that can be changed, hooks of git included"),
    ("wide-egress", "hosts of which nobody can say who runs them"),
    ("special-address", "an address that is no part of the public network"),
    ("no-limit", "no bound on memory, processes or time"),
    ("unused-write", "a workspace that can be changed, and was not"),
    ("unused-program", "programs that can be executed, and were not"),
    ("unused-host", "hosts that can be reached, and were not"),
    ("loose-limit", "a bound far above what was used"),
];

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// The rule.
    pub rule: &'static str,
    /// The line that it is about, as far as that goes: a list and an entry, or a key.
    pub place: String,
    /// What was found.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// The reason that the profile itself states for it; then it is no finding to act on.
    pub stated: Option<String>,
}

/// Directories that a person's PATH usually names.
const ON_PATH: [&str; 12] = [
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/opt/bin",
    "~/bin",
    "~/.local/bin",
    "~/.cargo/bin",
    "~/go/bin",
    "~/.npm-global/bin",
];

/// Directories that say nothing about what is wanted.
const WIDE: [&str; 12] =
    ["/boot", "/etc", "/mnt", "/media", "/opt", "/proc", "/run", "/srv", "/sys", "/var", "~/.config", "~/.local"];

/// Where people's homes are.
const HOMES: [&str; 3] = ["/home", "/root", "/Users"];

/// Networks of IPv4 with fewer bits than this belong to nobody in particular; of IPv6 twice as many.
const FEWEST_BITS: u8 = 16;

/// A profile to be looked at.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// One that can be asked for.
    Named(&'a str),
    /// A file, wherever it lies.
    Draft(&'a Path),
}

impl Which<'_> {
    fn trace(self, sources: &Sources) -> Result<Vec<Layer>, ProfileError> {
        match self {
            Which::Named(name) => lineage::trace(name, sources),
            Which::Draft(path) => trace_draft(path, sources),
        }
    }

    /// Resolves it.
    pub fn resolve(self, sources: &Sources, library: &Library) -> Result<Profile, ProfileError> {
        combine_all(&self.trace(sources)?, library)
    }
}

/// Looks at a profile, and at what runs under it used, where that is known.
pub fn lint(
    which: Which<'_>,
    usage: &Usage,
    sources: &Sources,
    library: &Library,
) -> Result<Vec<Finding>, ProfileError> {
    let layers = which.trace(sources)?;
    let profile = combine_all(&layers, library)?;
    let mut found = findings(&profile, &layers, library)?;
    for (rule, place, anchor, what, remedy) in usage::unused(&profile, usage) {
        let stated = stated(&layers, &anchor, rule);
        found.push(Finding { rule, place, what, remedy, stated });
    }
    Ok(found)
}

/// Looks at a resolved profile; `layers` are the texts that it was made from.
fn findings(profile: &Profile, layers: &[Layer], library: &Library) -> Result<Vec<Finding>, ProfileError> {
    let mut looking = Looking { profile, layers, found: Vec::new() };
    looking.wide();
    looking.on_path();
    looking.written_and_executed();
    looking.hooks();
    looking.egress();
    looking.limits();
    let set = |name: &str| {
        let error = |error| ProfileError::Set { set: name.to_owned(), error: Box::new(error) };
        library.paths(name, Authority::Root).map_err(error)
    };
    looking.secrets(&set("secrets")?.members);
    looking.startup(&set("shell-startup")?.members);
    looking.found.sort();
    looking.found.dedup();
    Ok(looking.found)
}

/// The comment of the line that grants `anchor`, if it names `rule`: of the youngest layer that has such a line.
fn stated(layers: &[Layer], anchor: &str, rule: &str) -> Option<String> {
    let names_it = |comment: &str| {
        comment.split_once("lint:").is_some_and(|(_, names)| {
            names.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-').any(|name| name == rule)
        })
    };
    let of_layer = |layer: &Layer| -> Option<Option<String>> {
        let parts = layer.document.text.lines().map(|line| line.split_once('#').unwrap_or((line, "")));
        let mut granting = parts.filter(|(code, _)| code.contains(anchor)).peekable();
        granting.peek()?;
        Some(granting.find(|(_, comment)| names_it(comment)).map(|(_, comment)| comment.trim().to_owned()))
    };
    layers.iter().rev().find_map(of_layer)?
}

struct Looking<'a> {
    profile: &'a Profile,
    layers: &'a [Layer],
    found: Vec<Finding>,
}

impl Looking<'_> {
    fn find(&mut self, rule: &'static str, place: String, anchor: &str, what: String, remedy: &str) {
        let stated = stated(self.layers, anchor, rule);
        self.found.push(Finding { rule, place, what, remedy: remedy.to_owned(), stated });
    }

    /// One about an entry of a list in `[filesystem]`. The line that grants a member of a set is the one that names the set.
    fn find_entry(&mut self, rule: &'static str, list: &str, grant: &Grant, what: String, remedy: &str) {
        let anchor = format!("\"{}\"", if grant.from.starts_with('@') { &grant.from } else { &grant.path });
        self.find(rule, format!("[filesystem] {list} `{}`", grant.path), &anchor, what, remedy);
    }

    fn lists(&self) -> [(&'static str, Vec<Grant>); 3] {
        let files = &self.profile.filesystem;
        [("read", files.read.clone()), ("write", files.write.clone()), ("execute", files.execute.clone())]
    }

    fn wide(&mut self) {
        for (list, grants) in self.lists() {
            for grant in grants {
                let path = grant.path.as_str();
                if HOMES.contains(&path) || path.strip_prefix("/home/").is_some_and(|name| !name.contains('/')) {
                    let what = format!("`{path}` is all that somebody has");
                    self.find_entry("reads-home", list, &grant, what, "name the directories in it that are needed");
                } else if WIDE.contains(&path) && !grant.from.starts_with('@') {
                    let what = format!("`{path}` holds the things of many programs");
                    self.find_entry("too-wide", list, &grant, what, "name the files or directories that are needed");
                }
            }
        }
    }

    fn on_path(&mut self) {
        let own = self.profile.environment.set.get("PATH").cloned().unwrap_or_default().replace("{home}", "~");
        let path: BTreeSet<&str> = own.split(':').chain(ON_PATH).filter(|entry| !entry.is_empty()).collect();
        for grant in self.profile.filesystem.write.clone() {
            let Some(entry) = path.iter().find(|entry| within(entry, &grant.path) || within(&grant.path, entry)) else {
                continue;
            };
            let what = format!("`{entry}` is on a PATH: what is put there is run later, by another name or outside");
            self.find_entry("write-on-path", "write", &grant, what, "write to a directory that no PATH names");
        }
    }

    fn written_and_executed(&mut self) {
        let profile = self.profile;
        let files = &profile.filesystem;
        const REMEDY: &str = "take one of the two away, where what is written has not to be run";
        let own = files.execute.iter().find(|grant| grant.path == "@workspace");
        if let (Some(grant), WorkspaceAccess::Rw) = (own, profile.workspace.access) {
            let what = "the workspace can be changed, and what is in it executed".to_owned();
            self.find_entry("write-execute", "execute", &grant.clone(), what, REMEDY);
        }
        if files.tmp.execute {
            let what = "what is written to /tmp can be executed".to_owned();
            self.find("write-execute", "[filesystem] tmp".to_owned(), "tmp", what, REMEDY);
        }
        for written in files.write.clone() {
            let both = |grant: &&Grant| within(&grant.path, &written.path) || within(&written.path, &grant.path);
            if let Some(executed) = files.execute.iter().find(both) {
                let what = format!("`{}` can be written, and `{}` executed", written.path, executed.path);
                self.find_entry("write-execute", "write", &written, what, REMEDY);
            }
        }
    }

    fn hooks(&mut self) {
        let profile = self.profile;
        let protected = profile.filesystem.protect.iter().any(|grant| grant.path == ".git/hooks");
        if profile.workspace.access == WorkspaceAccess::Rw && !protected {
            let what = "git on the host would run what a command writes to .git/hooks".to_owned();
            let remedy = "protect = [\"@vcs-hooks\"] in [filesystem]";
            self.find("unprotected-hooks", "[workspace] access".to_owned(), "access", what, remedy);
        }
        let at = |path: &str| ON_PATH.contains(&path);
        if let WorkspaceAt::Path(path) = &profile.workspace.at
            && at(path)
        {
            let what = format!("the workspace stands at `{path}`, which is on the PATH");
            self.find("write-on-path", "[workspace] at".to_owned(), "at", what, "put it somewhere else");
        }
    }

    fn egress(&mut self) {
        for rule in self.profile.egress.rules.allow.clone() {
            if let Some(what) = wide(&rule) {
                self.find_host("wide-egress", &rule, what, "name the hosts that are needed, each with its port");
            }
            if let Some(what) = out_of_the_public(&rule) {
                let what = format!("`{}` is {what}", rule.text);
                self.find_host("special-address", &rule, what, "use a host of the public network, or say why not");
            }
        }
    }

    fn find_host(&mut self, id: &'static str, rule: &Rule, what: String, remedy: &str) {
        let anchor = format!("\"{}\"", if rule.from.starts_with('@') { &rule.from } else { &rule.text });
        self.find(id, format!("[egress] allow `{}`", rule.text), &anchor, what, remedy);
    }

    fn limits(&mut self) {
        let limits = &self.profile.limits;
        let none = [
            ("memory", limits.memory.is_none()),
            ("processes", limits.processes.is_none()),
            ("wall", limits.wall.is_none()),
        ];
        for (key, _) in none.iter().filter(|(_, none)| *none) {
            let what = format!("nothing ends a command that uses up `{key}`");
            self.find("no-limit", format!("[limits] {key}"), key, what, "write a bound far above what is needed");
        }
    }

    fn secrets(&mut self, members: &[Member]) {
        let profile = self.profile;
        let files = &profile.filesystem;
        let readable: Vec<&Grant> = files.read.iter().chain(&files.write).chain(&files.execute).collect();
        let in_reach = |member: &&Member| match member.form.anchor {
            Anchor::Workspace => profile.workspace.access != WorkspaceAccess::None,
            _ => !member.form.pattern && readable.iter().any(|grant| within(&member.path, &grant.path)),
        };
        let open = open(members, &files.hide, in_reach);
        if let Some(what) = told(&open, "can be read") {
            let remedy = "hide = [\"@secrets\"] in [filesystem]";
            self.find("secrets-in-reach", "[filesystem] hide".to_owned(), "hide", what, remedy);
        }
    }

    fn startup(&mut self, members: &[Member]) {
        let files = &self.profile.filesystem;
        let in_reach = |member: &&Member| {
            member.form.anchor != Anchor::Workspace
                && files
                    .write
                    .iter()
                    .any(|grant| within(&member.path, &grant.path) || within(&grant.path, &member.path))
        };
        let shields: Vec<Grant> = files.protect.iter().chain(&files.hide).cloned().collect();
        if let Some(what) = told(&open(members, &shields, in_reach), "can be written") {
            let remedy = "protect = [\"@shell-startup\"] in [filesystem]";
            self.find("writes-startup", "[filesystem] protect".to_owned(), "protect", what, remedy);
        }
    }
}

/// Those in reach that no shield covers.
fn open<'a>(members: &'a [Member], shields: &[Grant], in_reach: impl Fn(&&Member) -> bool) -> Vec<&'a Member> {
    let covered = |member: &&Member| shields.iter().any(|grant| within(&member.path, &grant.path));
    members.iter().filter(|member| in_reach(member) && !covered(member)).collect()
}

fn told(open: &[&Member], verb: &str) -> Option<String> {
    let first = open.first()?;
    let more = if open.len() > 1 { format!(" and {} other places", open.len() - 1) } else { String::new() };
    Some(format!("`{}` ({}){more} {verb}", first.path, first.why))
}

fn wide(rule: &Rule) -> Option<String> {
    let bits = rule.text.split_once('/').map(|(_, bits)| bits.chars().take_while(char::is_ascii_digit).collect());
    let bits: Option<u8> = bits.and_then(|digits: String| digits.parse().ok());
    let six = rule.text.contains("::") || rule.text.starts_with('[');
    match &rule.host {
        Host::Below(name) if !name.as_str().contains('.') => {
            Some(format!("everything below `{}` is anybody's", name.as_str()))
        }
        Host::Network(_) if bits.is_some_and(|bits| bits < if six { 2 * FEWEST_BITS } else { FEWEST_BITS }) => {
            Some(format!("`{}` holds more hosts than anybody knows", rule.text))
        }
        _ if rule.ports.are_all() => Some(format!("`{}` is allowed on every port", rule.text)),
        _ => None,
    }
}

fn out_of_the_public(rule: &Rule) -> Option<&'static str> {
    let Host::Network(_) = &rule.host else { return None };
    let text = rule.text.rsplit_once("://").map_or(rule.text.as_str(), |(_, rest)| rest);
    let address = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inner, _)) => inner.split('/').next(),
        None if text.matches(':').count() > 1 => text.split('/').next(),
        None => text.split(['/', ':']).next(),
    };
    special(address?.parse::<IpAddr>().ok()?).map(|special| special.what)
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
