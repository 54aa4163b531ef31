//! What a service does for its callers, and what it does not do for others.
//!
//! Each test has a service of its own, in a directory of its own. As root they have callers of several uids; as an ordinary
//! user, the tests that need those are skipped, loudly.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop where it cannot go on"
)]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

mod schema;
mod service;

mod appearing;
mod audited;
mod background;
mod beside;
mod callers;
mod clients;
mod files;
mod floods;
mod hostile;
mod jails;
mod kills;
mod malice;
mod narrow;
mod prepared;
mod protocol;
mod races;
mod ready;
mod record;
mod runs;
mod setup;
mod systemd;
mod takeover;
mod told;

/// Whether `program` is installed; says so past the harness if not.
fn installed(program: &str) -> bool {
    use std::io::Write;
    let there = std::process::Command::new(program).arg("--version").output().is_ok();
    if !there {
        let _ = std::io::stderr().write_all(format!("SKIPPED {program} is not installed\n").as_bytes());
    }
    there
}

/// Whether the tests can be several users; says so past the harness if not.
fn as_root(what: &str) -> bool {
    use std::io::Write;
    let root = nix::unistd::geteuid().is_root();
    if !root {
        let _ = std::io::stderr().write_all(format!("SKIPPED {what}: not started as root\n").as_bytes());
    }
    root
}
