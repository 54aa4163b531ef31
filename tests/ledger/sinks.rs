//! What other tools are told.

use std::os::unix::net::UnixDatagram;

use clawjail::ledger::metrics::Counters;
use clawjail::ledger::sinks::ocsf;
use serde_json::Value;

use super::*;

fn receive(socket: &UnixDatagram) -> String {
    socket.set_read_timeout(Some(Duration::from_secs(5))).expect("a socket");
    let mut buffer = [0; 65_536];
    let length = socket.recv(&mut buffer).expect("a datagram");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

#[test]
fn the_journal_and_syslog_are_told_each_verdict() {
    let mut place = Place::new();
    let top = place.path().parent().expect("a directory").to_owned();
    let sockets = [top.join("journal"), top.join("log")];
    let [journal, log] = sockets.clone().map(|path| UnixDatagram::bind(path).expect("own directory"));
    (place.settings.journald, place.settings.syslog) = (Some(sockets[0].clone()), Some(sockets[1].clone()));
    let mut ledger = place.writer();
    let mut told = denied("x");
    ledger.append(&mut told).expect("room for it");
    let fields = receive(&journal);
    for expected in [
        "PRIORITY=4\n",
        "SYSLOG_IDENTIFIER=clawjail\n",
        "CLAWJAIL_OUTCOME=exited\n",
        "CLAWJAIL_SEQ=2\n",
        "CLAWJAIL_DENIALS=2\n",
        &format!("CLAWJAIL_ID={}\n", told.id),
        "MESSAGE=exited 1, 2 denied: uid 1000 under `untrusted`: x a \"quoted\" word\n",
    ] {
        assert!(fields.contains(expected), "no {expected:?} in {fields}");
    }
    let message = receive(&log);
    assert!(message.starts_with("<84>1 20") && message.contains("] exited 1, 2 denied: uid 1000"), "{message}");
    assert!(message.contains(&format!(" clawjail {} verdict [clawjail@32473 id=", std::process::id())), "{message}");
    assert_eq!(ledger.untold(), 0);
}

#[test]
fn a_sink_that_is_not_there_or_full_holds_up_nothing_and_is_counted() {
    let mut place = Place::new();
    let top = place.path().parent().expect("a directory").to_owned();
    let full = UnixDatagram::bind(top.join("full")).expect("own directory");
    (place.settings.journald, place.settings.syslog) = (Some(top.join("missing")), Some(top.join("full")));
    place.settings.ocsf = Some(top.join("missing/file"));
    let mut ledger = place.writer();
    let begun = std::time::Instant::now();
    for _ in 0..1000 {
        ledger.append(&mut verdict("x")).expect("room for it");
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert!(ledger.untold() > 2000, "{}", ledger.untold());
    drop((ledger, full));
    place.assert_sound();
}

/// What version 1.2.0 requires: of the base event, of the profile Security Control, of the classes, of the objects in them.
/// `a|b` is at least one of them.
const REQUIRED: &[(&str, &[&str])] = &[
    ("", &["activity_id", "category_uid", "class_uid", "metadata", "severity_id", "time", "type_uid", "action_id"]),
    ("/metadata", &["product", "version"]),
    ("/metadata/product", &["vendor_name", "name|uid"]),
];
const OF_ACTIVITY: &[(&str, &[&str])] = &[
    ("", &["actor", "device", "process"]),
    ("/actor", &["process|user|invoked_by|session|app_name|app_uid"]),
    ("/actor/user", &["account|name|uid"]),
    ("/device", &["type_id", "ip|uid|name|hostname|instance_uid|interface_uid|interface_name"]),
    ("/process", &["pid|uid"]),
];
const OF_FINDING: &[(&str, &[&str])] = &[
    ("", &["finding_info"]),
    ("/finding_info", &["title", "uid"]),
    ("/evidences/0", &["actor|api|data|file|process"]),
    ("/evidences/0/process", &["pid|uid"]),
];

fn assert_has(event: &Value, required: &[&[(&str, &[&str])]]) {
    for (place, keys) in required.iter().flat_map(|rows| rows.iter()) {
        let object = event.pointer(place).unwrap_or_else(|| panic!("no {place} in {event}"));
        for one_of in *keys {
            assert!(one_of.split('|').any(|key| !object[key].is_null()), "no {one_of} in {place} of {event}");
        }
    }
    let (class, activity) = (event["class_uid"].as_u64(), event["activity_id"].as_u64());
    assert_eq!(event["type_uid"].as_u64(), class.zip(activity).map(|(class, activity)| class * 100 + activity));
    assert_eq!(event["category_uid"].as_u64(), class.map(|class| class / 1000));
    assert!(!event.to_string().contains("null"), "{event}");
}

#[test]
fn each_verdict_is_an_activity_and_one_with_denials_a_finding_too() {
    let mut place = Place::new();
    let events = place.path().parent().expect("a directory").join("events.jsonl");
    place.settings.ocsf = Some(events.clone());
    let mut ledger = place.writer();
    ledger.append(&mut verdict("refused")).expect("room for it");
    ledger.append(&mut denied("denied")).expect("room for it");
    // Whoever rotates the file renames it; what follows goes to a new one.
    fs::rename(&events, events.with_extension("1")).expect("own file");
    ledger.append(&mut verdict("later")).expect("room for it");
    let read = |path: &Path| -> Vec<Value> {
        let text = fs::read_to_string(path).expect("it was written");
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let (before, after) = (read(&events.with_extension("1")), read(&events));
    assert_eq!((before.len(), after.len()), (3, 1));
    assert_eq!(
        before.iter().map(|event| event["class_uid"].as_u64()).collect::<Vec<_>>(),
        [1007, 1007, 2004].map(Some)
    );
    assert_has(&before[0], &[REQUIRED, OF_ACTIVITY]);
    assert_has(&before[1], &[REQUIRED, OF_ACTIVITY]);
    assert_has(&before[2], &[REQUIRED, OF_FINDING]);
    assert_eq!((&before[0]["action_id"], &before[1]["action_id"]), (&Value::from(2), &Value::from(1)));
    assert_eq!((&before[1]["exit_code"], &before[0]["exit_code"]), (&Value::from(1), &Value::Null));
    assert_eq!(before[2]["evidences"][0]["data"]["what"], "/workspace/x\ny");
    assert!(before.iter().all(|event| event["metadata"]["version"] == ocsf::VERSION));
}

#[test]
fn counters_are_told_in_the_format_of_prometheus() {
    let mut counters = Counters::default();
    let (mut slow, mut quick) = (denied("slow"), denied("quick"));
    (slow.resources.wall_us, quick.resources.wall_us) = (700_000_000, 1_000);
    slow.profile = "od\"d".into();
    for verdict in [&verdict("refused"), &slow, &quick] {
        counters.count(verdict);
    }
    counters.pool.insert("untrusted".into(), 3);
    let text = counters.render();
    for expected in [
        "# TYPE clawjail_runs_total counter\n",
        "clawjail_runs_total{profile=\"\",outcome=\"refused\"} 1\n",
        "clawjail_runs_total{profile=\"od\\\"d\",outcome=\"exited\"} 1\n",
        "clawjail_refusals_total{code=\"refused.test\"} 1\n",
        "clawjail_denials_total{kind=\"create\"} 4\n",
        "# TYPE clawjail_run_seconds histogram\n",
        "clawjail_run_seconds_bucket{le=\"0.001\"} 1\n",
        "clawjail_run_seconds_bucket{le=\"600\"} 1\n",
        "clawjail_run_seconds_bucket{le=\"+Inf\"} 2\n",
        "clawjail_run_seconds_sum 700.001\n",
        "clawjail_run_seconds_count 2\n",
        "clawjail_jails 0\n",
        "clawjail_pool_jails{profile=\"untrusted\"} 3\n",
    ] {
        assert!(text.contains(expected), "no {expected:?} in\n{text}");
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a sample");
        assert!(name.starts_with("clawjail_") && value.parse::<f64>().is_ok(), "{line}");
    }
}
