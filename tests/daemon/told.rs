//! What a service tells beside its answers: numbers for Prometheus, events for a SIEM, lines for the journal.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::as_root;
use crate::service::{PATIENCE, Service};

const METRICS: &str = "[metrics]\nsocket = \"@OUTSIDE/metrics\"\n";

fn params(service: &Service, argv: &[&str]) -> Value {
    json!({ "argv": argv, "profile": "untrusted", "workspace": service.place.workspace })
}

fn socket(service: &Service) -> PathBuf {
    service.place.outside.join("metrics")
}

/// What curl gets, and its own judgement of the answer.
fn get(service: &Service, path: &str) -> (String, String) {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--max-time", "10", "--write-out", "%{http_code} %{content_type}"]);
    curl.arg("--output").arg(service.place.outside.join("got"));
    curl.arg("--unix-socket").arg(socket(service)).arg(format!("http://localhost{path}"));
    let output = curl.output().expect("curl is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let body = fs::read_to_string(service.place.outside.join("got")).unwrap_or_default();
    (String::from_utf8_lossy(&output.stdout).into_owned(), body)
}

/// Samples by name and labels; every line is one, or says what one is.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter(|line| !line.starts_with("# HELP ") && !line.starts_with("# TYPE "));
    let sample = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect(line);
        (name.to_owned(), value.parse().expect(line))
    };
    lines.map(sample).collect()
}

#[test]
fn prometheus_gets_what_was_run_refused_and_denied() {
    let service = Service::start(METRICS);
    let mut client = service.client();
    for _ in 0..3 {
        client.run(params(&service, &["true"]));
    }
    client.run(params(&service, &["sh", "-c", ": > SOUL.md; true"]));
    let mut unknown = params(&service, &["true"]);
    unknown["profile"] = json!("no-such-profile");
    client.refused("run", unknown);
    let asked = json!({ "profile": "untrusted", "workspace": service.place.workspace });
    client.call("jail.open", asked);

    let (status, text) = get(&service, "/metrics");
    assert_eq!(status, "200 text/plain; version=0.0.4; charset=utf-8");
    let found = samples(&text);
    assert_eq!(found.get("clawjail_runs_total{profile=\"untrusted\",outcome=\"exited\"}"), Some(&4.0), "{text}");
    assert_eq!(found.get("clawjail_refusals_total{code=\"refused.profile_unusable\"}"), Some(&1.0), "{text}");
    assert!(found.keys().any(|name| name.starts_with("clawjail_denials_total{")), "{text}");
    assert_eq!((found["clawjail_run_seconds_count"], found["clawjail_jails"]), (4.0, 1.0));
    let buckets: Vec<f64> =
        text.lines().filter(|line| line.contains("_bucket{")).map(|line| samples(line).into_values().sum()).collect();
    assert!(buckets.is_sorted() && buckets.last() == Some(&4.0), "{text}");
    assert!(found["clawjail_run_seconds_sum"] > 0.0);
}

