//! What black-box tests of the real binary share: the tiers, a place to work in, a run and what came of it.
//!
//! A tier here is a way to start the binary: with which privileges, and with which `--tier`. As root, an ordinary account
//! stands in for a user; it is made if there is none. Nothing here knows how the binary works inside.

pub mod account;
pub mod etc;
pub mod jail;
pub mod place;
pub mod tier;
pub mod tiers;

use std::time::Duration;

/// How many times slower than usual this machine is, as `CLAWJAIL_TEST_PATIENCE` says: an emulated processor is.
pub fn slowness() -> u32 {
    std::env::var("CLAWJAIL_TEST_PATIENCE").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1).max(1)
}

/// How long to wait here for what takes up to `usual` elsewhere.
pub fn patience(usual: Duration) -> Duration {
    usual * slowness()
}
