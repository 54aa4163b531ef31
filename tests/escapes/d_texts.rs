//! Texts that decide: an empty list, a wrapped number, a stale key, a file that somebody changed. The strict side, or one line.

use std::fs;
use std::process::Stdio;

use super::support::etc::Etc;
use super::trial::{Trial, denied, works};
use super::{Case, case};

const GONE: &str = "EACCES|ENOENT|EPERM";

/// The cases.
pub const CASES: &[Case] = &[
    case("B7", "an empty list means none, in every list of a profile", empty_lists),
    case("B19", "no number wraps, and none means that there is no limit", numbers),
    case("D10", "an unknown or stale key is refused by its place, with what may be meant", unknown_keys),
    case("D11", "a text that was cut or damaged grants no more than it did, or is refused", damaged),
    case("D11c", "sets in the caller's home never stand in for those that shipped profiles name", shadows),
];

const HEAD: &str = "summary = \"Test.\"\n";

fn empty_lists(trial: &mut Trial) {
    let read = |list: &str| {
        format!(
            "{HEAD}extends = \"base\"\n[workspace]\naccess = \"rw\"\n[filesystem]\nread = {list}\nexecute = [\"@workspace\"]\n[require]\nlimits = \"partial\"\n"
        )
    };
    trial.attack_under_text(
        &read("[]"),
        vec![denied("read /usr/bin/env", GONE), denied("list /usr/share", GONE), works("create one")],
    );
    trial.attack_under_text(&read("[\"@system\"]"), vec![works("list /usr/share"), works("create two")]);
    let child = |tables: &str| format!("{HEAD}extends = \"untrusted\"\n{tables}");
    // What nothing may execute is not executed, by whatever way.
    let program = trial.arm();
    let ran = trial.run_under(&child("[filesystem]\nexecute = []\n"), &[&program, "create executed"]);
    let held = matches!(ran.code, Some(126 | 127)) && ran.stdout.is_empty() && !ran.own_lines().is_empty();
    trial.deny("execute = []", held, ran.whole());
    trial.host_has("executed", None);
    let ran = trial.run_under(&child("[environment]\npass = []\n"), &["env"]);
    trial.deny("pass = []", ran.code == Some(0) && !ran.text().contains("TERM="), ran.whole());
    let ran = trial.run_under(&child("[environment]\npass = [\"TERM\"]\n"), &["env"]);
    trial.allow("pass = [TERM]", ran.text().contains("TERM=dumb"), ran.whole());
    // What a parent takes away, no empty list gives back.
    trial.attack_under_text(
        &child("[filesystem]\nhide = []\nprotect = []\nwrite = []\n[egress]\nallow = []\ndeny = []\nhttp = []\n[syscalls]\nadd = []\n"),
        vec![
            denied("create .envrc", "EACCES|EROFS|EPERM"),
            denied("read /etc/shadow", GONE),
            denied("create /usr/evil", "EACCES|ENOENT|EROFS|EPERM"),
            denied("socket 1 1 0", "EPERM"),
            denied("tcp-connect 192.0.2.1:9", "EPERM|ENETUNREACH|EACCES"),
            works("create three"),
        ],
    );
}

