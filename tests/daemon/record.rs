//! The record behind a service: what is in it, when, and what becomes of it when somebody is killed or the disk is full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use serde_json::{Value, json};

use crate::as_root;
use crate::service::{Client, PATIENCE, Service, account_named, somebody_else, workspace_of};
use crate::support::account;
use crate::support::place::clawjail;

const LEDGER: &str = "[ledger]\npath = \"@OUTSIDE/ledger\"\n";

fn params(service: &Service, argv: &[&str]) -> Value {
    json!({ "argv": argv, "profile": "untrusted", "workspace": service.place.workspace })
}

fn ledger(service: &Service) -> PathBuf {
    service.place.outside.join("ledger")
}

/// Every verdict in the files, oldest first.
fn records(directory: &Path) -> Vec<Value> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(directory).expect("a ledger").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let text: String = files.iter().map(|path| fs::read_to_string(path).expect("own file")).collect();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect(line));
    lines.filter(|line| line.get("event").is_none()).collect()
}

/// What `clawjail ledger verify` says of it.
pub fn verified(directory: &Path) -> String {
    let verify = Command::new(clawjail()).args(["ledger", "verify", "--ledger"]).arg(directory).output();
    let verify = verify.expect("the binary can be executed");
    let text = String::from_utf8_lossy(&verify.stdout).into_owned();
    assert_eq!(verify.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&verify.stderr));
    text
}

fn await_records(directory: &Path, count: usize) -> Vec<Value> {
    let began = Instant::now();
    loop {
        let found = records(directory);
        if found.len() >= count {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{} records of {count}", found.len());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// A client of a service that may be starting again.
fn client_again(service: &Service) -> Client {
    let began = Instant::now();
    loop {
        let mut client = service.client();
        let id = client.ask_if_open("ping", json!({}));
        if id.is_some_and(|id| !client.line_of(id).is_null()) {
            return client;
        }
        assert!(began.elapsed() < PATIENCE, "the service does not come back: {}", service.log());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn runs_refusals_and_changes_of_files_are_in_the_ledger_before_their_answers() {
    let service = Service::start(LEDGER);
    let mut client = service.client();
    let (_, ran) = client.run(params(&service, &["sh", "-c", "exit 3"]));
    let found = records(&ledger(&service));
    assert_eq!((found.len(), &found[0]), (1, &ran));
    assert_eq!((found[0]["exit_code"].as_i64(), found[0]["seq"].as_u64()), (Some(3), Some(2)));

    let mut unknown = params(&service, &["true"]);
    unknown["profile"] = json!("no-such-profile");
    assert_eq!(client.refused("run", unknown), "refused.profile_unusable");
    let mut relative = params(&service, &["true"]);
    relative["workspace"] = json!("relative");
    assert_eq!(client.refused("run", relative), "refused.workspace_unusable");
    let found = records(&ledger(&service));
    let codes: Vec<_> = found[1..].iter().map(|record| record["reason"]["code"].as_str().expect("a code")).collect();
    assert_eq!(codes, ["refused.profile_unusable", "refused.workspace_unusable"]);

    let asked = json!({ "profile": "untrusted", "workspace": service.place.workspace });
    let jail = client.call("jail.open", asked)["jail"].clone();
    client.call("fs.read", json!({ "jail": jail, "path": "/etc/passwd" }));
    client.call("fs.write", json!({ "jail": jail, "path": "note", "content": "x" }));
    client.refused("fs.write", json!({ "jail": jail, "path": "/etc/note", "content": "x" }));
    let found = records(&ledger(&service));
    assert_eq!(found.len(), 5, "reading is not recorded: {found:?}");
    assert_eq!(found[3]["argv"], json!(["fs.write", "note"]));
    assert_eq!(
        (found[4]["argv"][1].as_str(), found[4]["denials"].as_array().map(Vec::len)),
        (Some("/etc/note"), Some(1))
    );
    assert!(verified(&ledger(&service)).contains("5 verdicts"));
}

#[test]
fn secrets_do_not_reach_the_ledger() {
    let service = Service::start(LEDGER);
    let mut asked = params(&service, &["sh", "-c", "true", "hunter2hunter2"]);
    asked["env"] = json!({ "API_TOKEN": "hunter2hunter2" });
    service.client().run(asked);
    let found = records(&ledger(&service));
    assert_eq!(found[0]["argv"], json!(["sh", "-c", "true", "[redacted]"]));
}

#[test]
fn many_callers_at_once_make_one_sound_chain() {
    let service = Service::start(&format!("{LEDGER}fsync = \"always\"\nrotate_size = \"64K\"\n"));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = service.client();
                for _ in 0..10 {
                    assert_eq!(client.run(params(&service, &["true"])).1["outcome"], "exited");
                }
            });
        }
    });
    let text = verified(&ledger(&service));
    assert!(text.contains("40 verdicts") && !text.contains("of 1 files"), "{text}");
}

