//! What matters most, done for real: nothing beneath the filter but the kernel.

use std::os::fd::{FromRawFd, OwnedFd};

use crate::kernel::{confine, in_child};
use crate::trial::{Trial, Want, run, trial};
use crate::{Checks, EPERM, LOOPBACK, worn};

const BARE: &[&str] = &["default", "bare"];

/// All of them.
pub fn all(checks: &mut Checks) {
    terminals(checks);
    processes(checks);
    limits_of_others(checks);
    threads(checks);
    nodes(checks);
    inner_filters(checks);
    thirty_two_bit_gate(checks);
}

/// B16: the kernel reads 32 bits of an ioctl's number, so bits above them hide nothing.
fn terminals(checks: &mut Checks) {
    let (mut master, mut slave) = (0, 0);
    let none = std::ptr::null_mut();
    // SAFETY: both descriptors are written to living integers; the other arguments may be null.
    let made = unsafe { libc::openpty(&raw mut master, &raw mut slave, none, none.cast(), none.cast()) };
    assert_eq!(made, 0, "a terminal");
    let waiting = 0u32;
    let requests = [("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c), ("TIOCSETD", 0x5423), ("TIOCCONS", 0x541d)];
    let mut trials = Vec::new();
    for high in [0, 1 << 32, 0xffff_ffff_0000_0000] {
        for (name, request) in requests {
            let arguments = [slave as u64, request | high, c"x".as_ptr() as u64];
            trials.push(trial(format!("{name} {high:#x}"), libc::SYS_ioctl, &arguments, Want::Denied));
        }
        let arguments = [slave as u64, 0x541b | high, (&raw const waiting) as u64];
        trials.push(trial(format!("FIONREAD {high:#x}"), libc::SYS_ioctl, &arguments, Want::Works));
    }
    run(checks, "nothing is typed into a terminal", LOOPBACK, &trials);
    // SAFETY: both were opened above, and nobody else owns them.
    drop(unsafe { [master, slave].map(|descriptor| OwnedFd::from_raw_fd(descriptor)) });
}

fn processes(checks: &mut Checks) {
    let mut trials = vec![
        trial("clone3", libc::SYS_clone3, &[0, 0], Want::Missing),
        trial("unshare files", libc::SYS_unshare, &[0x400], Want::Denied),
        trial("setns", libc::SYS_setns, &[0, 0], Want::Denied),
        trial("chroot", libc::SYS_chroot, &[c"/".as_ptr() as u64], Want::Denied),
        trial("ptrace", libc::SYS_ptrace, &[0, 0, 0, 0], Want::Denied),
        trial("io_uring_setup", libc::SYS_io_uring_setup, &[1, 0], Want::Missing),
        trial("personality query", libc::SYS_personality, &[0xffff_ffff], Want::Works),
        trial("personality", libc::SYS_personality, &[0x004_0000], Want::Denied),
        trial("getpid", libc::SYS_getpid, &[], Want::Works),
    ];
    trials.extend(namespaces());
    run(checks, "no new namespace, no other process", LOOPBACK, &trials);
    run(checks, "no new namespace, no other process", BARE, &trials);
}

/// B14: every flag that makes a namespace, also beside others and beneath bits that the kernel does not read.
fn namespaces() -> Vec<Trial> {
    let flags = [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000];
    let mut trials = Vec::new();
    for flag in flags {
        trials.push(trial(format!("unshare {flag:#x}"), libc::SYS_unshare, &[flag], Want::Denied));
        for beside in [0, 17, 0x100, 0xffff_ffff_0000_0000] {
            let arguments = [flag | beside, 0, 0, 0, 0];
            trials.push(trial(format!("clone {flag:#x} {beside:#x}"), libc::SYS_clone, &arguments, Want::Denied));
        }
    }
    trials
}

fn limits_of_others(checks: &mut Checks) {
    // The trial's parent: another process, whose limits an ordinary user may read too.
    let parent = u64::from(std::process::id());
    let trials = |others| {
        [
            trial("own limits", libc::SYS_prlimit64, &[0, 7, 0, 0], Want::Works),
            trial("limits of its parent", libc::SYS_prlimit64, &[parent, 7, 0, 0], others),
        ]
    };
    run(checks, "limits of others", BARE, &trials(Want::Denied));
    run(checks, "limits of others", LOOPBACK, &trials(Want::Made));
}

fn threads(checks: &mut Checks) {
    let program = worn(LOOPBACK);
    let report = in_child(2, |report| {
        confine(&program);
        report(std::thread::spawn(|| 7).join().unwrap_or(0));
        let child = std::process::Command::new("/bin/true").status();
        report(i64::from(child.is_ok_and(|status| status.success())));
    });
    let wrong = if report.values == [7, 1] { vec![] } else { vec![format!("{:?}", report.values)] };
    checks.check("threads and children without clone3", &wrong);
}

/// A17: no device nodes, whatever is written above the 16 bits of a mode.
fn nodes(checks: &mut Checks) {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| std::ffi::CString::new(format!("{}/{name}", directory.path().display())).expect("no NUL");
    let (pipe, other, device) = (path("pipe"), path("other"), path("device"));
    let here = libc::AT_FDCWD as u64;
    let mut trials =
        vec![trial("pipe at", libc::SYS_mknodat, &[here, other.as_ptr() as u64, 0o010_600, 0], Want::Works)];
    #[cfg(target_arch = "x86_64")]
    trials.push(trial("pipe", libc::SYS_mknod, &[pipe.as_ptr() as u64, 0o010_600, 0], Want::Works));
    for mode in [0o020_600, 0o060_600, 0o020_600 | 1 << 16, 0o060_600 | 1 << 40] {
        let device = device.as_ptr() as u64;
        let arguments = [here, device, mode, 0x103];
        trials.push(trial(format!("mknodat {mode:o}"), libc::SYS_mknodat, &arguments, Want::Denied));
        #[cfg(target_arch = "x86_64")]
        trials.push(trial(format!("mknod {mode:o}"), libc::SYS_mknod, &[device, mode, 0x103], Want::Denied));
    }
    run(checks, "pipes but no devices", LOOPBACK, &trials);
    drop(pipe);
}

/// A jail in the jail may filter further, but not answer in the place of our listener.
fn inner_filters(checks: &mut Checks) {
    let allow = libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0x7fff_0000 };
    let program = libc::sock_fprog { len: 1, filter: (&raw const allow).cast_mut() };
    let program = (&raw const program) as u64;
    let seccomp = |name, mode, flags, want| trial(name, libc::SYS_seccomp, &[mode, flags, program], want);
    let trials = [
        seccomp("listener", 1, 8, Want::Denied),
        seccomp("listener and more", 1, 8 | 16 | 1 << 40, Want::Denied),
        seccomp("listener, mode with high bits", 1 | 1 << 32, 8, Want::Denied),
        seccomp("filter", 1, 0, Want::Works),
        trial("filter by prctl", libc::SYS_prctl, &[22, 2, program], Want::Works),
    ];
    run(checks, "further filters, without listener", LOOPBACK, &trials);
}

/// B1: i386 numbers mean other calls, so none is made.
#[cfg(target_arch = "x86_64")]
fn thirty_two_bit_gate(checks: &mut Checks) {
    let present = in_child(1, |report| report(crate::kernel::int_0x80(20)));
    if present.values.is_empty() {
        return checks.check("int 0x80: not in this kernel", &[]);
    }
    let program = worn(LOOPBACK);
    let report = in_child(480, |report| {
        confine(&program);
        (0..480).for_each(|number| report(crate::kernel::int_0x80(number)));
    });
    let mut wrong = Vec::new();
    if report.values.len() != 480 {
        wrong.push(format!("the child ended early: status {:#x}", report.status));
    }
    let answers = report.values.iter().enumerate().filter(|(_, found)| **found != EPERM);
    wrong.extend(answers.map(|(number, found)| format!("{number}: {found}")));
    checks.check("int 0x80: every number is denied", &wrong);
}

#[cfg(not(target_arch = "x86_64"))]
fn thirty_two_bit_gate(_: &mut Checks) {}
