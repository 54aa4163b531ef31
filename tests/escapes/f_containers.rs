//! Hosts as people have them: restricted user namespaces, containers, clusters, homes behind links, odd control groups.
//!
//! Each is made around one command, by namespaces and filters of its own. On each the doctor names the cause, what cannot be
//! had is refused, and what runs is whole.

use std::fs;
use std::os::unix::fs::chown;
use std::process::{Command, Output, Stdio};

use super::f_hosts::{ATTEMPTS, prepare, whole_or_nothing};
use super::hosts::{in_container, put_all_on, wrapped};
use super::support::etc::Etc;
use super::support::jail::{Jail, Ran};
use super::support::place::clawjail;
use super::support::tier::Tier;
use super::trial::{Trial, denied, works};
use super::{Case, case};

/// The cases.
pub const CASES: &[Case] = &[
    case("F1", "where AppArmor restricts user namespaces they are refused by name, and the rest is whole", apparmor),
    case("F2", "in a container without CAP_SYS_ADMIN the bare tier is whole and the others are refused", container),
    case("F5", "a uid without a name, home or rights gets the bare tier whole", nameless),
    case("F7", "homes behind a link are homes, and what is hidden in them stays hidden", linked_homes),
    case(
        "F8",
        "with some controllers, none, or only a hierarchy without them, the verdict says what is missing",
        groups,
    ),
];

const NOT_ROOT: &str = "not started as root";

fn finish(jail: &Jail<'_>, mut command: Command) -> Ran {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    jail.finish(command.spawn().expect("the binary can be executed"))
}

