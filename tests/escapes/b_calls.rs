//! The system call filter: every number, every interface, every profile.

use super::support::patience;
use super::support::tier::Tier;
use super::trial::{Trial, Wish, denied, says, works};
use super::{Case, case};

/// Profiles that are shipped.
const PROFILES: [&str; 6] = ["untrusted", "offline", "openclaw", "readonly", "skill-test", "trusted"];

/// The cases.
pub const CASES: &[Case] = &[
    case("B1", "no second interface to the kernel passes the filter", interfaces),
    case("B2", "every profile wears the filter, no_new_privs and empty capability sets", every_profile),
    case("B3", "io_uring does not exist", rings),
    case("B12", "arguments that cannot be read are errors of the command alone", bad_pointers),
    case("B13", "a terminal, a pipe and another profile change nothing about what is denied", ways_to_start),
    case("B14", "no way leads to a new namespace, mount or root", namespaces),
    case("B15", "a program without a path is as confined as one with", from_memory),
    case("B17", "no jail can touch another, or the caller's processes", neighbours),
    case("B20", "a command starts with the state of a clean shell", clean_state),
    case("B22", "no capability is left, and none can be had back", capabilities),
];

fn call(number: libc::c_long, arguments: &[i64]) -> String {
    let words: Vec<String> = arguments.iter().map(i64::to_string).collect();
    format!("call {number} {}", words.join(" ")).trim_end().to_owned()
}

#[cfg(target_arch = "x86_64")]
fn interfaces(trial: &mut Trial) {
    let mut wishes = Vec::new();
    // Every call that x32 has, also those that are allowed by their own number.
    for number in (0..=334i64).chain(424..=470).chain(512..=547) {
        // One that would end the attacker if it were let through.
        if matches!(number, 60 | 231) {
            continue;
        }
        wishes.push(denied(format!("call {}", number | 0x4000_0000), "EPERM|ENOSYS"));
    }
    // i386: getpid, mount, unshare, clone, socketcall(socket), ptrace, open_by_handle_at.
    for (number, first) in [(20, 0), (21, 0), (310, 0x1000_0000), (120, 0x1000_0000), (102, 1), (26, 16), (342, 0)] {
        wishes.push(denied(format!("interrupt-0x80 {number} {first}"), "EPERM|ENOSYS"));
    }
    wishes.push(works(call(libc::SYS_getpid, &[])));
    wishes.push(works(call(libc::SYS_getuid, &[])));
    trial.attack_all(wishes);
}

#[cfg(not(target_arch = "x86_64"))]
fn interfaces(trial: &mut Trial) {
    trial.skip("this architecture has one interface");
}

fn every_profile(trial: &mut Trial) {
    for profile in PROFILES {
        trial.attack_under(
            profile,
            vec![
                says("capabilities", "ambient=0 held=0 no_new_privs=1 seccomp=2"),
                denied(call(libc::SYS_unshare, &[0x1000_0000]), "EPERM"),
                denied("read /etc/shadow", "EACCES|ENOENT"),
                denied("socket 1 1 0", "EPERM"),
            ],
        );
    }
}

fn rings(trial: &mut Trial) {
    let parameters = [8, 0];
    trial.attack([
        denied(call(libc::SYS_io_uring_setup, &parameters), "ENOSYS"),
        denied(call(libc::SYS_io_uring_enter, &[3, 1, 0, 0]), "ENOSYS"),
        denied(call(libc::SYS_io_uring_register, &[3, 0, 0, 0]), "ENOSYS"),
        works(call(libc::SYS_epoll_create1, &[0])),
    ]);
}

fn bad_pointers(trial: &mut Trial) {
    let ran = trial.attack([works("bad-pointers"), denied("create .envrc", "EACCES|EPERM"), works("create plain")]);
    let answers = ran.text().lines().next().unwrap_or_default().replace("bad-pointers\tok ", "");
    let errors = ["EFAULT", "ENAMETOOLONG", "EINVAL", "EBADF", "EACCES", "ENOENT"];
    trial.deny("the answers", answers.split(',').all(|answer| errors.contains(&answer)), &answers);
    trial.deny("the end", ran.code == Some(0), ran.whole());
}