#[test]
fn the_recorder_has_no_privilege_but_its_files() {
    let service = Service::start(LEDGER);
    // It has answered for this, and it answers nothing before it has given everything up.
    service.client().run(params(&service, &["true"]));
    let recorder = service.process("clawjail-record");
    let status = fs::read_to_string(format!("/proc/{recorder}/status")).expect("it runs");
    for wanted in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"] {
        assert!(status.contains(wanted), "{wanted}: {status}");
    }
    if nix::unistd::geteuid().is_root() {
        use std::os::unix::fs::MetadataExt;
        // Whoever the supervisor is cannot even list it.
        let facts = fs::metadata(ledger(&service)).expect("it is there");
        assert_eq!((facts.uid(), facts.mode() & 0o022), (0, 0));
        assert!(status.contains("CapBnd:\t0000000000000000"), "{status}");
    }
}

#[test]
fn a_run_that_is_cut_short_with_the_supervisor_is_recorded_as_that() {
    let service = Service::start(LEDGER);
    let mut client = service.client();
    client.run(params(&service, &["true"]));
    client.call("run", params(&service, &["sleep", "1000"]));
    kill(service.process("clawjail-super"), Signal::SIGKILL).expect("our own service");
    let found = await_records(&ledger(&service), 2);
    assert_eq!(found[1]["argv"], json!(["sleep", "1000"]));
    assert_eq!((&found[1]["outcome"], &found[1]["reason"]["code"]), (&json!("failed"), &json!("failed.service")));
    // And the service goes on with the same chain.
    let (_, verdict) = client_again(&service).run(params(&service, &["true"]));
    assert_eq!(verdict["seq"], 4);
    assert!(verified(&ledger(&service)).contains("3 verdicts"));
}

/// Kills the recorder, and waits until there is another.
fn kill_recorder(service: &Service) {
    let before = service.process("clawjail-record");
    kill(before, Signal::SIGKILL).expect("our own service");
    let began = Instant::now();
    while service.process("clawjail-record") == before {
        assert!(began.elapsed() < PATIENCE, "no other recorder: {}", service.log());
    }
}

#[test]
fn a_run_that_is_cut_short_with_the_recorder_is_recorded_by_the_next_one_and_only_once() {
    let service = Service::start(LEDGER);
    let mut client = service.client();
    client.run(params(&service, &["true", "whole"]));
    client.call("run", params(&service, &["sleep", "1000"]));
    // What the recorder is told comes in order, so it knows of the run when it has answered this.
    client.run(params(&service, &["true", "after"]));
    kill_recorder(&service);
    let found = await_records(&ledger(&service), 3);
    assert_eq!((&found[2]["argv"], &found[2]["reason"]["code"]), (&json!(["sleep", "1000"]), &json!("failed.service")));
    client_again(&service).run(params(&service, &["true", "again"]));
    kill_recorder(&service);
    client_again(&service).run(params(&service, &["true", "at last"]));
    assert!(verified(&ledger(&service)).contains("5 verdicts"));
}

#[test]
fn a_recorder_that_is_killed_comes_back_and_nothing_runs_unrecorded_meanwhile() {
    let mut service = Service::start(LEDGER);
    let mut client = service.client();
    client.run(params(&service, &["true"]));
    for _ in 0..3 {
        kill_recorder(&service);
        let (_, verdict) = client_again(&service).run(params(&service, &["true"]));
        assert_eq!(verdict["outcome"], "exited");
        assert!(verdict["seq"].is_u64(), "{verdict}");
    }
    assert_eq!(service.stop(), Some(0));
    assert!(verified(&ledger(&service)).contains("4 verdicts"));
}

/// A service whose ledger is on a filesystem of one mebibyte that only it sees.
fn on_a_small_disk(when_full: &str) -> Option<Service> {
    if !as_root("a full disk") {
        return None;
    }
    let mount = "mkdir \"$1/small\" && mount -t tmpfs -o size=1m,mode=700 tmpfs \"$1/small\" && shift && exec \"$@\"";
    let program = ["unshare", "--mount", "sh", "-c", mount, "sh", "@OUTSIDE"];
    let config = format!("[ledger]\npath = \"@OUTSIDE/small/ledger\"\nwhen_full = \"{when_full}\"\n");
    Some(Service::start_through(&program, &config))
}

/// The small filesystem, as the service sees it.
fn small(service: &Service) -> PathBuf {
    let inside = service.place.outside.join("small");
    let inside = inside.strip_prefix("/").expect("an absolute path");
    PathBuf::from(format!("/proc/{}/root", service.guard.id())).join(inside)
}

