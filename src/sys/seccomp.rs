//! `seccomp(2)` and the notifications of a filter's listener.
//!
//! Owns the calls and their structures, one call a function. Must not decide what a filter says, nor how a notification
//! is answered.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// One instruction of a filter, laid out as the kernel reads it.
pub use libc::sock_filter as Instruction;

/// Whether the kernel logs what the filter refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusals {
    /// It says nothing.
    Silent,
    /// It writes an audit record for each (`SECCOMP_FILTER_FLAG_LOG`).
    Logged,
}

/// How a thread waits that a listener is being asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Any signal interrupts it, and the call may be asked about again.
    Interruptible,
    /// From the moment its notification has been received, only a fatal signal does (Linux 5.19).
    Killable,
}

/// Installs a filter on the calling thread. `no_new_privs` must be set, or the caller must be able to administer its
/// user namespace.
pub fn install(instructions: &[Instruction], refusals: Refusals) -> io::Result<()> {
    let flags = match refusals {
        Refusals::Silent => 0,
        Refusals::Logged => libc::SECCOMP_FILTER_FLAG_LOG,
    };
    set_filter(instructions, flags).map(|_| ())
}

/// Installs a filter on the calling thread, and gives the descriptor on which it asks. A kernel that does not know
/// `Wait::Killable` says `EINVAL`.
pub fn install_with_listener(instructions: &[Instruction], wait: Wait) -> io::Result<OwnedFd> {
    let flags = match wait {
        Wait::Interruptible => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
        Wait::Killable => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
    };
    let descriptor = set_filter(instructions, flags)?;
    // SAFETY: with NEW_LISTENER a result that is not an error is a descriptor that the kernel has just made for us, so
    // nobody else owns it; descriptors fit in an int.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as RawFd) })
}

fn set_filter(instructions: &[Instruction], flags: libc::c_ulong) -> io::Result<libc::c_long> {
    let length = u16::try_from(instructions.len()).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    let program = libc::sock_fprog { len: length, filter: instructions.as_ptr().cast_mut() };
    // SAFETY: `program` and the `length` instructions it points to live until the call returns; the kernel copies them
    // and, despite the mutable pointer of the C type, writes nothing.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Names it in the calls below.
    pub id: NotificationId,
    /// The thread that makes the call, in the pid namespace of the listener's reader; 0 where it has no number there.
    pub pid: u32,
    /// The call's number.
    pub number: i32,
    /// Its `AUDIT_ARCH_*`.
    pub architecture: u32,
    /// Its arguments. What pointers among them point to can change at any time.
    pub arguments: [u64; 6],
}

/// A notification's identity, unique for its listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NotificationId(u64);

/// What the waiting call returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// This value, without being made.
    Value(i64),
    /// This errno (a positive number), without being made.
    Errno(i32),
    /// It is made after all, with whatever its pointers point to by then: never an answer that protects anything.
    Continue,
}

const RECEIVE: libc::c_ulong = 0xc050_2100;
const SEND: libc::c_ulong = 0xc018_2101;
const ID_VALID: libc::c_ulong = 0x4008_2102;
const ADD_DESCRIPTOR: libc::c_ulong = 0x4018_2103;
const SET_FLAGS: libc::c_ulong = 0x4008_2104;
const SYNC_WAKE_UP: u64 = 1;

// The numbers above hold the sizes of the structures; a libc that laid them out otherwise would break the calls.
const _: () = assert!(size_of::<libc::seccomp_notif>() == 0x50);
const _: () = assert!(size_of::<libc::seccomp_notif_resp>() == 0x18);
const _: () = assert!(size_of::<libc::seccomp_notif_addfd>() == 0x18);

/// Waits for the next notification. `ENOENT`: the caller of one was killed just then; ask again.
pub fn receive(listener: BorrowedFd<'_>) -> io::Result<Notification> {
    // SAFETY: all fields are integers, for which zero is a value; the kernel demands that all are zero.
    let mut raw: libc::seccomp_notif = unsafe { std::mem::zeroed() };
    // SAFETY: RECEIVE writes one `seccomp_notif`, and `raw` is one that lives until the call returns.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), RECEIVE as libc::Ioctl, &raw mut raw) };
    checked(result)?;
    Ok(Notification {
        id: NotificationId(raw.id),
        pid: raw.pid,
        number: raw.data.nr,
        architecture: raw.data.arch,
        arguments: raw.data.args,
    })
}

