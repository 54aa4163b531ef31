//! The same loads by `curl`, which knows proxies: direct, through the gate, and through `srt` (npm: @anthropic-ai/sandbox-runtime)
//! where it is on the path or named by `CLAWJAIL_BENCH_SRT`.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::ground::{Ground, NAME, PORT};
use super::median;

const ROUNDS: usize = 5;
const BULK: usize = 512 << 20;
const REQUESTS: usize = 1_000;
const CONNECTIONS: usize = 200;

/// Who carries it out.
#[derive(Clone, Copy, PartialEq, Eq)]
enum By {
    Nobody,
    Us,
    Srt,
}

/// The rows.
pub fn print(ground: &Ground) {
    let srt = std::env::var_os("CLAWJAIL_BENCH_SRT").map(PathBuf::from).or_else(find);
    println!("\n{:<44}{:>13}{:>13}{:>13}", "by curl", "direct", "clawjail", "srt");
    let big = format!("curl -sSf -o /dev/null -w '%{{speed_download}}\\n' http://{NAME}:{PORT}/big/{BULK}");
    line("bulk download", ground, &srt, &big, |values| format!("{:.2} GB/s", median(values) / 1e9));
    let times = "-w '%{time_total}\\n'";
    let kept = format!("curl -sSf -o /dev/null {times} 'http://{NAME}:{PORT}/?[1-{REQUESTS}]'");
    line("requests a second, connection kept", ground, &srt, &kept, |values| {
        let sum: f64 = values.iter().sum();
        format!("{:.0}", values.len() as f64 / sum)
    });
    let anew =
        format!("curl -sSf -H 'Connection: close' -o /dev/null {times} 'http://{NAME}:{PORT}/?[1-{CONNECTIONS}]'");
    line("one request on a new connection, p50", ground, &srt, &anew, |values| {
        format!("{:.2} ms", median(values) * 1e3)
    });
}

fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("srt")).find(|file| file.exists())
}

fn line(name: &str, ground: &Ground, srt: &Option<PathBuf>, script: &str, sum: impl Fn(Vec<f64>) -> String) {
    let mut cells = Vec::new();
    for by in [By::Nobody, By::Us, By::Srt] {
        let mut values = Vec::new();
        for _ in 0..ROUNDS {
            values.extend(command(ground, by, srt, script).map(read).unwrap_or_default());
        }
        cells.push(if values.is_empty() { "-".to_owned() } else { sum(values) });
    }
    println!("{name:<44}{}", cells.iter().map(|cell| format!("{cell:>13}")).collect::<String>());
}

fn command(ground: &Ground, by: By, srt: &Option<PathBuf>, script: &str) -> Option<Command> {
    match by {
        By::Nobody => {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            Some(command)
        }
        By::Us => Some(ground.run("web", &["sh", "-c", script])),
        By::Srt => {
            let settings = ground.top.join("srt.json");
            let text = format!(
                "{{\"network\":{{\"allowedDomains\":[\"{NAME}\"],\"deniedDomains\":[]}},\
                 \"filesystem\":{{\"denyRead\":[],\"allowWrite\":[\".\"],\"denyWrite\":[]}}}}"
            );
            fs::write(&settings, text).expect("it is ours");
            let mut command = Command::new(srt.as_ref()?);
            command.arg("--settings").arg(&settings).args(["-c", script]).current_dir(&ground.workspace);
            Some(command)
        }
    }
}

fn read(mut command: Command) -> Vec<f64> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().expect("it can be started");
    // What was refused on the way was not carried, however fast that went.
    let text =
        if output.status.success() { String::from_utf8_lossy(&output.stdout).into_owned() } else { String::new() };
    text.lines().filter_map(|line| line.trim().parse().ok()).collect()
}
