//! Making processes, and what a process says about itself: `clone3(2)`, `wait4(2)`, `prctl(2)`, `close_range(2)`.

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::answer;

const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Arguments of `clone3(2)`, as the kernel lays them out.
#[repr(C)]
#[derive(Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Which side of a fork this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, told the child's pid as seen from here.
    Parent(Pid),
}

/// Forks with the namespaces in `namespaces` (`CLONE_NEW*`), into the cgroup v2 group `group` if given. clone3(2).
///
/// The caller must have one thread only: the child gets a copy of all memory, locks included, and goes on in ordinary
/// Rust. `jail::launcher` upholds this: it never makes a thread.
pub fn fork_into(namespaces: u64, group: Option<BorrowedFd<'_>>) -> Result<Fork, Errno> {
    let mut arguments = CloneArguments { flags: namespaces, exit_signal: libc::SIGCHLD as u64, ..Default::default() };
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::try_from(group.as_raw_fd()).map_err(|_| Errno::EBADF)?;
    }
    // SAFETY: `arguments` is a live repr(C) structure of the size given. Without CLONE_VM the child has its own copy of
    // this stack, so both sides may return; with one thread no lock is held by a thread that the child lacks.
    let cloned = answer(unsafe {
        libc::syscall(libc::SYS_clone3, &arguments as *const CloneArguments, size_of::<CloneArguments>())
    });
    let pid = match cloned {
        // Containers hide clone3(2), whose flags their filters cannot read, and judge clone(2) instead.
        Err(Errno::ENOSYS) if group.is_none() => clone(namespaces)?,
        cloned => cloned?,
    };
    Ok(if pid == 0 { Fork::Child } else { Fork::Parent(Pid::from_raw(pid as libc::pid_t)) })
}

/// The same by the older call, which takes no group. clone(2).
fn clone(namespaces: u64) -> Result<libc::c_long, Errno> {
    let flags = namespaces | libc::SIGCHLD as u64;
    // SAFETY: as in `fork_into`. Without a stack the child goes on with its copy of this one; no flag asks for the further
    // arguments, whose order differs by architecture.
    answer(unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) })
}

/// Forks, under a filter that has no clone3(2). fork(2). The caller must have one thread, as for [`fork_into`].
pub fn fork() -> Result<Fork, Errno> {
    // SAFETY: with one thread no lock is held by a thread that the child lacks.
    let pid = answer(libc::c_long::from(unsafe { libc::fork() }))?;
    Ok(if pid == 0 { Fork::Child } else { Fork::Parent(Pid::from_raw(pid as libc::pid_t)) })
}

/// Leaves the caller's namespaces for new ones. unshare(2).
pub fn unshare(namespaces: u64) -> Result<(), Errno> {
    let flags = i32::try_from(namespaces).map_err(|_| Errno::EINVAL)?;
    nix::sched::unshare(nix::sched::CloneFlags::from_bits_truncate(flags))
}

/// How a process ended, and what it used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Who.
    pub pid: Pid,
    /// How.
    pub how: How,
    /// Processor time in user mode.
    pub user: Duration,
    /// Processor time in the kernel.
    pub system: Duration,
    /// Largest resident size of it or of a child that it waited for, in bytes.
    pub peak: u64,
}

/// The two ways to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It called `exit` with this code.
    Exited(i32),
    /// This signal ended it.
    Signalled(i32),
}

/// Reaps one child if one has ended; `None` when none has. wait4(2). `ECHILD` when there is no child at all.
pub fn reap(which: Option<Pid>) -> Result<Option<Ended>, Errno> {
    wait(which, libc::WNOHANG)
}

