//! Jails that stay between runs.

use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::as_root;
use crate::service::{Client, PATIENCE, Service, comm, somebody_else, workspace_of};
use crate::support::account;

fn open(client: &mut Client, service: &Service) -> String {
    let asked = json!({ "profile": "untrusted", "workspace": service.place.workspace });
    client.call("jail.open", asked)["jail"].as_str().expect("a jail has an id").to_owned()
}

fn sh(client: &mut Client, jail: &str, script: &str) -> (String, Value) {
    client.run(json!({ "jail": jail, "argv": ["sh", "-c", script] }))
}

#[test]
fn a_jail_keeps_processes_files_and_loopback_between_runs() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let server = "cd /tmp && echo kept > page && (python3 -m http.server --bind 127.0.0.1 8123 >/dev/null 2>&1 &)";
    let (_, verdict) = sh(&mut client, &jail, server);
    assert_eq!(verdict["exit_code"], 0, "{verdict}");
    let fetch = "for i in $(seq 100); do curl -sf http://127.0.0.1:8123/page && exit 0; sleep 0.05; done; exit 1";
    let (text, verdict) = sh(&mut client, &jail, fetch);
    assert_eq!((text.as_str(), verdict["exit_code"].as_i64()), ("kept\n", Some(0)), "{verdict}");
    // Each run's own process has tried to get out.
    let promises = verdict["enforcement"]["promises"].as_array().expect("a list");
    assert!(promises.iter().filter(|promise| promise["probed"] == true).count() >= 5, "{verdict}");
    assert_eq!(client.call("jail.list", json!({}))["jails"][0]["jail"], json!(jail));
    client.call("jail.close", json!({ "jail": jail }));
    assert_eq!(client.call("jail.list", json!({}))["jails"], json!([]));
    let run = json!({ "jail": jail, "argv": ["true"] });
    assert_eq!(client.refused("run", run), "refused.unknown_jail");
    let began = Instant::now();
    let left = || service.processes().into_iter().map(comm).collect::<Vec<_>>();
    while left().len() > 2 {
        assert!(began.elapsed() < PATIENCE, "launcher and supervisor alone should be left: {:?}", left());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn runs_of_one_jail_go_side_by_side_and_end_one_by_one() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let start = |client: &mut Client, script: &str| {
        let running = client.call("run", json!({ "jail": jail, "argv": ["sh", "-c", script] }));
        running["run"].as_str().expect("an id").to_owned()
    };
    let waiting = start(&mut client, "until [ -e /tmp/go ]; do sleep 0.02; done; echo went");
    let ended = start(&mut client, "trap '' TERM; sleep 1000 & wait");
    let signalled = start(&mut client, "exec sleep 1000");
    client.call("run.signal", json!({ "run": ended, "signal": "KILL" }));
    assert_eq!(client.verdict(&ended)["outcome"], "killed");
    client.call("run.signal", json!({ "run": signalled, "signal": "TERM" }));
    assert_eq!(client.verdict(&signalled)["signal"], 15);
    let (text, _) = sh(&mut client, &jail, "ps -e -o args= | grep -c '[s]leep 1000'");
    assert_eq!(text.trim(), "0", "what a killed run started is gone with it");
    sh(&mut client, &jail, "touch /tmp/go");
    assert_eq!(client.verdict(&waiting)["exit_code"], 0);
    assert_eq!(client.output(&waiting, "stdout"), "went\n");
}

