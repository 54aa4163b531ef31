//! `cargo bench --bench evidence [-- ROUNDS]`: what recording costs, as ratios to a run that records nothing.
//!
//! Each workload runs with `--record off`, `commands` and `full` in turn, so that what else the machine does meets all of them; the
//! smallest and the median of the rounds are printed. Nothing here passes or fails; docs/performance.md has what one machine printed.

#![expect(clippy::expect_used, reason = "a bench that cannot measure must say so and stop")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LEVELS: [&str; 3] = ["off", "commands", "full"];

/// What is run, and how its workspace is made before and between runs.
struct Workload {
    name: &'static str,
    prepare: fn(&Path) -> bool,
    between: fn(&Path),
    command: &'static [&'static str],
}

const WORKLOADS: [Workload; 6] = [
    Workload { name: "true", prepare: |_| true, between: |_| {}, command: &["true"] },
    Workload {
        name: "a denied write",
        prepare: |_| true,
        between: |_| {},
        command: &["sh", "-c", "echo x 2>/dev/null > /etc/x; true"],
    },
    Workload {
        name: "2,000 /bin/true",
        prepare: |_| true,
        between: |_| {},
        command: &["sh", "-c", "i=0; while [ $i -lt 2000 ]; do /bin/true; i=$((i+1)); done"],
    },
    Workload {
        name: "make of 40 C files",
        prepare: make_sources,
        between: |place| put_away(place, "*.o program"),
        command: &["make", "-s", "-j2"],
    },
    Workload {
        name: "git status, 5,000 files",
        prepare: make_repository,
        between: |_| {},
        command: &["git", "status", "--short"],
    },
    Workload {
        name: "npm ci from a local cache",
        prepare: make_package,
        between: |place| put_away(place, "node_modules"),
        command: &["npm", "ci", "--offline", "--no-audit", "--no-fund", "--cache", "./cache"],
    },
];

fn main() {
    let rounds = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(7_usize);
    let top = tempfile::Builder::new().prefix("clawjail-evidence").tempdir().expect("a directory");
    println!(
        "{:<28}{:>12}{:>10}{:>10}   of {rounds} rounds: ms of off, then ratios, smallest (median)",
        "", "off", "commands", "full"
    );
    for workload in &WORKLOADS {
        let place = top.path().join(workload.name.replace([' ', '/', ','], "-"));
        fs::create_dir(&place).expect("a directory");
        if !(workload.prepare)(&place) {
            println!("{:<28}cannot be prepared here", workload.name);
            continue;
        }
        print(workload.name, &measure(workload, &place, rounds));
    }
}

/// Times by level.
fn measure(workload: &Workload, place: &Path, rounds: usize) -> [Vec<Duration>; 3] {
    let mut times = [const { Vec::new() }; 3];
    // The first round warms caches and counts for nothing.
    for round in 0..=rounds {
        for (level, times) in LEVELS.iter().zip(&mut times) {
            (workload.between)(place);
            let begun = Instant::now();
            let status = Command::new(env!("CARGO_BIN_EXE_clawjail"))
                .args(["run", "--quiet", "--record", level, "--timeout", "5m", "--verdict", "/dev/null", "--"])
                .args(workload.command)
                .current_dir(place)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .expect("the binary can be executed");
            assert!(status.success(), "`{}` failed with --record {level}", workload.name);
            if round > 0 {
                times.push(begun.elapsed());
            }
        }
    }
    times
}

fn print(name: &str, times: &[Vec<Duration>; 3]) {
    let numbers = times.each_ref().map(|times| {
        let mut sorted = times.clone();
        sorted.sort();
        let at = |index: usize| sorted.get(index).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        (at(0), at(sorted.len() / 2))
    });
    let [off, commands, full] = numbers;
    let ratio = |(least, median): (f64, f64)| format!("{:.2} ({:.2})", least / off.0, median / off.1);
    println!("{name:<28}{:>12.1}{:>14}{:>14}", off.0, ratio(commands), ratio(full));
}

fn shell(place: &Path, script: &str) -> bool {
    let quiet =
        Command::new("sh").args(["-c", script]).current_dir(place).stdout(Stdio::null()).stderr(Stdio::null()).status();
    quiet.is_ok_and(|status| status.success())
}

/// Out of the way, and not removed: for five seconds ext4 does not use an inode again that was, and looks past each of them for every
/// new file. With 800 files removed before each run that was two thirds of `npm ci`, whatever was recorded.
fn put_away(place: &Path, names: &str) {
    shell(
        place,
        &format!(
            "away=../away/$(date +%s%N) && mkdir -p $away && for f in {names}; do [ ! -e $f ] || mv $f $away; done"
        ),
    );
}

fn make_sources(place: &Path) -> bool {
    let mut makefile = String::from("program: $(patsubst %.c,%.o,$(wildcard *.c))\n\tcc -o $@ $^\n");
    makefile.push_str("%.o: %.c\n\tcc -c -o $@ $<\n");
    let sources = (0..40).all(|number| {
        let text =
            format!("#include <stdio.h>\n#include <string.h>\nint f{number}(int x) {{ return x + {number}; }}\n");
        fs::write(place.join(format!("f{number}.c")), text).is_ok()
    });
    let main = fs::write(place.join("main.c"), "int main(void) { return 0; }\n").is_ok();
    sources
        && main
        && fs::write(place.join("Makefile"), makefile).is_ok()
        && shell(place, "make -s && rm -f *.o program")
}

fn make_repository(place: &Path) -> bool {
    // What is as new as the index git reads again, each time, and that is another workload.
    shell(
        place,
        "git init -q . && for d in $(seq 50); do mkdir d$d; for f in $(seq 100); do echo $f > d$d/f$f; done; done && \
         git add -A && git -c user.name=a -c user.email=a@b commit -qm all && sleep 1.1 && touch .git/index",
    )
}

/// A package with 40 dependencies of 20 files each, all in a cache of its own.
fn make_package(place: &Path) -> bool {
    shell(
        place,
        "command -v npm && mkdir parts && for p in $(seq 40); do mkdir -p parts/p$p/lib; \
         echo '{\"name\":\"bench-p'$p'\",\"version\":\"1.0.0\"}' > parts/p$p/package.json; \
         for f in $(seq 20); do echo 'module.exports = '$f > parts/p$p/lib/f$f.js; done; \
         (cd parts/p$p && npm pack --silent --pack-destination ..); done; \
         list=$(for p in $(seq 40); do printf '\"bench-p%s\":\"file:parts/bench-p%s-1.0.0.tgz\",' $p $p; done); \
         echo '{\"name\":\"bench\",\"version\":\"1.0.0\",\"dependencies\":{'${list%,}'}}' > package.json; \
         npm install --offline --no-audit --no-fund --cache ./cache && rm -rf node_modules",
    )
}
