//! Clients that want more than their share: the supervisor's memory is bounded, others are served, and whoever is turned away
//! is told by a stable word when to come again.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::as_root;
use crate::callers::two_grants;
use crate::service::{Client, PATIENCE, Service, somebody_else, workspace_of};
use crate::support::account;

/// What the supervisor may grow by, whatever one caller does: their share, twice over for copies on the way, and some.
const MOST_GROWTH: u64 = 200 << 10;

fn run(service: &Service, argv: &[&str]) -> Value {
    json!({ "argv": argv, "profile": "untrusted", "workspace": service.place.workspace })
}

/// Sends until the service takes no more for a while. What a client does not get rid of is its own to keep.
fn push(stream: &UnixStream, mut bytes: &[u8]) {
    stream.set_write_timeout(Some(Duration::from_millis(300))).expect("a socket has timeouts");
    let mut stream = stream;
    while let Ok(count @ 1..) = stream.write(bytes) {
        bytes = &bytes[count..];
        if bytes.is_empty() {
            return;
        }
    }
}

/// Kilobytes of the supervisor, the most in a while.
fn peak(service: &Service, mut meanwhile: impl FnMut()) -> u64 {
    let mut most = 0;
    for _ in 0..20 {
        meanwhile();
        most = most.max(service.supervisor_kilobytes());
        std::thread::sleep(Duration::from_millis(20));
    }
    most
}

#[test]
fn a_flood_of_small_requests_takes_no_memory_and_all_are_answered() {
    // A million takes this build some minutes; CLAWJAIL_REQUESTS=1000000 does it.
    let count: usize = std::env::var("CLAWJAIL_REQUESTS").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000);
    let service = Service::start("");
    let mut other = service.client();
    let before = service.supervisor_kilobytes();
    let mut client = service.client();
    let flood = client.stream().try_clone().expect("descriptors are left");
    let sender = std::thread::spawn(move || {
        let mut flood = flood;
        for id in 0..count {
            let line = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"ping\"}}\n");
            if flood.write_all(line.as_bytes()).is_err() {
                return;
            }
        }
    });
    // Nobody reads the answers for a while; the sender has to wait, others do not.
    let most = peak(&service, || drop(other.call("ping", json!({}))));
    assert!(most < before + 20_000, "the supervisor grew from {before} to {most} kB");
    let mut seen = vec![false; count];
    for _ in 0..count {
        let line = client.line();
        let id = line["id"].as_u64().unwrap_or_else(|| panic!("{line}"));
        seen[usize::try_from(id).expect("one of ours")] = true;
    }
    assert!(seen.into_iter().all(|seen| seen), "each is answered once");
    sender.join().expect("it has sent all");
    let after = service.supervisor_kilobytes();
    assert!(after < before + 20_000, "the supervisor grew from {before} to {after} kB");
}

#[test]
fn large_requests_that_wait_take_up_no_more_than_their_caller_s_share() {
    let service = Service::start("");
    let mut owner = service.client();
    let mut stuck = run(&service, &["sleep", "1000"]);
    stuck["stdin"] = json!("pipe");
    let id = owner.call("run", stuck)["run"].clone();
    let before = service.supervisor_kilobytes();
    // Input that the command never reads, more than a gigabyte of it, by many connections.
    let line = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"run.stdin\",\"params\":{{\"run\":{id},\"data\":\"{}\"}}}}\n",
        "x".repeat(7 << 20)
    );
    let clients: Vec<Client> = (0..24).map(|_| service.client()).collect();
    std::thread::scope(|scope| {
        for client in &clients {
            scope.spawn(|| (0..8).for_each(|_| push(client.stream(), line.as_bytes())));
        }
        let most = peak(&service, || drop(owner.call("ping", json!({}))));
        assert!(most < before + MOST_GROWTH, "the supervisor grew from {before} to {most} kB");
    });
    // What is short passes: its owner can end what uses it all up.
    owner.call("run.signal", json!({ "run": id, "signal": "KILL" }));
    assert_eq!(owner.verdict(id.as_str().expect("an id"))["outcome"], "killed");
    drop(clients);
    let began = Instant::now();
    let mut large = run(&service, &["true"]);
    large["inherit"] = json!({ "X": "x".repeat(3 << 20) });
    while owner.run(large.clone()).1["exit_code"] != 0 {
        assert!(began.elapsed() < PATIENCE, "there is room again");
    }
}

#[test]
fn answers_that_nobody_reads_take_up_no_more_than_their_caller_s_share() {
    let service = Service::start("");
    service.place.write("large", vec![b'"'; 1 << 20]);
    let mut owner = service.client();
    let open = json!({ "profile": "untrusted", "workspace": service.place.workspace });
    let jail = owner.call("jail.open", open)["jail"].clone();
    let read = json!({ "jail": jail, "path": "large" });
    assert_eq!(owner.call("fs.read", read.clone())["data"].as_str().map(str::len), Some(1 << 20));
    let before = service.supervisor_kilobytes();
    let mut clients: Vec<Client> = (0..8).map(|_| service.client()).collect();
    for client in &mut clients {
        for _ in 0..16 {
            client.ask("fs.read", read.clone());
        }
    }
    let most = peak(&service, || drop(owner.call("ping", json!({}))));
    assert!(most < before + MOST_GROWTH, "the supervisor grew from {before} to {most} kB");
    drop(clients);
    let began = Instant::now();
    loop {
        let id = owner.ask("fs.read", read.clone());
        let answer = owner.answer(id);
        if answer["result"]["end"] == true {
            return;
        }
        assert_eq!(answer["error"]["data"]["code"], "refused.busy", "{answer}");
        assert!(began.elapsed() < PATIENCE, "there is room again");
    }
}

