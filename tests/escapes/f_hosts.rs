//! Hosts that lack something, or say that they did what they did not: a run is whole or is not.
//!
//! A filter around the binary itself stands for such hosts (`hosts`), and where root can make them, so do namespaces.

use super::hosts::{Fault, attack_on};
use super::support::jail::Ran;
use super::support::tier::Tier;
use super::trial::Trial;
use super::{Case, case};

/// The cases.
pub const CASES: &[Case] = &[
    case("F3", "without Landlock nothing is executed", without_landlock),
    case(
        "F4",
        "a system call that the host denies or lacks is worked around whole, or nothing is executed",
        missing_calls,
    ),
    case("F6", "a system call that claims to have worked is found out before anything is executed", pretended_calls),
];

/// What confinement rests on. Where a call is not used, its absence changes nothing.
const CALLS: &[(libc::c_long, &str)] = &[
    (libc::SYS_landlock_create_ruleset, "landlock_create_ruleset"),
    (libc::SYS_landlock_add_rule, "landlock_add_rule"),
    (libc::SYS_landlock_restrict_self, "landlock_restrict_self"),
    (libc::SYS_seccomp, "seccomp"),
    (libc::SYS_unshare, "unshare"),
    (libc::SYS_clone3, "clone3"),
    (libc::SYS_capset, "capset"),
    (libc::SYS_setresuid, "setresuid"),
    (libc::SYS_setresgid, "setresgid"),
    (libc::SYS_setgroups, "setgroups"),
    (libc::SYS_pivot_root, "pivot_root"),
    (libc::SYS_umount2, "umount2"),
    (libc::SYS_mount, "mount"),
    (libc::SYS_fsopen, "fsopen"),
    (libc::SYS_fsmount, "fsmount"),
    (libc::SYS_move_mount, "move_mount"),
    (libc::SYS_open_tree, "open_tree"),
    (libc::SYS_mount_setattr, "mount_setattr"),
    (libc::SYS_close_range, "close_range"),
    (libc::SYS_openat2, "openat2"),
    (libc::SYS_prlimit64, "prlimit64"),
    (libc::SYS_keyctl, "keyctl"),
    (libc::SYS_process_vm_readv, "process_vm_readv"),
    (libc::SYS_sethostname, "sethostname"),
    (libc::SYS_setsid, "setsid"),
    (libc::SYS_chdir, "chdir"),
];

/// What the hostile program tries, and how an answer begins that keeps it in.
pub const ATTEMPTS: [(&str, &str); 11] = [
    ("read /etc/shadow", "E"),
    ("read .env", "E"),
    ("create .envrc", "E"),
    ("write CLAUDE.md", "E"),
    ("socket 1 1 0", "E"),
    ("tcp-connect 127.0.0.1:9", "E"),
    ("ptrace 1", "E"),
    ("call 272 268435456", "E"),
    ("descriptors", "ok 0,1,2"),
    ("capabilities", "ok ambient=0 held=0 no_new_privs=1 seccomp=2"),
    ("identity", "ok "),
];

/// Runs the hostile program on a host where `number` answers with `errno`; 0 is success without anything done.
fn on_a_host_without(trial: &Trial, number: libc::c_long, errno: i32) -> Ran {
    attack_on(trial, Fault::of(number, errno), &ATTEMPTS.map(|(attempt, _)| attempt))
}

/// Who the command must be: the caller, or as root's command somebody whom no other jail is.
fn identity(trial: &Trial, answer: &str) -> String {
    let account = trial.place.account();
    // Only root can let go of further groups.
    let groups = answer.rsplit(' ').next().unwrap_or_default();
    if trial.tier != Tier::Root {
        return format!("{0}/{0}/{0} {1}/{1}/{1} {groups}", account.uid, account.gid);
    }
    let own = answer[3..].split('/').next().and_then(|uid| uid.parse::<u32>().ok()).unwrap_or_default();
    let own = own.max(0x7000_0000);
    format!("{own}/{own}/{own} {own}/{own}/{own} 0")
}

/// Puts what the attempts are about into the workspace.
pub fn prepare(trial: &Trial) {
    trial.place.write(".env", "TOKEN=1\n");
    trial.place.write("CLAUDE.md", "be good\n");
}

/// Whole, or nothing at all.
pub fn whole_or_nothing(trial: &mut Trial, what: &str, ran: &Ran) {
    let text = ran.text();
    if text.is_empty() {
        let clear = matches!(ran.code, Some(125 | 126)) && !ran.own_lines().is_empty() && ran.own_lines().len() <= 2;
        trial.deny(what, clear && !ran.hung, ran.whole());
    } else {
        let answers: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('\t')).collect();
        for (attempt, kept) in ATTEMPTS {
            // The number of unshare is another one elsewhere.
            if cfg!(not(target_arch = "x86_64")) && attempt.starts_with("call ") {
                continue;
            }
            let answer = answers.iter().find(|(asked, _)| *asked == attempt).map_or("not tried", |(_, answer)| answer);
            let kept = answer.starts_with(kept) && (attempt != "identity" || answer[3..] == identity(trial, answer));
            trial.deny(&format!("{what}: {attempt}"), kept, answer);
        }
    }
    trial.host_has(".envrc", None);
    trial.host_has("CLAUDE.md", Some("be good\n"));
}

fn control(trial: &mut Trial) {
    let ran = on_a_host_without(trial, 4095, libc::ENOSYS);
    trial.allow("a host that lacks nothing", ran.code == Some(0) && !ran.text().is_empty(), ran.whole());
    whole_or_nothing(trial, "a host that lacks nothing", &ran);
}

fn without_landlock(trial: &mut Trial) {
    prepare(trial);
    control(trial);
    for errno in [libc::ENOSYS, libc::EOPNOTSUPP, libc::EPERM] {
        let ran = on_a_host_without(trial, libc::SYS_landlock_create_ruleset, errno);
        let refused = matches!(ran.code, Some(125 | 126))
            && ran.stdout.is_empty()
            && ran.error_text().to_lowercase().contains("landlock");
        trial.deny(&format!("landlock_create_ruleset answers {errno}"), refused, ran.whole());
    }
}

fn missing_calls(trial: &mut Trial) {
    prepare(trial);
    control(trial);
    for (number, name) in CALLS {
        for errno in [libc::ENOSYS, libc::EPERM] {
            let ran = on_a_host_without(trial, *number, errno);
            whole_or_nothing(trial, &format!("{name} answers {errno}"), &ran);
        }
    }
}

fn pretended_calls(trial: &mut Trial) {
    prepare(trial);
    control(trial);
    for (number, name) in CALLS {
        // A copy of a process that is none, or a limit that reads as nothing, is no host's answer.
        if matches!(*name, "clone3" | "chdir") || (trial.tier == Tier::Root && *name == "fsopen") {
            continue;
        }
        let ran = on_a_host_without(trial, *number, 0);
        whole_or_nothing(trial, &format!("{name} pretends"), &ran);
    }
}
