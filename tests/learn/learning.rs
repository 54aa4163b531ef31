//! `clawjail learn`: what it writes is what the command needs, and nothing outside is changed while it learns.

use std::path::PathBuf;

use super::*;

/// `clawjail learn` in a place, with these words before the command.
fn learn(place: &Place, options: &[&str], script: &str) -> Output {
    let mut words = vec!["learn", "--tier", place.tier.word()];
    words.extend(options);
    words.extend(["--", "sh", "-c", script]);
    asked(place, &words)
}

fn said(output: &Output) -> String {
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

/// Runs a script under the profile that was written.
fn under(place: &Place, profile: &PathBuf, script: &str) -> Output {
    let shelf = place.outside.join("shelf/profiles");
    let shelf_text = place.outside.join("shelf");
    let name = profile.file_stem().and_then(|name| name.to_str()).expect("a test's own path");
    let made = place.command("mkdir").arg("-p").arg(&shelf).status().expect("everyone has mkdir");
    assert!(made.success());
    let copied = place.command("cp").arg(profile).arg(&shelf).status().expect("everyone has cp");
    assert!(copied.success());
    let mode = place.command("chmod").args(["-R", "go-w"]).arg(&shelf_text).status().expect("everyone has chmod");
    assert!(mode.success());
    let mut command = place.command(clawjail());
    command.args(["run", "--direct", "--tier", place.tier.word(), "--profiles"]).arg(&shelf_text);
    command.args(["--profile", name, "--", "sh", "-c", script]).output().expect("the binary can be executed")
}

fn out(place: &Place, name: &str) -> (PathBuf, String) {
    let directory = place.outside.join("learned");
    let _ = std::fs::create_dir(&directory);
    place.give(&directory);
    let path = directory.join(name);
    let text = path.to_str().expect("a test's own path").to_owned();
    (path, text)
}

#[test]
fn a_command_runs_under_what_was_learned_from_it_and_little_else_does() {
    in_tiers(Tier::has_namespaces, |place| {
        place.write("input", "b\na\n");
        let (file, path) = out(place, "sorted.toml");
        let script = "sort input > output && cat /etc/os-release > /dev/null";
        let learned = learn(place, &["--out", &path], script);
        assert!(learned.status.success(), "{}", said(&learned));
        assert!(said(&learned).contains("proved: exit 0 again"), "{}", said(&learned));
        assert!(!place.holds("output"), "the workspace was not touched");
        let profile = std::fs::read_to_string(&file).expect("it was written");
        for line in ["sort\",", "access = \"rw\"   # `output` was changed", "allow = []", "extends = \"offline\""] {
            assert!(profile.contains(line), "{line}: {profile}");
        }
        let ran = under(place, &file, script);
        assert!(ran.status.success() && place.read("output").as_deref() == Some("a\nb\n"), "{}", said(&ran));
        // The neighbours: a program and a file that were not used.
        for other in
            ["/usr/bin/head -c1 input", "cat /etc/debian_version /etc/mime.types /etc/services", "/usr/bin/env"]
        {
            let ran = under(place, &file, other);
            assert!(!ran.status.success(), "{other}: {}", said(&ran));
        }
    });
}

#[test]
fn without_namespaces_a_command_runs_under_what_was_learned_from_it_too() {
    in_tiers(
        |tier| !tier.has_namespaces(),
        |place| {
            place.write("input", "b\na\n");
            let (file, path) = out(place, "bare.toml");
            let script = "sort input > output && cat /etc/os-release > /dev/null";
            let learned = learn(place, &["--out", &path], script);
            assert!(learned.status.success() && said(&learned).contains("proved: exit 0 again"), "{}", said(&learned));
            assert!(!place.holds("output"), "the workspace was not touched");
            let profile = std::fs::read_to_string(&file).expect("it was written");
            assert!(profile.contains("sort\",") && profile.contains("# `output` was changed"), "{profile}");
            assert!(!profile.contains("clawjail-learn."), "the copy is nothing to be granted: {profile}");
            let ran = under(place, &file, script);
            assert!(ran.status.success() && place.read("output").as_deref() == Some("a\nb\n"), "{}", said(&ran));
            for other in ["/usr/bin/head -c1 input", "cat /etc/debian_version /etc/mime.types /etc/services"] {
                let ran = under(place, &file, other);
                assert!(!ran.status.success(), "{other}: {}", said(&ran));
            }
        },
    );
}

#[test]
fn nothing_outside_is_changed_while_it_learns_and_secrets_stay_secret() {
    in_tiers(Tier::has_namespaces, |place| {
        place.make_repository();
        place.write("kept", "old\n");
        place.write(".env", "TOKEN=secret\n");
        place.link("kept", "link");
        let home = place.account().home.join(format!("left-by-{}", place.token));
        let script = format!(
            "echo new > kept; rm -f link; echo x > made; cat .env ~/.ssh/id_rsa /etc/shadow; touch {}; \
             echo x > .git/hooks/pre-commit; true",
            home.display()
        );
        let learned = learn(place, &[], &script);
        assert!(learned.status.success(), "{}", said(&learned));
        assert!(!said(&learned).contains("TOKEN="), "{}", said(&learned));
        assert_eq!(place.read("kept").as_deref(), Some("old\n"));
        assert!(place.holds("link") && !place.holds("made") && !place.holds(".git/hooks/pre-commit") && !home.exists());
        assert!(text(&learned.stdout).contains("# asked for, not granted: "), "{}", said(&learned));
        assert!(!text(&learned.stdout).contains("\"/etc/shadow\""), "{}", said(&learned));
        let left = std::fs::read_dir("/tmp").expect("everyone can list it").flatten();
        let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("clawjail-learn."));
        let own = left.filter(|entry| {
            std::fs::read_dir(entry.path())
                .is_ok_and(|mut inside| inside.any(|one| one.is_ok_and(|one| one.path().join("kept").exists())))
        });
        assert_eq!(own.count(), 0, "the copies are gone");
    });
}

