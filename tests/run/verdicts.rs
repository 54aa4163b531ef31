//! What is said of a run afterwards.

use super::*;

fn plain(place: &Place, words: &[&str]) -> std::process::Output {
    let mut command = place.command(clawjail());
    command.args(["run", "--tier", place.tier.word()]).args(words).stdin(Stdio::null());
    command.output().expect("the binary can be executed")
}

#[test]
fn a_verdict_goes_to_a_file_to_stdout_or_to_a_descriptor() {
    in_every_tier(|place| {
        let ran = Jail::new(place).bash("echo hello");
        assert_eq!((ran.verdict["version"].as_i64(), ran.verdict["tier"].as_str()), (Some(1), Some(place.tier.word())));
        let output = plain(place, &["--verdict", "-", "--", "echo", "hello"]);
        let text = String::from_utf8(output.stdout).expect("JSON is text");
        let (first, second) = text.split_once('\n').expect("two lines");
        assert_eq!(first, "hello");
        let verdict: serde_json::Value = serde_json::from_str(second).expect("one line of JSON");
        assert_eq!(verdict["argv"], serde_json::json!(["echo", "hello"]));
        let script = format!(
            "{} run --tier {} --verdict fd:7 -- sh -c 'exit 5' 7>verdict; echo $?",
            clawjail().display(),
            place.tier.word()
        );
        let output = place.host("bash").args(["-c", &script]).output().expect("everyone has bash");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "5\n");
        let verdict: serde_json::Value =
            serde_json::from_str(&place.read("verdict").expect("it was written")).expect("JSON");
        assert_eq!(verdict["exit_code"], 5);
    });
}

#[test]
fn a_verdict_that_has_nowhere_to_go_stops_the_run_before_it_begins() {
    in_every_tier(|place| {
        for target in ["/missing/file", "fd:99", "fd:x", "fd:-1", "", "/"] {
            let output = plain(place, &[&format!("--verdict={target}"), "--", "touch", "executed"]);
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(
                matches!(output.status.code(), Some(125 | 126)) && text.lines().count() <= 2,
                "{target}: {:?} {text}",
                output.status
            );
            assert!(!place.holds("executed"), "{target}");
        }
    });
}

#[test]
fn a_full_disk_under_the_verdict_is_a_failure() {
    in_every_tier(|place| {
        let output = plain(place, &["--verdict", "/dev/full", "--", "true"]);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), text.lines().count()), (Some(125), 1), "{text}");
    });
}

#[test]
fn quiet_says_nothing_and_json_says_one_line_of_it() {
    in_every_tier(|place| {
        let output = plain(place, &["--quiet", "--", "missing-command"]);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(127), 0), "{output:?}");
        let output = plain(place, &["--quiet", "--workspace", "/", "--", "true"]);
        assert_eq!((output.status.code(), output.stderr.len()), (Some(126), 0), "{output:?}");
        let output = plain(place, &["--json", "--", "sh", "-c", "exit 3"]);
        let verdict: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one line of JSON");
        assert_eq!((verdict["exit_code"].as_i64(), output.status.code()), (Some(3), Some(3)));
        let output = plain(place, &["--json", "--workspace", "/", "--", "true"]);
        let verdict: serde_json::Value = serde_json::from_slice(&output.stderr).expect("one line of JSON");
        assert_eq!((verdict["outcome"].as_str(), output.status.code()), (Some("refused"), Some(126)));
    });
}

#[test]
fn a_denied_name_is_in_the_verdict_and_on_one_line() {
    in_every_tier(|place| {
        let ran = Jail::new(place).bash("echo x > .envrc; echo x > .envrc");
        assert_eq!(ran.own_lines().len(), 1, "{}", ran.whole());
        assert!(ran.own_lines()[0].contains(".envrc") && ran.own_lines()[0].contains("2 times"), "{}", ran.whole());
        let denial = &ran.verdict["denials"][0];
        assert_eq!((denial["kind"].as_str(), denial["count"].as_i64()), (Some("create"), Some(2)), "{denial}");
        let control = Jail::new(place).bash("echo x > $'.vscode\\e[31m'; mkdir -p $'.claude/\\e[31m'");
        assert!(!control.own_lines().iter().any(|line| line.contains('\x1b')), "{}", control.whole());
    });
}

