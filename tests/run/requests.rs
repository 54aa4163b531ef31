//! What can be asked for, and what is refused.

use super::*;

#[test]
fn the_environment_holds_what_the_profile_names_and_what_was_asked_for() {
    in_every_tier(|place| {
        let jail =
            Jail::new(place).environment("ASKED", "a b\nc").environment("OTHER", "secret").environment("LC_ALL", "C");
        let ran = jail
            .option("--pass")
            .option("ASKED")
            .option("--env")
            .option("SET=x=y")
            .option("--env")
            .option("EMPTY=")
            .run(["env", "-0"]);
        let text = ran.text();
        let held: Vec<&str> = text.split('\0').filter(|entry| !entry.is_empty()).collect();
        for wanted in ["ASKED=a b\nc", "SET=x=y", "EMPTY=", "LC_ALL=C", "USER=agent", "TERM=dumb"] {
            assert!(held.contains(&wanted), "{wanted} is not in {held:?}");
        }
        assert!(!held.iter().any(|entry| entry.starts_with("OTHER=")), "{held:?}");
        let missing = Jail::new(place).option("--pass").option("NOT_SET").run(["env"]);
        assert!(!missing.text().contains("NOT_SET"), "{}", missing.whole());
    });
}

#[test]
fn a_name_that_is_none_is_refused() {
    in_every_tier(|place| {
        for entry in ["NOVALUE", "=x"] {
            let ran = Jail::new(place).option("--env").option(entry).bash("touch executed");
            assert_one_line(&ran, 126, "NAME=VALUE");
        }
        assert!(!place.holds("executed"));
    });
}

#[test]
fn the_workspace_is_the_current_directory_unless_another_is_named() {
    in_every_tier(|place| {
        place.write("sub/file", "below");
        assert_eq!(Jail::new(place).bash("pwd").text(), place.inside().display().to_string());
        let below = Jail::new(place).started_in(place.workspace.join("sub")).bash("cat file; ls ..");
        assert!(below.text().starts_with("below"), "{}", below.whole());
        assert!(!below.text().contains("sub"), "{}", below.whole());
        let relative = Jail::new(place)
            .started_in(&place.outside)
            .option("--workspace")
            .option("workspace")
            .option("--cwd")
            .option("workspace/sub")
            .run(["cat", "file"]);
        assert_eq!(relative.text(), "below", "{}", relative.whole());
    });
}

#[test]
fn a_timeout_must_have_a_unit() {
    in_every_tier(|place| {
        for span in ["5", "5 bananas", "-5s", "", "s", "99999999999999999999s"] {
            let mut command = place.command(clawjail());
            command.args(["run", "--tier", place.tier.word(), &format!("--timeout={span}"), "--", "touch", "executed"]);
            let output = command.output().expect("the binary can be executed");
            let text = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && !output.stderr.is_empty(), "{span:?}: {text}");
            assert!(matches!(output.status.code(), Some(125 | 126)), "{span:?}: {:?} {text}", output.status);
        }
        assert!(!place.holds("executed"));
    });
}

#[test]
fn arguments_arrive_as_they_are() {
    in_every_tier(|place| {
        let words = ["", " ", "a b", "--help", "-x", "$HOME", "*", "new\nline", "ü", "'\"\\"];
        let ran = Jail::new(place).run(["printf", "[%s]"].into_iter().chain(words));
        assert_eq!(String::from_utf8_lossy(&ran.stdout), words.map(|word| format!("[{word}]")).concat());
        let odd = std::os::unix::ffi::OsStrExt::from_bytes(b"\xff\xfe");
        let odd: &std::ffi::OsStr = odd;
        let ran = Jail::new(place).run([std::ffi::OsStr::new("printf"), std::ffi::OsStr::new("%s"), odd]);
        assert_eq!(ran.stdout, b"\xff\xfe");
    });
}

#[test]
fn arguments_beyond_the_kernels_limit_are_one_clear_line() {
    in_every_tier(|place| {
        let long = "x".repeat(120_000);
        let many = Jail::new(place).run(std::iter::once("true").chain(std::iter::repeat_n(long.as_str(), 14)));
        assert!(matches!(many.code, Some(0 | 126)), "{}", many.error_text().chars().take(300).collect::<String>());
        if many.code == Some(126) {
            assert!(many.own_lines().len() <= 2 && many.error_text().len() < 1000, "{}", many.error_text());
        }
    });
}

#[test]
fn a_command_is_required() {
    for words in [
        &["run"][..],
        &["run", "--"],
        &["run", "--", ""],
        &["run", "--no-such-option", "--", "true"],
        &["run", "--tty", "--no-tty", "--", "true"],
    ] {
        let output =
            Place::new(tiers().0[0]).command(clawjail()).args(words).output().expect("the binary can be executed");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(125 | 126)), "{words:?}: {:?} {text}", output.status.code());
        assert!(!text.is_empty());
    }
}

#[test]
fn bad_workspaces_are_refused_with_one_line_and_nothing_runs() {
    in_every_tier(|place| {
        place.write("file", "");
        std::os::unix::fs::symlink(&place.workspace, place.outside.join("link")).expect("own directory");
        let home = place.account().home.display().to_string();
        for (workspace, word) in [
            ("/", "root"),
            (home.as_str(), "home"),
            ("missing", "exist"),
            ("file", "directory"),
            ("../link", "link"),
            ("/usr/share", "system"),
            ("/tmp", "/tmp"),
        ] {
            let ran = Jail::new(place).option("--workspace").option(workspace).bash("touch executed");
            assert_one_line(&ran, 126, word);
            assert_eq!(ran.outcome(), "refused");
        }
        let ran = Jail::new(place).option("--cwd").option("..").bash("touch executed");
        assert_one_line(&ran, 126, "outside");
        assert!(!place.holds("executed"));
    });
}

#[test]
fn a_current_directory_that_is_gone_is_one_line() {
    in_every_tier(|place| {
        let script = format!(
            "mkdir gone && cd gone && rmdir ../gone && exec {} run --tier {} -- true",
            clawjail().display(),
            place.tier.word()
        );
        let output = place.host("bash").args(["-c", &script]).output().expect("everyone has bash");
        assert_eq!(output.status.code(), Some(126), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr).lines().count(), 1, "{output:?}");
    });
}