#[test]
fn another_example_widens_and_shows_by_what() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            place.write("input", "b\na\n");
            let (file, path) = out(place, "wide.toml");
            assert!(learn(place, &["--out", &path], "sort input").status.success());
            let first = std::fs::read_to_string(&file).expect("it was written");
            let again = learn(place, &["--out", &path], "sort input");
            assert!(text(&again.stdout).contains("`learned` allows nothing more than `before`"), "{}", said(&again));
            let other = learn(place, &["--out", &path], "wc -l input > count");
            assert!(other.status.success(), "{}", said(&other));
            assert!(text(&other.stdout).contains("executes `/usr/bin/wc`"), "{}", said(&other));
            assert!(text(&other.stdout).contains("changes the workspace"), "{}", said(&other));
            let both = std::fs::read_to_string(&file).expect("it was written");
            let kept = first.lines().filter(|line| line.trim_start().starts_with('"')).all(|line| {
                let entry = line.trim_start().split(',').next().expect("an entry");
                both.contains(entry)
            });
            assert!(
                kept && both.contains("# example: sh -c sort input") && both.contains("# example: sh -c wc -l"),
                "{both}"
            );
            for script in ["sort input", "wc -l input > count"] {
                assert!(under(place, &file, script).status.success(), "{script}");
            }
        },
    );
}

#[test]
fn a_thousand_files_are_one_line() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let data = place.outside.join("data");
            for number in 0..1000 {
                let directory = data.join(format!("d{}", number % 20));
                std::fs::create_dir_all(&directory).expect("own directory");
                std::fs::write(directory.join(format!("f{number}")), "x").expect("own directory");
            }
            let shown = data.to_str().expect("a test's own path");
            let learned = learn(place, &["--show", shown], &format!("cat {shown}/*/*"));
            assert!(learned.status.success(), "{}", said(&learned));
            let profile = text(&learned.stdout);
            let lines: Vec<&str> =
                profile.lines().filter(|line| line.starts_with("  \"") && line.contains(shown)).collect();
            assert!(lines.len() == 1 && lines[0].contains("1000 files were read"), "{lines:?}");
        },
    );
}

#[test]
fn nothing_is_learned_from_a_command_that_fails_or_a_profile_that_is_none() {
    in_tiers(
        |tier| tier == Tier::Root,
        |place| {
            let (file, path) = out(place, "never.toml");
            let failed = learn(place, &["--out", &path], "exit 3");
            assert_eq!(failed.status.code(), Some(126), "{}", said(&failed));
            assert!(said(&failed).contains("it exited with 3") && !file.exists(), "{}", said(&failed));
            let taken = learn(place, &["--out", &path, "--any-exit"], "exit 3");
            assert!(taken.status.success() && file.exists(), "{}", said(&taken));
            std::fs::write(&file, "not = [toml").expect("own file");
            let refused = learn(place, &["--out", &path], "true");
            assert_eq!(refused.status.code(), Some(126), "{}", said(&refused));
            let unknown = learn(place, &["--profile", "no-such"], "true");
            assert_eq!(unknown.status.code(), Some(126), "{}", said(&unknown));
        },
    );
}

#[test]
fn hosts_that_it_asks_for_are_told_and_not_reached() {
    in_tiers(Tier::has_namespaces, |place| {
        let script = "python3 -c 'import socket; socket.getaddrinfo(\"collector.example.net\", 443)'; true";
        let learned = learn(place, &[], script);
        assert!(learned.status.success(), "{}", said(&learned));
        let profile = text(&learned.stdout);
        assert!(profile.contains("allow = []"), "{profile}");
        assert!(profile.contains("# asked for, not granted: look_up `collector.example.net`"), "{profile}");
    });
}
