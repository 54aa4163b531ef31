//! `clawjail why`: what it answers is what happens.

use super::*;

/// A path inside, what for, and a shell command that succeeds in a jail where it may be used so. `$W` is the workspace.
const QUESTIONS: [(&str, &str, &str); 30] = [
    ("/usr/bin/env", "read", "cat /usr/bin/env > /dev/null"),
    ("/usr/bin/env", "execute", "/usr/bin/env true"),
    ("/usr/bin/env", "write", ": >> /usr/bin/env"),
    ("/usr/bin", "list", "ls /usr/bin > /dev/null"),
    ("/usr/bin/new", "make", ": > /usr/bin/new"),
    ("/bin/sh", "execute", "/bin/sh -c true"),
    ("/etc/passwd", "read", "cat /etc/passwd > /dev/null"),
    ("/etc/passwd", "write", ": >> /etc/passwd"),
    ("/etc/shadow", "read", "cat /etc/shadow > /dev/null"),
    ("/etc/ssh", "list", "ls /etc/ssh > /dev/null"),
    ("/root", "list", "ls /root > /dev/null"),
    ("/dev/null", "write", ": > /dev/null"),
    ("/dev/kmsg", "read", ": < /dev/kmsg"),
    ("$W", "list", "ls $W > /dev/null"),
    ("$W/data", "read", "cat $W/data > /dev/null"),
    ("$W/data", "write", ": >> $W/data"),
    ("$W/tool", "execute", "$W/tool"),
    ("$W/new", "make", ": > $W/new"),
    ("$W/gone", "remove", "rm $W/gone"),
    ("$W/.env", "read", "cat $W/.env > /dev/null"),
    ("$W/.env", "remove", "rm -f $W/.env && ! test -e $W/.env"),
    ("$W/sub/.env", "read", "cat $W/sub/.env > /dev/null"),
    ("$W/.git/hooks/pre-commit", "make", ": > $W/.git/hooks/pre-commit"),
    ("$W/.git/config", "write", "echo >> $W/.git/config"),
    ("$W/.git/config", "read", "cat $W/.git/config > /dev/null"),
    ("$W/.vscode/settings.json", "make", "mkdir -p $W/.vscode && : > $W/.vscode/settings.json"),
    ("$W/SOUL.md", "make", ": > $W/SOUL.md"),
    ("$W/.git/hooks-not", "make", ": > $W/.git/hooks-not"),
    ("$W/link", "read", "cat $W/link > /dev/null"),
    ("$W/away", "read", "cat $W/away > /dev/null"),
];

fn furnish(place: &Place) {
    place.make_repository();
    for name in ["data", "gone", ".env", "sub/.env"] {
        place.write(name, "content\n");
    }
    place.write_program("tool", "#!/bin/sh\n");
    place.link("data", "link");
    place.link("/etc/shadow", "away");
}

#[test]
fn what_is_answered_without_running_is_what_happens() {
    in_every_tier(|place| {
        furnish(place);
        for profile in ["untrusted", "readonly", "trusted"] {
            let at_same = profile == "trusted";
            let inside = if at_same { place.workspace.clone() } else { place.inside() };
            let inside = inside.to_str().expect("a test's own path");
            let mut wrong = Vec::new();
            for (path, access, script) in QUESTIONS {
                let [path, script] = [path, script].map(|text| text.replace("$W", inside));
                let tier = place.tier.word();
                let answer =
                    asked(place, &["why", "--tier", tier, "--profile", profile, "--path", &path, "--access", access]);
                let ran = Jail::new(place).profile(profile).run(["sh", "-c", &script]);
                if answer.status.success() != (ran.code == Some(0)) {
                    wrong.push(format!("{access} {path}: {}, but {}", text(&answer.stdout), ran.whole()));
                }
                assert!(matches!(answer.status.code(), Some(0 | 126)), "{}", text(&answer.stderr));
                for name in ["new", "SOUL.md", ".vscode", ".git/hooks/pre-commit", ".git/hooks-not"] {
                    let _ = std::fs::remove_file(place.workspace.join(name));
                    let _ = std::fs::remove_dir_all(place.workspace.join(name));
                }
                place.write("gone", "content\n");
            }
            assert!(wrong.is_empty(), "{profile}: {}", wrong.join("\n"));
        }
    });
}

#[test]
fn a_path_is_asked_about_as_on_the_host_as_inside_or_from_the_workspace() {
    in_tiers(Tier::has_namespaces, |place| {
        place.write("data", "content\n");
        let host = place.workspace.join("data");
        for path in [host.to_str().expect("a test's own path"), "/workspace/data", "data", "./x/../data"] {
            let tier = place.tier.word();
            let answer = asked(place, &["why", "--tier", tier, "--profile", "untrusted", "--path", path]);
            assert!(text(&answer.stdout).starts_with("allowed: read `/workspace/data`: "), "{path}: {answer:?}");
        }
    });
}

