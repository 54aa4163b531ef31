//! The subcommands that answer questions, from outside: what they print, where, and with which exit code.

#![expect(clippy::expect_used, reason = "a test may stop where it stands")]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use clap::CommandFactory;
use serde_json::Value;
use tempfile::TempDir;

/// Runs clawjail in `directory`.
fn clawjail(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawjail"));
    command.current_dir(directory).args(arguments).stdin(Stdio::null()).output().expect("clawjail starts")
}

fn workspace() -> TempDir {
    tempfile::Builder::new().prefix("clawjail-cli").tempdir().expect("a directory")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_help_shows_examples() {
    fn look(command: &clap::Command, path: &str) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example"), "`{path} --help` shows no example");
        for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
            look(below, &format!("{path} {}", below.get_name()));
        }
    }
    let mut whole = clawjail::cli::Cli::command();
    // What each subcommand takes is defined when it is asked for.
    whole.build();
    look(&whole, "clawjail");
}

#[test]
fn who_misuses_a_subcommand_is_shown_to_its_own_help() {
    let here = workspace();
    for (words, help) in [
        (&["begin"][..], "hint: see `clawjail begin --help`"),
        (&["profile", "check"], "hint: see `clawjail profile check --help`"),
        (&["kill"], "hint: see `clawjail kill --help`"),
        (&["profil"], "hint: a similar subcommand exists: 'profile'"),
    ] {
        let output = clawjail(here.path(), words);
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(126), 2), "{said}");
        assert!(said.lines().next().is_some_and(|line| line.starts_with("clawjail: refused: ")), "{said}");
        assert!(said.contains(help), "{said}");
    }
}

#[test]
fn the_list_has_a_line_for_every_shipped_profile() {
    let here = workspace();
    let listed = text(&clawjail(here.path(), &["profile", "list"]).stdout);
    let data: Value =
        serde_json::from_slice(&clawjail(here.path(), &["profile", "list", "--json"]).stdout).expect("json");
    for name in ["base", "offline", "readonly", "skill-test", "trusted", "untrusted"] {
        assert!(listed.lines().any(|line| line.starts_with(name)), "{name}");
        assert!(data.as_array().is_some_and(|rows| rows.iter().any(|row| row["name"] == name)), "{name}");
    }
}

#[test]
fn a_good_file_is_called_good_and_every_error_of_a_bad_one_is_a_line_with_its_place() {
    let here = workspace();
    std::fs::write(here.path().join("good.toml"), "summary = \"x\"\nextends = \"untrusted\"\n").expect("a file");
    std::fs::write(here.path().join("bad.toml"), "summary = \"x\"\nreed = 1\n[filesystem]\nread = [\"@sytem\"]\n")
        .expect("a file");
    let good = clawjail(here.path(), &["profile", "check", "good.toml"]);
    assert_eq!((good.status.code(), text(&good.stdout).as_str()), (Some(0), "good.toml: good\n"));
    let bad = clawjail(here.path(), &["profile", "check", "good.toml", "bad.toml"]);
    let said = text(&bad.stderr);
    assert_eq!(bad.status.code(), Some(126));
    assert!(said.contains("bad.toml:2:1: unknown key `reed`"), "{said}");
    assert!(said.contains("bad.toml:4:9: unknown set `@sytem`, did you mean `@system`?"), "{said}");
}

#[test]
fn a_profile_that_is_not_there_is_refused_with_what_may_be_meant() {
    let here = workspace();
    for action in [["profile", "show", "untrustet"], ["profile", "explain", "untrustet"]] {
        let refused = clawjail(here.path(), &action);
        assert_eq!(refused.status.code(), Some(126), "{action:?}");
        let said = text(&refused.stderr);
        assert!(said.contains("refused: unknown profile `untrustet`, did you mean `untrusted`?"), "{said}");
        assert!(refused.stdout.is_empty());
    }
}

