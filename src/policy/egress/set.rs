//! Egress sets: named lists of hosts, each with its reason.
//!
//! Owns the reading of `policies/egress/*.toml`. Must not decide whether a set allows or denies: the list that names it does.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::rule::{List, Rule};
use crate::policy::document::{Document, Flaw, Spot};
use crate::policy::names::shown;

/// An egress set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressSet {
    /// What it is for, in one sentence.
    pub summary: String,
    /// Host to reason, in the order of the text's keys.
    pub hosts: BTreeMap<String, String>,
}

/// An egress set as typed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EgressSetFile {
    summary: String,
    hosts: BTreeMap<String, String>,
}

/// Reads an egress set. Its hosts are rules already, and checked as such.
pub fn parse(document: &Document) -> Result<EgressSet, Flaw> {
    let file: EgressSetFile = document.parse()?;
    for (host, why) in &file.hosts {
        let at = |what: String| document.flaw(Spot::Key(&["hosts", host]), what);
        if why.trim().is_empty() {
            return Err(at(format!("host `{}` has no reason", shown(host))));
        }
        if let Err(flaw) = Rule::parse(host, List::Allow, why, "") {
            return Err(at(format!("cannot use host `{}`: {flaw}", shown(host))).with_hint(flaw.hint()));
        }
    }
    if file.hosts.is_empty() {
        return Err(document.flaw(Spot::Key(&["hosts"]), "a set without hosts"));
    }
    Ok(EgressSet { summary: file.summary, hosts: file.hosts })
}

impl EgressSet {
    /// Its hosts as rules of `list`, said by the set that is called `name`.
    pub fn rules(&self, list: List, name: &str) -> Vec<Rule> {
        // Each was read as a rule before; only what a list adds to it differs.
        self.hosts.iter().filter_map(|(host, why)| Rule::parse(host, list, why, name).ok()).collect()
    }
}
