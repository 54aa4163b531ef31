//! Events in the Open Cybersecurity Schema Framework, version 1.2.0.
//!
//! ```text
//!   every verdict           Process Activity (1007), Launch, with the Security Control profile: allowed or denied
//!   one with denials too    Detection Finding (2004), Create: what was denied, as evidence
//! ```
//!
//! Pure. `tests/ledger/ocsf.rs` holds which keys the classes require.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::verdict::{Outcome, Verdict};

/// The version that the events are made for.
pub const VERSION: &str = "1.2.0";

/// The lines for a verdict, with their newlines.
pub fn lines(verdict: &Verdict, host: &str) -> String {
    let finding = (!verdict.denials.is_empty()).then(|| finding(verdict, host));
    let events = [Some(activity(verdict, host)), finding];
    events.into_iter().flatten().map(|event| format!("{event}\n")).collect()
}

/// The run.
pub fn activity(verdict: &Verdict, host: &str) -> Value {
    let refused = verdict.outcome == Outcome::Refused;
    let mut event = json!({
        "class_uid": 1007, "class_name": "Process Activity",
        "category_uid": 1, "category_name": "System Activity",
        "activity_id": 1, "activity_name": "Launch",
        "type_uid": 100_701, "type_name": "Process Activity: Launch",
        "action_id": if refused { 2 } else { 1 }, "action": if refused { "Denied" } else { "Allowed" },
        "disposition_id": if refused { 2 } else { 1 }, "disposition": if refused { "Blocked" } else { "Allowed" },
        "status_id": if succeeded(verdict) { 1 } else { 2 },
        "status": if succeeded(verdict) { "Success" } else { "Failure" },
        "status_code": verdict.reason.as_ref().map_or(verdict.outcome.word(), |reason| &reason.code),
        "message": super::summary(verdict),
        "process": process(verdict),
        "actor": actor(verdict),
    });
    add_common(&mut event, verdict, host, severity(verdict));
    if let (Some(code), Some(event)) = (verdict.exit_code, event.as_object_mut()) {
        event.insert("exit_code".to_owned(), code.into());
    }
    event
}

/// What was denied in the run.
pub fn finding(verdict: &Verdict, host: &str) -> Value {
    let count: u64 = verdict.denials.iter().map(|denial| denial.count).sum();
    let evidences = verdict.denials.iter().map(|denial| {
        json!({
            "data": {
                "kind": denial.kind, "what": denial.what, "mechanism": denial.mechanism, "rule": denial.rule,
                "count": denial.count,
            },
            "process": process(verdict),
            "actor": actor(verdict),
        })
    });
    let mut event = json!({
        "class_uid": 2004, "class_name": "Detection Finding",
        "category_uid": 2, "category_name": "Findings",
        "activity_id": 1, "activity_name": "Create",
        "type_uid": 200_401, "type_name": "Detection Finding: Create",
        "action_id": 2, "action": "Denied",
        "disposition_id": 2, "disposition": "Blocked",
        "status_id": 1, "status": "New",
        "message": format!("{count} denied under `{}`", verdict.profile),
        "finding_info": {
            "uid": verdict.id,
            "title": format!("A command was denied what `{}` does not allow", verdict.profile),
            "types": ["Sandbox denial"],
        },
        "evidences": evidences.collect::<Vec<_>>(),
    });
    // Medium: somebody should look, but what was tried did not happen.
    add_common(&mut event, verdict, host, (3, "Medium"));
    event
}

fn add_common(event: &mut Value, verdict: &Verdict, host: &str, (severity_id, severity): (u8, &str)) {
    let time = verdict.time.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond);
    let common = json!({
        "time": time,
        "severity_id": severity_id, "severity": severity,
        "metadata": {
            "version": VERSION,
            "profiles": ["security_control", "host"],
            "product": {
                "name": "clawjail", "vendor_name": "clawjail", "version": env!("CARGO_PKG_VERSION"),
            },
            "uid": verdict.id,
            "correlation_uid": verdict.session,
            "sequence": verdict.seq,
            "original_time": verdict.time,
        },
        // What kind of machine it is, nobody told us.
        "device": { "hostname": host, "type_id": 0, "type": "Unknown" },
        "unmapped": {
            "agent": verdict.agent, "profile": verdict.profile, "plan": verdict.plan, "tier": verdict.tier,
            "outcome": verdict.outcome, "enforcement": verdict.enforcement.level,
            "wall_us": verdict.resources.wall_us, "previous": verdict.previous,
        },
    });
    if let (Some(event), Value::Object(mut common)) = (event.as_object_mut(), common) {
        without_nulls(&mut common);
        event.append(&mut common);
    }
}

/// A key without a value is left out, not null.
fn without_nulls(object: &mut serde_json::Map<String, Value>) {
    object.retain(|_, value| !value.is_null());
    for value in object.values_mut() {
        if let Value::Object(inner) = value {
            without_nulls(inner);
        }
    }
}

fn process(verdict: &Verdict) -> Value {
    let program = verdict.argv.first().map_or("", String::as_str);
    let name = program.rsplit('/').next().unwrap_or_default();
    // A pid says nothing outside of its jail; the run's id is unique everywhere.
    json!({ "uid": verdict.id, "name": name, "cmd_line": verdict.argv.join(" "), "sandbox": verdict.profile })
}

fn actor(verdict: &Verdict) -> Value {
    let user = json!({ "uid": verdict.caller.uid.to_string() });
    match &verdict.agent {
        Some(agent) => json!({ "user": user, "app_name": agent }),
        None => json!({ "user": user }),
    }
}

fn succeeded(verdict: &Verdict) -> bool {
    verdict.outcome == Outcome::Exited && verdict.exit_code == Some(0)
}

fn severity(verdict: &Verdict) -> (u8, &'static str) {
    match verdict.outcome {
        Outcome::Failed => (4, "High"),
        Outcome::Refused => (3, "Medium"),
        _ if !verdict.denials.is_empty() => (3, "Medium"),
        _ => (1, "Informational"),
    }
}
