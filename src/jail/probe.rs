//! Proof instead of configuration: the process that is about to become the command tries what must not work.
//!
//! It wears everything that the command will wear, so what it finds holds for the command itself and not for a stand-in.
//! Each attempt belongs to a promise and has the answers that keep it. What comes back goes into the verdict's
//! `enforcement`; one attempt that got through, and the process ends instead of executing anything.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CloneFlags;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::kill;
use nix::sys::socket::sockopt::Linger;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockType, SockaddrIn, connect, recv, send, setsockopt, socket,
};
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use crate::confine::shields::Shielded;
use crate::confine::{capabilities, gateway};
use crate::host::Tier;
use crate::plan::promise::SIGNALS;
use crate::plan::view::MARKER;
use crate::plan::{Effect, Plan};
use crate::profile::promise::Promise;
use crate::sys::socket::accept;
use crate::sys::{keyring, process};
use crate::wire::privsep::{Finding, Orders};

/// Shielded paths that are tried one by one; a workspace may have many.
const MOST_SHIELDED: usize = 32;

/// What came of trying everything.
#[must_use]
pub enum Proof {
    /// Every promise held.
    Sound(Vec<Finding>),
    /// One did not: nothing may be executed here.
    Broken(Vec<Finding>),
}

/// Tries everything, in the process that will be the command.
pub fn attempt(orders: &Orders, shielded: &[Shielded]) -> Proof {
    let mut findings = Vec::with_capacity(MOST_SHIELDED);
    try_filesystem(&orders.plan, &mut findings);
    try_shielded(shielded, &mut findings);
    try_network(&orders.plan, &mut findings);
    try_identity(orders, &mut findings);
    try_syscalls(&mut findings);
    try_limits(&orders.plan, &mut findings);
    try_processes(orders, &mut findings);
    if findings.iter().all(|finding| finding.held) { Proof::Sound(findings) } else { Proof::Broken(findings) }
}

fn try_filesystem(plan: &Plan, findings: &mut Vec<Finding>) {
    if plan.tier.has_namespaces() {
        // It is there for all to see, and no rule grants it: only Landlock can say no.
        findings.push(finding(
            Promise::Filesystem,
            "read an ungranted file",
            read(Path::new(MARKER)),
            &[Errno::EACCES],
        ));
        findings.push(finding(
            Promise::Filesystem,
            "write the root",
            create(Path::new("/probe")),
            &[Errno::EACCES, Errno::EROFS],
        ));
        // In a new root the first process's root is our own; the host's would have a /proc/1 that is not us.
        let escaped = read(Path::new("/proc/1/root/etc/shadow"));
        findings.push(finding(
            Promise::Filesystem,
            "read /etc/shadow by way of init",
            escaped,
            &[Errno::EACCES, Errno::ENOENT, Errno::EPERM],
        ));
    }
    findings.push(finding(
        Promise::Filesystem,
        "read /etc/shadow",
        read(Path::new("/etc/shadow")),
        &[Errno::EACCES, Errno::ENOENT],
    ));
    findings.push(finding(
        Promise::Filesystem,
        "write /etc",
        create(Path::new("/etc/clawjail-probe")),
        &[Errno::EACCES, Errno::EROFS],
    ));
}

fn try_shielded(shielded: &[Shielded], findings: &mut Vec<Finding>) {
    // A link is tried where it leads to, under that name.
    for one in shielded.iter().filter(|one| !one.path.is_symlink()).take(MOST_SHIELDED) {
        let name = one.path.display();
        let (tried, result) = match one.effect {
            Effect::Hide => (format!("read hidden {name}"), read(&one.path)),
            Effect::Protect | Effect::Vet => (format!("change protected {name}"), change(&one.path)),
        };
        findings.push(finding(
            Promise::Shielded,
            &tried,
            result,
            &[Errno::EACCES, Errno::EROFS, Errno::ENOENT, Errno::ELOOP],
        ));
    }
}

