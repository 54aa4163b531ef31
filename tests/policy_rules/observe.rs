//! The filter that tells: each `observe` set has its calls told, and nothing beside them.

use crate::Checks;
use crate::broker::Becomes::{Asked, Passed};
use crate::broker::{asks_about, call};

/// No descriptor.
const NONE: u64 = 99;

/// Every set.
pub fn all(checks: &mut Checks) {
    network(checks);
    commands(checks);
    full(checks);
    writes(checks);
}

fn network(checks: &mut Checks) {
    let text = c"question".as_ptr() as u64;
    let send = |length: i64| call(libc::SYS_sendto, [NONE, text, 8, 0, text, length as u64]);
    let calls = [
        (Asked, call(libc::SYS_connect, [NONE, text, 16, 0, 0, 0])),
        (Asked, send(16)),
        (Asked, send(28)),
        // Without an address, and with one of a socket of the machine itself.
        (Passed, send(0)),
        (Passed, send(110)),
        (Asked, call(libc::SYS_sendmmsg, [NONE, text, 1, 0, 0, 0])),
        (Passed, call(libc::SYS_sendmsg, [NONE, text, 0, 0, 0, 0])),
        (Passed, call(libc::SYS_bind, [NONE, text, 16, 0, 0, 0])),
        (Passed, call(libc::SYS_recvfrom, [NONE, text, 0, 0, 0, 0])),
    ];
    asks_about(
        checks,
        "observe: is told where a command wants to connect to, and nothing beside it",
        &["observe"],
        &calls,
    );
}

fn commands(checks: &mut Checks) {
    let here = libc::AT_FDCWD as u64;
    let path = c"/nowhere/at/all".as_ptr() as u64;
    let calls = [
        (Asked, call(libc::SYS_execve, [path, 0, 0, 0, 0, 0])),
        (Asked, call(libc::SYS_execveat, [here, path, 0, 0, 0, 0])),
        (Asked, call(libc::SYS_listen, [NONE, 1, 0, 0, 0, 0])),
        (Passed, call(libc::SYS_bind, [NONE, path, 16, 0, 0, 0])),
        (Passed, call(libc::SYS_openat, [here, path, 0, 0, 0, 0])),
        (Passed, call(libc::SYS_kill, [0, 0, 0, 0, 0, 0])),
    ];
    let name = "observe-commands: is told of programs and listeners, and of nothing beside them";
    asks_about(checks, name, &["observe-commands"], &calls);
}

fn full(checks: &mut Checks) {
    let here = libc::AT_FDCWD as u64;
    let path = c"/nowhere/at/all".as_ptr() as u64;
    let opening = |flags: i32| call(libc::SYS_openat, [here, path, flags as u64, 0, 0, 0]);
    let mut calls = vec![
        (Asked, opening(libc::O_RDONLY)),
        (Asked, opening(libc::O_RDWR)),
        (Asked, opening(libc::O_PATH)),
        (Asked, call(libc::SYS_truncate, [path, 0, 0, 0, 0, 0])),
        (Asked, call(libc::SYS_unlinkat, [here, path, 0, 0, 0, 0])),
        (Asked, call(libc::SYS_unlinkat, [here, path, libc::AT_REMOVEDIR as u64, 0, 0, 0])),
        (Passed, call(libc::SYS_newfstatat, [here, path, 0, 0, 0, 0])),
        (Passed, call(libc::SYS_faccessat, [here, path, 0, 0, 0, 0])),
        (Passed, call(libc::SYS_readlinkat, [here, path, 0, 0, 0, 0])),
        (Passed, call(libc::SYS_ftruncate, [NONE, 0, 0, 0, 0, 0])),
        (Passed, call(libc::SYS_read, [NONE, path, 0, 0, 0, 0])),
    ];
    calls.extend(by_their_old_names(path));
    let name = "observe-full: is told of every name that is opened or removed, and of nothing that only looks";
    asks_about(checks, name, &["observe-full"], &calls);
}

fn writes(checks: &mut Checks) {
    let here = libc::AT_FDCWD as u64;
    let path = c"/nowhere/at/all".as_ptr() as u64;
    let opening = |flags: i32| call(libc::SYS_openat, [here, path, flags as u64, 0, 0, 0]);
    let calls = [
        (Asked, opening(libc::O_WRONLY)),
        (Asked, opening(libc::O_RDWR | libc::O_CLOEXEC)),
        (Passed, opening(libc::O_RDONLY)),
        (Passed, opening(libc::O_RDONLY | libc::O_CLOEXEC | libc::O_DIRECTORY)),
        (Asked, call(libc::SYS_truncate, [path, 0, 0, 0, 0, 0])),
        (Asked, call(libc::SYS_unlinkat, [here, path, 0, 0, 0, 0])),
        (Passed, call(libc::SYS_newfstatat, [here, path, 0, 0, 0, 0])),
        (Passed, call(libc::SYS_ftruncate, [NONE, 0, 0, 0, 0, 0])),
    ];
    let name = "observe-writes: is told of names that would be written or removed, and of none that is read";
    asks_about(checks, name, &["observe-writes"], &calls);
}

#[cfg(target_arch = "x86_64")]
fn by_their_old_names(path: u64) -> Vec<(crate::broker::Becomes, crate::kernel::Call)> {
    let by = |number| call(number, [path, 0, 0, 0, 0, 0]);
    let told = [libc::SYS_open, libc::SYS_creat, libc::SYS_unlink, libc::SYS_rmdir];
    let passed = [libc::SYS_stat, libc::SYS_access, libc::SYS_readlink];
    told.map(|number| (Asked, by(number))).into_iter().chain(passed.map(|number| (Passed, by(number)))).collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn by_their_old_names(_: u64) -> Vec<(crate::broker::Becomes, crate::kernel::Call)> {
    Vec::new()
}
