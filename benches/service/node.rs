//! The same out of a Node process of 100 MB, which is what an agent's runtime is, by the client of examples/clients.

use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::ground::Ground;
use super::table::{self, Wanted};

const RUNS: usize = 200;
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/service/node.mjs");

/// The rows: bare is Node's own `child_process.spawn`.
pub fn print() {
    let ground = Ground::new();
    let mut command = Command::new("node");
    command.arg(SCRIPT).args([&ground.socket, &ground.workspace]).arg(RUNS.to_string()).stderr(Stdio::inherit());
    let Ok(ended) = command.output() else {
        return println!("\nno Node here: `apt install nodejs` gives two rows more");
    };
    assert!(ended.status.success(), "Node ended with {}", ended.status);
    let times: Value = serde_json::from_slice(&ended.stdout).expect("it prints JSON");
    let of = |name: &str| -> Vec<Duration> {
        let all = times[name].as_array().expect("it prints a list of each");
        all.iter().map(|time| Duration::from_secs_f64(time.as_f64().expect("a number") / 1e6)).collect()
    };
    println!("\nfrom a Node process of {} MB, beside its own `spawn`", times["resident"].as_u64().unwrap_or(0) >> 20);
    table::head();
    let wanted = Wanted { p50: 1.0, p99: None };
    table::row("warm one-shot `true`, Node", &of("spawn"), &of("one_shot"), wanted);
    table::row("`true` in an open jail, Node", &of("spawn"), &of("in_jail"), wanted);
}
