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

use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

use serde_json::Value;
use support::jail::Ran;
use support::place::Place;
use support::tier::{self, Skipped, Tier};

fn tiers() -> &'static (Vec<Tier>, Vec<Skipped>) {
    static TIERS: OnceLock<(Vec<Tier>, Vec<Skipped>)> = OnceLock::new();
    TIERS.get_or_init(tier::available)
}

/// Tries it in every tier, each with a place of its own; a failure says where it was.
fn in_every_tier(test: impl Fn(&Place)) {
    for tier in tiers().0.iter().copied() {
        let place = Place::new(tier);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(&place))) {
            eprintln!("in tier {}", tier.name());
            resume_unwind(panic);
        }
    }
}

/// Says past the harness that something was not tried.
fn say_skipped(what: &str) {
    let _ = std::io::stderr().write_all(format!("SKIPPED {what}\n").as_bytes());
}

/// Whether a tool is there for everybody.
fn has(tool: &str) -> bool {
    let there =
        ["/usr/local/bin", "/usr/bin", "/bin"].iter().any(|place| std::path::Path::new(place).join(tool).exists());
    if !there {
        say_skipped(&format!("{tool}: not installed"));
        assert!(!tier::must_not_skip(), "{tool} must be installed where CI=true");
    }
    there
}

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
