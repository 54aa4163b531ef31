//! The subcommands, from outside.

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::*;

/// Runs clawjail beside the ledger of `place`.
fn clawjail(place: &Place, arguments: &[&str]) -> Output {
    command(place, arguments).stdin(Stdio::null()).output().expect("clawjail starts")
}

fn command(place: &Place, arguments: &[&str]) -> Command {
    let workspace = place.path().parent().expect("a directory").join("workspace");
    fs::create_dir_all(&workspace).expect("own directory");
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawjail"));
    command.current_dir(workspace).args(arguments);
    command
}

fn ledger(place: &Place) -> &str {
    place.path().to_str().expect("a name in UTF-8")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// One run with the ledger.
fn run(place: &Place, words: &[&str]) -> Output {
    clawjail(place, &[&["run", "--ledger", ledger(place)], words].concat())
}

#[test]
fn runs_and_refusals_are_recorded_shown_and_verified() {
    let place = Place::new();
    assert_eq!(run(&place, &["--", "sh", "-c", "exit 3"]).status.code(), Some(3));
    assert_eq!(run(&place, &["--", "touch", "SOUL.md"]).status.code(), Some(1));
    assert_eq!(run(&place, &["--profile", "nope", "--", "true"]).status.code(), Some(126));
    let log = |words: &[&str]| text(&clawjail(&place, &[&["log", "--ledger", ledger(&place)], words].concat()).stdout);
    let lines: Vec<String> = log(&[]).lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(
        lines[0].contains("refused") && lines[1].contains("1 denied") && lines[2].contains("exited 3"),
        "{lines:?}"
    );
    assert_eq!(log(&["--denied"]).lines().count(), 2);
    assert_eq!(log(&["--outcome", "refused"]).lines().count(), 1);
    assert_eq!(log(&["--limit", "1"]).lines().next(), lines.first().map(String::as_str));
    assert_eq!((log(&["--since", "1h"]).lines().count(), log(&["--until", "1h"]).lines().count()), (3, 0));
    assert_eq!((log(&["--since", "2001-01-31"]).lines().count(), log(&["--limit", "0"]).lines().count()), (3, 0));
    let record: Value = serde_json::from_str(log(&["--json", "-n", "1"]).trim()).expect("JSON");
    let id = record["id"].as_str().expect("an id");
    let shown = clawjail(&place, &["verdict", "--ledger", ledger(&place), id]);
    assert_eq!(serde_json::from_slice::<Value>(&shown.stdout).expect("JSON"), record);
    let verified = clawjail(&place, &["ledger", "verify", "--ledger", ledger(&place)]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert!(text(&verified.stdout).starts_with("sound: 3 verdicts in 4 lines of 1 files\nhead: 4:"), "{verified:?}");
}

#[test]
fn a_verdict_from_a_ledger_fits_the_schema_that_is_printed() {
    let place = Place::new();
    run(&place, &["--", "touch", "SOUL.md"]);
    let record: Value = serde_json::from_str(&place.lines(1)[1]).expect("JSON");
    let schema: Value = serde_json::from_slice(&clawjail(&place, &["verdict", "schema"]).stdout).expect("JSON");
    let known = schema["properties"].as_object().expect("a table");
    for key in record.as_object().expect("a table").keys() {
        assert!(known.contains_key(key), "{key}");
    }
    for required in schema["required"].as_array().expect("a list") {
        assert!(record.get(required.as_str().expect("a name")).is_some(), "{required}");
    }
}

#[test]
fn verify_tells_sound_torn_and_tampered_apart_by_words_and_exit_code() {
    let place = Place::new();
    place.fill(3);
    let verify = |words: &[&str]| {
        let said = clawjail(&place, &[&["ledger", "verify", "--ledger", ledger(&place)], words].concat());
        let json = clawjail(&place, &[&["ledger", "verify", "--json", "--ledger", ledger(&place)], words].concat());
        let json: Value = serde_json::from_slice(&json.stdout).expect("JSON");
        (said.status.code(), json["result"].as_str().unwrap_or("").to_owned(), text(&said.stdout))
    };
    let bytes = place.bytes(1);
    let head = text(&clawjail(&place, &["ledger", "head", "--ledger", ledger(&place)]).stdout);
    let (code, word, _) = verify(&["--expect", head.trim()]);
    assert_eq!((code, word.as_str()), (Some(0), "sound"));
    place.write(1, &bytes[..bytes.len() - 10]);
    let (code, word, said) = verify(&[]);
    assert_eq!((code, word.as_str()), (Some(2), "torn"), "{said}");
    assert!(said.contains("00000001.jsonl: torn after byte "), "{said}");
    let (code, word, said) = verify(&["--expect", head.trim()]);
    assert_eq!((code, word.as_str()), (Some(1), "tampered"), "{said}");
    assert!(said.contains("was expected and is missing: the newest one is number 3"), "{said}");
    place.write(1, text(&bytes).replacen("run-1", "run-9", 1));
    let (code, word, said) = verify(&[]);
    assert_eq!((code, word.as_str()), (Some(1), "tampered"));
    assert!(said.starts_with("00000001.jsonl:3: the line does not have the digest that it names"), "{said}");
}

#[test]
fn nothing_is_run_when_the_ledger_cannot_take_it() {
    let place = Place::new();
    place.fill(1);
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o777)).expect("own directory");
    let refused = run(&place, &["--", "touch", "executed"]);
    assert_eq!(refused.status.code(), Some(126), "{refused:?}");
    assert!(text(&refused.stderr).contains("clawjail: refused: cannot use ledger"), "{refused:?}");
    let executed = || place.path().parent().expect("a directory").join("workspace/executed").exists();
    assert!(!executed());
    fs::set_permissions(place.path(), std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("own directory");
    assert_eq!(run(&place, &["--", "touch", "executed"]).status.code(), Some(0));
    assert!(executed());
}

#[test]
fn runs_at_the_same_time_share_a_ledger_without_waiting_for_each_others_end() {
    let place = Place::new();
    let start = |words: &[&str]| {
        let arguments = [&["run", "--ledger", ledger(&place), "--"], words].concat();
        command(&place, &arguments).stdin(Stdio::null()).spawn().expect("clawjail starts")
    };
    let mut long = start(&["sleep", "60"]);
    for mut short in (0..4).map(|_| start(&["true"])).collect::<Vec<_>>() {
        assert!(short.wait().expect("our own child").success());
    }
    assert!(long.try_wait().expect("our own child").is_none());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(long.id() as i32), nix::sys::signal::Signal::SIGTERM)
        .expect("our own child");
    long.wait().expect("our own child");
    assert_eq!(place.words(), ["sleep", "true", "true", "true", "true"]);
    place.assert_sound();
}

