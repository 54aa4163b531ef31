//! Signals of the caller.

use super::*;

#[test]
fn signals_of_the_caller_are_the_commands() {
    in_every_tier(|place| {
        for (sent, name) in [
            (Signal::SIGTERM, "TERM"),
            (Signal::SIGINT, "INT"),
            (Signal::SIGHUP, "HUP"),
            (Signal::SIGUSR1, "USR1"),
            (Signal::SIGUSR2, "USR2"),
            (Signal::SIGQUIT, "QUIT"),
        ] {
            let jail = Jail::new(place);
            let child = start_script(
                &jail,
                &format!("trap 'echo got {name}; exit 9' {name}; : > ready; while :; do sleep 0.05; done"),
            );
            await_file(place, "ready");
            signal(&child, sent);
            let ran = jail.finish(child);
            assert_eq!((ran.code, ran.text()), (Some(9), format!("got {name}")), "{}", ran.whole());
            fs::remove_file(place.workspace.join("ready")).expect("own file");
        }
    });
}

#[test]
fn a_signal_that_the_command_does_not_handle_ends_it() {
    in_every_tier(|place| {
        for (sent, code) in [(Signal::SIGTERM, 143), (Signal::SIGINT, 130)] {
            let jail = Jail::new(place);
            let child = start_script(&jail, ": > ready; exec sleep 30");
            await_file(place, "ready");
            signal(&child, sent);
            let ran = jail.finish(child);
            assert_eq!((ran.code, ran.outcome()), (Some(code), "signalled"), "{}", ran.whole());
            fs::remove_file(place.workspace.join("ready")).expect("own file");
        }
    });
}
