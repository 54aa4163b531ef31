//! What is unsafe in how OpenClaw is set up.
//!
//! ```text
//!   place --> config --> Setup --checks, in the order of policies/openclaw/setup.toml--> findings, some with a fix
//!                                                                      fix: backup, one atomic write, modes; then all of it again
//! ```
//!
//! Owns the checks and what mends them. Looks at files alone: it does not speak to a Gateway, and runs nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub mod agents;
pub mod channels;
pub mod config;
pub mod edit;
pub mod files;
pub mod fix;
pub mod gateway;
pub mod git;
pub mod place;
pub mod secrets;
pub mod skills;

use config::{Config, Unreadable};
use place::Place;

use super::skill::rules::Severity;
use crate::policy::names::cut;

const CHECKS: &str = include_str!("../../../policies/openclaw/setup.toml");

/// What is looked at.
pub struct Setup {
    /// Where things are.
    pub place: Place,
    /// The configuration; an empty one where there is none.
    pub config: Config,
    /// Why it could not be read.
    pub unreadable: Option<Unreadable>,
    /// Who looks.
    pub own_uid: u32,
    /// The program that OpenClaw may call.
    pub program: PathBuf,
}

/// The list.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checks {
    #[serde(rename = "summary")]
    _summary: String,
    check: Vec<Check>,
}

/// What the list says of one check.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Its name.
    pub id: String,
    severity: Severity,
    title: String,
    why: String,
    remedy: String,
    reference: String,
    clawjail: Option<String>,
}

/// One thing that a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Hit {
    /// The key or the file.
    pub at: String,
    /// What is so there.
    pub what: String,
    /// What would mend it.
    pub fix: Option<Fix>,
}

/// What mends something.
#[derive(Clone, Debug, PartialEq)]
pub enum Fix {
    /// Values at keys of the configuration.
    Set(Vec<(Vec<String>, Value)>),
    /// Permissions of a file.
    Mode(PathBuf, u32),
}

/// A finding, in the words of OpenClaw's own audit.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// `clawjail.` and the check.
    pub check_id: String,
    /// How bad it is.
    pub severity: Severity,
    /// In a few words.
    pub title: String,
    /// Where, and what is so there.
    pub detail: String,
    /// Why it is bad.
    pub why: String,
    /// What to do.
    pub remediation: String,
    /// Where OpenClaw says more.
    pub reference: String,
    /// What switching to clawjail changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clawjail: Option<String>,
    /// Whether `--fix` mends it.
    pub fixable: bool,
    /// How.
    #[serde(skip)]
    pub fix: Option<Fix>,
}

impl Setup {
    /// Reads what there is.
    pub fn read(place: Place, own_uid: u32, program: PathBuf) -> Setup {
        let (config, unreadable) = match Config::read(&place) {
            Ok(config) => (config.unwrap_or_default(), None),
            Err(unreadable) => (Config::default(), Some(unreadable)),
        };
        Setup { place, config, unreadable, own_uid, program }
    }

    /// Whether there is an OpenClaw at all.
    pub fn exists(&self) -> bool {
        [&self.place.state, &self.place.config].iter().any(|path| path.symlink_metadata().is_ok())
    }

    /// Every agent's settings by name, the defaults' first.
    pub fn agents(&self) -> Vec<(String, &Value)> {
        let defaults = self.config.get("agents.defaults").map(|agent| ("agents.defaults".to_owned(), agent));
        let entries = self.config.get("agents.entries").and_then(Value::as_object).into_iter().flatten();
        let entries = entries.map(|(name, agent)| (format!("agents.entries.{name}"), agent));
        // As it was written before 2026.
        let list = self.config.get("agents.list").and_then(Value::as_array).into_iter().flatten().enumerate();
        let list = list.map(|(index, agent)| (format!("agents.list[{index}]"), agent));
        defaults.into_iter().chain(entries).chain(list).collect()
    }

    /// Every agent's workspace.
    pub fn workspaces(&self) -> Vec<PathBuf> {
        let named = self.agents().into_iter().filter_map(|(_, agent)| agent.get("workspace")?.as_str());
        let mut paths: Vec<PathBuf> = named.map(|path| place::normal(&place::expand(path, &self.place.home))).collect();
        if self.config.get("agents.defaults.workspace").is_none() {
            paths.push(self.place.workspace.clone());
        }
        paths.retain(|path| path.is_absolute());
        paths.sort();
        paths.dedup();
        paths
    }
}

/// The list, as it was written.
pub fn checks() -> Result<Vec<Check>, String> {
    toml::from_str::<Checks>(CHECKS).map(|list| list.check).map_err(|error| error.message().to_owned())
}

/// Looks.
pub fn look(setup: &Setup) -> Result<Vec<Finding>, String> {
    let mut hits = all(setup);
    let mut findings = Vec::new();
    for check in checks()? {
        let found = hits.remove(check.id.as_str()).unwrap_or_default();
        findings.extend(found.into_iter().map(|hit| finding(&check, hit)));
    }
    // A check without words would be silent.
    match hits.keys().next() {
        Some(id) => Err(format!("the list of checks has no `{id}`")),
        None => Ok(findings),
    }
}

/// Every hit, by check.
fn all(setup: &Setup) -> BTreeMap<&'static str, Vec<Hit>> {
    let mut hits: BTreeMap<&'static str, Vec<Hit>> = BTreeMap::new();
    let mut add = |found: Vec<(&'static str, Hit)>| {
        for (id, hit) in found {
            hits.entry(id).or_default().push(hit);
        }
    };
    add(files::look(setup));
    add(git::look(setup));
    if let Some(Unreadable { path, why }) = &setup.unreadable {
        add(vec![("config.unreadable", Hit { at: shown(path), what: why.clone(), fix: None })]);
        return hits;
    }
    add(gateway::look(setup));
    add(agents::look(setup));
    add(channels::look(setup));
    add(skills::look(setup));
    add(secrets::look(setup));
    hits
}

fn finding(check: &Check, hit: Hit) -> Finding {
    Finding {
        check_id: format!("clawjail.{}", check.id),
        severity: check.severity,
        title: check.title.clone(),
        // Keys and names are whatever somebody wrote.
        detail: cut(&format!("{}: {}", hit.at, hit.what), 600),
        why: check.why.clone(),
        remediation: check.remedy.clone(),
        reference: check.reference.clone(),
        clawjail: check.clawjail.clone(),
        fixable: hit.fix.is_some(),
        fix: hit.fix,
    }
}

/// A path, fit for a line.
fn shown(path: &Path) -> String {
    cut(&path.to_string_lossy(), 300)
}

impl Hit {
    /// Something that has to be mended by hand.
    fn told(at: impl Into<String>, what: impl Into<String>) -> Hit {
        Hit { at: at.into(), what: what.into(), fix: None }
    }

    /// Something that one value mends.
    fn set(at: &str, what: impl Into<String>, value: Value) -> Hit {
        let path = at.split('.').map(str::to_owned).collect();
        Hit { at: at.to_owned(), what: what.into(), fix: Some(Fix::Set(vec![(path, value)])) }
    }
}
