//! Our reading of git's settings files beside git's own: what we understand, git must understand alike.
//!
//! Thousands of files are made of pieces that parsers have stumbled over. For each that our parser takes, `git config
//! --list -z` must list exactly what we read; what only git takes is denied in a jail, which is safe.

#![expect(clippy::expect_used, reason = "a test may stop where it stands")]

use std::path::Path;
use std::process::Command;

use clawjail::policy::git::syntax::parse;
use clawjail::policy::git::{WorkTree, judge};
use proptest::prelude::*;

/// What git lists of a file: `key\nvalue\0`, or `key\0` without a value. `None` when git does not take it.
fn listed_by_git(text: &[u8], file: &Path) -> Option<Vec<(String, Option<String>)>> {
    std::fs::write(file, text).expect("a file of our own");
    let mut git = Command::new("git");
    git.args(["config", "--list", "-z", "--no-includes", "-f"]).arg(file).env_clear().env("PATH", "/usr/bin:/bin");
    let output = git.env("HOME", "/nonexistent").output().expect("git is installed where these tests run");
    if !output.status.success() {
        return None;
    }
    let listed = String::from_utf8(output.stdout).expect("only UTF-8 was written");
    let settings = listed.split_terminator('\0').map(|entry| match entry.split_once('\n') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (entry.to_owned(), None),
    });
    Some(settings.collect())
}

fn listed_by_us(text: &[u8]) -> Option<Vec<(String, Option<String>)>> {
    let entries = parse(text).ok()?;
    Some(entries.into_iter().map(|entry| (entry.key(), entry.value)).collect())
}

fn scratch() -> tempfile::TempDir {
    tempfile::tempdir().expect("room in /tmp")
}

/// Letters and sequences by which files differ for parsers.
fn piece() -> impl Strategy<Value = String> {
    let pieces = [
        "[core]",
        "[Core]",
        "[a \"b\"]",
        "[a \"B c\"]",
        "[a.b]",
        "[a \"\"]",
        "[a\"b\"]",
        "[ a]",
        "[a ]",
        "[]",
        "[a",
        "]",
        "[a \"x\\\"y\"]",
        "[a \"x\\\\y\"]",
        "[a \"x\\zy\"]",
        "[a  \"b\"]",
        "[a\t\"b\"]",
        "[a \"b\" ]",
        "[a \"b]\"]",
        "[a-1]",
        "[1]",
        "[a_b]",
        "[é]",
        "[a \"é\"]",
        "\n",
        "\n",
        "\n",
        "\n\n",
        "\r\n",
        "\r",
        " ",
        "\t",
        "  ",
        "key",
        "Key2",
        "k-x",
        "k_x",
        "1k",
        "-k",
        "=",
        " = ",
        "=\t",
        "value",
        "a b",
        "a  b",
        "a\tb",
        "true",
        "\"",
        "\"\"",
        "\"a b\"",
        "\"a # b\"",
        "\"a\nb\"",
        "\\",
        "\\\\",
        "\\n",
        "\\t",
        "\\b",
        "\\x",
        "\\\"",
        "\\\n",
        "#",
        ";",
        "# c",
        "; c",
        "é",
        "\u{feff}",
        "\u{0}",
        "\u{7f}",
        "\u{85}",
        "\u{a0}",
        "[core]fsmonitor=x",
        "fsmonitor",
        "hooksPath = x",
        "[include] path = x",
        "key = value\n",
        "[a] k = v\n",
        "[a \"b\"]\n\tk = v\n",
    ];
    proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned)
}