fn attempts() -> Vec<Wish> {
    vec![
        denied(call(libc::SYS_unshare, &[0x1000_0000]), "EPERM"),
        denied(call(libc::SYS_bpf, &[0, 0, 0]), "EPERM"),
        denied("socket 1 1 0", "EPERM"),
        denied("read /etc/shadow", "EACCES|ENOENT"),
        denied("create .envrc", "EACCES|EPERM|EROFS"),
        works("read /usr/bin/env"),
    ]
}

fn ways_to_start(trial: &mut Trial) {
    let program = trial.arm();
    let words = [
        "call 272 268435456",
        "call 321 0 0 0",
        "socket 1 1 0",
        "read /etc/shadow",
        "create .envrc",
        "read /usr/bin/env",
    ];
    for options in [
        &["--tty"][..],
        &["--no-tty"],
        &["--quiet"],
        &["--json"],
        &["--profile", "trusted"],
        &["--profile", "readonly"],
    ] {
        if cfg!(not(target_arch = "x86_64")) {
            break;
        }
        let jail = options.iter().fold(trial.jail(), |jail, option| jail.option(option));
        let ran = jail.run(std::iter::once(program.as_str()).chain(words));
        let through_shell = jail.run(["bash", "-c", &format!("{program} '{}' & wait", words.join("' '"))]);
        trial.judge(&ran, &attempts());
        trial.judge(&through_shell, &attempts());
    }
    trial.attack_all(attempts());
}

fn namespaces(trial: &mut Trial) {
    trial.place.mkdir("mount");
    let flags = [0x1000_0000i64, 0x2000_0000, 0x4000_0000, 0x0002_0000, 0x0400_0000, 0x0800_0000, 0x0200_0000, 0x80];
    let mut wishes = Vec::new();
    for flag in flags {
        wishes.push(denied(call(libc::SYS_unshare, &[flag]), "EPERM"));
        // In clone's word the bit of time namespaces belongs to the signal.
        if flag != 0x80 {
            wishes.push(denied(call(libc::SYS_clone, &[flag | 17, 0, 0, 0, 0]), "EPERM"));
        }
        wishes.push(denied(call(libc::SYS_setns, &[0, flag]), "EPERM"));
    }
    wishes.push(denied(call(libc::SYS_clone3, &[0, 88]), "ENOSYS"));
    for number in [
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_mount_setattr,
    ] {
        wishes.push(denied(call(number, &[0, 0, 0]), "EPERM"));
    }
    for number in [
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_reboot,
        libc::SYS_swapon,
        libc::SYS_quotactl,
        libc::SYS_fanotify_init,
        libc::SYS_ptrace,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_syslog,
        libc::SYS_sethostname,
        libc::SYS_settimeofday,
        libc::SYS_acct,
    ] {
        wishes.push(denied(call(number, &[0, 0, 0]), "EPERM"));
    }
    wishes.push(works("kill-child"));
    wishes.push(works("exec /bin/true"));
    trial.attack_all(wishes);
}

fn from_memory(trial: &mut Trial) {
    for profile in ["untrusted", "readonly"] {
        trial.attack_under(
            profile,
            vec![
                says("exec-copy ./attack socket%201%201%200", "socket 1 1 0 EPERM"),
                says(
                    "exec-copy ./attack read%20/etc/shadow call%20272%20268435456",
                    match trial.tier.has_namespaces() {
                        true => "read /etc/shadow ENOENT call 272 268435456 EPERM",
                        false => "read /etc/shadow EACCES call 272 268435456 EPERM",
                    },
                ),
                says("exec-copy ./attack capabilities", "capabilities ok ambient=0 held=0 no_new_privs=1 seccomp=2"),
                denied("exec-copy /etc/shadow", "EACCES|ENOENT"),
            ],
        );
    }
}