fn fill_up(service: &Service) -> PathBuf {
    let junk = small(service).join("junk");
    let mut file = fs::File::create(&junk).expect("root can");
    while std::io::Write::write_all(&mut file, &[b'x'; 512]).is_ok() {}
    junk
}

#[test]
fn on_a_full_disk_runs_are_refused_until_there_is_room() {
    let Some(service) = on_a_small_disk("refuse") else { return };
    let mut client = service.client();
    client.run(params(&service, &["true"]));
    let junk = fill_up(&service);
    // Those for which there is room already are run; the next is not. Long records, so that it is soon.
    let long = "x".repeat(20_000);
    let mut runs = 1;
    let code = loop {
        let id = client.ask("run", params(&service, &["true", &long]));
        let answer = client.answer(id);
        let Some(run) = answer["result"]["run"].as_str() else {
            assert!(answer["error"]["data"]["retry_after_ms"].is_u64(), "{answer}");
            break answer["error"]["data"]["code"].clone();
        };
        let verdict = client.verdict(run);
        assert!(verdict["seq"].is_u64(), "{verdict}");
        runs += 1;
        assert!(runs < 100, "a full disk takes records without end");
    };
    assert_eq!(code, "refused.ledger");
    fs::remove_file(junk).expect("root can");
    let (_, verdict) = client.run(params(&service, &["true"]));
    assert!(verdict["seq"].is_u64(), "{verdict}");
    let text = verified(&small(&service).join("ledger"));
    // The refusal too: the ledger keeps room for what it has to say itself.
    assert!(text.contains(&format!("{} verdicts in", runs + 2)), "{runs}: {text}");
}

#[test]
fn on_a_full_disk_runs_go_on_where_the_operator_says_so_and_the_ledger_counts_them() {
    let Some(service) = on_a_small_disk("run-and-warn") else { return };
    let mut client = service.client();
    client.run(params(&service, &["true"]));
    let junk = fill_up(&service);
    let (long, mut unrecorded) = ("x".repeat(40_000), 0);
    for _ in 0..40 {
        let (_, verdict) = client.run(params(&service, &["true", &long]));
        assert_eq!(verdict["outcome"], "exited");
        unrecorded += u64::from(verdict["seq"].is_null());
    }
    assert!(unrecorded > 0);
    fs::remove_file(junk).expect("root can");
    assert!(client.run(params(&service, &["true"])).1["seq"].is_u64());
    let text = verified(&small(&service).join("ledger"));
    assert!(text.contains(&format!("{unrecorded} verdicts were lost")), "{text}");
}

#[test]
fn a_ledger_that_cannot_be_written_is_said_before_anybody_is_served() {
    let service = Service::start("");
    let directory = service.place.outside.join("shared");
    fs::create_dir(&directory).expect("own directory");
    fs::set_permissions(&directory, std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("own directory");
    service.reconfigure(&format!("[ledger]\npath = \"{}\"\n", directory.display()));
    let mut command = Command::new(clawjail());
    command.arg("serve").arg("--config").arg(service.directory.join("clawjail.toml"));
    let ended = command.arg("--socket").arg(service.place.outside.join("other")).output().expect("it can be executed");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(126), "{said}");
    assert!(said.contains("others can write it"), "{said}");
}

#[test]
fn a_verdict_is_found_by_its_id_and_verdicts_by_what_they_are_a_page_at_a_time() {
    let service = Service::start(LEDGER);
    let mut client = service.client();
    for number in 0..5 {
        client.run(params(&service, &["sh", "-c", &format!("exit {number}")]));
    }
    let written = records(&ledger(&service));
    let id = written[2]["id"].as_str().expect("an id");
    assert_eq!(client.call("verdict.get", json!({ "id": id }))["verdict"], written[2]);
    assert_eq!(client.refused("verdict.get", json!({ "id": "ffffffff" })), "refused.unknown_verdict");
    assert_eq!(client.refused("verdict.get", json!({ "id": "../.." })), "invalid.parameters");

    let (mut found, mut page, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let mut asked = json!({ "limit": 2 });
        if page.is_string() {
            asked["page"] = page;
        }
        let answer = client.call("verdict.query", asked);
        let verdicts = answer["verdicts"].as_array().expect("a page").clone();
        assert!(verdicts.len() <= 2);
        found.extend(verdicts);
        pages += 1;
        page = answer["next"].clone();
        if page.is_null() {
            break;
        }
    }
    found.reverse();
    assert_eq!((found, pages), (written, 3));
    let failed = client.call("verdict.query", json!({ "outcome": "refused" }));
    assert_eq!(failed["verdicts"], json!([]));
    assert_eq!(client.refused("verdict.query", json!({ "outcome": "odd" })), "invalid.parameters");
    assert_eq!(client.refused("verdict.query", json!({ "page": "1:99999999" })), "failed.ledger");
    assert_eq!(Service::start("").client().refused("verdict.query", json!({})), "refused.no_ledger");
}

