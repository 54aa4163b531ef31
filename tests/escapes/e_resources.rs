//! Resources: no command takes the host's, and nothing of it outlives its run.

use std::time::{Duration, Instant};

use super::a_repositories::living;
use super::support::tier::Tier;
use super::support::{patience, slowness};
use super::trial::{Trial, denied, works};
use super::{Case, case};

/// The cases.
pub const CASES: &[Case] = &[
    case("E1", "a fork bomb ends with its jail, and the host goes on", fork_bomb),
    case("E1u", "what the user runs besides does not count against a jail", crowded),
    case("E2", "memory over the limit is refused or ends the command", memory),
    case("E2g", "what all processes use together counts, and the jail ends as one", memory_of_all),
    case("E2f", "memory in files of memory counts too", memory_files),
    case("E3", "no control group is to be seen or written", control_groups),
    case("E4", "limits that cannot be kept whole are said in the verdict", said_in_verdict),
    case("E5", "daemons, orphans and sessions of their own end with the run", daemons),
    Case {
        id: "E6",
        says: "a full private directory is an error for the command, not for the host",
        run: full_disk,
        gaps: &[
            (Tier::BareAsRoot, "no mount of its own bounds it; the verdict says so"),
            (Tier::Bare, "no mount of its own bounds it; the verdict says so"),
        ],
    },
    case("E9", "orphans are reaped", zombies),
    case("E10", "a stopped group ends with its run", stopped),
];

