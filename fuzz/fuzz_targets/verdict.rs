//! A verdict that says anything: read, redacted, written again.
//!
//! What must hold: it fits into a line of the ledger, the line is sound, and redacting twice changes nothing more.
#![no_main]

use clawjail::ledger::metrics::Counters;
use clawjail::ledger::sinks::{journald, ocsf, syslog};
use clawjail::ledger::{fit, line};
use clawjail::verdict::Verdict;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut verdict) = serde_json::from_slice::<Verdict>(bytes) else { return };
    verdict.redact(&[b"correct horse".to_vec()]);
    assert!(!verdict.argv.iter().any(|argument| argument.contains("correct horse")));
    let once = verdict.argv.clone();
    verdict.redact(&[b"correct horse".to_vec()]);
    assert_eq!(once, verdict.argv);
    let _ = (journald::datagram(&verdict), syslog::message(&verdict, "host"), ocsf::lines(&verdict, "host"));
    let mut counters = Counters::default();
    counters.count(&verdict);
    let _ = counters.render();
    // The place that every line in a ledger has.
    (verdict.seq, verdict.previous) = (Some(1), Some(line::Hash::NONE.to_string()));
    let written = fit::line_of(&mut verdict).expect("it is cut until it fits");
    assert!(written.len() <= line::LONGEST);
    assert_eq!(line::unseal(written.trim_end().as_bytes()).map(|links| links.seq), Ok(1));
});
