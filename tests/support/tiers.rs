//! Trying something in every tier that this machine allows, and saying so where it does not.

use std::fs;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

use super::place::Place;
use super::tier::{self, Skipped, Tier};

/// The tiers that can be had here, and why the others cannot.
pub fn tiers() -> &'static (Vec<Tier>, Vec<Skipped>) {
    static TIERS: OnceLock<(Vec<Tier>, Vec<Skipped>)> = OnceLock::new();
    TIERS.get_or_init(tier::available)
}

/// Tries it in every tier, each with a place of its own; a failure says where it was.
pub fn in_every_tier(test: impl Fn(&Place)) {
    in_tiers(|_| true, test);
}

/// The same, in those that are `wanted`.
pub fn in_tiers(wanted: impl Fn(Tier) -> bool, test: impl Fn(&Place)) {
    for tier in tiers().0.iter().copied().filter(|tier| wanted(*tier)) {
        let place = Place::new(tier);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(&place))) {
            eprintln!("in tier {}", tier.name());
            resume_unwind(panic);
        }
    }
}

/// Fails where nothing can be tried, and in CI where a tier is missing that should be there.
pub fn skip_none_in_silence() {
    for skipped in &tiers().1 {
        say_skipped(&format!("tier {}: {}", skipped.tier.name(), skipped.why));
        assert!(skipped.expected || !tier::must_not_skip(), "{}: {}", skipped.tier.name(), skipped.why);
    }
    assert!(!tiers().0.is_empty(), "nothing can be tried here");
}

/// Says past the harness that something was not tried.
pub fn say_skipped(what: &str) {
    let _ = std::io::stderr().write_all(format!("SKIPPED {what}\n").as_bytes());
}

/// Whether a tool is there for everybody.
pub fn has(tool: &str) -> bool {
    let there = ["/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"]
        .iter()
        .any(|directory| fs::metadata(format!("{directory}/{tool}")).is_ok());
    if !there {
        say_skipped(&format!("{tool}: not installed"));
        assert!(!tier::must_not_skip(), "{tool} must be installed where CI=true");
    }
    there
}
