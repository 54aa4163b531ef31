//! Floods: of denials, of questions, and what a program is told of its limits.

use std::time::{Duration, Instant};

use super::support::tier::Tier;
use super::trial::{Trial, denied, says, works};
use super::{Case, case};

/// The cases.
pub const CASES: &[Case] = &[
    case("E7", "a flood of denials fills neither the verdict nor the caller's screen, and none is forgotten", denials),
    case("E8", "a flood of questions holds up neither the end of its own run nor another one", questions),
    case("E11", "a process is told its limits as they are, and raises none", told),
    Case {
        id: "E11m",
        says: "a program that asks for the machine's memory is told its own",
        run: machine,
        gaps: &[(Tier::Root, MACHINE), (Tier::User, MACHINE), (Tier::BareAsRoot, MACHINE), (Tier::Bare, MACHINE)],
    },
];

const MACHINE: &str = "/proc/meminfo and sysinfo(2) speak of the host, and no mechanism of ours changes what they say";

fn denials(trial: &mut Trial) {
    trial.place.make_repository();
    let ran = trial.attack([
        says("name-flood .git/hooks 5000", "0"),
        works("create plain"),
        denied("create .git/hooks/again", "EACCES|EROFS|EPERM"),
    ]);
    let kept = ran.verdict["denials"].as_array().cloned().unwrap_or_default();
    let size = ran.verdict.to_string().len();
    trial.deny("the verdict", kept.len() <= 256 && size < 256 << 10, format!("{} denials, {size} bytes", kept.len()));
    trial.deny("our lines", ran.own_lines().len() <= 6 && ran.stderr.len() < 8 << 10, ran.own_lines().len());
    if !kept.is_empty() {
        let count: u64 = kept.iter().filter_map(|one| one["count"].as_u64()).sum();
        trial.allow("the count", count >= 5001, count);
    }
    let mounted = trial.tier.has_namespaces();
    // Where a mount protects what is there, the kernel says no before the broker does, and keeps no list.
    trial.allow("a list", mounted || !kept.is_empty(), ran.whole());
}

fn questions(trial: &mut Trial) {
    let program = trial.arm();
    let begun = Instant::now();
    let flood = trial.jail().timeout("2s").start([program.as_str(), "flood-forever flood 24"]);
    std::thread::sleep(Duration::from_millis(300));
    let beside = Instant::now();
    let ran = trial.jail().run(["touch", "beside"]);
    let took = beside.elapsed();
    trial.allow("a run beside it", ran.code == Some(0) && trial.place.holds("beside"), ran.whole());
    trial.deny("how long that took", took < Duration::from_secs(15), format!("{took:?}"));
    let ended = flood.wait_with_output().map(|output| output.status.code());
    let took = begun.elapsed();
    trial.deny(
        "its end",
        matches!(ended, Ok(Some(124))) && took < Duration::from_secs(20),
        format!("{ended:?} {took:?}"),
    );
    trial.attack([denied("create .envrc", "EACCES|EROFS|EPERM"), works("create after")]);
}

fn told(trial: &mut Trial) {
    let script = "ulimit -Hn; ulimit -Hc; ulimit -Hf; ulimit -Hl; (ulimit -Hn 100000) 2>/dev/null && echo raised; \
                  (ulimit -n 64 && ulimit -n) || echo no; grep -c 'Max open files.*1024' /proc/self/limits 2>/dev/null";
    let ran = trial.jail().bash(script);
    let text = ran.text();
    let lines: Vec<&str> = text.lines().collect();
    // Open files, no core, a file of 1 GiB, 8 MiB locked; in blocks of 1 KiB. What was lower outside stays lower.
    let most = [1024, 0, 1 << 20, 8 << 10];
    let held = most.iter().zip(&lines).all(|(most, said)| said.parse::<u64>().is_ok_and(|said| said <= *most));
    trial.deny("what it is told", held && !text.contains("raised"), ran.whole());
    trial.allow("a lower one", lines.contains(&"64"), ran.whole());
    let ran = trial.jail().profile("skill-test").bash("ulimit -Hn");
    trial.deny("another profile's", ran.text().parse::<u64>().is_ok_and(|said| said <= 256), ran.whole());
}

fn machine(trial: &mut Trial) {
    let ran = trial.jail().bash("awk '/^MemTotal/ { print $2 }' /proc/meminfo");
    trial.allow("an answer", ran.code == Some(0), ran.whole());
    trial.deny("MemTotal", ran.text().parse::<u64>().is_ok_and(|kilobytes| kilobytes <= 1 << 20), ran.text());
}