#[test]
fn what_is_explained_is_what_a_run_enforces() {
    let here = workspace();
    for tier in ["user", "bare"] {
        let explained =
            clawjail(here.path(), &["profile", "explain", "untrusted", "--tier", tier, "--json", "--", "true"]);
        let explained: Value = serde_json::from_slice(&explained.stdout).expect("a plan");
        let ran = clawjail(here.path(), &["run", "--tier", tier, "--verdict", "-", "--", "true"]);
        let verdict: Value = serde_json::from_slice(&ran.stdout).expect("a verdict");
        assert_eq!(explained["digest"], verdict["plan"], "{tier}: {}", text(&ran.stderr));
        assert_eq!(explained["plan"]["tier"], tier);
        assert!(explained["command"]["program"].as_str().is_some_and(|path| path.ends_with("/true")), "{explained}");
    }
}

#[test]
fn an_explanation_names_reason_and_origin_of_grants_and_the_mechanisms_of_promises() {
    let here = workspace();
    let said = text(&clawjail(here.path(), &["profile", "explain", "untrusted", "--", "no-such-program"]).stdout);
    for expected in [
        "the caller's workspace",
        "@system",
        "with landlock abi",
        "passwords by host",
        "LANG=C.UTF-8",
        "not found in the jail",
    ] {
        assert!(said.contains(expected), "no `{expected}` in\n{said}");
    }
}

#[test]
fn an_explanation_is_refused_where_a_run_would_be() {
    let refused = clawjail(Path::new("/"), &["profile", "explain", "untrusted"]);
    assert_eq!(refused.status.code(), Some(126));
    assert!(text(&refused.stderr).contains("refused: workspace `/` is the root of the filesystem"));
}

#[test]
fn the_doctor_says_first_whether_untrusted_is_kept_and_exits_by_it() {
    let here = workspace();
    let said = clawjail(here.path(), &["doctor"]);
    let data: Value = serde_json::from_slice(&clawjail(here.path(), &["doctor", "--json"]).stdout).expect("json");
    let kept = data["kept"].as_bool().expect("a word");
    assert_eq!(said.status.code(), Some(i32::from(!kept)));
    assert!(text(&said.stdout).starts_with(if kept {
        "`untrusted` is kept here"
    } else {
        "`untrusted` cannot be kept here"
    }));
    for found in data["mechanisms"].as_array().expect("a list") {
        let known = found["works"] == true || found["cause"].is_string();
        assert!(known, "{found}");
    }
}

#[test]
fn schemas_completions_and_man_pages_are_printed() {
    let here = workspace();
    let asked: [(&[&str], &str); 9] = [
        (&["schema", "requests"], "\"fs.write\""),
        (&["schema", "replies"], "\"fs.read.result\""),
        (&["schema", "configuration"], "\"ConfigFile\""),
        (&["profile", "schema"], "\"ProfileFile\""),
        (&["profile", "schema", "verdict"], "\"Verdict\""),
        (&["verdict", "schema"], "\"Verdict\""),
        (&["completions", "bash"], "_clawjail()"),
        (&["man"], ".TH clawjail 1"),
        (&["man", "profile", "check"], ".TH clawjail-profile-check 1"),
    ];
    for (arguments, expected) in asked {
        let said = clawjail(here.path(), arguments);
        assert_eq!(said.status.code(), Some(0), "{arguments:?}");
        assert!(text(&said.stdout).contains(expected), "{arguments:?}: no `{expected}`");
    }
}

#[test]
fn an_answer_that_nobody_reads_is_no_failure_and_a_full_disk_is_one() {
    let here = workspace();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let run = |stdout: Stdio| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawjail"));
        command.current_dir(here.path()).args(["profile", "list"]).stdout(stdout).output().expect("clawjail starts")
    };
    assert_eq!(run(writer.into()).status.code(), Some(0));
    let full = std::fs::File::options().write(true).open("/dev/full").expect("a full disk");
    let failed = run(full.into());
    assert_eq!(failed.status.code(), Some(125));
    assert!(text(&failed.stderr).contains("failed: cannot write the answer"));
}