#[test]
fn everybody_reads_what_their_role_lets_them_and_nothing_else() {
    if !as_root("several users") {
        return;
    }
    let (operator, guest) = (account::ordinary(), somebody_else());
    let service = Service::start(&format!(
        "[[caller]]\nuser = \"{}\"\nrole = \"operator\"\nprofiles = [\"untrusted\"]\n\
         [[caller]]\nuser = \"nobody\"\nrole = \"guest\"\nprofiles = [\"readonly\"]\n\
         [[caller]]\nuser = \"bin\"\nrole = \"viewer\"\n{LEDGER}",
        operator.name
    ));
    let (mine, theirs) = (workspace_of(operator, "roles.operator"), workspace_of(&guest, "roles.guest"));
    let mut as_operator = service.client_as(operator);
    let mut as_guest = service.client_as(&guest);
    let (_, first) = as_operator.run(json!({ "argv": ["true", "operator"], "workspace": mine }));
    let (_, old) = as_guest.run(json!({ "argv": ["true", "old"], "workspace": theirs }));
    let (_, last) = as_guest.run(json!({ "argv": ["true", "last"], "workspace": theirs }));
    let all = |client: &mut Client, asked: Value| client.call("verdict.query", asked)["verdicts"].clone();
    assert_eq!(all(&mut as_operator, json!({})), json!([first]));
    assert_eq!(all(&mut as_operator, json!({ "caller": guest.uid })), json!([first]), "asking for others helps nobody");
    assert_eq!(all(&mut as_guest, json!({})), json!([last]));
    let mut as_viewer = service.client_as(&account_named("bin"));
    assert_eq!(all(&mut as_viewer, json!({})), json!([last, old, first]));
    assert_eq!(all(&mut as_viewer, json!({ "caller": guest.uid })), json!([last, old]));
    let reads = |client: &mut Client, verdict: &Value| {
        let id = client.ask("verdict.get", json!({ "id": verdict["id"] }));
        client.answer(id).get("result").is_some()
    };
    assert_eq!([&first, &last].map(|verdict| reads(&mut as_operator, verdict)), [true, false]);
    assert_eq!([&last, &old, &first].map(|verdict| reads(&mut as_guest, verdict)), [true, false, false]);
    assert_eq!([&old, &first].map(|verdict| reads(&mut as_viewer, verdict)), [true, true]);
    assert_eq!(as_viewer.refused("run", json!({ "argv": ["true"], "workspace": "/tmp" })), "refused.not_granted");
}

#[test]
fn log_and_verdict_ask_the_service_where_the_files_cannot_be_read() {
    let service = Service::start(LEDGER);
    let mut client = service.client();
    let (_, first) = client.run(params(&service, &["true", "first"]));
    client.run(params(&service, &["false", "second"]));
    let ask = |words: &[&str]| {
        let output = Command::new(clawjail()).args(words).arg("--socket").arg(&service.socket).output();
        let output = output.expect("the binary can be executed");
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let text = ask(&["log"]);
    assert_eq!(text.lines().count(), 2);
    assert!(text.lines().next().is_some_and(|line| line.ends_with("false second")), "{text}");
    assert_eq!(ask(&["log", "--limit", "1", "--since", "1h"]).lines().count(), 1);
    // Byte for byte what is in the file, so that a seal can be checked.
    let file = fs::read_to_string(ledger(&service).join("00000001.jsonl")).expect("own file");
    let lines: Vec<&str> = file.lines().skip(1).collect();
    assert_eq!(ask(&["log", "--json"]).lines().rev().collect::<Vec<_>>(), lines);
    let shown: Value = serde_json::from_str(&ask(&["verdict", first["id"].as_str().expect("an id")])).expect("JSON");
    assert_eq!(shown, first);
}

#[test]
fn whoever_follows_sees_the_newest_and_each_verdict_as_it_is_made_once() {
    use std::io::{BufRead, BufReader};
    let service = Service::start(LEDGER);
    let mut client = service.client();
    client.run(params(&service, &["true", "before"]));
    let mut log = Command::new(clawjail());
    log.args(["log", "--follow", "--socket"]).arg(&service.socket).stdout(std::process::Stdio::piped());
    let mut log = log.spawn().expect("the binary can be executed");
    let mut lines = BufReader::new(log.stdout.take().expect("asked for")).lines();
    let mut next = || lines.next().expect("it goes on").expect("text");
    assert!(next().ends_with("true before"));
    for word in ["one", "two"] {
        client.run(params(&service, &["true", word]));
        assert!(next().ends_with(&format!("true {word}")));
    }
    log.kill().and_then(|()| log.wait()).expect("our own child");
}