fn text_of(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The hostile program's attempts as one command.
fn attack(program: &str) -> Vec<&str> {
    std::iter::once(program).chain(ATTEMPTS.iter().map(|(attempt, _)| *attempt)).collect()
}

/// A run without `--tier`: the best that there is.
fn best(trial: &Trial, words: &[&str]) -> Command {
    let mut command = trial.place.command(clawjail());
    command.args(["run", "--verdict"]).arg(trial.place.outside.join("best.json")).arg("--").args(words);
    command
}

fn best_tier(trial: &Trial) -> String {
    let text = fs::read_to_string(trial.place.outside.join("best.json")).unwrap_or_default();
    let verdict: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    verdict["tier"].as_str().unwrap_or("none").to_owned()
}

/// The setting that Ubuntu has, and what it does: a user namespace without the right to mount anything in it.
const APPARMOR: &str = "mkdir \"$D/kernel\"; cp /proc/sys/kernel/cap_last_cap /proc/sys/kernel/overflow* \"$D/kernel\"; \
     echo 1 > \"$D/kernel/apparmor_restrict_unprivileged_userns\"; mount --bind \"$D/kernel\" /proc/sys/kernel";

fn apparmor(trial: &mut Trial) {
    prepare(trial);
    let Some(etc) = Etc::new(&trial.place) else { return trial.skip(NOT_ROOT) };
    let program = trial.arm();
    let jail = trial.jail();
    let ran = finish(&jail, etc.command_after(APPARMOR, &jail.command(attack(&program))));
    if trial.tier == Tier::User {
        trial.refused("--tier user", &ran);
    } else {
        trial.allow("a run", ran.code == Some(0), ran.whole());
        whole_or_nothing(trial, "a run", &ran);
    }
    let again = APPARMOR.replace("mkdir", "mkdir -p");
    let mut doctor = etc.command_after(&again, trial.place.command(clawjail()).arg("doctor"));
    let said = text_of(&doctor.stdin(Stdio::null()).output().expect("the binary can be executed"));
    let known = said.contains("/etc/apparmor.d/clawjail") && said.contains("userns,");
    trial.deny("the doctor", known, &said);
    let output = etc.command_after(&again, &best(trial, &["true"])).output().expect("the binary can be executed");
    let expected = if trial.tier.as_root() { "root" } else { "bare" };
    trial.allow("the best tier", output.status.success() && best_tier(trial) == expected, text_of(&output));
}

fn container(trial: &mut Trial) {
    prepare(trial);
    if !nix::unistd::geteuid().is_root() {
        return trial.skip(NOT_ROOT);
    }
    let uid = trial.place.account().uid;
    let program = trial.arm();
    let jail = trial.jail();
    let ran = finish(&jail, in_container(&jail.command(attack(&program)), uid));
    if trial.tier.has_namespaces() {
        trial.refused("a tier with namespaces", &ran);
    } else {
        trial.allow("a run", ran.code == Some(0), ran.whole());
        whole_or_nothing(trial, "a run", &ran);
    }
    let output = in_container(&best(trial, &["true"]), uid).output().expect("the binary can be executed");
    trial.allow("the best tier", output.status.success() && best_tier(trial) == "bare", text_of(&output));
    let mut doctor = in_container(trial.place.command(clawjail()).arg("doctor"), uid);
    let said = text_of(&doctor.stdin(Stdio::null()).output().expect("the binary can be executed"));
    let cause = if uid == 0 { "root without CAP_SYS_ADMIN, as in a container" } else { "seccomp=unconfined" };
    trial.deny("the doctor", said.contains(cause) && said.contains("is kept here in tier `bare`"), &said);
}

/// As OpenShift gives them: a number that no account has, the root group, no capability, a home of `/`.
fn nameless(trial: &mut Trial) {
    const NOBODY: u32 = 1_000_680_000;
    if trial.tier != Tier::BareAsRoot {
        return trial.skip("once is enough, as root");
    }
    prepare(trial);
    let program = trial.arm();
    let place = &trial.place;
    for path in ["", ".env", "CLAUDE.md"] {
        chown(place.workspace.join(path), Some(NOBODY), Some(0)).expect("root can give");
    }
    chown(&place.outside, Some(NOBODY), Some(0)).expect("root can give");
    let jail = trial.jail();
    let uid = NOBODY.to_string();
    let words =
        ["setpriv", "--reuid", &uid, "--regid", "0", "--clear-groups", "--inh-caps=-all", "--bounding-set=-all", "--"];
    let run = |words_inside: Vec<&str>| {
        let mut command = wrapped(&words, &jail.command(words_inside));
        command.env("HOME", "/").env_remove("USER");
        put_all_on(&mut command, super::hosts::container());
        finish(&jail, command)
    };
    let ran = run(attack(&program));
    let worked = run(vec!["bash", "-c", "cd $HOME && touch a && cd - >/dev/null && touch made && id -u"]);
    let kept: Vec<(&str, bool)> = ATTEMPTS
        .iter()
        .filter(|(attempt, _)| *attempt != "identity")
        .map(|(attempt, kept)| (*attempt, ran.text().contains(&format!("{attempt}\t{kept}"))))
        .collect();
    trial.deny("what it tries", kept.iter().all(|(_, kept)| *kept), ran.whole());
    let own = format!("identity\tok {NOBODY}/{NOBODY}/{NOBODY} 0/0/0 0");
    trial.deny("who it is", ran.text().contains(&own), ran.whole());
    trial.allow("work", worked.code == Some(0) && worked.text() == uid, worked.whole());
    trial.host_has(".envrc", None);
}

/// A root in which `/home` and `/root` are links, and all else is the host's.
const LINKED_HOMES: &str = r#"W="$PWD"; N="$D/newroot"; mkdir -p "$N"; mount -t tmpfs -o mode=755 none "$N"
for d in /*; do case "$d" in /home|/root) continue;; esac
if [ -L "$d" ]; then cp -P "$d" "$N/"; elif [ -d "$d" ]; then mkdir "$N$d"; mount --rbind "$d" "$N$d"; fi; done
ln -s "$D/varhome" "$N/home"; ln -s "$D/varhome/root" "$N/root"; mkdir "$N/old"; cd "$N"; pivot_root . old; umount -l /old; cd "$W""#;

fn linked_homes(trial: &mut Trial) {
    let Some(etc) = Etc::new(&trial.place) else { return trial.skip(NOT_ROOT) };
    let owner = trial.place.account();
    let name =
        if owner.uid == 0 { "root".into() } else { owner.home.strip_prefix("/home").expect("a home").to_path_buf() };
    let real = trial.place.outside.join("varhome").join(name);
    for directory in ["", "work", ".ssh", ".config/clawjail/profiles"] {
        fs::create_dir_all(real.join(directory)).expect("own directory");
    }
    fs::write(real.join(".ssh/id"), "PRIVATEKEY\n").expect("own directory");
    fs::write(real.join(".config/clawjail/profiles/own.toml"), "summary = \"Test.\"\nextends = \"untrusted\"\n")
        .expect("own directory");
    let gave = Command::new("chown").args(["-R", &format!("{}:{}", owner.uid, owner.gid)]).arg(&real).status();
    assert!(gave.is_ok_and(|status| status.success()), "root can give");
    let program = trial.place.workspace.join(trial.arm());
    fs::copy(program, real.join("work/attack")).expect("own directory");
    let home = owner.home.clone();
    let on = |workspace: &std::path::Path, profile: &str, words: &[&str]| {
        let jail = trial.jail().profile(profile).option("--workspace").option(workspace);
        finish(&jail, etc.command_after(LINKED_HOMES, &jail.command(words)))
    };
    let key = real.join(".ssh/id").display().to_string();
    let read = [format!("read {key}"), format!("read {}/.ssh/id", home.display())];
    let work = [
        on(&home.join("work"), "untrusted", &["./attack", &read[0], &read[1], "create made0"]),
        on(&real.join("work"), "trusted", &["./attack", &read[0], &read[1], "create made1"]),
    ];
    let refused = [
        ("the home by its link", on(&home, "untrusted", &["true"])),
        ("the home by its real path", on(&real, "untrusted", &["true"])),
        ("above the home", on(&trial.place.outside.join("varhome"), "untrusted", &["true"])),
        ("what is hidden in it", on(&real.join(".ssh"), "trusted", &["true"])),
        ("what is hidden in it, by the link", on(&home.join(".ssh"), "untrusted", &["true"])),
        ("where profiles are", on(&real.join(".config"), "readonly", &["true"])),
    ];
    let own = on(&real.join("work"), "own", &["true"]);
    for (ran, number) in work.iter().zip(0..) {
        let gone = "EACCES|ENOENT|EPERM";
        trial.judge(ran, &[denied(&read[0], gone), denied(&read[1], gone), works(format!("create made{number}"))]);
    }
    for (what, ran) in &refused {
        // Root's own profiles are in /etc alone, and its settings are no secret of a shipped profile.
        if *what != "where profiles are" || owner.uid != 0 {
            trial.refused(what, ran);
        }
    }
    if owner.uid == 0 {
        trial.refused("a profile in root's home", &own);
    } else {
        trial.allow("a profile in the home", own.code == Some(0), own.whole());
    }
}

fn groups(trial: &mut Trial) {
    let Some(etc) = Etc::new(&trial.place) else { return trial.skip(NOT_ROOT) };
    let v1 = std::path::Path::new("/sys/fs/cgroup/memory").is_dir();
    let bare = "mount -t tmpfs none /sys/fs/cgroup";
    let mut layouts = vec![("no hierarchy", bare.to_owned(), "no cgroup controller")];
    if v1 {
        let only = format!("{bare}; mkdir /sys/fs/cgroup/pids; mount -t cgroup -o pids pids /sys/fs/cgroup/pids");
        layouts.push(("pids alone", only, "memory"));
        layouts.push(("memory read-only", "mount -o remount,bind,ro /sys/fs/cgroup/memory".into(), "memory"));
        let unified = format!("{bare}; umount /sys/fs/cgroup; mount -t cgroup2 none /sys/fs/cgroup");
        layouts.push(("a unified hierarchy without controllers", unified, "controller"));
    }
    let program = trial.arm();
    for (what, script, missing) in layouts {
        let jail = trial.jail();
        let ran = finish(
            &jail,
            etc.command_after(&script, &jail.command([program.as_str(), "read /etc/shadow", "create made"])),
        );
        let made = ran.text().contains("create made\tok") && ran.text().contains("read /etc/shadow\tE");
        trial.allow(&format!("a run with {what}"), made && ran.code == Some(0), ran.whole());
        let _ = fs::remove_file(trial.place.workspace.join("made"));
        let promises = ran.verdict["enforcement"]["promises"].as_array().cloned().unwrap_or_default();
        let limits = promises.iter().find(|one| one["promise"] == "limits").cloned().unwrap_or_default();
        let said = limits["missing"].as_str().unwrap_or_default().to_owned();
        // A user has none of them, whatever is mounted.
        let users = ["no cgroup controller", "not delegated"].iter().any(|word| said.contains(word));
        let named = said.contains(missing) || (!trial.tier.as_root() && users);
        trial.deny(
            &format!("the verdict with {what}"),
            named && ran.verdict["enforcement"]["level"] == "partial",
            &limits,
        );
        if what == "no hierarchy" {
            let jail = trial.jail().profile("skill-test");
            let heavy = finish(&jail, etc.command_after(&script, &jail.command([program.as_str(), "allocate 1000"])));
            let ended = heavy.outcome() == "out_of_memory"
                || heavy.outcome() == "signalled"
                || heavy.text().contains("refused-after");
            trial.deny(&format!("memory of one process with {what}"), ended, heavy.whole());
        }
        etc.write(
            "profiles/whole.toml",
            "summary = \"Test.\"\nextends = \"untrusted\"\n[require]\nlimits = \"full\"\n",
        );
        let whole = trial.jail().profile("whole");
        let ran = finish(&whole, etc.command_after(&script, &whole.command(["touch", "executed"])));
        trial.refused(&format!("limits in full with {what}"), &ran);
        let mut doctor = etc.command_after(&script, trial.place.command(clawjail()).arg("doctor"));
        let said = text_of(&doctor.stdin(Stdio::null()).output().expect("the binary can be executed"));
        trial.deny(&format!("the doctor with {what}"), said.contains("control groups: step `control_groups`"), &said);
    }
    let ours = std::path::Path::new("/sys/fs/cgroup/unified/clawjail");
    if v1 && ours.exists() {
        let _ = fs::remove_dir(ours);
    }
    trial.host_has("executed", None);
}
