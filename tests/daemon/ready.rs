//! Jails made ahead of the next run: nobody can tell, but by the clock.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::service::{Client, PATIENCE, Service};

/// Long enough for a jail to be made, and told from one that was made just now.
const A_WHILE: Duration = Duration::from_millis(1500);
/// Prints for how many hundredths of a second the jail has been there, and then what `command` prints.
const AGE: &str =
    "read -r now _ </proc/uptime; set -- $(cat /proc/1/stat); shift 21; echo $(( ${now%.*}${now#*.} - $1 ));";

/// How old the jail of a run was, and what the run printed besides.
fn run(service: &Service, client: &mut Client, command: &str, more: Value) -> (Duration, String, Value) {
    let mut asked = json!({
        "argv": ["bash", "-c", format!("{AGE} {command}")], "profile": "untrusted", "workspace": service.place.workspace
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        asked[name] = value.clone();
    }
    let (printed, verdict) = client.run(asked);
    let (age, rest) = printed.split_once('\n').unwrap_or_else(|| panic!("{printed} {verdict}"));
    (Duration::from_millis(age.parse::<u64>().expect("a number") * 10), rest.to_owned(), verdict)
}

fn is_new(age: Duration) -> bool {
    age < A_WHILE / 2
}

#[test]
fn a_run_like_the_last_one_has_a_jail_that_was_made_ahead_and_is_its_own() {
    let service = Service::start("");
    let mut client = service.client();
    let (age, _, first) = run(&service, &mut client, "touch /tmp/mine; sleep 1000 & ", json!({}));
    assert!(is_new(age), "nothing is made for a client that has run nothing: {age:?}");
    std::thread::sleep(A_WHILE);
    let (age, printed, second) = run(&service, &mut client, "ls /tmp; pgrep sleep; exit 3", json!({}));
    assert!(!is_new(age), "it was there before: {age:?}");
    assert_eq!((printed.as_str(), &second["exit_code"]), ("", &json!(3)));
    for (of_first, of_second) in [("plan", "plan"), ("tier", "tier")] {
        assert_eq!(first[of_first], second[of_second]);
    }
    assert_eq!(first["enforcement"]["level"], second["enforcement"]["level"]);
    let promises = |verdict: &Value| verdict["enforcement"]["promises"].as_array().map(Vec::len);
    assert_eq!(promises(&first), promises(&second));
    // Each is used once.
    let (age, ..) = run(&service, &mut client, "", json!({}));
    assert!(is_new(age), "{age:?}");
    // Another client has none.
    std::thread::sleep(A_WHILE);
    let (age, ..) = run(&service, &mut service.client(), "", json!({}));
    assert!(is_new(age), "{age:?}");
}

#[test]
fn a_jail_made_ahead_takes_its_place_and_its_time_from_the_request() {
    let service = Service::start("");
    let mut client = service.client();
    fs::create_dir(service.place.workspace.join("below")).expect("own workspace");
    let (_, printed, verdict) =
        run(&service, &mut client, "pwd", json!({ "cwd": service.place.workspace.join("below") }));
    assert!(printed.ends_with("/below\n"), "{printed}");
    let inside = verdict["cwd"].clone();
    std::thread::sleep(A_WHILE);
    let more = json!({ "cwd": service.place.workspace.join("below"), "timeout_ms": 300, "env": { "A": "b" } });
    let begun = Instant::now();
    let (age, printed, verdict) = run(&service, &mut client, "pwd; echo $A; sleep 1000", more);
    assert!(!is_new(age), "{age:?}");
    assert!(printed.ends_with("/below\nb\n"), "{printed}");
    assert_eq!((&verdict["cwd"], &verdict["outcome"]), (&inside, &json!("timed_out")));
    assert!(begun.elapsed() < PATIENCE);
}

#[test]
fn what_appears_in_the_workspace_while_a_jail_waits_is_hidden_from_it() {
    let service = Service::start("");
    let mut client = service.client();
    let workspace = &service.place.workspace;
    run(&service, &mut client, "", json!({}));
    std::thread::sleep(A_WHILE);
    fs::write(workspace.join(".env"), "SECRET").expect("own workspace");
    fs::write(workspace.join("plain"), "PLAIN").expect("own workspace");
    let (age, printed, _) = run(&service, &mut client, "cat plain .env; true", json!({}));
    assert_eq!(printed, "PLAIN");
    assert!(is_new(age), "one that does not hide it is not used: {age:?}");
    // Control: what nothing names may appear.
    std::thread::sleep(A_WHILE);
    fs::write(workspace.join("more"), "MORE").expect("own workspace");
    let (age, printed, _) = run(&service, &mut client, "cat more", json!({}));
    assert_eq!(printed, "MORE");
    assert!(!is_new(age), "{age:?}");
}

#[test]
fn a_jail_made_ahead_for_one_agent_is_not_given_to_another() {
    let service = Service::start("[agent.one]\nprofile = \"untrusted\"\n[agent.other]\nprofile = \"untrusted\"\n");
    let mut client = service.client();
    run(&service, &mut client, "", json!({ "agent": "one" }));
    std::thread::sleep(A_WHILE);
    let (age, ..) = run(&service, &mut client, "", json!({ "agent": "other" }));
    assert!(is_new(age), "its gate would know the hosts of the other: {age:?}");
    // Control: its own is.
    std::thread::sleep(A_WHILE);
    let (age, ..) = run(&service, &mut client, "", json!({ "agent": "other" }));
    assert!(!is_new(age), "{age:?}");
}

#[test]
fn hooks_that_the_workspace_s_settings_name_while_a_jail_waits_are_protected_from_it() {
    if !crate::installed("git") {
        return;
    }
    let service = Service::start("");
    let mut client = service.client();
    let git = |arguments: &[&str]| {
        let output = service.place.command("git").args(arguments).output().expect("git is installed");
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "-q", "."]);
    let leave = "mkdir -p tools && echo x >tools/pre-commit && echo left";
    // Control: nothing names the directory yet.
    assert_eq!(run(&service, &mut client, leave, json!({})).1, "left\n");
    fs::remove_dir_all(service.place.workspace.join("tools")).expect("own workspace");
    std::thread::sleep(A_WHILE);
    git(&["config", "core.hooksPath", "tools"]);
    assert_eq!(run(&service, &mut client, leave, json!({})).1, "");
    assert!(!service.place.workspace.join("tools/pre-commit").exists());
}

