//! What a client of the service sends. What must hold is in `tests/mutations/targets.rs`, which the ordinary test suite tries too.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/mutations/targets.rs"]
#[expect(dead_code, reason = "the others are targets of their own")]
mod targets;

fuzz_target!(|bytes: &[u8]| targets::request(bytes));
