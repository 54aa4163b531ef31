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

/// A handler that restarts calls must see none of it: a call that waits for the broker is interrupted by any signal before
/// Linux 5.19, and by one that comes early since. Before, an answer can also be lost on its way, once in a while.
#[test]
fn a_name_is_made_once_however_often_signals_interrupt_its_making() {
    in_every_tier(|place| {
        if !has("python3") {
            return;
        }
        let script = "import os, signal\n\
            lost = 0\n\
            def once(call, *words):\n\
            \x20   global lost\n\
            \x20   try: return call(*words)\n\
            \x20   except (FileExistsError, FileNotFoundError): lost += 1\n\
            \x20   return None\n\
            signal.signal(signal.SIGALRM, lambda *a: None); signal.siginterrupt(signal.SIGALRM, False)\n\
            signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)\n\
            for n in range(300):\n\
            \x20   n = str(n); made = once(os.open, 'f' + n, os.O_CREAT | os.O_EXCL | os.O_WRONLY)\n\
            \x20   if made is not None: os.close(made)\n\
            \x20   once(os.mkdir, 'd' + n); once(os.symlink, 'x', 's' + n)\n\
            \x20   once(os.rename, 'f' + n, 'g' + n); once(os.unlink, 's' + n); once(os.rmdir, 'd' + n)\n\
            signal.setitimer(signal.ITIMER_REAL, 0); print(len(os.listdir('.')))\n\
            kernel = tuple(int(part) for part in os.uname().release.split('.')[:2])\n\
            print(lost if kernel >= (5, 19) or lost > 9 else 0)\n";
        let ran = Jail::new(place).patient(60).run(["python3", "-c", script]);
        assert_eq!((ran.code, ran.text().as_str()), (Some(0), "300\n0"), "{}", ran.whole());
    });
}
