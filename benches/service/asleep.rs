//! Jails that stay: opening and closing one, what many cost while they sleep, and what an idle service does.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::client::Client;
use super::ground::Ground;
use super::table;

/// Jails asleep at once; `CLAWJAIL_JAILS` says otherwise.
const JAILS: usize = 100;
const MIB: f64 = (1 << 20) as f64;
const IDLE: Duration = Duration::from_secs(5);
/// How long nothing has run in a jail that sleeps, and what that takes to settle.
const ASLEEP: Duration = Duration::from_secs(63);

/// The rows.
pub fn print() {
    let ground = Ground::new();
    let mut client = Client::connect(&ground.socket);
    let asked = json!({ "profile": "untrusted", "workspace": ground.workspace });
    println!("\n{:<34}{:>11}{:>11}  wanted", "", "p50", "p99");
    open_and_close(&mut client, &asked);
    wake_ups(&ground, "wake-ups of an idle service in 5 s");
    let count = std::env::var("CLAWJAIL_JAILS").ok().and_then(|count| count.parse().ok()).unwrap_or(JAILS);
    let before = Memory::now(&ground);
    let mut last = Value::Null;
    for _ in 0..count {
        last = client.call("jail.open", &asked)["jail"].take();
    }
    let each = |name: &str| {
        let Memory { private, available } = Memory::now(&ground);
        for (name, bytes) in
            [(name, private - before.private), ("the same, as the system counts", before.available - available)]
        {
            let mib = bytes / count as f64 / MIB;
            let word = if mib < 1.0 { "met" } else { "NOT MET" };
            println!("{name:<34}{mib:>7.2} MiB{:>11}  < 1 MiB: {word}", "");
        }
    };
    each(&format!("{count} jails opened, private, each"));
    std::thread::sleep(ASLEEP);
    each(&format!("{count} jails asleep, private, each"));
    wake_ups(&ground, "wake-ups with these in 5 s");
    let mut inside = Client::command();
    inside["jail"] = last;
    for name in ["first run in one that slept", "the next one"] {
        println!("{name:<34}{}", table::time(client.run(&inside).as_secs_f64()));
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Bytes that only processes of the service have, and what the system has left.
struct Memory {
    private: f64,
    available: f64,
}

impl Memory {
    fn now(ground: &Ground) -> Memory {
        std::thread::sleep(Duration::from_secs(1));
        Memory { private: private(ground), available: available() }
    }
}

fn open_and_close(client: &mut Client, asked: &Value) {
    let [mut opened, mut closed] = [const { Vec::new() }; 2];
    for _ in 0..50 {
        let begin = Instant::now();
        let jail = client.call("jail.open", asked)["jail"].take();
        opened.push(begin.elapsed());
        let begin = Instant::now();
        client.call("jail.close", &json!({ "jail": jail }));
        closed.push(begin.elapsed());
    }
    for (name, times) in [("open a jail", opened), ("close a jail", closed)] {
        let [p50, p99] = [50, 99].map(|share| table::time(table::share(&times, share).as_secs_f64()));
        println!("{name:<34}{p50}{p99}");
    }
}

/// How often any process of the service ran in a while in which nobody asked for anything.
fn wake_ups(ground: &Ground, name: &str) {
    std::thread::sleep(Duration::from_secs(1));
    let switches = || sum(ground, "status", "voluntary_ctxt_switches:");
    let before = switches();
    std::thread::sleep(IDLE);
    let woken = switches() - before;
    println!("{name:<34}{woken:>11.0}{:>11}  0: {}", "", if woken == 0.0 { "met" } else { "NOT MET" });
}

/// Bytes that only processes of the service have.
fn private(ground: &Ground) -> f64 {
    ["Private_Clean:", "Private_Dirty:"].iter().map(|field| sum(ground, "smaps_rollup", field)).sum::<f64>() * 1024.0
}

fn sum(ground: &Ground, file: &str, field: &str) -> f64 {
    let of_one = |pid: &i32| {
        let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        number(&text, field)
    };
    ground.processes().iter().map(of_one).sum()
}

fn available() -> f64 {
    number(&fs::read_to_string("/proc/meminfo").expect("it is there"), "MemAvailable:") * 1024.0
}

fn number(text: &str, field: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0.0)
}