#[test]
fn a_run_in_a_jail_has_a_limit_of_its_own_and_the_jail_goes_on() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let began = Instant::now();
    let (_, verdict) = client.run(json!({ "jail": jail, "argv": ["sleep", "1000"], "timeout_ms": 200 }));
    assert_eq!(verdict["outcome"], "timed_out");
    let (_, verdict) = client.run(
        json!({ "jail": jail, "argv": ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"], "timeout_ms": 200 }),
    );
    assert_eq!(verdict["outcome"], "timed_out");
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(sh(&mut client, &jail, "echo on").0, "on\n");
}

#[test]
fn what_is_denied_is_in_the_verdict_of_the_run_that_tried_it() {
    let service = Service::start("");
    service.place.make_repository();
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let (_, guilty) = sh(&mut client, &jail, "echo x > .git/hooks/pre-commit");
    let (_, innocent) = sh(&mut client, &jail, "echo x > harmless");
    assert_eq!(guilty["denials"].as_array().map(Vec::len), Some(1), "{guilty}");
    assert_eq!(innocent["denials"], json!([]));
    assert_eq!(innocent["exit_code"], 0);
}

#[test]
fn an_idle_jail_an_old_one_and_one_whose_client_left_are_closed() {
    let service = Service::start("");
    let mut client = service.client();
    let mut asked = json!({ "profile": "untrusted", "workspace": service.place.workspace, "idle_ms": 300 });
    client.call("jail.open", asked.clone());
    await_no_jails(&mut client);
    asked["idle_ms"] = json!(100_000);
    asked["age_ms"] = json!(300);
    let old = client.call("jail.open", asked.clone())["jail"].as_str().expect("an id").to_owned();
    let run = client.call("run", json!({ "jail": old, "argv": ["sleep", "1000"] }))["run"]
        .as_str()
        .expect("an id")
        .to_owned();
    assert_eq!(client.verdict(&run)["outcome"], "killed");
    await_no_jails(&mut client);
    asked["age_ms"] = json!(100_000);
    asked["until_disconnect"] = json!(true);
    let mut second = service.client();
    second.call("jail.open", asked);
    assert_eq!(client.call("jail.list", json!({}))["jails"].as_array().map(Vec::len), Some(1));
    drop(second);
    await_no_jails(&mut client);
}

fn await_no_jails(client: &mut Client) {
    let began = Instant::now();
    while client.call("jail.list", json!({}))["jails"] != json!([]) {
        assert!(began.elapsed() < PATIENCE, "a jail was not closed");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_end_of_a_session_closes_its_jails_ends_its_runs_and_nothing_else() {
    let service = Service::start("");
    let mut client = service.client();
    let named =
        |session: &str| json!({ "profile": "untrusted", "workspace": service.place.workspace, "session": session });
    let jail = client.call("jail.open", named("one"))["jail"].as_str().expect("an id").to_owned();
    let other = client.call("jail.open", named("two"))["jail"].as_str().expect("an id").to_owned();
    let start = |client: &mut Client, mut params: Value| {
        params["argv"] = json!(["sleep", "1000"]);
        client.call("run", params)["run"].as_str().expect("an id").to_owned()
    };
    let inside = start(&mut client, json!({ "jail": jail }));
    let beside = start(&mut client, named("one"));
    let borrowed = start(&mut client, json!({ "jail": other, "session": "one" }));
    let goes_on = start(&mut client, json!({ "jail": other }));
    let ended = client.call("session.end", json!({ "session": "one" }));
    assert_eq!(ended, json!({ "jails": 1, "runs": 3 }));
    for run in [&inside, &beside, &borrowed] {
        let verdict = client.verdict(run);
        assert_eq!((verdict["outcome"].as_str(), verdict["session"].as_str()), (Some("killed"), Some("one")));
    }
    assert_eq!(client.refused("run", json!({ "jail": jail, "argv": ["true"] })), "refused.unknown_jail");
    let listed = client.call("jail.list", json!({}))["jails"].clone();
    assert_eq!((listed[0]["jail"].as_str(), listed[0]["runs"].as_i64()), (Some(other.as_str()), Some(1)));
    client.call("run.signal", json!({ "run": goes_on, "signal": "TERM" }));
    assert_eq!(client.verdict(&goes_on)["session"], "two");
    assert_eq!(client.call("session.end", json!({ "session": "one" })), json!({ "jails": 0, "runs": 0 }));
}

#[test]
fn a_jail_of_somebody_else_cannot_be_entered_listed_or_closed_and_a_guest_has_none() {
    if !as_root("jails of others") {
        return;
    }
    let ordinary = account::ordinary();
    let service = Service::start(&format!(
        "[[caller]]\nuser = \"{}\"\nrole = \"operator\"\nprofiles = [\"untrusted\"]\n\
         [[caller]]\nuser = \"nobody\"\nrole = \"guest\"\nprofiles = [\"untrusted\"]\n",
        ordinary.name
    ));
    let other = somebody_else();
    let mut owner = service.client_as(ordinary);
    let asked = json!({ "workspace": workspace_of(ordinary, "jails.owner"), "session": "theirs" });
    let jail = owner.call("jail.open", asked)["jail"].as_str().expect("an id").to_owned();
    let mut guest = service.client_as(&other);
    let own = json!({ "workspace": workspace_of(&other, "jails.guest") });
    assert_eq!(guest.refused("jail.open", own.clone()), "refused.jails_not_granted");
    assert_eq!(guest.refused("run", json!({ "jail": jail, "argv": ["true"] })), "refused.unknown_jail");
    assert_eq!(guest.refused("jail.close", json!({ "jail": jail })), "refused.unknown_jail");
    assert_eq!(guest.call("jail.list", json!({}))["jails"], json!([]));
    assert_eq!(guest.call("session.end", json!({ "session": "theirs" })), json!({ "jails": 0, "runs": 0 }));
    // What a guest may: one run after the other.
    let run = json!({ "argv": ["true"], "workspace": own["workspace"] });
    assert_eq!(guest.run(run).1["exit_code"], 0);
    // An admin sees it and can close it, but does not act for its owner.
    let mut admin = service.client();
    assert_eq!(admin.refused("run", json!({ "jail": jail, "argv": ["true"] })), "refused.unknown_jail");
    admin.call("jail.close", json!({ "jail": jail }));
    assert_eq!(owner.refused("run", json!({ "jail": jail, "argv": ["true"] })), "refused.unknown_jail");
}

#[test]
fn a_run_cannot_change_what_its_jail_is() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    for (member, value) in [("profile", "trusted"), ("workspace", "/tmp"), ("tier", "bare")] {
        let mut run = json!({ "jail": jail, "argv": ["true"] });
        run[member] = json!(value);
        assert_eq!(client.refused("run", run), "refused.jail_differs", "{member}");
    }
    for id in ["", "..", "../../etc", "/", "a\u{0}b", &"x".repeat(5000)] {
        assert_eq!(client.refused("run", json!({ "jail": id, "argv": ["true"] })), "refused.unknown_jail", "{id:?}");
    }
    service.place.mkdir("below");
    let below = service.place.workspace.join("below");
    let (text, _) = client.run(json!({ "jail": jail, "argv": ["pwd"], "cwd": below }));
    assert!(text.trim().ends_with("/below"), "{text}");
    assert_eq!(client.refused("run", json!({ "jail": jail, "argv": ["pwd"], "cwd": "/etc" })), "refused.cwd_outside");
}

#[test]
fn a_run_ends_when_its_command_does_whatever_that_left_behind_goes_on_to_write() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let began = Instant::now();
    let (text, verdict) = sh(&mut client, &jail, "echo before; yes & yes >&2 & true");
    assert!(text.contains("before") && verdict["exit_code"] == 0, "{verdict}");
    // What is left is still there, and goes on.
    let (alive, _) = sh(&mut client, &jail, "pgrep -c yes");
    assert_eq!(alive.trim(), "2");
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
}

#[test]
fn the_command_line_opens_uses_and_closes_jails() {
    let service = Service::start("");
    let own = account::own();
    let socket = service.socket.to_str().expect("a plain path");
    let clawjail = |words: &[&str]| -> Output {
        service.command_as(own, &service.place.workspace).args(words).output().expect("the binary can be executed")
    };
    let text = |output: &Output| String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let opened = clawjail(&["jail", "open", "--profile", "untrusted", "--socket", socket]);
    let jail = text(&opened);
    assert_eq!((opened.status.code(), jail.len()), (Some(0), 10), "{opened:?}");
    let run = |script: &str| clawjail(&["run", "--socket", socket, "--jail", &jail, "--", "sh", "-c", script]);
    // What it leaves behind holds the streams open, and is not waited for.
    let began = Instant::now();
    let left = run("echo before; sleep 1000 & echo after");
    assert_eq!((left.status.code(), text(&left)), (Some(0), "before\nafter".into()));
    assert!(began.elapsed() < Duration::from_secs(10));
    // Nor is what it goes on to write: after the end of the run's own command no more is read than a pipe holds.
    let flooded = run("echo before; yes & true");
    assert!(flooded.status.code() == Some(0) && text(&flooded).starts_with("before"), "{:?}", flooded.status);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(run("exit 4").status.code(), Some(4));
    let listed = text(&clawjail(&["jail", "list", "--socket", socket]));
    assert!(listed.contains(&jail) && listed.lines().count() == 2, "{listed}");
    let mut client = service.client();
    let slept = client.call("run", json!({ "jail": jail, "argv": ["sh", "-c", "echo here; sleep 1000"] }));
    let slept = slept["run"].as_str().expect("an id").to_owned();
    let ps = text(&clawjail(&["ps", "--socket", socket]));
    assert!(ps.contains(&slept) && ps.contains(&jail), "{ps}");
    assert_eq!(clawjail(&["kill", "--socket", socket, &slept]).status.code(), Some(0));
    let attached = clawjail(&["attach", "--socket", socket, &slept]);
    assert_eq!((attached.status.code(), text(&attached)), (Some(137), "here".into()));
    assert_eq!(clawjail(&["jail", "close", "--socket", socket, &jail]).status.code(), Some(0));
    let gone = clawjail(&["jail", "close", "--socket", socket, &jail]);
    assert_eq!(gone.status.code(), Some(126));
    let opened = clawjail(&["jail", "open", "-p", "untrusted", "--session", "evening", "--socket", socket]);
    let jail = text(&opened);
    assert_eq!(clawjail(&["jail", "close", "--session", "evening", "--socket", socket]).status.code(), Some(0));
    let gone = clawjail(&["jail", "close", "--socket", socket, &jail]);
    assert_eq!((opened.status.code(), gone.status.code()), (Some(0), Some(126)));
    assert_eq!(clawjail(&["reload", "--socket", socket]).status.code(), Some(0));
}