/// Waits until the child `pid` has ended, and reaps it. wait4(2).
pub fn wait_for(pid: Pid) -> Result<Ended, Errno> {
    loop {
        match wait(Some(pid), 0) {
            Ok(Some(ended)) => return Ok(ended),
            Ok(None) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

fn wait(which: Option<Pid>, flags: libc::c_int) -> Result<Option<Ended>, Errno> {
    let mut status = 0;
    // SAFETY: rusage is plain data for which all zeroes is a valid value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    let which = which.map_or(-1, Pid::as_raw);
    // SAFETY: both pointers are to live locals that the kernel fills before returning.
    let pid = answer(unsafe { libc::c_long::from(libc::wait4(which, &mut status, flags | libc::__WALL, &mut usage)) })?;
    if pid == 0 || libc::WIFSTOPPED(status) || libc::WIFCONTINUED(status) {
        return Ok(None);
    }
    let how = if libc::WIFSIGNALED(status) {
        How::Signalled(libc::WTERMSIG(status))
    } else {
        How::Exited(libc::WEXITSTATUS(status))
    };
    let peak = u64::try_from(usage.ru_maxrss).unwrap_or(0).saturating_mul(1024);
    let pid = Pid::from_raw(pid as libc::pid_t);
    Ok(Some(Ended { pid, how, user: duration(usage.ru_utime), system: duration(usage.ru_stime), peak }))
}

fn duration(time: libc::timeval) -> Duration {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let micros = u64::try_from(time.tv_usec).unwrap_or(0);
    Duration::from_secs(seconds).saturating_add(Duration::from_micros(micros))
}

/// Asks the kernel to send `signal` to us when the thread that made us ends. prctl(2) `PR_SET_PDEATHSIG`.
///
/// Cleared by a change of uid or gid, so it comes after these.
pub fn set_parent_death_signal(signal: Signal) -> Result<(), Errno> {
    prctl(libc::PR_SET_PDEATHSIG, signal as libc::c_ulong)
}

/// Makes orphaned descendants ours to reap. prctl(2) `PR_SET_CHILD_SUBREAPER`.
pub fn become_subreaper() -> Result<(), Errno> {
    prctl(libc::PR_SET_CHILD_SUBREAPER, 1)
}

/// No core dump, no `/proc/<pid>/mem` and no descriptors of ours for others of the same uid. prctl(2) `PR_SET_DUMPABLE`.
pub fn refuse_inspection() -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, 0)
}

/// Makes `/proc/self` ours again, which it is not while [`refuse_inspection`] holds. prctl(2) `PR_SET_DUMPABLE`.
pub fn allow_inspection() -> Result<(), Errno> {
    prctl(libc::PR_SET_DUMPABLE, 1)
}

/// `execve` can no longer grant anything. prctl(2) `PR_SET_NO_NEW_PRIVS`.
pub fn refuse_new_privileges() -> Result<(), Errno> {
    prctl(libc::PR_SET_NO_NEW_PRIVS, 1)
}

/// Whether `PR_SET_NO_NEW_PRIVS` is on.
pub fn has_no_new_privileges() -> bool {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 }
}

/// Fixes the securebits so that uid 0 means nothing for capabilities, and locks them. capabilities(7).
pub fn lock_securebits() -> Result<(), Errno> {
    const NOROOT_AND_NO_SETUID_FIXUP_LOCKED: libc::c_ulong = 0b1111;
    const NO_CAP_AMBIENT_RAISE_LOCKED: libc::c_ulong = 0b1100_0000;
    prctl(libc::PR_SET_SECUREBITS, NOROOT_AND_NO_SETUID_FIXUP_LOCKED | NO_CAP_AMBIENT_RAISE_LOCKED)
}

/// Takes one capability out of the bounding set for good; `EINVAL` for a number that the kernel does not know. prctl(2).
pub fn drop_from_bounding_set(capability: u64) -> Result<(), Errno> {
    prctl(libc::PR_CAPBSET_DROP, capability)
}

/// Names this process, as `ps` shows it. prctl(2) `PR_SET_NAME`.
pub fn set_name(name: &std::ffi::CStr) -> Result<(), Errno> {
    prctl(libc::PR_SET_NAME, name.as_ptr() as libc::c_ulong)
}

fn prctl(option: libc::c_int, argument: libc::c_ulong) -> Result<(), Errno> {
    let zero: libc::c_ulong = 0;
    // SAFETY: the options used here take integers or, for PR_SET_NAME, a NUL-terminated string that outlives the call.
    answer(libc::c_long::from(unsafe { libc::prctl(option, argument, zero, zero, zero) })).map(drop)
}

/// Closes every descriptor from `first` up. close_range(2).
pub fn close_from(first: u32) -> Result<(), Errno> {
    close_between(first, u32::MAX)
}

/// Closes every descriptor from `first` to `last`, both included. close_range(2).
///
/// Owned descriptors in that range must not be used or dropped afterwards: callers are about to `execve` or to forget them.
pub fn close_between(first: u32, last: u32) -> Result<(), Errno> {
    // SAFETY: integers only; closing is the purpose.
    answer(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) }).map(drop)
}

/// Makes `target` the number of `source`'s open file, without close-on-exec. dup2(2).
pub fn place(source: BorrowedFd<'_>, target: i32) -> Result<(), Errno> {
    // SAFETY: integers only. If the number was in use it is closed; callers place at 0, 1 and 2 before `execve`.
    answer(libc::c_long::from(unsafe { libc::dup2(source.as_raw_fd(), target) })).map(drop)
}

/// Takes over a descriptor number that the protocol between our own processes fixed.
pub fn adopt(number: i32) -> OwnedFd {
    // SAFETY: the number was created for this owner by the process that made us and is adopted once.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Changes the filesystem uid and gid, by which the kernel judges opening of paths. setfsuid(2).
///
/// They never fail visibly; a second call with -1 reads the value back.
pub fn set_filesystem_ids(uid: u32, gid: u32) -> Result<(), Errno> {
    // SAFETY: integers only.
    let (now_uid, now_gid) = unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        (libc::setfsuid(u32::MAX), libc::setfsgid(u32::MAX))
    };
    let same = u32::try_from(now_uid) == Ok(uid) && u32::try_from(now_gid) == Ok(gid);
    if same { Ok(()) } else { Err(Errno::EPERM) }
}

