//! What black-box tests of the real binary share: the tiers, a place to work in, a run and what came of it.
//!
//! A tier here is a way to start the binary: with which privileges, and with which `--tier`. As root, an ordinary account
//! stands in for a user; it is made if there is none. Nothing here knows how the binary works inside.

pub mod account;
pub mod etc;
pub mod jail;
pub mod place;
pub mod tier;