/// Succeeds while the call still waits. To be asked after its process has been looked at by pid, which could be another
/// process's by now.
pub fn confirm_waiting(listener: BorrowedFd<'_>, id: NotificationId) -> io::Result<()> {
    // SAFETY: ID_VALID reads one u64, which lives until the call returns.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), ID_VALID as libc::Ioctl, &raw const id.0) };
    checked(result).map(|_| ())
}

/// Answers a call. `ENOENT`: it no longer waits.
pub fn send(listener: BorrowedFd<'_>, id: NotificationId, answer: Answer) -> io::Result<()> {
    let (val, error, flags) = match answer {
        Answer::Value(value) => (value, 0, 0),
        // The kernel wants it negative, and takes a positive one for success.
        Answer::Errno(errno) => (0, -errno.abs(), 0),
        Answer::Continue => (0, 0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
    };
    let response = libc::seccomp_notif_resp { id: id.0, val, error, flags };
    // SAFETY: SEND reads one `seccomp_notif_resp`, and `response` is one that lives until the call returns.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), SEND as libc::Ioctl, &raw const response) };
    checked(result).map(|_| ())
}

/// Gives the waiting process a duplicate of `descriptor`, closed on exec if `flags` is `O_CLOEXEC`, and answers its call
/// with the new number, in one step (Linux 5.14): no other answer is to be sent.
pub fn send_descriptor(
    listener: BorrowedFd<'_>,
    id: NotificationId,
    descriptor: BorrowedFd<'_>,
    flags: libc::c_int,
) -> io::Result<()> {
    let request = libc::seccomp_notif_addfd {
        id: id.0,
        flags: libc::SECCOMP_ADDFD_FLAG_SEND as u32,
        srcfd: descriptor.as_raw_fd() as u32,
        newfd: 0,
        newfd_flags: flags as u32,
    };
    // SAFETY: ADD_DESCRIPTOR reads one `seccomp_notif_addfd`, and `request` is one that lives until the call returns;
    // `descriptor` is borrowed, so it is open until then.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), ADD_DESCRIPTOR as libc::Ioctl, &raw const request) };
    checked(result).map(|_| ())
}

/// Whether [`send_descriptor`] can work on this kernel: asked about a call that does not exist, for the kernel looks at
/// everything else first. Any error is a no.
pub fn can_send_descriptors(listener: BorrowedFd<'_>) -> io::Result<()> {
    // Ids count up from a random number: that nobody waits under this one is certain only while nobody waits at all.
    match send_descriptor(listener, NotificationId(0), listener, libc::O_CLOEXEC) {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(error) => Err(error),
        Ok(()) => Err(io::Error::from_raw_os_error(libc::EPROTO)),
    }
}

/// Has the kernel wake the reader on the processor of the asking thread, which is faster (Linux 6.6; `EINVAL` before).
pub fn wake_on_same_processor(listener: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: SET_FLAGS takes its argument as a number.
    let result = unsafe { libc::ioctl(listener.as_raw_fd(), SET_FLAGS as libc::Ioctl, SYNC_WAKE_UP) };
    checked(result).map(|_| ())
}

fn checked(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Whether this kernel answers questions about notifications at all. Whether it sends descriptors (Linux 5.14) is asked of
/// each new listener, before its process becomes the command.
pub fn notifications_work() -> bool {
    let mut sizes = libc::seccomp_notif_sizes { seccomp_notif: 0, seccomp_notif_resp: 0, seccomp_data: 0 };
    // SAFETY: GET_NOTIF_SIZES writes one `seccomp_notif_sizes`, and `sizes` is one that lives until the call returns.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_NOTIF_SIZES, 0, &raw mut sizes) == 0 }
}

/// Whether a filter judges this thread's calls already. prctl(2) `PR_GET_SECCOMP`.
pub fn is_filtered() -> bool {
    // SAFETY: integers only.
    unsafe { libc::prctl(libc::PR_GET_SECCOMP, 0, 0, 0, 0) != 0 }
}
