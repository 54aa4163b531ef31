//! A host that lacks something: a filter around the binary itself, which makes one system call fail, or succeed without
//! doing anything, for the binary and all that it starts.

use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::support::jail::Ran;
use super::trial::Trial;

/// What this host does not do.
#[derive(Clone, Copy)]
pub struct Fault {
    /// The system call.
    pub number: libc::c_long,
    /// Which of them: all, or those with such an argument.
    pub when: When,
    /// What it answers; 0 is success without anything done.
    pub errno: i32,
}

/// Which calls of a number.
#[derive(Clone, Copy)]
pub enum When {
    /// All.
    Always,
    /// Those whose argument of this place is this.
    Is(u32, u32),
    /// Those whose argument of this place has any of these bits.
    Has(u32, u32),
}

impl Fault {
    /// Every call of this number.
    pub fn of(number: libc::c_long, errno: i32) -> Fault {
        Fault { number, when: When::Always, errno }
    }

    /// Every ioctl(2) with this request.
    pub fn of_ioctl(request: u32, errno: i32) -> Fault {
        Fault { number: libc::SYS_ioctl, when: When::Is(1, request), errno }
    }
}

/// Has `command` start on a host with this fault.
pub fn put_on(command: &mut Command, fault: Fault) {
    put_all_on(command, vec![fault]);
}

/// Has `command` start on a host with all of these.
pub fn put_all_on(command: &mut Command, faults: Vec<Fault>) {
    // SAFETY: between fork and exec only calls that are safe there; the list is only read.
    unsafe {
        command.pre_exec(move || {
            // A descriptor that nobody meant to pass on.
            libc::dup2(0, 77);
            faults.iter().try_for_each(|fault| install(*fault))
        });
    }
}

/// What the filters that container engines ship say no to: everything that makes namespaces or mounts.
pub fn container() -> Vec<Fault> {
    let denied = [
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsmount,
        libc::SYS_mount_setattr,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
    ];
    let namespaces = Fault { number: libc::SYS_clone, when: When::Has(0, 0x7e02_0000), errno: libc::EPERM };
    let hidden = Fault::of(libc::SYS_clone3, libc::ENOSYS);
    denied.map(|number| Fault::of(number, libc::EPERM)).into_iter().chain([namespaces, hidden]).collect()
}

/// The capabilities that container engines leave to root.
const CONTAINER_CAPABILITIES: &str = "-all,+chown,+dac_override,+fowner,+fsetid,+kill,+setgid,+setuid,+setpcap,\
                                      +net_bind_service,+net_raw,+sys_chroot,+mknod,+audit_write,+setfcap";

/// The same command in what a container engine starts for this user.
pub fn in_container(inner: &Command, uid: u32) -> Command {
    let mut command = if uid == 0 {
        wrapped(&["setpriv", "--inh-caps=-all", &format!("--bounding-set={CONTAINER_CAPABILITIES}"), "--"], inner)
    } else {
        let uid = uid.to_string();
        wrapped(&["setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups", "--"], inner)
    };
    put_all_on(&mut command, container());
    command
}

/// The same command, started by these words.
pub fn wrapped(words: &[&str], inner: &Command) -> Command {
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(inner.get_program()).args(inner.get_args()).env_clear();
    command.envs(inner.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
    if let Some(directory) = inner.get_current_dir() {
        command.current_dir(directory);
    }
    command
}

/// Runs the hostile program on a host with this fault.
pub fn attack_on(trial: &Trial, fault: Fault, operations: &[&str]) -> Ran {
    let program = trial.arm();
    let jail = trial.jail().patient(5);
    let mut command = jail.command(std::iter::once(program.as_str()).chain(operations.iter().copied()));
    put_on(&mut command, fault);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    jail.finish(command.spawn().expect("the binary can be executed"))
}

/// Loads the call's number, compares, looks at the argument, answers or allows.
fn install(fault: Fault) -> std::io::Result<()> {
    let instruction = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    // The low half of each argument, 8 bytes apart from byte 16 on.
    let (place, code, value) = match fault.when {
        When::Always => (0, 0x15, fault.number as u32),
        When::Is(argument, value) => (16 + 8 * argument, 0x15, value),
        When::Has(argument, bits) => (16 + 8 * argument, 0x45, bits),
    };
    let mut program = [
        instruction(0x20, 0, 0, 0),
        instruction(0x15, 0, 3, fault.number as u32),
        instruction(0x20, 0, 0, place),
        instruction(code, 0, 1, value),
        instruction(0x06, 0, 0, 0x0005_0000 | fault.errno as u32),
        instruction(0x06, 0, 0, 0x7fff_0000),
    ];
    let program = libc::sock_fprog { len: 6, filter: program.as_mut_ptr() };
    // SAFETY: the program outlives the call, which copies it.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::prctl(libc::PR_SET_SECCOMP, 2, &raw const program) == 0
    };
    if installed { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