/// Sets the default disposition for every signal and empties the mask, as a login shell has them. signal(7).
pub fn reset_signals() -> Result<(), Errno> {
    for number in 1..=64 {
        // SIGKILL, SIGSTOP and the two that libc keeps for itself cannot be changed; all others are reset.
        // SAFETY: SIG_DFL installs no handler of ours.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    nix::sys::signal::SigSet::empty().thread_set_mask()
}

/// Gives up realtime scheduling, if a caller had it: what runs inside could keep the host from everything else.
/// sched_setscheduler(2).
pub fn leave_realtime() -> Result<(), Errno> {
    let parameters = libc::sched_param { sched_priority: 0 };
    // SAFETY: `parameters` is a live structure that the kernel only reads.
    answer(libc::c_long::from(unsafe { libc::sched_setscheduler(0, libc::SCHED_OTHER, &parameters) })).map(drop)
}

/// Arguments of `sched_setattr(2)`, as the kernel laid them out first.
#[repr(C)]
#[derive(Default)]
struct SchedulingAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Has the scheduler let this process finish what it does before others of its kind, and those that it makes be as they would have
/// been. A caller that chose a nice value keeps it. sched_setattr(2); needs CAP_SYS_NICE.
pub fn go_first() -> Result<(), Errno> {
    const RESET_ON_FORK: u64 = 1;
    const FIRST: i32 = -20;
    // SAFETY: takes and returns integers. An error is -1, which is a nice value too: neither is the usual one.
    if unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) } != 0 {
        return Ok(());
    }
    let size = size_of::<SchedulingAttributes>() as u32;
    let wanted = SchedulingAttributes { size, flags: RESET_ON_FORK, nice: FIRST, ..Default::default() };
    // SAFETY: `wanted` is a live repr(C) structure of the size that it says, which the kernel only reads.
    answer(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const wanted, 0) }).map(drop)
}

/// Has the kernel keep ended children until they are waited for, also where the caller had it throw them away. Without
/// this every wait of ours would fail. sigaction(2), `SA_NOCLDWAIT`.
pub fn keep_ended_children() {
    // SAFETY: SIG_DFL installs no handler of ours; it cannot fail for SIGCHLD.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Has the kernel drop `signal` when it comes. signal(2).
pub fn ignore_signal(signal: Signal) -> Result<(), Errno> {
    // SAFETY: SIG_IGN installs no handler of ours.
    let before = unsafe { libc::signal(signal as libc::c_int, libc::SIG_IGN) };
    if before == libc::SIG_ERR { Err(Errno::last()) } else { Ok(()) }
}

/// Becomes `program`. Returns only on failure. execve(2).
pub fn execute(program: &CString, arguments: &[CString], environment: &[CString]) -> Errno {
    match nix::unistd::execve(program, arguments, environment) {
        Ok(never) => match never {},
        Err(errno) => errno,
    }
}

/// Leaves at once, without running destructors or flushing. _exit(2).
pub fn leave(code: i32) -> ! {
    // SAFETY: ends the process; nothing can be observed after.
    unsafe { libc::_exit(code) }
}

/// The calling process's own `clone3` flags for a set of namespaces.
pub mod namespaces {
    /// `CLONE_NEWNS`.
    pub const MOUNT: u64 = libc::CLONE_NEWNS as u64;
    /// `CLONE_NEWPID`.
    pub const PID: u64 = libc::CLONE_NEWPID as u64;
    /// `CLONE_NEWNET`.
    pub const NETWORK: u64 = libc::CLONE_NEWNET as u64;
    /// `CLONE_NEWIPC`.
    pub const IPC: u64 = libc::CLONE_NEWIPC as u64;
    /// `CLONE_NEWUTS`.
    pub const UTS: u64 = libc::CLONE_NEWUTS as u64;
    /// `CLONE_NEWUSER`.
    pub const USER: u64 = libc::CLONE_NEWUSER as u64;
    /// `CLONE_NEWCGROUP`.
    pub const CGROUP: u64 = libc::CLONE_NEWCGROUP as u64;
}

/// Asks for the smallest thing that bpf(2) can do, for the probe. The kernel or the filter says no.
pub fn try_bpf() -> Result<(), Errno> {
    // SAFETY: command 0 with a null attribute of size 0 is rejected before any memory is read.
    answer(unsafe { libc::syscall(libc::SYS_bpf, 0, std::ptr::null::<libc::c_void>(), 0) }).map(drop)
}