#[test]
fn what_is_hidden_whatever_is_granted_is_told_so() {
    in_every_tier(|place| {
        let answer =
            asked(place, &["why", "--tier", place.tier.word(), "--profile", "untrusted", "--path", "~/.ssh/id_rsa"]);
        let said = text(&answer.stdout);
        assert!(said.starts_with("denied: read `") && said.contains("private keys of ssh"), "{said}");
        assert!(!said.contains("read = "), "no line would grant it: {said}");
        assert_eq!(answer.status.code(), Some(126));
    });
}

#[test]
fn a_name_that_a_terminal_would_act_on_is_shown() {
    in_every_tier(|place| {
        let path = "/x\u{1b}[31m\ny";
        let answer = asked(place, &["why", "--tier", place.tier.word(), "--profile", "untrusted", "--path", path]);
        let said = text(&answer.stdout);
        assert!(!said.contains('\u{1b}') && said.contains("\\u{1b}[31m\\ny"), "{said:?}");
    });
}

#[test]
fn a_host_is_judged_as_by_the_gate() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let answer = asked(place, &["why", "--profile", "untrusted", "--host", "example.org"]);
            assert_eq!(answer.status.code(), Some(126), "{answer:?}");
            assert!(text(&answer.stdout).starts_with("denied: example.org port 443"), "{answer:?}");
        },
    );
}

#[test]
fn a_run_is_explained_from_its_verdict_and_nothing_in_it_reaches_the_terminal() {
    in_every_tier(|place| {
        let ran = Jail::new(place).run(["sh", "-c", "echo x > SOUL.md", "an \u{1b}[31m argument\nof two lines"]);
        assert_eq!(ran.verdict["outcome"], "exited", "{}", ran.whole());
        let file = place.outside.join("v.json");
        std::fs::write(&file, ran.verdict.to_string()).expect("own directory");
        place.give(&file);
        let answer = asked(place, &["why", "--from", file.to_str().expect("a test's own path")]);
        let said = text(&answer.stdout);
        assert!(said.contains("create") && said.contains("SOUL.md") && said.contains("by the broker"), "{said}");
        assert!(said.contains("\\u{1b}[31m argument\\nof two lines") && !said.contains('\u{1b}'), "{said:?}");
        assert!(answer.status.success());
    });
}

#[test]
fn a_run_of_a_ledger_is_found_by_the_beginning_of_its_id() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let ledger = place.outside.join("ledger");
            let ledger = ledger.to_str().expect("a test's own path");
            let ran = Jail::new(place).option("--ledger").option(ledger).run(["true"]);
            let id = ran.verdict["id"].as_str().expect("an id").to_owned();
            let answer = asked(place, &["why", &id[..18], "--ledger", ledger]);
            assert!(text(&answer.stdout).contains(&id) && answer.status.success(), "{answer:?}");
            let answer = asked(place, &["why", "ffffffff", "--ledger", ledger]);
            assert_eq!(answer.status.code(), Some(126), "{answer:?}");
        },
    );
}

#[test]
fn a_request_is_judged_by_method_and_path_and_the_access_of_a_file_is_not_asked_of_a_host() {
    in_tiers(
        |tier| tier == Tier::User,
        |place| {
            let name = format!("why-{}", place.token);
            let rules = "summary = \"x\"\nextends = \"offline\"\n[egress]\nallow = [\"plain.example\"]\n[[egress.http]]\n\
                         host = \"api.example\"\nmethods = [\"GET\"]\npaths = [\"/repos/**\"]\n";
            place.write_profile(&name, rules);
            let why = |words: &[&str]| asked(place, &[&["why", "--profile", &name, "--host"], words].concat());
            let cases: [(&[&str], i32, &str); 5] = [
                (&["api.example", "--path", "/repos/a/b"], 0, "allowed: GET /repos/a/b of api.example port 443"),
                (
                    &["api.example", "--method", "POST", "--path", "/repos/a"],
                    126,
                    "denied: POST /repos/a of api.example",
                ),
                (&["api.example", "--path", "/user"], 126, "denied: GET /user of api.example"),
                (&["api.example", "--path", "/repos/../user"], 126, "denied: "),
                (&["plain.example", "--method", "DELETE"], 0, "allowed: DELETE / of plain.example"),
            ];
            for (words, code, wanted) in cases {
                let answer = why(words);
                assert_eq!(answer.status.code(), Some(code), "{words:?}: {answer:?}");
                assert!(text(&answer.stdout).starts_with(wanted), "{words:?}: {answer:?}");
            }
            for nonsense in [["api.example", "--access", "write"], ["api.example", "--workspace", "."]] {
                let answer = why(&nonsense);
                assert!(answer.status.code() == Some(126) && answer.stdout.is_empty(), "{nonsense:?}: {answer:?}");
                assert!(text(&answer.stderr).contains(nonsense[1]), "{nonsense:?}: {answer:?}");
            }
            place.remove_profile(&name);
        },
    );
}