#[test]
fn a_secret_on_the_command_line_is_not_in_the_ledger() {
    let place = Place::new();
    let mut command =
        command(&place, &["run", "--ledger", ledger(&place), "--", "echo", "correct-horse", "token=hunter2"]);
    let ran = command.env("MY_PASSWORD", "correct-horse").stdin(Stdio::null()).output().expect("clawjail starts");
    assert_eq!(text(&ran.stdout), "correct-horse token=hunter2\n");
    let stands = text(&place.bytes(1));
    assert!(
        stands.contains("[redacted]") && !stands.contains("correct-horse") && !stands.contains("hunter2"),
        "{stands}"
    );
}

#[test]
fn the_log_can_be_followed_and_whoever_stops_reading_ends_it() {
    let place = Place::new();
    place.fill(1);
    let mut command = command(&place, &["log", "--follow", "--json", "--ledger", ledger(&place)]);
    let mut follower = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("clawjail starts");
    let mut lines = BufReader::new(follower.stdout.take().expect("asked for")).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().expect("a line").expect("text")).expect("JSON") };
    // What is there already comes first.
    assert_eq!(next()["argv"][0], "run-0");
    place.fill(3);
    let new: Vec<Value> = (0..3).map(|_| next()["argv"][0].clone()).collect();
    assert_eq!(new, ["run-0", "run-1", "run-2"]);
    drop(lines);
    place.fill(1);
    assert_eq!(follower.wait().expect("our own child").code(), Some(0));
}

#[test]
fn a_ledger_or_verdict_that_is_not_there_is_refused_with_a_hint() {
    let place = Place::new();
    for arguments in [
        vec!["log", "--ledger", ledger(&place)],
        vec!["verdict", "abcdef", "--ledger", ledger(&place)],
        vec!["ledger", "verify", "--ledger", ledger(&place)],
        vec!["ledger", "head", "--ledger", ledger(&place)],
    ] {
        let refused = clawjail(&place, &arguments);
        assert_eq!(refused.status.code(), Some(126), "{arguments:?}");
        assert!(text(&refused.stderr).contains("hint: --ledger names another directory"), "{refused:?}");
    }
    place.fill(1);
    let refused = clawjail(&place, &["verdict", "--ledger", ledger(&place), "ffffffff"]);
    assert_eq!(refused.status.code(), Some(126));
    assert!(text(&refused.stderr).contains("no verdict `ffffffff` is in the ledger"));
}
