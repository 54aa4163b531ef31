//! What clawjail says of runs and profiles to those who ask: `why`, `profile diff`, `profile lint`, `learn`, `report`.
//!
//! Through the real binary, in every tier that this machine allows, with real programs. What `why` answers without running is held
//! against what really happens in a jail.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop where it cannot go on")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

use std::process::Output;

use support::jail::Jail;
use support::place::{Place, clawjail};
use support::tier::Tier;
use support::tiers::{in_every_tier, in_tiers, skip_none_in_silence};

/// The binary with these words, as the place's user in its workspace.
fn asked(place: &Place, words: &[&str]) -> Output {
    place.command(clawjail()).args(words).output().expect("the binary can be executed")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn no_tier_is_skipped_in_silence() {
    skip_none_in_silence();
}

mod learning;

mod page;

mod profiles;

mod why;