#[test]
fn prometheus_gets_the_jails_made_ahead_for_as_long_as_they_wait() {
    const POOL: &str = "clawjail_pool_jails{profile=\"untrusted\"}";
    let service = Service::start(&format!("{METRICS}\n[pool]\nsize = 2\n"));
    let mut client = service.client();
    client.run(params(&service, &["true"]));
    let await_pool = |wanted: f64| {
        let began = Instant::now();
        while samples(&get(&service, "/metrics").1).get(POOL) != Some(&wanted) {
            assert!(began.elapsed() < PATIENCE, "{}", get(&service, "/metrics").1);
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    // After one run.
    await_pool(2.0);
    drop(client);
    await_pool(0.0);
}

#[test]
fn the_numbers_are_for_their_group_alone_and_other_requests_are_turned_down() {
    let service = Service::start(METRICS);
    assert_eq!(fs::metadata(socket(&service)).expect("it is there").mode() & 0o777, 0o600);
    assert_eq!(get(&service, "/other").0.split(' ').next(), Some("404"));
    for (request, status) in [
        ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
        ("GET /metrics HTTP/1.0\r\n\r\n", "200"),
        ("GET /metrics\r\n\r\n", "400"),
        ("\0\0\0\0\r\n\r\n", "400"),
    ] {
        assert_eq!(raw(&service, request.as_bytes()).get(9..12), Some(status), "{request:?}");
    }
    // More than is read of anybody, without an end.
    assert!(raw(&service, &[b'x'; 8 << 10]).starts_with("HTTP/1.1 400"));
    if as_root("a group of its own") {
        let service = Service::start(&format!("{METRICS}group = \"nogroup\"\n"));
        let facts = fs::metadata(socket(&service)).expect("it is there");
        assert_eq!(facts.mode() & 0o777, 0o660);
        assert_ne!(facts.gid(), 0);
    }
}

fn raw(service: &Service, request: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket(service)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
    stream.write_all(request).expect("there is room");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn those_who_only_connect_hold_up_neither_numbers_for_others_nor_runs() {
    let service = Service::start(METRICS);
    let silent: Vec<UnixStream> = (0..7).map(|_| UnixStream::connect(socket(&service)).expect("it listens")).collect();
    assert_eq!(get(&service, "/metrics").0.split(' ').next(), Some("200"));
    assert_eq!(service.client().run(params(&service, &["true"])).1["exit_code"], 0);
    // With all places taken the next waits, until one of the silent ones has had its time.
    let more: Vec<UnixStream> = (0..4).map(|_| UnixStream::connect(socket(&service)).expect("it listens")).collect();
    assert_eq!(get(&service, "/metrics").0.split(' ').next(), Some("200"));
    drop((silent, more));
}

#[test]
fn events_for_a_siem_are_written_beside_the_ledger_also_when_their_file_is_renamed() {
    let service = Service::start("[ledger]\npath = \"@OUTSIDE/ledger\"\nocsf = \"@OUTSIDE/workspace/events\"\n");
    let mut client = service.client();
    let events = service.place.workspace.join("events");
    let read = |path: &std::path::Path| -> Vec<Value> {
        let text = fs::read_to_string(path).expect("events");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    };
    let (_, first) = client.run(params(&service, &["true"]));
    assert_eq!(read(&events)[0]["metadata"]["uid"], first["id"]);
    fs::rename(&events, events.with_extension("old")).expect("own file");
    let (_, second) = client.run(params(&service, &["true"]));
    let later = read(&events);
    assert_eq!((later.len(), &later[0]["metadata"]["uid"]), (1, &second["id"]));
}

#[test]
fn the_journal_gets_each_verdict_and_a_journal_that_is_gone_fails_no_run() {
    if !as_root("a journal of the test's own") {
        return;
    }
    let mount = "mkdir \"$1/journal\" && mount -t tmpfs -o mode=755 tmpfs /run && mkdir -p /run/systemd/journal && \
                 mount --bind \"$1/journal\" /run/systemd/journal && shift && exec \"$@\"";
    let program = ["unshare", "--mount", "sh", "-c", mount, "sh", "@OUTSIDE"];
    let config = format!("[ledger]\npath = \"@OUTSIDE/ledger\"\njournald = true\n{METRICS}");
    let service = Service::start_through(&program, &config);
    let mut client = service.client();
    assert_eq!(client.run(params(&service, &["true"])).1["exit_code"], 0);
    assert_eq!(samples(&get(&service, "/metrics").1)["clawjail_untold_total"], 1.0);
    let journal = UnixDatagram::bind(service.place.outside.join("journal/socket")).expect("own directory");
    journal.set_read_timeout(Some(PATIENCE)).expect("a socket has timeouts");
    let (_, verdict) = client.run(params(&service, &["true"]));
    let mut datagram = vec![0; 64 << 10];
    let length = journal.recv(&mut datagram).expect("one was sent");
    let text = String::from_utf8_lossy(&datagram[..length]).into_owned();
    let id = verdict["id"].as_str().expect("an id");
    assert!(text.contains(&format!("CLAWJAIL_ID={id}")) && text.contains("CLAWJAIL_SEQ=3"), "{text}");
}
