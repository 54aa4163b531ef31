//! The filter that asks: names that are made are asked about, and the listener's answers arrive.

use std::os::fd::AsFd;

use clawjail::confine;
use clawjail::plan::filter::{Otherwise, compile};
use clawjail::sys::seccomp::{self, Answer};

use crate::kernel::{Call, in_child, no_new_privs, raw};
use crate::{Checks, ENOSYS, shipped};

/// Names that are made are asked about, what is only opened is not, and the answers arrive.
pub fn all(checks: &mut Checks) {
    let program = compile(&shipped(&["broker"]), Otherwise::Allow).expect("compiles");
    let report = in_child(6, |report| {
        no_new_privs();
        let listener = confine::seccomp::install_with_listener(&program).expect("a listener");
        // SAFETY: this process has one thread.
        let asker = unsafe { libc::fork() };
        if asker == 0 {
            ask_the_broker();
        }
        let null = std::fs::File::open("/dev/null").expect("opening is not asked about");
        let answers = [Some(Answer::Errno(libc::EROFS)), Some(Answer::Value(42)), None];
        for answer in answers {
            let asked = seccomp::receive(listener.as_fd()).expect("a question");
            report(i64::from(asked.number));
            seccomp::confirm_waiting(listener.as_fd(), asked.id).expect("it waits");
            match answer {
                Some(answer) => seccomp::send(listener.as_fd(), asked.id, answer).expect("an answer"),
                None => seccomp::send_descriptor(listener.as_fd(), asked.id, null.as_fd(), libc::O_CLOEXEC)
                    .expect("a descriptor"),
            }
        }
        let mut status = 0;
        // SAFETY: `asker` is ours and not yet reaped; `status` lives until the call returns.
        unsafe { libc::waitpid(asker, &raw mut status, 0) };
        report(i64::from(libc::WEXITSTATUS(status)));
    });
    let wanted = [libc::SYS_mkdirat, libc::SYS_symlinkat, libc::SYS_openat, 0];
    let wrong =
        if report.values == wanted { vec![] } else { vec![format!("{:?} {:#x}", report.values, report.status)] };
    checks.check("broker: asks about names that are made, and its answers arrive", &wrong);
}

/// What becomes of a call under a filter that asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    /// It is asked about.
    Asked,
    /// The kernel has it.
    Passed,
    /// There is no such call.
    Missing,
}

/// Which calls are asked about where the broker keeps settings of git: whatever could change a file by its path, and nothing beside it.
pub fn of_git(checks: &mut Checks) {
    use Becomes::{Asked, Missing, Passed};
    let here = libc::AT_FDCWD as u64;
    let path = c"/nowhere/at/all".as_ptr() as u64;
    let opening = |flags: i32| call(libc::SYS_openat, [here, path, flags as u64, 0, 0, 0]);
    let calls = [
        (Asked, opening(libc::O_WRONLY)),
        (Asked, opening(libc::O_RDWR | libc::O_CLOEXEC)),
        (Asked, opening(libc::O_RDONLY | libc::O_TRUNC)),
        (Asked, opening(libc::O_RDONLY | libc::O_CREAT)),
        (Passed, opening(libc::O_RDONLY | libc::O_CLOEXEC)),
        (Passed, opening(libc::O_PATH)),
        (Asked, call(libc::SYS_truncate, [path, 0, 0, 0, 0, 0])),
        (Asked, call(libc::SYS_unlinkat, [here, path, 0, 0, 0, 0])),
        (Passed, call(libc::SYS_unlinkat, [here, path, libc::AT_REMOVEDIR as u64, 0, 0, 0])),
        (Asked, call(libc::SYS_fchmod, [0, 0o644, 0, 0, 0, 0])),
        (Asked, call(libc::SYS_fchmodat, [here, path, 0o644, 0, 0, 0])),
        (Asked, call(libc::SYS_fchmodat2, [here, path, 0o644, 0, 0, 0])),
        (Passed, call(libc::SYS_ftruncate, [99, 0, 0, 0, 0, 0])),
        (Missing, call(libc::SYS_fsetxattr, [99, path, path, 1, 0, 0])),
    ];
    let name = "broker-git: asks about what changes a file by its path, and about nothing beside it";
    asks_about(checks, name, &["broker", "broker-git"], &calls);
}