fn numbers(trial: &mut Trial) {
    let text = |line: &str| format!("{HEAD}extends = \"untrusted\"\n[limits]\n{line}\n");
    let mut bad = Vec::new();
    for key in ["memory", "file_size", "output", "disk"] {
        for value in ["0B", "0G", "-1G", "18446744073709551616B", "17179869184G", "16777216T", "1.5G", "1", "G", "1GG"]
        {
            bad.push(format!("{key} = \"{value}\""));
        }
        bad.push(format!("{key} = 0"));
    }
    for key in ["processes", "open_files", "runs_per_minute"] {
        for value in ["0", "-1", "9223372036854775808", "1.5", "\"1\"", "true"] {
            bad.push(format!("{key} = {value}"));
        }
    }
    for value in ["0", "0.0", "-1.0", "nan", "inf", "-inf", "1e300", "\"1x\""] {
        bad.push(format!("cpus = {value}"));
    }
    for value in ["0s", "0ms", "-1s", "18446744073709551616ms", "307445734561825861m", "5", "5x"] {
        bad.push(format!("wall = \"{value}\""));
    }
    for line in ["tmp = { size = \"0B\" }", "tmp = { size = \"unlimited\" }", "tmp = { size = \"16777216T\" }"] {
        bad.push(format!("[filesystem]\n{line}"));
    }
    bad.extend(
        ["open_files = \"unlimited\"", "disk = \"unlimited\"", "memory = \"Unlimited\"", "wall = \"\""]
            .map(str::to_owned),
    );
    for line in bad {
        let ran = trial.run_under(&text(&line), &["touch", "executed"]);
        trial.refused(&line, &ran);
    }
    trial.host_has("executed", None);
    // As large as can be, and still a limit: clamped to what the kernel takes, or refused, never dropped.
    for line in ["memory = \"8388607T\"", "processes = 9223372036854775807", "wall = \"200000000000d\"", "cpus = 0.001"]
    {
        let ran = trial.run_under(&text(line), &["touch", "executed"]);
        let whole = ran.code == Some(0) || (matches!(ran.code, Some(125 | 126)) && ran.own_lines().len() <= 2);
        trial.deny(line, whole && !ran.hung, ran.whole());
    }
    let ran = trial
        .run_under(&text("processes = 12"), &["bash", "-c", "for i in $(seq 40); do sleep 1 & done; wait; echo end"]);
    trial.deny("processes = 12", ran.error_text().contains("fork"), ran.whole());
    let ran = trial.run_under(&text("wall = \"300ms\""), &["sleep", "10"]);
    trial.deny("wall = 300ms", ran.code == Some(124), ran.whole());
    let ran = trial.run_under(&text("memory = \"256M\""), &["true"]);
    trial.allow("memory = 256M", ran.code == Some(0), ran.whole());
}

fn unknown_keys(trial: &mut Trial) {
    for (text, place, meant) in [
        ("sumary = \"x\"\n", ":3:1:", "summary"),
        ("[workspace]\nacess = \"ro\"\n", ":4:1:", "access"),
        ("[workspace]\naccess = \"readonly\"\n", ":4:10:", "`ro`"),
        ("[filesystem]\nhidden = []\n", ":4:1:", "hide"),
        ("[filesystem]\ntmp = { sise = \"1M\" }\n", ":4:9:", "size"),
        ("[egress]\nalow = []\n", ":4:1:", "allow"),
        ("[environment]\npas = []\n", ":4:1:", "pass"),
        ("[limits]\nmemmory = \"1G\"\n", ":4:1:", "memory"),
        ("[syscalls]\nbaze = \"@default\"\n", ":4:1:", "base"),
        ("[require]\nnetwrk = \"partial\"\n", ":4:1:", "network"),
        ("[require]\nnetwork = \"none\"\n", ":4:11:", "partial"),
        ("[filesystem]\nread = [\"@sistem\"]\n", ":4:", "@system"),
        ("[syscalls]\nadd = [\"@unnix\"]\n", ":4:", "@unix"),
        ("[network]\nallow = []\n", ":3:", ""),
        ("[limits]\nwall = \"5s\"\nwall = \"6s\"\n", ":5:1:", "duplicate"),
        ("[limits]\n[limits]\n", ":4:", "duplicate"),
        ("allow_all = true\n", ":3:1:", ""),
    ] {
        let whole = format!("{HEAD}extends = \"untrusted\"\n{text}");
        let ran = trial.run_under(&whole, &["touch", "executed"]);
        trial.refused(text, &ran);
        let said = ran.error_text();
        trial.deny(&format!("the place of {text:?}"), said.contains(place) && said.contains(meant), &said);
    }
    trial.host_has("executed", None);
    let ran = trial.run_under(&format!("{HEAD}extends = \"untrusted\"\n[limits]\nwall = \"5s\"\n"), &["true"]);
    trial.allow("one without", ran.code == Some(0), ran.whole());
}

