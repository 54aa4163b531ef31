//! What the kernel does to system calls under a filter, in throw-away children.
//!
//! `answers` asks without anything happening: beneath the filter lies one that answers every call with `MARKER`. The
//! kernel takes the answer of the filter installed last where both fail a call, so a call that ours allows comes back
//! with the marker, and one that it denies with its own errno.

use std::ops::ControlFlow;

use clawjail::confine;
use clawjail::plan::filter::Program;
use clawjail::sys::seccomp::{self, Instruction, Refusals};

/// `EHWPOISON`, which none of our rules and no call of the tests answers with.
pub const MARKER: i64 = -133;

/// In the last argument, it lets a call of the test itself pass the marker.
const PASS: u64 = 0x0c1a;

/// A raw call: number and arguments.
pub type Call = (u32, [u64; 6]);

/// How a child ended, and what it had reported by then.
pub struct Report {
    /// What it reported, in order.
    pub values: Vec<i64>,
    /// As `wait` says.
    pub status: i32,
}

/// Runs `work` in a child; `work` reports values into the slice, which is at least `room` long.
pub fn in_child(room: usize, work: impl FnOnce(&mut dyn FnMut(i64))) -> Report {
    let bytes = (room + 1) * size_of::<i64>();
    // SAFETY: a new mapping, page-aligned and zeroed, of at least `bytes`; it is unmapped below, after its last use.
    let shared = unsafe {
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0)
    };
    assert_ne!(shared, libc::MAP_FAILED);
    // SAFETY: the mapping is made of zeroed bytes, which are integers, and only the child writes to it until it ended.
    let cells = unsafe { std::slice::from_raw_parts_mut(shared.cast::<i64>(), room + 1) };
    // SAFETY: this program has one thread, so the child may go on as if nothing had happened.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        work(&mut |value| {
            let used = cells[0] as usize;
            cells[used + 1] = value;
            cells[0] += 1;
        });
        raw(libc::SYS_exit_group as u32, [0, 0, 0, 0, 0, PASS]);
        unreachable!("exit_group returned");
    }
    let mut status = 0;
    // SAFETY: `child` is ours and not yet reaped; `status` lives until the call returns.
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    let values = cells.iter().skip(1).take(cells[0] as usize).copied().collect();
    // SAFETY: the mapping made above; `cells` is not used any more.
    unsafe { libc::munmap(shared, bytes) };
    Report { values, status }
}

/// Makes a call and gives what the kernel returned, errors as negative numbers.
pub fn raw(number: u32, [a, b, c, d, e, f]: [u64; 6]) -> i64 {
    // SAFETY: the tests make harmless calls, or calls that a filter answers.
    let result = unsafe { libc::syscall(i64::from(number as i32), a, b, c, d, e, f) };
    if result != -1 {
        return result;
    }
    // SAFETY: errno is the thread's own.
    -i64::from(unsafe { *libc::__errno_location() })
}

/// Sets `no_new_privs` and installs the filter, as a run does.
pub fn confine(program: &Program) {
    no_new_privs();
    confine::seccomp::install(program).expect("the filter is installed");
}

/// Sets `no_new_privs`.
pub fn no_new_privs() {
    assert_eq!(raw(libc::SYS_prctl as u32, [libc::PR_SET_NO_NEW_PRIVS as u64, 1, 0, 0, 0, 0]), 0);
}

/// What each call comes back with: the filter's errno, or `MARKER` where the filter allows it. Nothing is executed.
pub fn answers(program: &Program, calls: &[Call]) -> Vec<i64> {
    let report = in_child(calls.len(), |report| {
        no_new_privs();
        seccomp::install(&marker(), Refusals::Silent).expect("the marker is installed");
        install_past_the_marker(program);
        let _: ControlFlow<()> = calls.iter().try_for_each(|(number, arguments)| {
            report(raw(*number, *arguments));
            ControlFlow::Continue(())
        });
    });
    assert_eq!(report.values.len(), calls.len(), "the child ended early: status {:#x}", report.status);
    report.values
}

/// Every call fails with `MARKER`, except those of the test, on every architecture.
fn marker() -> [Instruction; 6] {
    let instruction = |code, jt, jf, k| Instruction { code, jt, jf, k };
    [
        instruction(0x20, 0, 0, 16 + 5 * 8),
        instruction(0x15, 0, 2, PASS as u32),
        instruction(0x20, 0, 0, 4),
        instruction(0x15, 1, 0, 0xc000_003e),
        instruction(0x06, 0, 0, 0x0005_0000 | (-MARKER) as u32),
        instruction(0x06, 0, 0, 0x7fff_0000),
    ]
}

fn install_past_the_marker(program: &Program) {
    let converted = program.instructions.iter();
    let filter: Vec<Instruction> =
        converted.map(|one| Instruction { code: one.code, jt: one.jt, jf: one.jf, k: one.k }).collect();
    let header = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let mode = u64::from(libc::SECCOMP_SET_MODE_FILTER);
    let result = raw(libc::SYS_seccomp as u32, [mode, 0, (&raw const header) as u64, 0, 0, PASS]);
    // Freeing memory may be a call that the marker answers, which an allocator does not expect.
    std::mem::forget(filter);
    assert_eq!(result, 0, "the filter is installed");
}

/// A call by the 32-bit gate, as a program compiled for i386 makes it.
#[cfg(target_arch = "x86_64")]
pub fn int_0x80(number: u32) -> i64 {
    let result: i64;
    // SAFETY: the gate takes its number in eax and its arguments, all zero here, in the other registers; it keeps them
    // all but eax. rbx cannot be named as an operand, so it is kept by hand.
    unsafe {
        std::arch::asm!(
            "push rbx", "xor ebx, ebx", "int 0x80", "pop rbx",
            inlateout("rax") i64::from(number) => result,
            in("rcx") 0, in("rdx") 0, in("rsi") 0, in("rdi") 0,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    i64::from(result as i32)
}