fn neighbours(trial: &mut Trial) {
    let token = format!("{}victim", trial.place.token);
    let mut victim = trial.jail().start(["bash", "-c", &format!("sleep 30; true {token}")]);
    let mut own = trial.place.host("sleep").arg("30").spawn().expect("everyone has sleep");
    let deadline = std::time::Instant::now() + patience(std::time::Duration::from_secs(10));
    let mut pids = Vec::new();
    while pids.len() < 3 && std::time::Instant::now() < deadline {
        std::thread::sleep(std::time::Duration::from_millis(20));
        pids = super::a_repositories::living(&token);
    }
    pids.push(own.id() as i32);
    pids.push(std::process::id() as i32);
    let mut wishes = Vec::new();
    for pid in &pids {
        for signal in [0, 9, 19] {
            wishes.push(denied(format!("kill {pid} {signal}"), "EPERM|ESRCH"));
        }
        for how in ["ptrace", "ptrace-seize", "read-memory", "write-memory", "pidfd"] {
            wishes.push(denied(format!("{how} {pid}"), "EPERM|ESRCH|EINVAL"));
        }
    }
    wishes.push(denied("kill 1 9", if trial.tier.has_namespaces() { "EPERM|ESRCH" } else { "EPERM" }));
    wishes.push(works("kill-child"));
    if trial.tier.has_namespaces() {
        // A pid namespace's first process cannot be killed from within: the call works, and nothing happens.
        wishes.retain(|wish| !wish.is("kill 1 9"));
    }
    trial.attack_all(wishes);
    trial.deny("the other jail", victim.try_wait().is_ok_and(|ended| ended.is_none()), "it ended");
    trial.deny("the caller's own process", own.try_wait().is_ok_and(|ended| ended.is_none()), "it ended");
    for child in [&mut victim, &mut own] {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn clean_state(trial: &mut Trial) {
    use std::os::unix::process::CommandExt;
    let program = trial.arm();
    let jail = trial.jail();
    let mut command = jail.command([program.as_str(), "state", "descriptors"]);
    // SAFETY: between fork and exec only calls that are safe there.
    unsafe {
        command.pre_exec(|| {
            libc::umask(0o077);
            for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGINT, libc::SIGCHLD, libc::SIGUSR1] {
                libc::signal(signal, libc::SIG_IGN);
            }
            let mut set: libc::sigset_t = std::mem::zeroed();
            libc::sigfillset(&raw mut set);
            libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
            let parameters = libc::sched_param { sched_priority: 1 };
            // Only root may; for others there is nothing to hand on.
            if libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameters) != 0 && libc::geteuid() == 0 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let ran = jail.finish(command.spawn().expect("the binary can be executed"));
    let wanted = "ignored=[] blocked=0 umask=022 policy=0";
    trial.judge(&ran, &[says("state", wanted), says("descriptors", "0,1,2")]);
    trial.deny("what the caller ignored and blocked", ran.text().contains("ignored=[] blocked=0"), ran.whole());
    let ran = trial.jail().bash("yes | head -1; echo ${PIPESTATUS[0]}");
    trial.allow("a broken pipe ends its writer", ran.text() == "y\n141", ran.whole());
}

fn capabilities(trial: &mut Trial) {
    trial.place.write("mine", "text\n");
    let mut wishes = vec![
        says("capabilities", "ambient=0 held=0 no_new_privs=1 seccomp=2"),
        denied("chown mine 12345 12345", "EPERM|EINVAL"),
        // PR_SET_SECUREBITS, PR_CAP_AMBIENT_RAISE, PR_SET_KEEPCAPS and all of a capability set.
        denied(call(libc::SYS_prctl, &[28, 0, 0, 0, 0]), "EPERM"),
        denied(call(libc::SYS_prctl, &[47, 2, 21, 0, 0]), "EPERM"),
        denied("call-with-path 90 mine 0o4755", "EPERM"),
        works("chmod mine 0o600"),
        works("read mine"),
    ];
    if trial.tier == Tier::Root || !trial.tier.as_root() {
        wishes.push(denied(call(libc::SYS_setuid, &[0]), "EPERM|EINVAL"));
        wishes.push(denied(call(libc::SYS_setresuid, &[0, 0, 0]), "EPERM|EINVAL"));
    }
    wishes.push(denied(call(libc::SYS_setuid, &[4242]), "EPERM|EINVAL"));
    wishes.push(denied(call(libc::SYS_setgroups, &[0, 0]), "EPERM"));
    // Only somebody with capabilities can empty the set; with no_new_privs nobody can draw from it.
    let none = if trial.tier == Tier::Bare { works("bounding-set") } else { says("bounding-set", "0") };
    wishes.push(none);
    trial.attack_all(wishes);
    let ran = trial.jail().bash("su -c id 2>&1; sudo -n id 2>&1; ping -c1 127.0.0.1 2>&1; id -u");
    trial.deny("set-user-id programs", !ran.text().contains("uid=0(root)"), ran.whole());
}
