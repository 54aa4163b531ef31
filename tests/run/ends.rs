//! How runs end, and with which exit code.

use super::*;

#[test]
fn the_exit_code_is_the_commands_own() {
    in_every_tier(|place| {
        for code in [0, 1, 3, 42, 124, 125, 126, 127, 128, 255] {
            let ran = Jail::new(place).bash(&format!("exit {code}"));
            assert_eq!(ran.code, Some(code), "{}", ran.whole());
            assert_eq!((ran.outcome(), ran.verdict["exit_code"].as_i64()), ("exited", Some(code.into())));
            assert_eq!(ran.error_text(), "");
        }
    });
}

#[test]
fn a_signal_that_ends_the_command_is_128_and_its_number() {
    in_every_tier(|place| {
        for number in [1, 2, 6, 9, 11, 13, 15] {
            let ran = Jail::new(place).bash(&format!("kill -{number} $$"));
            assert_eq!(ran.code, Some(128 + number), "{}", ran.whole());
            assert_eq!((ran.outcome(), ran.verdict["signal"].as_i64()), ("signalled", Some(number.into())));
        }
    });
}

#[test]
fn out_of_time_is_124_after_a_chance_to_end() {
    in_every_tier(|place| {
        let begun = Instant::now();
        let ran = Jail::new(place)
            .timeout(&format!("{}ms", 300 * slowness()))
            .bash("trap 'echo bye; exit 0' TERM; sleep 30 & wait");
        assert_eq!((ran.code, ran.outcome(), ran.text().as_str()), (Some(124), "timed_out", "bye"), "{}", ran.whole());
        assert!(ran.error_text().starts_with("clawjail: ended: out of time"), "{}", ran.whole());
        assert!(begun.elapsed() < patience(Duration::from_secs(5)));
        let ran = Jail::new(place).timeout("300ms").bash("trap '' TERM; while :; do sleep 1; done");
        assert_eq!((ran.code, ran.outcome()), (Some(124), "timed_out"), "{}", ran.whole());
    });
}

#[test]
fn a_command_that_is_not_there_is_127_and_one_that_cannot_be_executed_126() {
    in_every_tier(|place| {
        place.write("plain", "text");
        place.mkdir("directory");
        place.write_program("broken", "#!/missing/interpreter\n");
        for name in ["missing-command", "./missing", "/missing/command", "./broken"] {
            let ran = Jail::new(place).run([name]);
            assert_one_line(&ran, 127, "not found");
            assert_eq!(ran.outcome(), "not_executed");
        }
        for name in ["./plain", "./directory"] {
            let ran = Jail::new(place).run([name]);
            assert_one_line(&ran, 126, "denied");
        }
    });
}

#[test]
fn a_script_without_a_first_line_is_the_shells() {
    in_every_tier(|place| {
        place.write_program("script", "echo \"$0 $1\"\n");
        assert_eq!(Jail::new(place).run(["./script", "one"]).text(), "./script one");
    });
}

#[test]
fn nothing_is_said_when_there_is_nothing_to_say() {
    in_every_tier(|place| {
        let ran = Jail::new(place).run(["true"]);
        assert_eq!((ran.code, ran.stdout.len(), ran.stderr.len()), (Some(0), 0, 0), "{}", ran.whole());
    });
}
