//! `run.prepare` and `run.begin`: one client says what is to be run, another process brings the streams.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::as_root;
use crate::service::{Client, Service, somebody_else};
use crate::support::place::clawjail;

fn open(client: &mut Client, service: &Service) -> String {
    let asked = json!({ "profile": "untrusted", "workspace": service.place.workspace });
    client.call("jail.open", asked)["jail"].as_str().expect("a jail has an id").to_owned()
}

fn prepare(client: &mut Client, params: Value) -> String {
    client.call("run.prepare", params)["run"].as_str().expect("a run has an id").to_owned()
}

/// `clawjail begin`, with nothing of the run in its words or its environment.
fn begin(service: &Service, run: &str) -> Child {
    begin_within(service, run, 0)
}

/// The same, where the run may be prepared up to so many milliseconds later.
fn begin_within(service: &Service, run: &str, wait_ms: u64) -> Child {
    let mut command = Command::new(clawjail());
    command.arg("begin").arg("--wait").arg(wait_ms.to_string());
    command.arg("--socket").arg(&service.socket).arg(run).env_clear();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("the binary can be executed")
}

/// What a client may call a run.
fn name() -> String {
    uuid::Uuid::now_v7().to_string()
}

#[test]
fn who_begins_a_run_has_its_streams_and_who_prepared_it_its_verdict() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let script = "read line; echo \"got $line and $NAME\"; echo to stderr >&2; exit 7";
    let asked = json!({ "jail": jail, "argv": ["sh", "-c", script], "env": { "NAME": "a value" }, "stdin": "pipe", "session": "s" });
    let run = prepare(&mut client, asked);
    assert_eq!(client.call("ps", json!({}))["runs"], json!([]), "nothing runs before it is begun");
    let mut began = begin(&service, &run);
    began.stdin.take().expect("piped").write_all(b"this\n").expect("it reads");
    let output = began.wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "got this and a value\n");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "to stderr\n");
    assert_eq!(output.status.code(), Some(7));
    let verdict = client.verdict(&run);
    assert_eq!((&verdict["id"], &verdict["exit_code"], &verdict["session"]), (&json!(run), &json!(7), &json!("s")));
    assert!(client.notifications.iter().all(|line| line["method"] != "run.output"), "its output is not ours");
    assert_eq!(client.refused("run.begin", json!({ "run": run })), "refused.unknown_run", "once");
}

#[test]
fn a_prepared_run_gets_a_terminal_if_it_asked_for_one() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let script = "stty -echo; stty size; read line; echo \"typed $line\"";
    let tty = json!({ "rows": 30, "columns": 120 });
    let run = prepare(&mut client, json!({ "jail": jail, "argv": ["sh", "-c", script], "tty": tty }));
    let mut began = begin(&service, &run);
    let mut output = began.stdout.take().expect("piped");
    let mut said = String::new();
    let mut buffer = [0; 256];
    while !said.contains("30 120") {
        let count = output.read(&mut buffer).expect("it speaks");
        assert!(count > 0, "{said}");
        said.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
    began.stdin.take().expect("piped").write_all(b"this\n").expect("it reads");
    output.read_to_string(&mut said).expect("it ends");
    assert!(said.contains("typed this"), "{said}");
    assert!(began.wait().expect("it ends").success());
}

#[test]
fn what_cannot_be_run_is_refused_in_words_where_it_is_begun() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let asked = json!({ "jail": jail, "argv": ["true"], "env": { "LD_PRELOAD": "/workspace/x.so" } });
    let run = prepare(&mut client, asked);
    let output = begin(&service, &run).wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(126));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.starts_with("clawjail: refused: environment variable `LD_PRELOAD`"), "{said}");
    assert_eq!(client.verdict(&run)["reason"]["code"], "refused.environment_hook");
    let unknown = begin(&service, "nobody-knows-it").wait_with_output().expect("it ends");
    assert_eq!(unknown.status.code(), Some(126), "{}", String::from_utf8_lossy(&unknown.stderr));
    assert_eq!(client.refused("run.prepare", json!({ "jail": "none", "argv": ["true"] })), "refused.unknown_jail");
    let detached = json!({ "jail": jail, "argv": ["true"], "detach": true });
    assert_eq!(client.refused("run.prepare", detached), "refused.request_invalid");
}

#[test]
fn a_prepared_run_is_forgotten_with_its_client_and_is_nobody_elses() {
    let service = Service::start("[[caller]]\nuser = \"nobody\"\nrole = \"operator\"\nprofiles = [\"untrusted\"]\n");
    let mut staying = service.client();
    let jail = open(&mut staying, &service);
    let asked = json!({ "jail": jail, "argv": ["true"] });
    let mut leaving = service.client();
    let run = prepare(&mut leaving, asked.clone());
    drop(leaving);
    // The service sees that it is gone.
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(staying.refused("run.begin", json!({ "run": run })), "refused.unknown_run");
    if as_root("a run of somebody else") {
        let run = prepare(&mut staying, asked);
        let mut other = service.client_as(&somebody_else());
        assert_eq!(other.refused("run.begin", json!({ "run": run })), "refused.unknown_run");
        assert_eq!(begin(&service, &run).wait().expect("it ends").code(), Some(0), "positive control");
    }
}

