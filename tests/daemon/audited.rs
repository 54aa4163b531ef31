//! What the kernel's own records tell of runs of a service: each jail's are its own, also where several runs are in it.

use serde_json::{Value, json};

use crate::as_root;
use crate::installed;
use crate::service::{Client, Service};

/// A call that the filter refuses, so many times.
fn refused(times: u32) -> Vec<String> {
    let script =
        format!("import ctypes\nc = ctypes.CDLL(None)\nfor i in range({times}): c.ptrace(0, 0, 0, 0)\nexit(4)");
    vec!["python3".into(), "-c".into(), script]
}

/// How often the verdict says that ptrace(2) was refused.
fn count(verdict: &Value) -> u64 {
    let denials = verdict["denials"].as_array().cloned().unwrap_or_default();
    let of_call = denials.iter().find(|denial| denial["kind"] == "system_call" && denial["what"] == "ptrace");
    of_call.and_then(|denial| denial["count"].as_u64()).unwrap_or(0)
}

fn open(service: &Service, client: &mut Client) -> Value {
    let asked = json!({
        "profile": "untrusted", "workspace": service.place.workspace, "narrow": { "record": "full" }
    });
    client.call("jail.open", asked)["jail"].clone()
}

#[test]
fn refused_calls_are_told_of_the_run_that_made_them_and_of_no_other_jail() {
    if !as_root("the kernel's records") || !installed("python3") {
        return;
    }
    let service = Service::start("");
    let mut client = service.client();
    let once = json!({
        "argv": refused(2), "profile": "untrusted", "workspace": service.place.workspace, "narrow": { "record": "full" }
    });
    let (_, verdict) = client.run(once);
    if verdict["tier"] != "root" {
        return;
    }
    assert_eq!(count(&verdict), 2, "a jail of its own: {verdict}");
    let (one, other) = (open(&service, &mut client), open(&service, &mut client));
    let mut said = |jail: &Value, argv: Value| client.run(json!({ "jail": jail, "argv": argv })).1;
    let first = said(&one, json!(refused(3)));
    let second = said(&one, json!(["true"]));
    let third = said(&one, json!(refused(5)));
    let neighbour = said(&other, json!(["sh", "-c", "exit 4"]));
    assert_eq!([&first, &second, &third, &neighbour].map(count), [3, 0, 5, 0], "{first} {third}");
    for verdict in [&first, &second, &third, &neighbour] {
        assert!(verdict["evidence"]["source"].to_string().contains("seccomp_audit"), "{verdict}");
        assert_eq!(verdict["evidence"]["lost"], 0, "{verdict}");
    }
}

#[test]
fn of_a_run_that_records_nothing_the_kernel_is_not_asked_and_that_is_said() {
    if !as_root("the kernel's records") || !installed("python3") {
        return;
    }
    let service = Service::start("");
    let mut client = service.client();
    let (_, verdict) = client.run(json!({
        "argv": refused(2), "profile": "untrusted", "workspace": service.place.workspace
    }));
    assert_eq!((count(&verdict), &verdict["evidence"]["complete"]), (0, &false.into()), "{verdict}");
    assert!(verdict["evidence"]["unseen"].to_string().contains("system calls"), "{verdict}");
}