/// Cut at every line and with every line garbled: by an editor that crashed, or a disk.
fn damaged(trial: &mut Trial) {
    let text = "summary = \"Test.\"\nextends = \"untrusted\"\n[workspace]\naccess = \"ro\"\n[filesystem]\nhide = [\"secret\"]\n[limits]\nwall = \"5s\"\n";
    trial.place.write("secret", "SECRET\n");
    let script = ["bash", "-c", "cat secret; cat /etc/shadow; touch .envrc; echo ran"];
    let lines: Vec<&str> = text.lines().collect();
    for number in 0..lines.len() {
        let garbled: Vec<String> = lines
            .iter()
            .enumerate()
            .map(|(at, line)| if at == number { line.replace(['=', '"', ']'], "\u{1}") } else { (*line).to_owned() })
            .collect();
        for (what, damaged) in
            [("garbled", garbled.join("\n")), ("cut", text[..text.len() * number / lines.len()].to_owned())]
        {
            let ran = trial.run_under(&damaged, &script);
            let whole = ran.code != Some(0) || ran.text().ends_with("ran");
            // What a cut took away may be missing: the parent's walls are not in this file.
            let held = whole && !ran.text().contains("root:") && ran.own_lines().len() <= 4;
            trial.deny(&format!("{what} at line {number}"), held, ran.whole());
            if what == "garbled" {
                trial.refused(&format!("garbled at line {number}"), &ran);
            }
            trial.host_has(".envrc", None);
        }
    }
    let ran = trial.run_under(text, &script);
    trial.allow("the whole text", ran.text() == "ran", ran.whole());
}

fn shadows(trial: &mut Trial) {
    let Some(etc) = Etc::new(&trial.place) else { return trial.skip("not started as root") };
    let home = trial.place.outside.join("home");
    let policies = home.join(".config/clawjail/policies");
    fs::create_dir_all(policies.join("paths")).expect("own directory");
    fs::create_dir_all(policies.join("syscalls")).expect("own directory");
    for name in ["secrets", "editor-config", "vcs-hooks", "programs"] {
        fs::write(
            policies.join(format!("paths/{name}.toml")),
            "summary = \"Nothing.\"\n[paths]\n\"nothing\" = \"x\"\n",
        )
        .expect("own directory");
    }
    let everything =
        "[[rule]]\nwhy = \"everything\"\ncall = \"socket\"\n[[rule]]\nwhy = \"everything\"\ncall = \"unshare\"\n";
    for name in ["default", "namespaced", "bare", "brokered", "broker", "direct"] {
        fs::write(policies.join(format!("syscalls/{name}.toml")), everything).expect("own directory");
    }
    let owner = trial.place.account();
    let script =
        format!("chown -R {}:{} \"$D/home\"; mount --bind \"$D/home\" {}", owner.uid, owner.gid, owner.home.display());
    let operations =
        ["create .envrc", "read .env", "socket 1 1 0", "create .git/hooks/x", "call 272 268435456", "create plain"];
    trial.place.write(".env", "TOKEN=1\n");
    trial.place.mkdir(".git/hooks");
    let program = trial.arm();
    let jail = trial.jail();
    let mut command = etc.command_after(&script, &jail.command(std::iter::once(program.as_str()).chain(operations)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ran = jail.finish(command.spawn().expect("everyone has unshare"));
    let mut wishes = vec![
        denied("create .envrc", "EACCES|EROFS|EPERM"),
        denied("read .env", GONE),
        denied("socket 1 1 0", "EPERM"),
        denied("create .git/hooks/x", "EACCES|EROFS|EPERM"),
        works("create plain"),
    ];
    if cfg!(target_arch = "x86_64") {
        wishes.push(denied("call 272 268435456", "EPERM"));
    }
    trial.judge(&ran, &wishes);
}