/// A call by libc's number.
pub fn call(number: i64, arguments: [u64; 6]) -> Call {
    (number as u32, arguments)
}

/// Makes each call under the sets `worn`, and holds what becomes of it against what is written beside it.
pub fn asks_about(checks: &mut Checks, name: &str, worn: &[&str], calls: &[(Becomes, Call)]) {
    let program = compile(&shipped(worn), Otherwise::Allow).expect("compiles");
    let asked: Vec<i64> =
        calls.iter().filter(|(becomes, _)| *becomes == Becomes::Asked).map(|(_, call)| i64::from(call.0)).collect();
    let report = in_child(asked.len() + 1, |report| {
        no_new_privs();
        let listener = confine::seccomp::install_with_listener(&program).expect("a listener");
        // SAFETY: this process has one thread.
        let asker = unsafe { libc::fork() };
        if asker == 0 {
            std::process::exit(first_wrong(calls));
        }
        for _ in &asked {
            let question = seccomp::receive(listener.as_fd()).expect("a question");
            report(i64::from(question.number));
            seccomp::send(listener.as_fd(), question.id, Answer::Errno(libc::EXDEV)).expect("an answer");
        }
        let mut status = 0;
        // SAFETY: `asker` is ours and not yet reaped; `status` lives until the call returns.
        unsafe { libc::waitpid(asker, &raw mut status, 0) };
        report(i64::from(libc::WEXITSTATUS(status)));
    });
    let wanted: Vec<i64> = asked.iter().copied().chain([0]).collect();
    let wrong =
        if report.values == wanted { vec![] } else { vec![format!("{:?} {:#x}", report.values, report.status)] };
    checks.check(name, &wrong);
}

/// Makes them; the number of the first one that became something else, from 1, or 0.
fn first_wrong(calls: &[(Becomes, Call)]) -> i32 {
    let is_wrong = |(becomes, (number, arguments)): &(Becomes, Call)| {
        let answered = match raw(*number, *arguments) {
            ENOSYS => Becomes::Missing,
            answer if answer == -i64::from(libc::EXDEV) => Becomes::Asked,
            _ => Becomes::Passed,
        };
        answered != *becomes
    };
    calls.iter().position(is_wrong).map_or(0, |index| index as i32 + 1)
}

/// Ends with 0 when every answer was the listener's.
fn ask_the_broker() -> ! {
    let here = libc::AT_FDCWD as u64;
    let path = c"/nowhere/at/all".as_ptr() as u64;
    let null = c"/dev/null".as_ptr() as u64;
    let creating = (libc::O_CREAT | libc::O_WRONLY) as u64;
    let made = raw(libc::SYS_mkdirat as u32, [here, path, 0o700, 0, 0, 0]);
    let linked = raw(libc::SYS_symlinkat as u32, [path, here, path, 0, 0, 0]);
    let opened = raw(libc::SYS_openat as u32, [here, null, 0, 0, 0, 0]);
    let created = raw(libc::SYS_openat as u32, [here, path, creating, 0o600, 0, 0]);
    let openat2 = raw(libc::SYS_openat2 as u32, [here, null, 0, 0, 0, 0]);
    let right = [made == -i64::from(libc::EROFS), linked == 42, opened > 2, created > 2, openat2 == ENOSYS];
    // The first thing that was wrong, from 1.
    let wrong = right.iter().position(|right| !right).map_or(0, |index| index + 1);
    std::process::exit(wrong as i32)
}
