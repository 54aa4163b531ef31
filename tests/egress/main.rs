//! The gate: real programs in real jails, against an internet of network namespaces. Family C of the known escapes, each with
//! what must still work.
//!
//! Each test goes through the tiers that can have a gate. Only root can make an internet; for others all of it is skipped.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop where it cannot go on")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

mod bare;
mod clients;
mod denied;
mod escapes;
mod floods;
mod learned;
mod process;
mod reached;
mod requests;
mod secrets;
mod service;
mod spoken;
mod terms;
mod upstream;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

use support::place::Place;
use support::tier::{self, Tier};
use world::{World, say_skipped, world};

/// Tries it in the tier without namespaces, where the host has it.
fn in_bare(test: impl Fn(&World, &Place)) {
    let Some(world) = world() else { return say_skipped("egress: the tests were not started as root") };
    match tier::available().0.into_iter().find(|tier| !tier.has_namespaces()) {
        Some(tier) => test(world, &Place::new(tier)),
        None => say_skipped("egress: there is no bare tier here"),
    }
}

/// Tries it in every tier that has namespaces; a failure says where it was.
fn in_each_tier(test: impl Fn(&World, &Place)) {
    static TIERS: OnceLock<Vec<Tier>> = OnceLock::new();
    let Some(world) = world() else { return say_skipped("egress: the tests were not started as root") };
    for tier in TIERS.get_or_init(|| tier::available().0).iter().filter(|tier| tier.has_namespaces()) {
        let place = Place::new(*tier);
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| test(world, &place))) {
            eprintln!("in tier {}", tier.name());
            resume_unwind(panic);
        }
    }
}