fn try_network(plan: &Plan, findings: &mut Vec<Finding>) {
    // What leads to a gate was tried when it was made: a command that only tried to get past it would be its first to serve.
    if !plan.leads_to_gate() {
        let out = connect_to_nobody(SockType::Datagram).map(drop);
        findings.push(finding(Promise::Network, DATAGRAM_OUT, out, &[Errno::ENETUNREACH, Errno::EPERM]));
    }
    if plan.has_gate() && !plan.leads_to_gate() {
        let past = connect_to_nobody(SockType::Stream).and_then(|socket| hear_from(&socket));
        let kept = &[Errno::ECONNRESET, Errno::ECONNREFUSED, Errno::EACCES];
        findings.push(finding(Promise::Network, PAST_GATE, past, kept));
    }
    for (family, name) in
        [(AddressFamily::Unix, "unix"), (AddressFamily::Packet, "packet"), (AddressFamily::Vsock, "vsock")]
    {
        let made = socket(family, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None);
        findings.push(finding(Promise::Network, &format!("make a {name} socket"), made.map(drop), &[Errno::EPERM]));
    }
}

const DATAGRAM_OUT: &str = "route a datagram out";
const PAST_GATE: &str = "connect to an address that no rule allows";

/// Tries to get past the gate of this network, which the jail's processes are to have. Rules of a network hold for each process in it,
/// and a jail's may not change them; so they are tried once, by whoever made them, and nothing is left in the gate's `sockets`.
pub fn try_past_gate(sockets: &gateway::Sockets) -> Vec<Finding> {
    let out = connect_to_nobody(SockType::Datagram)
        .and_then(|socket| send(socket.as_raw_fd(), b"x", MsgFlags::empty()).map(drop));
    while sockets.log.as_ref().is_some_and(|log| recv(log.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT).is_ok()) {}
    let past = sockets.v4.first().ok_or(Errno::ENOTCONN).and_then(connect_past);
    vec![
        finding(Promise::Network, DATAGRAM_OUT, out, &[Errno::EPERM]),
        finding(Promise::Network, PAST_GATE, past, &[Errno::ECONNRESET]),
    ]
}

