//! A conversation by HTTP/2. What must hold is in `tests/mutations/network.rs`, which the ordinary test suite tries too.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/mutations/network.rs"]
#[expect(dead_code, reason = "the others are targets of their own")]
mod network;

fuzz_target!(|bytes: &[u8]| network::http2(bytes));