fn gone(token: &str) -> bool {
    let deadline = Instant::now() + patience(Duration::from_secs(3));
    while Instant::now() < deadline {
        if living(token).is_empty() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    false
}

fn fork_bomb(trial: &mut Trial) {
    let token = format!("{}bomb", trial.place.token);
    let script = format!("b() {{ b {token} | b {token} & }}; b; sleep 30");
    let begun = Instant::now();
    let ran = trial.jail().profile("skill-test").timeout("2s").run(["bash", "-c", &script, &token]);
    let took = begun.elapsed();
    trial.deny(
        "the bomb",
        !ran.hung && took < patience(Duration::from_secs(15)),
        format!("{took:?} {}", ran.outcome()),
    );
    trial.deny("what is left of it", gone(&token), living(&token).len());
    let ran = trial.jail().bash("for i in 1 2 3 4 5 6 7 8; do sleep 0.01 & done; wait; echo done");
    trial.allow("a few processes", ran.text() == "done", ran.whole());
}

/// What the user has running besides is neither counted against the jail nor a reason not to start it.
fn crowded(trial: &mut Trial) {
    let mut crowd: Vec<_> = (0..300).filter_map(|_| trial.place.host("sleep").arg("60").spawn().ok()).collect();
    let program = trial.arm();
    let ran = trial.jail().run([program.as_str(), "threads 100", "threads 400"]);
    trial.allow("100 processes beside 300", ran.text().contains("threads 100\tok all-100"), ran.whole());
    trial.deny("400 of 256", ran.text().contains("threads 400\tok refused-after-"), ran.whole());
    for child in &mut crowd {
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn memory(trial: &mut Trial) {
    let program = trial.arm();
    let ran = trial.jail().profile("skill-test").run([program.as_str(), "allocate 2000"]);
    let ended =
        ran.outcome() == "out_of_memory" || ran.text().contains("refused-after-") || ran.outcome() == "signalled";
    trial.deny("2000 MiB of 512", ended, ran.whole());
    let ran = trial.jail().profile("skill-test").run([program.as_str(), "allocate 100"]);
    trial.allow("100 MiB of 512", ran.text().ends_with("all-100"), ran.whole());
}

fn memory_of_all(trial: &mut Trial) {
    if !memory_is_counted(trial) {
        return trial.gap(UNCOUNTED);
    }
    if !std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        trial.gap("control groups v1 end one process at a time, and a command that goes on and exits with 0 hides it");
    }
    trial.arm();
    let script = "for i in 1 2 3 4; do ./attack 'allocate 300' & done; wait";
    let ran = trial.jail().profile("skill-test").bash(script);
    trial.deny("four times 300 MiB of 512", ran.outcome() == "out_of_memory" && ran.code == Some(137), ran.whole());
    let ran = trial.jail().profile("skill-test").bash("for i in 1 2 3; do ./attack 'allocate 20' & done; wait");
    trial.allow("three times 20 MiB of 512", ran.text().matches("all-20").count() == 3, ran.whole());
}

/// Why memory has no bound for a jail as a whole.
const UNCOUNTED: &str =
    "without a delegated control group only each process's own data is limited; the verdict says partial";

/// Whether the verdict says that a control group bounds memory.
fn memory_is_counted(trial: &Trial) -> bool {
    let ran = trial.jail().run(["true"]);
    let promises = ran.verdict["enforcement"]["promises"].as_array().cloned().unwrap_or_default();
    let limits = promises.iter().find(|one| one["promise"] == "limits").cloned().unwrap_or_default();
    let said = limits["mechanisms"].as_array().cloned().unwrap_or_default();
    said.iter().filter_map(|one| one.as_str()).any(|one| one.starts_with("cgroup ") && one.contains("memory"))
}

fn memory_files(trial: &mut Trial) {
    if !memory_is_counted(trial) {
        return trial.gap(UNCOUNTED);
    }
    let program = trial.arm();
    let ran = trial.jail().profile("skill-test").run([program.as_str(), "memory-file 1000"]);
    let ended = ran.outcome() == "out_of_memory" || ran.text().contains("refused-after-");
    trial.deny("1000 MiB of 512", ended, ran.whole());
    let ran = trial.jail().profile("skill-test").run([program.as_str(), "memory-file 50"]);
    trial.allow("50 MiB of 512", ran.text().ends_with("all-50"), ran.whole());
}

fn control_groups(trial: &mut Trial) {
    let mut wishes = vec![works("read /usr/bin/env")];
    for path in [
        "/sys/fs/cgroup/cgroup.procs",
        "/sys/fs/cgroup/memory/tasks",
        "/sys/fs/cgroup/pids/tasks",
        "/sys/fs/cgroup/unified/cgroup.procs",
    ] {
        wishes.push(denied(format!("write {path}"), "EACCES|ENOENT|EROFS|EPERM"));
        wishes.push(denied(format!("read {path}"), "EACCES|ENOENT|EPERM"));
    }
    wishes.push(denied("mkdir /sys/fs/cgroup/evil", "EACCES|ENOENT|EROFS|EPERM"));
    wishes.push(denied("list /sys/kernel", "EACCES|ENOENT"));
    wishes.push(denied("write /proc/sys/kernel/core_pattern", "EACCES|ENOENT|EROFS|EPERM"));
    wishes.push(denied("write /proc/sysrq-trigger", "EACCES|ENOENT|EROFS|EPERM"));
    trial.attack_all(wishes);
}

fn said_in_verdict(trial: &mut Trial) {
    let ran = trial.jail().run(["true"]);
    trial.allow("a run", ran.code == Some(0), ran.whole());
    let promises = ran.verdict["enforcement"]["promises"].as_array().cloned().unwrap_or_default();
    let limits = promises.iter().find(|one| one["promise"] == "limits").cloned().unwrap_or_default();
    let partial = !limits["missing"].is_null();
    // Only root has groups on every host, and only a view bounds private places.
    let expected = if trial.tier == Tier::Root { !partial } else { partial || trial.tier == Tier::User };
    trial.deny("limits in the verdict", expected, limits);
}

fn daemons(trial: &mut Trial) {
    let token = format!("{}daemon", trial.place.token);
    let daemon = |how: &str| {
        format!(
            "{how} bash -c 'trap \"\" TERM HUP INT; while :; do sleep 1; done' {token} >/dev/null 2>&1 </dev/null &"
        )
    };
    let script = format!(
        "{}\n{}\n({} ) &\nbash -c \"({}) & exit 0\" & \n",
        daemon("setsid"),
        daemon("nohup"),
        daemon("setsid"),
        daemon("setsid").replace('"', "\\\"")
    );
    // It ends by itself.
    let ran = trial.jail().run(["bash", "-c", &format!("{script} sleep 0.3; echo end"), &token]);
    trial.allow("the command itself", ran.text().ends_with("end"), ran.whole());
    trial.deny("after its end", gone(&token), living(&token).len());
    // It runs out of time.
    let begun = Instant::now();
    let ran = trial.jail().timeout("1s").run(["bash", "-c", &format!("{script} trap '' TERM; sleep 60"), &token]);
    trial.deny(
        "out of time",
        ran.code == Some(124) && begun.elapsed() < patience(Duration::from_secs(8)),
        format!("{:?} {}", begun.elapsed(), ran.whole()),
    );
    trial.deny("after its time", gone(&token), living(&token).len());
    // A daemon that holds stdout does not keep the caller waiting.
    let begun = Instant::now();
    let ran = trial.jail().run(["bash", "-c", &format!("setsid sleep 30 & echo end {token}")]);
    trial.deny(
        "a daemon with stdout",
        begun.elapsed() < patience(Duration::from_secs(5)) && ran.code == Some(0),
        format!("{:?} {}", begun.elapsed(), ran.whole()),
    );
}

fn full_disk(trial: &mut Trial) {
    let script = "for d in $HOME $TMPDIR; do for i in 1 2 3 4; do head -c 50M /dev/zero > $d/fill$i || break; done; echo $i; rm -f $d/fill*; done";
    let ran = trial.jail().profile("skill-test").bash(script);
    trial.deny("200 MiB of 128", ran.text() == "3\n3", ran.whole());
    // An emulated processor makes fewer names than there is room for in the minute that the profile gives.
    if slowness() == 1 {
        let script = "cd $TMPDIR; i=0; while [ $i -lt 60000 ] && : > f$i; do i=$((i+1)); done 2>/dev/null; [ $i -lt 60000 ] && echo full";
        let ran = trial.jail().profile("skill-test").bash(script);
        trial.deny("60000 names", ran.text() == "full", ran.whole());
    }
    let ran = trial.jail().profile("skill-test").bash("head -c 10M /dev/zero > $TMPDIR/fill && wc -c < $TMPDIR/fill");
    trial.allow("10 MiB of 128", ran.text() == "10485760", ran.whole());
}

fn zombies(trial: &mut Trial) {
    if !trial.tier.has_namespaces() {
        // /proc is not to be seen there: the count is made from outside.
        let ran = trial.jail().bash("for i in $(seq 200); do (sleep 0.01 &) ; done; sleep 0.5; echo end");
        trial.allow("200 orphans", ran.text() == "end", ran.whole());
        trial.deny("their end", ran.code == Some(0), ran.whole());
        return;
    }
    let ran = trial.attack([super::trial::says("zombies 200", "0")]);
    trial.deny("zombies", ran.text().contains("ok 0"), ran.whole());
}

fn stopped(trial: &mut Trial) {
    let token = format!("{}stopped", trial.place.token);
    let script =
        format!("for i in 1 2 3; do setsid bash -c 'kill -STOP 0; sleep 60' {token} & done; sleep 0.2; kill -STOP $$");
    let begun = Instant::now();
    let ran = trial.jail().timeout("1s").run(["bash", "-c", &script, &token]);
    trial.deny(
        "a stopped command",
        ran.code == Some(124) && begun.elapsed() < patience(Duration::from_secs(8)),
        format!("{:?} {}", begun.elapsed(), ran.whole()),
    );
    trial.deny("stopped orphans", gone(&token), living(&token).len());
    let ran = trial.jail().bash("sleep 5 & kill -STOP $!; kill -CONT $!; kill $!; wait $!; echo $?");
    trial.allow("stopping and going on", ran.text().ends_with("143"), ran.whole());
}
