//! What clawjail says of runs and profiles to those who ask: `why`, `profile diff`, `profile lint`, `learn`, `report`.
//!
//! Through the real binary, in every tier that this machine allows, with real programs. What `why` answers without running is held
//! against what really happens in a jail.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop where it cannot go on")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Output;
use std::sync::OnceLock;

use support::jail::Jail;
use support::place::{Place, clawjail};
use support::tier::{self, Skipped, Tier};

fn tiers() -> &'static (Vec<Tier>, Vec<Skipped>) {
    static TIERS: OnceLock<(Vec<Tier>, Vec<Skipped>)> = OnceLock::new();
    TIERS.get_or_init(tier::available)
}

/// Tries it in every tier, each with a place of its own; a failure says where it was.
fn in_every_tier(test: impl Fn(&Place)) {
    in_tiers(|_| true, test);
}

fn in_tiers(wanted: impl Fn(Tier) -> bool, test: impl Fn(&Place)) {
    for tier in tiers().0.iter().copied().filter(|tier| wanted(*tier)) {
        let place = Place::new(tier);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(&place))) {
            eprintln!("in tier {}", tier.name());
            resume_unwind(panic);
        }
    }
}

/// The binary with these words, as the place's user in its workspace.
fn asked(place: &Place, words: &[&str]) -> Output {
    place.command(clawjail()).args(words).output().expect("the binary can be executed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn no_tier_is_skipped_in_silence() {
    for skipped in &tiers().1 {
        eprintln!("SKIPPED tier {}: {}", skipped.tier.name(), skipped.why);
        assert!(skipped.expected || !tier::must_not_skip(), "{}: {}", skipped.tier.name(), skipped.why);
    }
    assert!(!tiers().0.is_empty(), "nothing can be tried here");
}

mod learning;

mod page;

mod profiles;

mod why;