/// Connects to somebody whom the gate would not let be reached, and answers as it would, where the connection came to it.
fn connect_past(gate: &OwnedFd) -> Result<(), Errno> {
    let socket = connect_to_nobody(SockType::Stream)?;
    // Whoever answered it, if not the gate's socket, is past the gate.
    if !await_readable(gate)? {
        return Ok(());
    }
    let led = accept(gate.as_fd())?;
    // Closed with nothing that lingers it is reset, as by a gate; tcp(7).
    setsockopt(&led, Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
    drop(led);
    hear_from(&socket)
}

fn connect_to_nobody(kind: SockType) -> Result<OwnedFd, Errno> {
    // 192.0.2.1 is reserved for documentation, RFC 5737: nobody is there to be bothered if this gets out.
    let address = SockaddrIn::new(192, 0, 2, 1, 9);
    let socket = socket(AddressFamily::Inet, kind, SockFlag::SOCK_CLOEXEC, None)?;
    connect(socket.as_raw_fd(), &address)?;
    Ok(socket)
}

/// Whether there is something to read before patience ends.
fn await_readable(socket: &OwnedFd) -> Result<bool, Errno> {
    const PATIENCE: u16 = 5000;
    let mut watched = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    Ok(poll(&mut watched, PollTimeout::from(PATIENCE))? > 0)
}

/// Waits for a byte, or for the end of a connection that was none.
fn hear_from(socket: &OwnedFd) -> Result<(), Errno> {
    // A gate that says neither yes nor no keeps nothing.
    if !await_readable(socket)? {
        return Err(Errno::ETIMEDOUT);
    }
    match recv(socket.as_raw_fd(), &mut [0], MsgFlags::empty())? {
        0 => Err(Errno::ECONNREFUSED),
        _ => Ok(()),
    }
}

fn try_identity(orders: &Orders, findings: &mut Vec<Finding>) {
    let another = if is_only(orders) { Err(Errno::EPERM) } else { Ok(()) };
    findings.push(finding(Promise::Identity, "be anybody but the command", another, &[Errno::EPERM]));
    let capabilities = if capabilities::holds_any() { Ok(()) } else { Err(Errno::EPERM) };
    findings.push(finding(Promise::Identity, "hold a capability", capabilities, &[Errno::EPERM]));
    let privileges = if process::has_no_new_privileges() { Err(Errno::EPERM) } else { Ok(()) };
    findings.push(finding(Promise::Identity, "gain privilege by execve", privileges, &[Errno::EPERM]));
    findings.push(finding(
        Promise::Identity,
        "find the session keyring",
        keyring::find_session(),
        &[Errno::EPERM, Errno::ENOSYS],
    ));
    let root = nix::unistd::setresuid(0.into(), 0.into(), 0.into());
    // Where the caller is root without capabilities this changes nothing and may succeed.
    if !nix::unistd::getuid().is_root() {
        findings.push(finding(Promise::Identity, "become root", root, &[Errno::EPERM, Errno::EINVAL]));
    }
}

/// Whether every id of this process is the command's. Only root can have left its further groups.
fn is_only(orders: &Orders) -> bool {
    let users = nix::unistd::getresuid().map(|ids| [ids.real, ids.effective, ids.saved].map(|id| id.as_raw()));
    let groups = nix::unistd::getresgid().map(|ids| [ids.real, ids.effective, ids.saved].map(|id| id.as_raw()));
    let alone = orders.plan.tier != Tier::Root || nix::unistd::getgroups().is_ok_and(|groups| groups.is_empty());
    users == Ok([orders.uid; 3]) && groups == Ok([orders.gid; 3]) && alone
}

fn try_syscalls(findings: &mut Vec<Finding>) {
    let namespace = nix::sched::unshare(CloneFlags::CLONE_NEWUSER);
    findings.push(finding(Promise::Syscalls, "make a user namespace", namespace, &[Errno::EPERM]));
    let mounted = mount(Some("none"), "/tmp", Some("tmpfs"), MsFlags::empty(), None::<&str>);
    findings.push(finding(Promise::Syscalls, "mount a filesystem", mounted, &[Errno::EPERM]));
    findings.push(finding(Promise::Syscalls, "load a bpf program", process::try_bpf(), &[Errno::EPERM]));
}

fn try_processes(orders: &Orders, findings: &mut Vec<Finding>) {
    let plan = &orders.plan;
    let kept: &[Errno] = if plan.tier.has_namespaces() {
        &[Errno::EPERM, Errno::ESRCH]
    } else if plan.landlock.abi >= SIGNALS {
        // Without a pid namespace only a denial proves anything: one that cannot be found may just have ended.
        &[Errno::EPERM]
    } else {
        // Nothing denies it; the plan says that this promise is missing, and its profile that it may be.
        return;
    };
    let outside = kill(Pid::from_raw(orders.outsider), None);
    findings.push(finding(Promise::Processes, "signal the launcher", outside, kept));
}

/// What each process is limited by; what the whole jail is, only the launcher can see.
fn try_limits(plan: &Plan, findings: &mut Vec<Finding>) {
    let most = plan.limits.open_files;
    let number = i32::try_from(most).unwrap_or(i32::MAX);
    let above = fcntl(std::io::stdin(), FcntlArg::F_DUPFD_CLOEXEC(number)).map(drop);
    let kept = &[Errno::EINVAL, Errno::EMFILE];
    findings.push(finding(Promise::Limits, "open more files than the limit", above, kept));
    let raised = setrlimit(Resource::RLIMIT_NOFILE, most.saturating_add(1), most.saturating_add(1));
    findings.push(finding(Promise::Limits, "raise a limit", raised, &[Errno::EPERM]));
}

fn read(path: &Path) -> Result<(), Errno> {
    open(path, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty()).map(drop)
}

fn create(path: &Path) -> Result<(), Errno> {
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    open(path, flags, Mode::from_bits_truncate(0o600))?;
    // It got through, which is bad enough; nothing of it stays.
    nix::unistd::unlink(path)
}

/// Opens a file for writing, or makes a name in a directory.
fn change(path: &Path) -> Result<(), Errno> {
    if path.is_dir() {
        return create(&path.join(".clawjail-probe"));
    }
    open(path, OFlag::O_WRONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK, Mode::empty()).map(drop)
}

fn finding(promise: Promise, tried: &str, result: Result<(), Errno>, kept: &[Errno]) -> Finding {
    let errno = result.err();
    Finding {
        promise,
        tried: tried.to_owned(),
        errno: errno.map_or(0, |errno| errno as i32),
        held: errno.is_some_and(|errno| kept.contains(&errno)),
    }
}