#[test]
fn a_workspace_that_was_replaced_while_a_jail_waits_is_the_new_one() {
    let service = Service::start("");
    let mut client = service.client();
    let workspace = &service.place.workspace;
    let beside = service.place.workspace.with_extension("new");
    fs::create_dir(&beside).expect("a directory beside it");
    let owner = service.place.account();
    std::os::unix::fs::chown(&beside, Some(owner.uid), Some(owner.gid)).expect("own directory");
    fs::write(workspace.join("marker"), "old").expect("own workspace");
    fs::write(beside.join("marker"), "new").expect("own directory");
    assert_eq!(run(&service, &mut client, "cat marker", json!({})).1, "old");
    std::thread::sleep(A_WHILE);
    fs::rename(workspace, workspace.with_extension("old")).expect("own directory");
    fs::rename(&beside, workspace).expect("own directory");
    assert_eq!(run(&service, &mut client, "cat marker", json!({})).1, "new");
}

#[test]
fn a_reload_a_client_that_leaves_and_time_let_go_of_jails_made_ahead() {
    let service = Service::start("[pool]\nidle = \"3s\"\n");
    let waits = || service.processes().into_iter().any(|pid| crate::service::comm(pid) == "clawjail-init");
    let until = |wanted: bool| {
        let begun = Instant::now();
        while waits() != wanted && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(waits(), wanted);
    };
    let mut client = service.client();
    run(&service, &mut client, "", json!({}));
    until(true);
    drop(client);
    until(false);
    let mut client = service.client();
    run(&service, &mut client, "", json!({}));
    until(true);
    // Three seconds later.
    until(false);
    run(&service, &mut client, "", json!({}));
    std::thread::sleep(A_WHILE);
    service.client().call("reload", json!({}));
    let (age, ..) = run(&service, &mut client, "", json!({}));
    assert!(is_new(age), "{age:?}");
    let none = Service::start("[pool]\nsize = 0\n");
    let mut client = none.client();
    run(&none, &mut client, "", json!({}));
    std::thread::sleep(A_WHILE);
    assert!(is_new(run(&none, &mut client, "", json!({})).0));
}
