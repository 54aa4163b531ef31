//! What `clawjail run` does for those who use it, in every tier that this machine allows.
//!
//! Each test goes through the tiers by itself. Those that cannot be had here are skipped, loudly, by one test of their own;
//! where `CI=true`, one that should be there and is not fails.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop where it cannot go on")]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use support::jail::{Jail, Ran};
use support::place::{Place, clawjail};
use support::tier::Tier;
use support::tiers::{has, in_every_tier, in_tiers, say_skipped, skip_none_in_silence, tiers};
use support::{patience, slowness};

fn signal(child: &Child, signal: Signal) {
    kill(Pid::from_raw(child.id() as i32), signal).expect("our own child");
}

/// Waits for a file that the command makes when it is ready.
fn await_file(place: &Place, name: &str) {
    let deadline = Instant::now() + patience(Duration::from_secs(20));
    while !place.holds(name) {
        assert!(Instant::now() < deadline, "the command did not start");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Starts a shell script with pipes, to be signalled.
fn start_script(jail: &Jail<'_>, script: &str) -> Child {
    let mut command = jail.command(["bash", "-c", script]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary can be executed")
}

/// Something that is known not to work yet. Says so past the harness, and fails once it works.
fn known_gap(what: &str, why: &str, ran: &Ran) {
    let _ = writeln!(std::io::stderr(), "KNOWN GAP {what}: {why}");
    assert!(ran.code != Some(0), "{what} works now; take the note away");
}

fn assert_one_line(ran: &Ran, code: i32, word: &str) {
    let lines: Vec<String> = ran.error_text().lines().map(str::to_owned).collect();
    let clear = match lines.as_slice() {
        [line] => line.starts_with("clawjail: "),
        [line, hint] => line.starts_with("clawjail: ") && hint.starts_with("clawjail: hint: "),
        _ => false,
    };
    assert!(clear && ran.code == Some(code) && ran.stdout.is_empty(), "{}", ran.whole());
    assert!(lines[0].to_lowercase().contains(&word.to_lowercase()), "`{word}` is not in {lines:?}");
}

#[test]
fn no_tier_is_skipped_in_silence() {
    skip_none_in_silence();
}

mod ends;

mod streams;

mod requests;

mod verdicts;

mod signals;

mod terminals;

mod places;

mod owned;

mod starved;

mod network;

mod tools;
