//! A profile or policy that says anything: read, and resolved where it can be.
//!
//! What must hold: nobody stumbles, and every error is one line with a place.
#![no_main]

use std::borrow::Cow;
use std::fs;

use clawjail::policy::document::{Authority, Document};
use clawjail::profile::check;
use clawjail::profile::load::Sources;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let document = Document { source: "fuzzed".into(), text: Cow::Owned(text.to_owned()), authority: Authority::Caller };
    let _ = clawjail::policy::paths::parse(&document);
    let _ = clawjail::policy::syscalls::parse("fuzzed", "fuzzed", text);
    let _ = document.parse::<clawjail::ledger::config::LedgerTable>().map(|table| table.settings());
    let top = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let file = top.path().join("fuzzed.toml");
    fs::write(&file, bytes).expect("own directory");
    let sources = Sources::default();
    for error in check::check(&file, &sources, &sources.library()) {
        assert_eq!(error.to_string().lines().count(), 1, "{error}");
    }
});