#[test]
fn long_commands_and_attaching_again_take_up_what_is_kept_and_no_more() {
    let service = Service::start("");
    let mut client = service.client();
    // Warm: what the first of each kind needs anyway.
    client.run(run(&service, &["true"]));
    let before = service.supervisor_kilobytes();
    let long = "y".repeat(100 << 10);
    let argv: Vec<&str> = std::iter::once("true").chain(std::iter::repeat_n(long.as_str(), 10)).collect();
    for _ in 0..4 {
        client.run(run(&service, &argv));
    }
    let after = service.supervisor_kilobytes();
    assert!(after < before + 30_000, "the supervisor grew from {before} to {after} kB");
    // One who attaches a thousand times is shown what comes once.
    let mut asked = run(&service, &["sh", "-c", "until [ -e go ]; do sleep 0.02; done; echo once"]);
    asked["detach"] = json!(true);
    let id = client.call("run", asked)["run"].as_str().expect("an id").to_owned();
    let mut other = service.client();
    for _ in 0..1000 {
        other.call("run.attach", json!({ "run": id }));
    }
    service.place.write("go", "");
    other.verdict(&id);
    assert_eq!(other.output(&id, "stdout"), "once\n");
}

#[test]
fn whoever_asks_too_often_or_for_too_much_is_told_when_to_come_again() {
    let service = Service::start("[limits]\nruns_per_caller = 2\nwaiting_per_caller = 3\nruns_per_minute = 60\n");
    let mut client = service.client();
    let held: Vec<i64> = (0..5).map(|_| client.ask("run", run(&service, &["sleep", "1000"]))).collect();
    let refused = client.ask("run", run(&service, &["true"]));
    let answer = client.answer(refused);
    assert_eq!(
        (&answer["error"]["data"]["code"], &answer["error"]["data"]["retry_after_ms"]),
        (&json!("refused.busy"), &json!(1000)),
        "{answer}"
    );
    assert_eq!(answer["error"]["data"]["verdict"]["outcome"], "refused");
    for line in client.call("ps", json!({}))["runs"].as_array().expect("a list") {
        client.call("run.signal", json!({ "run": line["run"], "signal": "KILL" }));
    }
    drop(held);
    // The bucket empties sooner or later, and says when there is one more in it.
    let began = Instant::now();
    let wait = loop {
        let id = client.ask("run", run(&service, &["true"]));
        let answer = client.answer(id);
        match answer["error"]["data"]["code"].as_str() {
            Some("refused.rate") => break answer["error"]["data"]["retry_after_ms"].as_u64().expect("milliseconds"),
            Some("refused.busy" | "refused.given_up") | None => {}
            other => panic!("{other:?}"),
        }
        assert!(began.elapsed() < PATIENCE, "more than sixty a minute");
    };
    assert!((1..=1000).contains(&wait), "{wait} ms");
    std::thread::sleep(Duration::from_millis(wait));
    let id = client.ask("run", run(&service, &["true"]));
    let code = client.answer(id)["error"]["data"]["code"].clone();
    assert!(code.is_null() || code == "refused.busy", "{code}");
}

#[test]
fn a_caller_with_many_runs_has_no_more_turns_than_one_with_few() {
    if !as_root("two callers") {
        return;
    }
    let service = Service::start(&format!("{}[limits]\nruns = 2\nwaiting_per_caller = 60\n", two_grants()));
    let greedy = account::ordinary();
    let workspace = workspace_of(greedy, "greedy");
    let asked = json!({ "argv": ["sleep", "0.2"], "profile": "untrusted", "workspace": workspace });
    let mut many: Vec<Client> = (0..6).map(|_| service.client_as(greedy)).collect();
    for client in &mut many {
        for _ in 0..10 {
            client.ask("run", asked.clone());
        }
    }
    // Each run of the other waits for those under way, and for one more: not for the sixty.
    let modest = somebody_else();
    let own = json!({ "argv": ["true"], "profile": "readonly", "workspace": workspace_of(&modest, "modest") });
    let mut client = service.client_as(&modest);
    let mut admin = service.client();
    let waiting = |admin: &mut Client| admin.call("ps", json!({}))["runs"].as_array().expect("a list").len();
    let began = Instant::now();
    while waiting(&mut admin) < 50 {
        assert!(began.elapsed() < PATIENCE, "there is no queue");
    }
    let before = waiting(&mut admin);
    for _ in 0..3 {
        assert_eq!(client.run(own.clone()).1["exit_code"], 0);
    }
    let done = before.saturating_sub(waiting(&mut admin));
    assert!(done <= 3 * 4 + 4, "{done} of the greedy one's runs ended while the modest one had three");
}