#[test]
fn what_a_run_used_is_in_the_verdict() {
    in_every_tier(|place| {
        let ran = Jail::new(place).bash("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done; echo 12345");
        let (resources, output) = (&ran.verdict["resources"], &ran.verdict["output"]);
        assert!(resources["cpu_user_us"].as_u64().expect("a number") > 1000, "{resources}");
        assert!(resources["wall_us"].as_u64() > resources["cpu_user_us"].as_u64(), "{resources}");
        assert!(resources["peak_memory"].as_u64().expect("a number") > 100_000, "{resources}");
        assert_eq!((output["bytes"].as_u64(), output["truncated"].as_bool()), (Some(6), Some(false)), "{output}");
    });
}

#[test]
fn limits_are_tried_everywhere_and_read_back_wherever_they_rest_on_control_groups() {
    in_every_tier(|place| {
        let ran = Jail::new(place).bash("true");
        let promises = ran.verdict["enforcement"]["promises"].as_array().expect("a list").clone();
        let limits = promises.iter().find(|kept| kept["promise"] == "limits").expect("it is always promised");
        let got = |tried: &str| {
            let probes = limits["probes"].as_array().cloned().unwrap_or_default();
            probes
                .iter()
                .find(|probe| probe["tried"] == tried)
                .map(|probe| probe["got"].as_str().unwrap_or("").to_owned())
        };
        assert_eq!(got("raise a limit").as_deref(), Some("EPERM"), "{limits}");
        assert!(got("open more files than the limit").is_some(), "{limits}");
        let grouped = limits["mechanisms"].to_string().contains("cgroup");
        let back = grouped.then_some("ENOENT");
        assert_eq!(got("find init outside its control groups").as_deref(), back, "{limits}");
        assert_eq!(got("find `pids.max` above its limit").as_deref(), back, "{limits}");
    });
}

/// On kernels whose Landlock is too old for the bare tier's promises: a profile may say that it takes less, and is told what.
#[test]
fn a_profile_that_may_be_partial_runs_without_namespaces_on_any_landlock_and_says_what_is_missing() {
    let place = Place::new(Tier::Bare);
    let partly = ["filesystem", "shielded", "processes", "lifetime", "limits"];
    let require = partly.map(|promise| format!("{promise} = \"partial\"\n")).concat();
    let name = format!("lenient-{}", place.token);
    place.write_profile(&name, &format!("summary = \"For a test.\"\nextends = \"untrusted\"\n[require]\n{require}"));
    place.write(".env", "TOKEN=1\n");
    place.write("plain", "before\n");
    // What is made beside something hidden cannot be opened again by name there.
    let script = "echo x > plain && cat plain; : > made && mv made moved; cat .env; : > .env; : > SOUL.md; cat /etc/shadow; echo end";
    let ran = Jail::new(&place).profile(&name).bash(script);
    place.remove_profile(&name);
    assert_eq!((ran.code, ran.text().as_str()), (Some(0), "x\nend"), "{}", ran.whole());
    let left = (place.read(".env"), place.holds("SOUL.md"), place.holds("moved"));
    assert_eq!(left, (Some("TOKEN=1\n".into()), false, true), "{}", ran.whole());
    let promises = ran.verdict["enforcement"]["promises"].as_array().cloned().unwrap_or_default();
    let missing = promises.iter().filter(|one| !one["missing"].is_null()).count();
    let level = if missing == 0 { "full" } else { "partial" };
    assert_eq!((promises.len(), ran.verdict["enforcement"]["level"].as_str()), (8, Some(level)), "{}", ran.whole());
}

#[test]
fn a_secret_that_the_caller_has_is_in_no_verdict_and_the_command_gets_it_nevertheless() {
    in_every_tier(|place| {
        let secret = "correct-horse-battery";
        let jail = Jail::new(place).environment("MY_TOKEN", secret);
        let ran = jail.run(["echo", secret, "--password", "hunter2", "plain"]);
        assert_eq!(ran.text(), format!("{secret} --password hunter2 plain"));
        let said = serde_json::json!(["echo", "[redacted]", "--password", "[redacted]", "plain"]);
        assert_eq!(ran.verdict["argv"], said);
    });
}

#[test]
fn no_digest_in_a_verdict_depends_on_a_secret() {
    in_every_tier(|place| {
        let with = |value: &str| {
            let ran = Jail::new(place).option("--env").option(format!("MY_TOKEN={value}")).bash("echo $MY_TOKEN");
            assert_eq!(ran.text(), value, "{}", ran.whole());
            ran.verdict["plan"].clone()
        };
        let plan = with("correct-horse");
        // Whoever has the record could try values against it.
        assert!(plan.is_string() && plan == with("battery-staple"), "{plan}");
    });
}