#[test]
fn a_signal_to_whoever_began_a_run_ends_all_that_it_started_and_nothing_else() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let other = client.call("run", json!({ "jail": jail, "argv": ["sleep", "1001"] }))["run"].clone();
    // One left its session, and its parent.
    let script = "(setsid sleep 1000 &); sleep 1000 & trap '' TERM; echo started; wait; sleep 1000";
    let run = prepare(&mut client, json!({ "jail": jail, "argv": ["sh", "-c", script] }));
    let mut began = begin(&service, &run);
    let mut line = [0; 8];
    began.stdout.as_mut().expect("piped").read_exact(&mut line).expect("it speaks");
    std::thread::sleep(Duration::from_millis(100));
    kill(Pid::from_raw(began.id() as i32), Signal::SIGTERM).expect("our own child");
    assert_eq!(began.wait().expect("it ends").code(), Some(137));
    assert_eq!(client.verdict(&run)["outcome"], "killed");
    let count = "ps -e -o args= | grep -c '[s]leep 100'";
    let (left, _) = client.run(json!({ "jail": jail, "argv": ["sh", "-c", count] }));
    assert_eq!(left.trim(), "1", "that of the other run alone");
    client.call("run.signal", json!({ "run": other, "signal": "KILL" }));
}

#[test]
fn many_prepared_runs_wait_for_their_turn() {
    let service = Service::start("[limits]\nruns_per_caller = 2\nwaiting_per_caller = 1\nconnections_per_caller = 6\n");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let runs: Vec<String> = (0..20)
        .map(|number| prepare(&mut client, json!({ "jail": jail, "argv": ["echo", number.to_string()] })))
        .collect();
    let begun: Vec<Child> = runs.iter().map(|run| begin(&service, run)).collect();
    for (number, child) in begun.into_iter().enumerate() {
        let output = child.wait_with_output().expect("it ends");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout), format!("{number}\n"), "{said}");
    }
}

#[test]
fn a_run_that_its_client_named_is_begun_by_that_name_once() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let named = |name: &str| json!({ "jail": jail, "argv": ["echo", "named"], "name": name });
    let run = name();
    assert_eq!(prepare(&mut client, named(&run)), run);
    assert_eq!(client.refused("run.prepare", named(&run)), "refused.request_invalid", "it waits");
    let output = begin(&service, &run).wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "named\n");
    assert_eq!(client.verdict(&run)["id"], json!(run));
    assert_eq!(client.refused("run.prepare", named(&run)), "refused.request_invalid", "it is over");
    let random = "6f9619ff-8b86-4011-b42d-00c04fc964ff";
    let old = "01890a5d-ac96-774b-bcce-b302099a8057";
    for name in [random, old, &name().to_uppercase(), "", "../../x"] {
        assert_eq!(client.refused("run.prepare", named(name)), "refused.request_invalid", "{name}");
    }
    assert_eq!(client.refused("run", named(&name())), "refused.request_invalid", "only what is prepared has a name");
}

#[test]
fn who_begins_a_run_that_is_not_prepared_yet_waits_for_it() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let run = name();
    let begun = begin_within(&service, &run, 5000);
    // The jail that was thought of is gone; the client opens another and asks again.
    let gone = json!({ "jail": "none", "argv": ["echo", "late"], "name": run });
    assert_eq!(client.refused("run.prepare", gone), "refused.unknown_jail");
    std::thread::sleep(Duration::from_millis(200));
    prepare(&mut client, json!({ "jail": jail, "argv": ["echo", "late"], "name": run }));
    let output = begun.wait_with_output().expect("it ends");
    assert_eq!((String::from_utf8_lossy(&output.stdout).as_ref(), output.status.code()), ("late\n", Some(0)));
    let asked = Instant::now();
    assert_eq!(client.refused("run.begin", json!({ "run": name(), "wait_ms": 300 })), "refused.unknown_run");
    assert!(asked.elapsed() >= Duration::from_millis(300));
}

#[test]
fn why_a_named_run_was_not_prepared_is_said_where_it_is_begun() {
    let service = Service::start("");
    let mut client = service.client();
    let jail = open(&mut client, &service);
    let run = name();
    let asked = json!({ "jail": jail, "argv": ["true"], "detach": true, "name": run });
    assert_eq!(client.refused("run.prepare", asked), "refused.request_invalid");
    let output = begin_within(&service, &run, 5000).wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(126), "{said}");
    assert!(said.starts_with("clawjail: refused: `descriptors` and `detach`"), "{said}");
    if as_root("a refusal of somebody else's") {
        let mut other = service.client_as(&somebody_else());
        assert_eq!(other.refused("run.begin", json!({ "run": run })), "refused.unknown_run");
    }
}

/// Each of them is woken by its own run alone, and a caller may have no more of them than runs.
#[test]
fn many_who_wait_for_runs_that_nobody_prepares_hold_up_nobody() {
    let service = Service::start("");
    let mut waiting: Vec<Client> = (0..17).map(|_| service.client()).collect();
    for client in &mut waiting {
        for _ in 0..63 {
            client.ask("run.begin", json!({ "run": name(), "wait_ms": 60_000 }));
        }
        // Answered when those before it wait, or may not.
        client.call("ping", json!({}));
    }
    let mut client = service.client();
    assert_eq!(client.refused("run.begin", json!({ "run": name(), "wait_ms": 50 })), "refused.busy");
    let jail = open(&mut client, &service);
    let run = prepare(&mut client, json!({ "jail": jail, "argv": ["echo", "served"] }));
    let output = begin(&service, &run).wait_with_output().expect("it ends");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "served\n");
    drop(waiting);
    // Nothing of them stays: there is room again.
    let began = Instant::now();
    let mut told = || client.refused("run.begin", json!({ "run": name(), "wait_ms": 50 }));
    while told() != "refused.unknown_run" {
        assert!(began.elapsed() < Duration::from_secs(20), "some are left");
    }
}
