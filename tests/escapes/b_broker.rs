//! The broker under everything that can go wrong between a question and its answer.

use std::process::Stdio;

use super::hosts::{Fault, When, attack_on, put_on};
use super::support::place::clawjail;
use super::trial::{Trial, denied, says, works};
use super::{Case, case};

const NO: &str = "EACCES|EROFS|EPERM";

/// The cases.
pub const CASES: &[Case] = &[
    case("A29", "a process that becomes another while it is asked about makes no protected name", exec_storm),
    case("B5", "a directory descriptor that changes under the check makes no protected name", swapped_directory),
    case("B9", "whatever a kernel answers to the broker, the command gets no more and nothing hangs", odd_answers),
    case("B10", "a kernel without a part of notifications is worked around whole, or nothing is executed", old_kernels),
    case("B11", "processes that are killed while they are asked about hold nobody up", kill_storm),
];

/// What the broker asks of a listener.
const REQUESTS: [(u32, &str); 5] = [
    (0xc050_2100, "NOTIF_RECV"),
    (0xc018_2101, "NOTIF_SEND"),
    (0x4008_2102, "NOTIF_ID_VALID"),
    (0x4018_2103, "NOTIF_ADDFD"),
    (0x4008_2104, "NOTIF_SET_FLAGS"),
];

fn exec_storm(trial: &mut Trial) {
    let ran = trial.attack([says("exec-storm plain1 .envrc 200", "200 of 200"), works("create plain2")]);
    trial.deny("the end", ran.code == Some(0) && !ran.hung, ran.whole());
    trial.host_has(".envrc", None);
}

fn swapped_directory(trial: &mut Trial) {
    trial.place.make_repository();
    trial.place.mkdir("plain");
    let ran =
        trial.attack([works("swap-directory plain .git/hooks pre-commit 3000"), denied("create .git/hooks/x", NO)]);
    // If none was made, nothing was raced.
    trial.allow("names in the plain directory", !ran.text().contains("made=0"), ran.whole());
    trial.host_has(".git/hooks/pre-commit", None);
}

fn odd_answers(trial: &mut Trial) {
    let operations = ["create .envrc", "create plain", "mkdir .vscode", "read /etc/shadow", "socket 1 1 0"];
    for (request, name) in REQUESTS {
        for errno in [libc::EINVAL, libc::ENOTTY, libc::EPERM, libc::ENOSYS, libc::EIO, libc::EBADF, 0] {
            let what = format!("{name} answers {errno}");
            let ran = attack_on(trial, Fault::of_ioctl(request, errno), &operations);
            let text = ran.text();
            let answers: Vec<(&str, &str)> = text.lines().filter_map(|line| line.split_once('\t')).collect();
            let kept = answers.iter().all(|(asked, answer)| *asked == "create plain" || answer.starts_with('E'));
            // An answer that claims success can be found out only by what it did not do: the time limit is what ends that.
            let ended = !ran.hung && (errno == 0 || ran.outcome() != "timed_out");
            let clear = !text.is_empty() || matches!(ran.code, Some(124..=126));
            trial.deny(&what, kept && ended && clear, ran.whole());
            trial.host_has(".envrc", None);
            trial.host_has(".vscode", None);
            let _ = std::fs::remove_file(trial.place.workspace.join("plain"));
        }
    }
    let ran = attack_on(trial, Fault::of_ioctl(0xffff_ffff, libc::EINVAL), &operations);
    trial.allow("a host that answers", ran.text().contains("create plain\tok"), ran.whole());
}

fn old_kernels(trial: &mut Trial) {
    let operations = ["create .envrc", "create plain", "read plain"];
    // Before 5.19: no wait that only a fatal signal ends. Worked around.
    let without_killable = Fault {
        number: libc::SYS_seccomp,
        when: When::Has(1, libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV as u32),
        errno: libc::EINVAL,
    };
    let ran = attack_on(trial, without_killable, &operations);
    let lines = ran.text();
    let whole =
        lines.contains("create .envrc\tE") && lines.contains("create plain\tok") && lines.contains("read plain\tok");
    trial.allow("without a killable wait", whole, ran.whole());
    // Before 5.14: no descriptor with an answer. Before 5.0: no listener at all, which containers deny too.
    let listener = When::Has(1, libc::SECCOMP_FILTER_FLAG_NEW_LISTENER as u32);
    for (what, fault) in [
        ("without ADDFD", Fault::of_ioctl(0x4018_2103, libc::EINVAL)),
        ("without ADDFD at all", Fault::of_ioctl(0x4018_2103, libc::ENOTTY)),
        ("without a listener", Fault { number: libc::SYS_seccomp, when: listener, errno: libc::EINVAL }),
        ("with a listener denied", Fault { number: libc::SYS_seccomp, when: listener, errno: libc::EACCES }),
    ] {
        let ran = attack_on(trial, fault, &operations);
        let line = ran.own_lines().first().cloned().unwrap_or_default();
        let clear =
            ran.code == Some(125) && line.contains("seccomp_listener") && line.ends_with("(nothing was executed)");
        trial.deny(what, clear && ran.text().is_empty() && !ran.hung, ran.whole());
        let mut doctor = trial.place.command(clawjail());
        doctor.arg("doctor").stdin(Stdio::null());
        put_on(&mut doctor, fault);
        let said = doctor.output().expect("the binary can be executed");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        let found = said.status.code() == Some(1) && text.contains("Linux 5.14");
        trial.deny(&format!("the doctor {what}"), found, text);
    }
    trial.host_has(".envrc", None);
}

fn kill_storm(trial: &mut Trial) {
    let times = std::env::var("CLAWJAIL_STORM").ok().and_then(|times| times.parse().ok()).unwrap_or(1000u32);
    let storm = format!("kill-storm plain {times}");
    let ran =
        trial.attack([says(&storm, format!("{times} of {times}")), works("create after"), denied("create .envrc", NO)]);
    trial.deny("the end", ran.code == Some(0) && !ran.hung, ran.whole());
    if trial.tier.has_namespaces() {
        trial.attack([says("zombies 1", "0")]);
    }
}
