//! What bytes of others become, and what must hold of it. Each is a fuzz target too: `fuzz/fuzz_targets` includes this file.

use std::borrow::Cow;
use std::fmt::Debug;

use clawjail::daemon::privsep::{Answer, Ask};
use clawjail::daemon::schema::ConfigFile;
use clawjail::ledger::{fit, line};
use clawjail::policy::document::{Authority, Document};
use clawjail::verdict::Verdict;
use clawjail::wire::frame::Lines;
use clawjail::wire::privsep::{FromInit, FromLauncher, ToInit, ToLauncher};
use clawjail::wire::record::{FromRecorder, ToRecorder};
use clawjail::wire::{files, rpc};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What a client sends. However it arrives, the same lines are in it; and each is a request, or told what is wrong by a
/// stable word.
pub fn request(bytes: &[u8]) {
    let lines = |step: usize| {
        let (mut reader, mut found) = (Lines::new(1 << 16), Vec::new());
        for chunk in bytes.chunks(step) {
            reader.push(chunk);
            loop {
                match reader.next_line() {
                    Ok(Some(line)) => found.push(line.to_vec()),
                    Ok(None) => break,
                    Err(_) => return None,
                }
            }
        }
        Some(found)
    };
    let (Some(whole), Some(pieces)) = (lines(bytes.len().max(1)), lines(7)) else { return };
    assert_eq!(whole, pieces);
    for line in whole {
        match rpc::parse(&line) {
            Ok((_, request)) => drop(clawjail::daemon::methods::descriptors(&request)),
            Err(not_understood) => {
                let code = &not_understood.fault.data.code;
                assert!(code.starts_with("invalid."), "{code}");
                assert!(!not_understood.fault.message.contains('\n'), "{}", not_understood.fault.message);
            }
        }
    }
}

/// What our processes send each other. What decodes is a message, which comes out of its own bytes again.
pub fn privsep(bytes: &[u8]) {
    again::<ToLauncher>(bytes);
    again::<FromLauncher>(bytes);
    again::<ToInit>(bytes);
    again::<FromInit>(bytes);
    again::<Ask>(bytes);
    again::<Answer>(bytes);
    again::<ToRecorder>(bytes);
    again::<FromRecorder>(bytes);
    again::<files::FileJob>(bytes);
    again::<files::Answer>(bytes);
}

fn again<T: Serialize + DeserializeOwned + Debug>(bytes: &[u8]) {
    let Ok(message) = postcard::from_bytes::<T>(bytes) else { return };
    let encoded = postcard::to_stdvec(&message).expect("what was decoded can be encoded");
    let decoded: T = postcard::from_bytes(&encoded).expect("what was encoded can be decoded");
    assert_eq!(format!("{message:?}"), format!("{decoded:?}"));
}

/// A service's configuration. Every error is one line with a place.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let document = Document { source: "mutated".into(), text: Cow::Owned(text.to_owned()), authority: Authority::Root };
    if let Err(flaw) = document.parse::<ConfigFile>() {
        let shown = flaw.to_string();
        assert!(shown.starts_with("mutated:") && shown.lines().count() == 1, "{shown}");
    }
}

/// Profiles and policies. Nobody stumbles.
pub fn profile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let document =
        Document { source: "mutated".into(), text: Cow::Owned(text.to_owned()), authority: Authority::Caller };
    drop(clawjail::policy::paths::parse(&document));
    drop(clawjail::policy::syscalls::parse("mutated", "mutated", text));
    drop(document.parse::<clawjail::profile::schema::ProfileFile>());
}

/// A verdict. It fits into a line of the ledger, the line is sound, and what is known to be secret is not in it.
pub fn verdict(bytes: &[u8]) {
    let Ok(mut verdict) = serde_json::from_slice::<Verdict>(bytes) else { return };
    verdict.redact(&[b"correct horse".to_vec()]);
    assert!(!verdict.argv.iter().any(|argument| argument.contains("correct horse")));
    (verdict.seq, verdict.previous) = (Some(1), Some(line::Hash::NONE.to_string()));
    let written = fit::line_of(&mut verdict).expect("it is cut until it fits");
    assert_eq!(line::unseal(written.trim_end().as_bytes()).map(|links| links.seq), Ok(1));
}

/// A line of the ledger. What is sealed is sealed by all of its bytes.
pub fn ledger(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        if line::unseal(line).is_ok() {
            let mut other = line.to_vec();
            if let Some(byte) = other.get_mut(line.len() / 2) {
                *byte ^= 1;
                assert!(line::unseal(&other).is_err());
            }
        }
    }
}
