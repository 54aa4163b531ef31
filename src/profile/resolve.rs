//! From a name to a [`Profile`].
//!
//! Owns how a profile and its parents are combined, and what holds where all of them are silent:
//! - A value given in the child replaces that of the parent; so does a list of `read`, `write`, `execute`, `pass`, `allow`.
//! - `hide`, `protect` and `deny` only ever grow: no child gives back what a parent took away.
//! - `set` and `require` are combined key by key; a `base` of system calls also drops what the parent added to its own.
//! - What nobody says is the strict side: no access, empty lists, small limits.
//!
//! Must not know the host or the request.

use std::path::Path;

use super::error::ProfileError;
use super::expand::{Sets, Words, expand, set_error};
use super::lineage::{self, Layer};
use super::load::{Sources, read_draft};
use super::requests;
use super::schema::{Inspect, LimitsTable};
use super::typed::{Exact, Limit};
use super::units::{Bytes, Count, Cpus, Span};
use super::{Egress, Environment, Filesystem, Grant, Limits, Profile, Tmp, Workspace, WorkspaceAccess, WorkspaceAt};
use crate::policy::document::Spot;
use crate::policy::egress::Rules;
use crate::policy::egress::http::Look;
use crate::policy::egress::rule::Rule;
use crate::policy::library::Library;
use crate::policy::names;
use crate::policy::syscalls::{SyscallPolicy, merge};

/// Resolves profile `name`.
pub fn resolve(name: &str, sources: &Sources, library: &Library) -> Result<Profile, ProfileError> {
    combine_all(&lineage::trace(name, sources)?, library)
}

/// Resolves a draft, wherever it lies and whoever owns it. Drafts are looked at, never run.
pub fn resolve_draft(path: &Path, sources: &Sources, library: &Library) -> Result<Profile, ProfileError> {
    combine_all(&trace_draft(path, sources)?, library)
}

/// The line of descent of a draft, base first.
pub(super) fn trace_draft(path: &Path, sources: &Sources) -> Result<Vec<Layer>, ProfileError> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    names::check(&name).map_err(ProfileError::Name)?;
    let document = read_draft(path).map_err(|error| ProfileError::Open { name: name.clone(), error })?;
    let file = lineage::read(&name, &document)?;
    lineage::trace_from(Layer { name, document, file }, sources)
}

/// What the last of `layers` means, base first.
pub(super) fn combine_all(layers: &[Layer], library: &Library) -> Result<Profile, ProfileError> {
    let name = layers.last().map(|layer| layer.name.clone()).unwrap_or_default();
    let mut sets = Sets::default();
    let mut combined = Words::default();
    for layer in layers {
        let (words, errors) = expand(layer, library, &mut sets);
        if let Some(first) = errors.into_iter().next() {
            return Err(first);
        }
        combined = combine(combined, words);
    }
    if let Some(unknown) = requests::unknown_secret(layers) {
        return Err(unknown);
    }
    let syscalls = syscalls(layers, library)?;
    Ok(complete(&name, layers, combined, syscalls))
}

/// What holds when a child speaks after its parents.
fn combine(parent: Words, child: Words) -> Words {
    Words {
        access: child.access.or(parent.access),
        at: child.at.or(parent.at),
        read: child.read.or(parent.read),
        write: child.write.or(parent.write),
        execute: child.execute.or(parent.execute),
        hide: joined(parent.hide, child.hide),
        protect: joined(parent.protect, child.protect),
        egress_allow: child.egress_allow.or(parent.egress_allow),
        egress_deny: joined(parent.egress_deny, child.egress_deny),
        egress_http: child.egress_http.or(parent.egress_http),
        egress_hosts: parent.egress_hosts.into_iter().chain(child.egress_hosts).collect(),
        egress_secrets: parent.egress_secrets.into_iter().chain(child.egress_secrets).collect(),
        egress_inspect: child.egress_inspect.or(parent.egress_inspect),
        pass: child.pass.or(parent.pass),
        set: parent.set.into_iter().chain(child.set).collect(),
        require: parent.require.into_iter().chain(child.require).collect(),
    }
}

fn joined<T>(mut parent: Vec<T>, child: Vec<T>) -> Vec<T> {
    parent.extend(child);
    parent
}

/// The system calls of the last `base`, and of the last `add` since.
pub(super) fn syscalls(layers: &[Layer], library: &Library) -> Result<SyscallPolicy, ProfileError> {
    let mut named: Vec<(&Layer, &str, &str)> = Vec::new();
    for layer in layers {
        if let Some(base) = &layer.file.syscalls.base {
            named = vec![(layer, "base", base)];
        }
        if let Some(add) = &layer.file.syscalls.add {
            named.retain(|(_, key, _)| *key == "base");
            named.extend(add.iter().map(|set| (layer, "add", set.as_str())));
        }
    }
    if let (Some(last), true) = (layers.last(), named.iter().all(|(_, key, _)| *key != "base")) {
        named.insert(0, (last, "base", DEFAULT_SYSCALLS));
    }
    let policies = named.into_iter().map(|(layer, key, set)| syscall_set(layer, key, set, library));
    Ok(merge(policies.collect::<Result<Vec<_>, _>>()?))
}

