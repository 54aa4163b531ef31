//! What a command pays once it runs, measured by the same static helper inside each contender.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::contenders::{ALL, Contender, find};
use super::ground::Prepared;
use super::helper::{FLOOD_BYTES, WORD};
use super::table::{Row, Unit, Wanted};
use super::{median, nanoseconds};

const HELPER: &str = "./helper";

/// Single system calls, and a fork with an exec.
pub fn calls(prepared: &Prepared) -> Vec<Row> {
    const KINDS: [(&str, &str, f64); 5] = [
        ("getppid", "getppid", 1.03),
        ("stat", "stat, 3 deep", 1.03),
        ("open", "open+read+close, 3 deep", 1.25),
        ("socket", "socket+close", 1.03),
        ("spawn", "fork+exec+wait of `true`", 1.03),
    ];
    let mut times = [const { [const { Vec::new() }; 4] }; KINDS.len()];
    for _ in 0..9 {
        for (column, contender) in ALL.into_iter().enumerate() {
            let (contender, word) =
                if contender == Contender::Floor { (Contender::Bare, "floor") } else { (contender, "calls") };
            let Some(text) = inside(prepared, contender, "untrusted", &[HELPER, WORD, word]) else { continue };
            for ((kind, _, _), row) in KINDS.into_iter().zip(&mut times) {
                let value: Option<f64> = text.lines().find_map(|line| line.strip_prefix(kind)?.trim().parse().ok());
                row.get_mut(column).expect("one for each").extend(value);
            }
        }
    }
    let row = |((_, name, most), times): (_, [Vec<f64>; 4])| Row {
        name,
        unit: Unit::Time,
        values: times.map(median),
        wanted: Wanted::AtMostOfBare(most),
    };
    KINDS.into_iter().zip(times).map(row).collect()
}

/// Real tools, under a profile without a limit on processor time: being stopped by one is no overhead.
pub fn tools(prepared: &Prepared) -> Vec<Row> {
    let lines: [(&str, &[&str], &str); 4] = [
        ("git status, 5,000 files", &["git", "-C", "tree", "status", "--porcelain"], "20"),
        ("make of 60 C files", &["make", "-s", "-B", "-C", "c", "program"], "1"),
        ("python3 -c 'import json,ssl'", &["/usr/bin/python3", "-c", "import json,ssl"], "5"),
        ("node -e 0", &["node", "-e", "0"], "5"),
    ];
    lines.into_iter().filter_map(|(name, command, times)| tool(prepared, name, command, times)).collect()
}

fn tool(prepared: &Prepared, name: &'static str, command: &[&str], times: &str) -> Option<Row> {
    let program = command.first()?;
    if find(program.trim_start_matches("/usr/bin/")).is_none() {
        println!("no row for {name}: `{program}` is not installed in /usr");
        return None;
    }
    let words = [&[HELPER, WORD, "repeat", times], command].concat();
    let mut values = [const { Vec::new() }; 4];
    for _ in 0..7 {
        for (contender, values) in ALL.into_iter().zip(&mut values) {
            values.extend(
                inside(prepared, contender, "offline", &words).and_then(|text| text.trim().parse::<f64>().ok()),
            );
        }
    }
    Some(Row { name, unit: Unit::Time, values: values.map(median), wanted: Wanted::AtMostOfBare(1.03) })
}

/// What a helper inside prints.
fn inside(prepared: &Prepared, contender: Contender, profile: &str, words: &[&str]) -> Option<String> {
    let mut command = prepared.root.command(contender, profile, words)?;
    let output = command.stderr(Stdio::inherit()).output().expect("a contender can be started");
    assert!(output.status.success(), "{contender:?} cannot run `{}`", words.join(" "));
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A gibibyte through stdout into a pipe, under a profile without a limit on output and under one with.
pub fn output(prepared: &Prepared) -> Vec<Row> {
    [("1 GiB of output, no limit", "trusted", 0.95), ("1 GiB of output, limited", "untrusted", 0.6)]
        .into_iter()
        .map(|(name, profile, least)| {
            let mut values = [const { Vec::new() }; 4];
            for _ in 0..15 {
                for (contender, values) in ALL.into_iter().zip(&mut values) {
                    values.extend(prepared.root.command(contender, profile, &[HELPER, WORD, "flood"]).map(drain));
                }
            }
            Row { name, unit: Unit::BytesPerSecond, values: values.map(median), wanted: Wanted::AtLeastOfBare(least) }
        })
        .collect()
}

/// Bytes a second, from the first to the last.
fn drain(mut command: Command) -> f64 {
    let mut child = command.stdout(Stdio::piped()).spawn().expect("a contender can be started");
    let mut stdout = child.stdout.take().expect("it was asked for");
    let mut buffer = vec![0; 1 << 20];
    let (mut all, mut begin) = (0, None);
    while let Ok(count @ 1..) = stdout.read(&mut buffer) {
        begin.get_or_insert_with(Instant::now);
        all += count;
    }
    let time = begin.map_or(Duration::MAX, |begin| begin.elapsed());
    assert!(child.wait().is_ok_and(|status| status.success()), "the flood was cut");
    assert_eq!(all, FLOOD_BYTES, "bytes were lost");
    all as f64 / nanoseconds(time) * 1e9
}

/// Private memory of what stays beside a command that sleeps.
pub fn memory(prepared: &Prepared) -> Vec<Row> {
    let mut values = [None, None];
    let words = ["sleep", "20"];
    if let Some(mut command) = prepared.root.command(Contender::Clawjail, "untrusted", &words) {
        let mut child = command.stdout(Stdio::null()).spawn().expect("clawjail can be started");
        std::thread::sleep(Duration::from_millis(500));
        let supervisor = child.id();
        let launcher = only_child(supervisor);
        let init = launcher.and_then(only_child);
        values = [
            private_bytes(supervisor),
            launcher.and_then(private_bytes).zip(init.and_then(private_bytes)).map(|(one, other)| one + other),
        ];
        // It takes launcher, init and command with it.
        let _ = child.kill();
        let _ = child.wait();
    }
    let row = |name, value, wanted| Row { name, unit: Unit::Bytes, values: [None, None, None, value], wanted };
    let [supervisor, others] = values;
    vec![
        row("private memory, launcher + init", others, Wanted::AtMost(1.5 * 1024.0 * 1024.0)),
        row("private memory, supervisor", supervisor, Wanted::Nothing),
    ]
}

fn only_child(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_ascii_whitespace().next()?.parse().ok()
}

/// Nothing where we may not look: init and launcher let only root inspect them.
fn private_bytes(pid: u32) -> Option<f64> {
    let text = fs::read_to_string(PathBuf::from(format!("/proc/{pid}/smaps_rollup"))).ok()?;
    let of = |key: &str| -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(key))?.split_ascii_whitespace().next()?.parse().ok()
    };
    Some((of("Private_Clean:")? + of("Private_Dirty:")?) * 1024.0)
}