fn one_of(words: &[&str]) -> impl Strategy<Value = String> + use<> {
    proptest::sample::select(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
}

/// A line that git mostly takes: a section, a comment, or a setting with an odd value.
fn line() -> impl Strategy<Value = String> {
    let sections = ["[core]", "[Core] ", "[a \"b\"]", "[a \"B c\"]\t", "[a \"\"]", "[a \"x\\\"y\"]", "[a  \t\"é]\"] "];
    let section = (one_of(&sections), one_of(&["\n", "", "# c\n", "; \\\n"])).prop_map(|(head, end)| head + &end);
    let value = prop::collection::vec(
        one_of(&[
            "v",
            " ",
            "  ",
            "\t",
            "\"",
            "\"\"",
            "\"a # b\"",
            "\\\\",
            "\\n",
            "\\t",
            "\\\"",
            "=",
            "]",
            "[x]",
            "é",
            "#c",
            ";c",
            "a b",
            "'",
        ]),
        0..6,
    );
    let setting = (
        one_of(&["key", "Key2", "k-x"]),
        one_of(&["=", " = ", "\t=\t", " =", ""]),
        value,
        one_of(&["\n", "\n\n", " \n"]),
    )
        .prop_map(|(key, is, value, end)| match is.as_str() {
            "" => key + &end,
            is => key + is + &value.concat() + &end,
        });
    let comment = one_of(&["# [x]\n", ";\n", "  \t\n", "# \\\n"]);
    prop_oneof![1 => section, 4 => setting, 1 => comment]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn what_we_understand_git_understands_alike(pieces in prop::collection::vec(piece(), 0..14), headed in any::<bool>()) {
        let text = format!("{}{}", if headed { "[s]\n" } else { "" }, pieces.concat());
        if let Some(ours) = listed_by_us(text.as_bytes()) {
            let directory = scratch();
            prop_assert_eq!(listed_by_git(text.as_bytes(), &directory.path().join("config")), Some(ours), "{:?}", text);
        }
    }

    #[test]
    fn what_looks_like_settings_git_understands_alike(lines in prop::collection::vec(line(), 0..8)) {
        let text = format!("[s]\n{}", lines.concat());
        if let Some(ours) = listed_by_us(text.as_bytes()) {
            let directory = scratch();
            prop_assert_eq!(listed_by_git(text.as_bytes(), &directory.path().join("config")), Some(ours), "{:?}", text);
        }
    }

    #[test]
    fn no_file_makes_the_parser_stop_or_a_harmless_change_of_a_harmful_key(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let harmless = judge(b"", &text, WorkTree::Found).is_ok();
        let text = String::from_utf8_lossy(&text).to_ascii_lowercase();
        prop_assert!(!harmless || !text.contains("fsmonitor") || !text.contains('='), "{:?}", text);
    }

    #[test]
    fn a_file_never_differs_from_itself(pieces in prop::collection::vec(piece(), 0..14)) {
        let text = format!("[s]\n{}", pieces.concat());
        if parse(text.as_bytes()).is_ok() {
            prop_assert_eq!(judge(text.as_bytes(), text.as_bytes(), WorkTree::Found), Ok(()));
        }
    }
}

/// Ways to hide a key that runs a program. For each that git reads it from, our answer must be no.
#[test]
fn a_hidden_key_is_found_or_the_file_is_not_understood() {
    let disguises = [
        "[core]\nfsmonitor = x\n",
        "[core] fsmonitor = x",
        "[core]fsmonitor=x",
        "[core]\nfsmonitor\n",
        "[core]\nFSMONITOR = x\n",
        "[CORE]\nfsMonitor = x\n",
        "[core ]\nfsmonitor = x\n",
        "\u{feff}[core]\nfsmonitor = x\n",
        "[core]\r\nfsmonitor = x\r\n",
        "[core]\nbare = false ; c\nfsmonitor = x\n",
        "[core]\nbare = false \\\n[core]\nfsmonitor = x\n",
        "[core]\nbare = \"a\\\n\"\nfsmonitor = x\n",
        "[user]\nname = \"a\n[core]\nfsmonitor = x\n",
        "[user]\nname = a\\\n[core]\\\nfsmonitor = x\n[core]fsmonitor=y",
        "[user]name=a[core]\n[core]fsmonitor=x",
        "# [user]\n[core]# c\nfsmonitor=x\n",
        "; \\\n[core]\nfsmonitor=x\n",
        "[core \"\"]\nfsmonitor=x\n[core]\nfsmonitor=y",
        "[user \"]\"][core]fsmonitor=x",
        "[user \"\\\"\"][core]fsmonitor=x",
        "[core]\n\tfsmonitor\t=\tx",
        "[user]\n\tname = x\n[include]\n\tpath = y\n",
        "[includeif \"gitdir:/\"] path = y",
        "[core]\nhookspath = x\n",
    ];
    let directory = scratch();
    let mut read_by_git = 0;
    for text in disguises {
        let git = listed_by_git(text.as_bytes(), &directory.path().join("config")).unwrap_or_default();
        let harmful = |key: &str| key.contains("fsmonitor") || key.contains("include") || key.contains("hookspath");
        let found = git.iter().any(|(key, _)| harmful(key) && key != "core..fsmonitor");
        read_by_git += usize::from(found);
        assert!(!found || judge(b"", text.as_bytes(), WorkTree::Found).is_err(), "{text:?}");
    }
    assert!(read_by_git > 15, "git reads the key from most of these: {read_by_git}");
}

/// A whole day of ordinary commands: git writes, and every step is harmless beside the one before.
#[test]
fn what_git_itself_writes_is_harmless_step_by_step() {
    let scratch = scratch();
    let directory = scratch.path().join("work");
    std::fs::create_dir(&directory).expect("a directory of our own");
    let git = |words: &str| {
        let mut git = Command::new("git");
        git.args(words.split(' ')).current_dir(&directory).env_clear().env("PATH", "/usr/bin:/bin");
        let done = git.env("HOME", scratch.path()).output().expect("git is installed where these tests run");
        assert!(done.status.success(), "git {words}: {}", String::from_utf8_lossy(&done.stderr));
    };
    let read = |path: &str| std::fs::read(directory.join(path)).unwrap_or_default();
    let mut before = Vec::new();
    for words in [
        "init --quiet --initial-branch=main .",
        "config user.name x",
        "config user.email x@example.org",
        "commit --quiet --allow-empty --message first",
        "remote add origin ../elsewhere",
        "remote set-url --push origin git@example.org:a/b.git",
        "config branch.main.remote origin",
        "branch side",
        "branch --set-upstream-to=main side",
        "worktree add --quiet ../tree -b tree",
        "sparse-checkout set a",
        "config --unset branch.main.remote",
        "remote rename origin up",
        "remote remove up",
        "branch --move side other",
        "config --rename-section branch.other branch.third",
    ] {
        git(words);
        let after = read(".git/config");
        assert_eq!(judge(&before, &after, WorkTree::Found), Ok(()), "{words}: {}", String::from_utf8_lossy(&after));
        before = after;
    }
    assert_eq!(judge(b"", &read(".git/config.worktree"), WorkTree::Found), Ok(()));
}
