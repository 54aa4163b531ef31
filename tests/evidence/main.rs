//! What a verdict tells of a run: what was denied, with its object, and what was done, in every tier that this machine allows.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop where it cannot go on")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

mod activity;
mod audited;
mod denied;
mod hostile;
mod programs;

use serde_json::Value;
use support::jail::Ran;
use support::tiers::{has, in_every_tier, say_skipped};

/// Denials as `kind what`, sorted.
fn denials(ran: &Ran) -> Vec<String> {
    let all = ran.verdict["denials"].as_array().cloned().unwrap_or_default();
    let mut words: Vec<String> = all
        .iter()
        .map(|one| format!("{} {}", one["kind"].as_str().unwrap_or(""), one["what"].as_str().unwrap_or("")))
        .collect();
    words.sort();
    words
}

/// The denial of that `kind` on `what`.
fn denial(ran: &Ran, kind: &str, what: &str) -> Value {
    let all = ran.verdict["denials"].as_array().cloned().unwrap_or_default();
    let found = all.into_iter().find(|one| one["kind"] == kind && one["what"] == what);
    found.ok_or_else(|| format!("no `{kind} {what}` in {:?}\n{}", denials(ran), ran.whole())).expect("it is listed")
}

/// The entries of a list of `activity`.
fn listed(ran: &Ran, list: &str) -> Vec<Value> {
    ran.verdict["activity"][list].as_array().cloned().unwrap_or_default()
}

/// Whether this kernel says how a process ended that others waited for (Linux 6.15).
fn kernel_tells_of_ends() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(6), Some(15))
}
