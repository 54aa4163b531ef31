//! A terminal of the command's own.

use super::*;
use nix::pty::{OpenptyResult, Winsize, openpty};
use std::os::fd::OwnedFd;

/// A command on a terminal that stands for a person's.
struct Session {
    child: Child,
    master: OwnedFd,
    seen: String,
}

impl Session {
    fn start(place: &Place, words: &[&str]) -> Session {
        let size = Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).expect("a host has terminals");
        let jail = Jail::new(place);
        let inner = jail.command(words);
        // setsid(1) makes the terminal the session's, as a login does.
        let mut command = place.host("setsid");
        command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
        let end = || Stdio::from(slave.try_clone().expect("own descriptor"));
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("everyone has setsid");
        drop(slave);
        nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))
            .expect("own descriptor");
        Session { child, master, seen: String::new() }
    }

    fn type_in(&self, text: &str) {
        nix::unistd::write(&self.master, text.as_bytes()).expect("a terminal takes a line");
    }

    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        match nix::unistd::read(&self.master, &mut bytes) {
            Ok(0) => false,
            Ok(count) => {
                self.seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
                true
            }
            Err(nix::errno::Errno::EAGAIN) => {
                std::thread::sleep(Duration::from_millis(5));
                true
            }
            Err(_) => false,
        }
    }

    /// Waits until this was written, and takes what was seen up to there away.
    fn await_text(&mut self, text: &str) {
        let deadline = Instant::now() + patience(Duration::from_secs(20));
        while !self.seen.contains(text) {
            assert!(Instant::now() < deadline && self.read(), "`{text}` was not written, but {:?}", self.seen);
        }
        let at = self.seen.find(text).expect("it is there") + text.len();
        self.seen.drain(..at);
    }

    /// Waits for the end; gives the exit code.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = Instant::now() + patience(Duration::from_secs(20));
        let status = loop {
            self.read();
            if let Some(status) = self.child.try_wait().expect("our own child") {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end; seen: {:?}", self.seen);
        };
        while !self.seen.is_empty() && self.read() && Instant::now() < deadline {
            if self.child.try_wait().is_ok() {
                break;
            }
        }
        (status.code(), self.seen)
    }
}

#[test]
fn a_terminal_outside_is_a_terminal_of_its_own_inside() {
    in_every_tier(|place| {
        let mut session = Session::start(
            place,
            &["bash", "-c", "tty; stty size; [ -t 0 ] && [ -t 1 ] && [ -t 2 ] && echo all; exit 4"],
        );
        session.await_text("/dev/pts/");
        session.await_text("33 77");
        session.await_text("all");
        assert_eq!(session.end().0, Some(4));
    });
}

#[test]
fn without_a_terminal_outside_there_is_none_inside() {
    in_every_tier(|place| {
        let ran = Jail::new(place).bash("[ -t 0 ] || [ -t 1 ] || [ -t 2 ] || echo none; tty; : < /dev/tty");
        assert!(ran.text().starts_with("none\nnot a tty"), "{}", ran.whole());
        assert!(ran.error_text().contains("/dev/tty"), "{}", ran.whole());
        let ran = Jail::new(place).option("--tty").bash("[ -t 1 ] && stty size");
        assert_eq!(ran.text(), "24 80", "{}", ran.whole());
    });
}

#[test]
fn the_size_of_the_window_is_followed() {
    in_every_tier(|place| {
        let mut session = Session::start(
            place,
            &["bash", "-c", "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done"],
        );
        session.await_text("ready");
        let size = libc::winsize { ws_row: 11, ws_col: 22, ws_xpixel: 0, ws_ypixel: 0 };
        resize(&session.master, &size);
        session.await_text("11 22");
        assert_eq!(session.end().0, Some(0));
    });
}

#[expect(unsafe_code, reason = "no crate that is here wraps TIOCSWINSZ")]
fn resize(terminal: &OwnedFd, size: &libc::winsize) {
    // SAFETY: the kernel reads one `winsize`, which outlives the call.
    let done = unsafe { libc::ioctl(std::os::fd::AsRawFd::as_raw_fd(terminal), libc::TIOCSWINSZ, size) };
    assert_eq!(done, 0);
}

#[test]
fn control_c_interrupts_and_control_d_ends_an_interactive_shell() {
    in_every_tier(|place| {
        let mut session = Session::start(place, &["bash", "--norc", "-i"]);
        session.type_in("PS1='> '; echo rea''dy\n");
        session.await_text("ready");
        session.type_in("sleep 60; echo never\n");
        session.await_text("sleep 60");
        std::thread::sleep(Duration::from_millis(300));
        session.type_in("\x03");
        session.type_in("echo code $?\n");
        session.await_text("code 130");
        session.type_in("\x04");
        let (code, _) = session.end();
        assert_eq!(code, Some(0));
    });
}

#[test]
fn jobs_can_be_stopped_and_continued() {
    in_every_tier(|place| {
        let mut session = Session::start(place, &["bash", "--norc", "-i"]);
        session.type_in("echo rea''dy\n");
        session.await_text("ready");
        session.type_in("sleep 60\n");
        session.await_text("sleep 60");
        std::thread::sleep(Duration::from_millis(300));
        session.type_in("\x1a");
        session.await_text("Stopped");
        // Disowned, because bash may not have noticed yet that it is gone, and does not exit over a stopped job.
        session.type_in("jobs; kill -9 %1; disown -a; echo en''d\n");
        session.await_text("end");
        session.type_in("exit 6\n");
        assert_eq!(session.end().0, Some(6));
    });
}

#[test]
fn the_terminal_outside_is_as_it_was_afterwards() {
    in_every_tier(|place| {
        let pty = openpty(None, None).expect("a host has terminals");
        let before = nix::sys::termios::tcgetattr(&pty.slave).expect("a terminal");
        for script in ["stty raw -echo; echo x", "kill -9 $$", "exit 0"] {
            let jail = Jail::new(place);
            let mut command = jail.command(["bash", "-c", script]);
            let end = || Stdio::from(pty.slave.try_clone().expect("own descriptor"));
            command.stdin(end()).stdout(end()).stderr(end());
            let mut child = command.spawn().expect("the binary can be executed");
            child.wait().expect("our own child");
            let after = nix::sys::termios::tcgetattr(&pty.slave).expect("a terminal");
            assert_eq!(before, after, "{script}");
        }
    });
}

#[test]
fn large_output_through_a_terminal_is_whole() {
    in_every_tier(|place| {
        let mut session = Session::start(place, &["bash", "-c", "seq 1 20000; echo fini''shed"]);
        session.await_text("\r\n20000\r\n");
        session.await_text("finished");
        assert_eq!(session.end().0, Some(0));
    });
}
