//! Loads: bulk, requests, connections; direct and through the gate, one after the other.

use std::fs;
use std::io::{BufRead, BufReader, Read};

use super::ground::Ground;
use super::{median, met};

const ROUNDS: usize = 7;
const BULK: usize = 1 << 30;
const REQUESTS: usize = 20_000;
const CONNECTIONS: usize = 1_000;

/// The rows that are wanted.
pub fn print(ground: &Ground, wanted: impl Fn(&str) -> bool) {
    let speed = |value: f64| format!("{:.2} GB/s", value / 1e9);
    let count = |value: f64| format!("{value:.0}");
    if wanted("bulk") {
        let bulk = pair(ground, "web", &["bulk", &BULK.to_string()]);
        ratio("bulk download, bytes a second", bulk, speed, 0.8);
        let bulk = pair(ground, "requests", &["bulk-tls", &BULK.to_string()]);
        ratio("the same by HTTPS, TLS ending at the gate", bulk, speed, 0.5);
    }
    if wanted("requests") {
        let requests = pair(ground, "web", &["requests", &REQUESTS.to_string()]);
        ratio("requests a second, connection kept", requests, count, 0.5);
        let requests = pair(ground, "requests", &["requests-tls", &REQUESTS.to_string()]);
        ratio("the same by HTTPS, TLS ending at the gate", requests, count, 0.0);
    }
    if wanted("connections") {
        let (direct, ours) = pair(ground, "web", &["connect", &CONNECTIONS.to_string()]);
        let added = (ours - direct) / 1e3;
        println!(
            "{:<44}{:>10.0} us{:>10.0} us{added:>+7.0} us  added <= 250 us: {}",
            "connection set-up and a byte back, p50",
            direct / 1e3,
            ours / 1e3,
            met(added <= 250.0)
        );
    }
    if wanted("many") {
        many(ground);
    }
}

fn ratio(name: &str, (direct, ours): (f64, f64), show: impl Fn(f64) -> String, least: f64) {
    let share = ours / direct;
    println!(
        "{name:<44}{:>13}{:>13}{share:>10.2}  >= {least} of direct: {}",
        show(direct),
        show(ours),
        met(share >= least)
    );
}

/// Medians, direct and under `profile`.
fn pair(ground: &Ground, profile: &str, words: &[&str]) -> (f64, f64) {
    let [mut direct, mut ours] = [const { Vec::new() }; 2];
    for _ in 0..ROUNDS {
        for (profile, values) in [(None, &mut direct), (Some(profile), &mut ours)] {
            let output = ground.load(profile, words).output().expect("the load can be started");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            values.push(
                text.trim()
                    .parse()
                    .unwrap_or_else(|_| unreachable!("{words:?}: {text} {}", String::from_utf8_lossy(&output.stderr))),
            );
        }
    }
    (median(direct), median(ours))
}

/// A thousand connections at once, and what the gate holds for them.
fn many(ground: &Ground) {
    let [(idle, _), (held, time)] = [1, CONNECTIONS].map(|count| {
        let mut child =
            ground.load(Some("web"), &["many", &count.to_string()]).spawn().expect("the load can be started");
        let mut lines = BufReader::new(child.stdout.take().expect("asked for"));
        let mut line = String::new();
        lines.read_line(&mut line).expect("it says");
        assert_eq!(line, "held\n");
        let memory = gate_below(child.id()).map(private).expect("the jail has a gate");
        drop(child.stdin.take());
        let mut rest = String::new();
        lines.read_to_string(&mut rest).expect("it ends");
        child.wait().expect("our own child");
        (memory, rest.trim().parse::<f64>().expect("a number"))
    });
    println!(
        "{:<44}{:>13}{:>10.2} MiB{:>10}  idle {:.2} MiB, {:.1} KiB each; all served in {time:.0} ms",
        "1,000 connections at once, gate's memory",
        "",
        held / 1024.0,
        "",
        idle / 1024.0,
        (held - idle) / CONNECTIONS as f64
    );
}

fn gate_below(from: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{from}/task/{from}/children")).unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).find_map(|pid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == "clawjail-gate" { Some(pid) } else { gate_below(pid) }
    })
}

/// KiB that are a process's own.
fn private(pid: u32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let lines = text.lines().filter(|line| line.starts_with("Private_"));
    lines.filter_map(|line| line.split_ascii_whitespace().nth(1)?.parse::<f64>().ok()).sum()
}