fn syscall_set(layer: &Layer, key: &str, set: &str, library: &Library) -> Result<SyscallPolicy, ProfileError> {
    let path = ["syscalls", key];
    let at = if key == "base" { Spot::Value(&path) } else { Spot::Item(&path, set) };
    let name = set.strip_prefix('@').ok_or_else(|| {
        let flaw = layer.document.flaw(at, format!("expected the name of a set, such as `{DEFAULT_SYSCALLS}`"));
        layer.error(flaw)
    })?;
    library.syscalls(name, layer.document.authority).map_err(|error| set_error(layer, at, name, error))
}

const DEFAULT_SYSCALLS: &str = "@default";

/// Fills in what nobody said.
fn complete(name: &str, layers: &[Layer], mut words: Words, syscalls: SyscallPolicy) -> Profile {
    let rules = rules(&mut words, layers);
    let summary = layers.last().and_then(|layer| layer.file.summary.clone()).unwrap_or_default();
    Profile {
        name: name.to_owned(),
        summary,
        sources: layers.iter().map(|layer| layer.document.source.clone()).collect(),
        workspace: Workspace {
            access: words.access.unwrap_or(WorkspaceAccess::None),
            at: words.at.unwrap_or_else(|| WorkspaceAt::Path("/workspace".to_owned())),
        },
        filesystem: Filesystem {
            read: tidy(words.read.unwrap_or_default()),
            write: tidy(words.write.unwrap_or_default()),
            execute: tidy(words.execute.unwrap_or_default()),
            hide: tidy(words.hide),
            protect: tidy(words.protect),
            tmp: tmp(layers),
        },
        egress: Egress { rules },
        environment: Environment { pass: sorted(words.pass.unwrap_or_default()), set: words.set },
        limits: limits(layers),
        syscalls,
        recording: last(layers, |layer| layer.file.record.activity).unwrap_or_default(),
        require: words.require,
    }
}

fn rules(words: &mut Words, layers: &[Layer]) -> Rules {
    let http = words.egress_http.take().unwrap_or_default();
    // What stands for a secret must not leave by any way, unless somebody says that it may.
    let injects = http.iter().any(|rule| rule.inject.is_some());
    let look = match words.egress_inspect {
        Some(Inspect::All) => Look::IntoAll,
        None if injects => Look::IntoAll,
        Some(Inspect::Rules) | None => Look::IntoRuled,
    };
    Rules {
        allow: distinct(words.egress_allow.take().unwrap_or_default()),
        deny: distinct(std::mem::take(&mut words.egress_deny)),
        hosts: std::mem::take(&mut words.egress_hosts),
        http,
        secrets: std::mem::take(&mut words.egress_secrets),
        look,
        terms: super::terms::terms(layers),
    }
}

/// Sorts by path and keeps the first of each: the base's word on why, since it was there first.
fn tidy(mut grants: Vec<Grant>) -> Vec<Grant> {
    grants.sort_by(|one, other| one.path.cmp(&other.path));
    grants.dedup_by(|later, first| later.path == first.path);
    grants
}

/// Sorts by what is written and keeps the first of each.
fn distinct(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.sort_by(|one, other| one.text.cmp(&other.text));
    rules.dedup_by(|later, first| later.text == first.text);
    rules
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names.dedup();
    names
}

/// The last word on one key.
fn last<T>(layers: &[Layer], word: impl Fn(&Layer) -> Option<T>) -> Option<T> {
    layers.iter().rev().find_map(word)
}

fn tmp(layers: &[Layer]) -> Tmp {
    Tmp {
        size: last(layers, |layer| layer.file.filesystem.tmp.size).map_or(Bytes(64 << 20), |Exact(size)| size),
        execute: last(layers, |layer| layer.file.filesystem.tmp.execute).unwrap_or(false),
    }
}

fn limits(layers: &[Layer]) -> Limits {
    fn at_most<T>(layers: &[Layer], word: impl Fn(&LimitsTable) -> Option<Limit<T>>, strict: T) -> Option<T> {
        last(layers, |layer| word(&layer.file.limits)).unwrap_or(Limit::At(strict)).into_option()
    }
    let count = |Count(count)| count;
    Limits {
        memory: at_most(layers, |limits| limits.memory, Bytes(256 << 20)),
        cpus: at_most(layers, |limits| limits.cpus, Cpus(1000)),
        processes: at_most(layers, |limits| limits.processes, Count(64)).map(count),
        open_files: last(layers, |layer| layer.file.limits.open_files).map_or(256, |Exact(Count(count))| count),
        file_size: at_most(layers, |limits| limits.file_size, Bytes(64 << 20)),
        wall: at_most(layers, |limits| limits.wall, Span(60_000)),
        output: at_most(layers, |limits| limits.output, Bytes(1 << 20)),
        disk: last(layers, |layer| layer.file.limits.disk).map_or(Bytes(64 << 20), |Exact(size)| size),
        runs_per_minute: at_most(layers, |limits| limits.runs_per_minute, Count(120)).map(count),
    }
}
