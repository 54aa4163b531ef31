//! What the numbers were measured on.

use std::fs;
use std::process::Command;

use super::contenders::{Contender, PATH};
use super::ground::Prepared;

/// A few lines above the table.
pub fn describe(prepared: &Prepared) -> String {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let mut lines = vec![
        format!("kernel      Linux {}, {cpus} processors: {}", release.trim(), processor()),
        format!("system      {}", field("/etc/os-release", "PRETTY_NAME=").trim_matches('"')),
        format!(
            "tier        {}",
            if prepared.is_root() {
                "root for all rows but the user tier's"
            } else {
                "user; no rows of the root tier without root"
            }
        ),
        format!("clawjail    {}, profile of the build: bench", env!("CARGO_PKG_VERSION")),
    ];
    match &prepared.root.bubblewrap {
        Some(path) => lines.push(format!("bubblewrap  {}", version(&path.to_string_lossy()))),
        None => lines.push(format!(
            "bubblewrap  NOT INSTALLED in {PATH}: its column is empty, `apt install bubblewrap` fills it"
        )),
    }
    for tool in ["git", "make", "/usr/bin/python3", "node"] {
        lines.push(format!("{:<11} {}", tool.trim_start_matches("/usr/bin/"), version(tool)));
    }
    lines.push(format!("load        {}", fs::read_to_string("/proc/loadavg").unwrap_or_default().trim()));
    lines.push(format!("confined    {}", enforcement(prepared)));
    lines.join("\n") + "\n"
}

fn processor() -> String {
    field("/proc/cpuinfo", "model name").trim_start_matches([':', ' ', '\t']).to_owned()
}

fn field(path: &str, key: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown").trim().to_owned()
}

fn version(program: &str) -> String {
    let output = Command::new(program).env("PATH", PATH).arg("--version").output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().next().unwrap_or("not installed").to_owned()
}

/// The level that a verdict of the measured binary gives, so that nobody compares a jail with holes.
fn enforcement(prepared: &Prepared) -> String {
    let command =
        prepared.root.command(Contender::Clawjail, "untrusted", &["true"]).map(|mut command| command.output());
    assert!(
        command.is_some_and(|output| output.is_ok_and(|output| output.status.success())),
        "clawjail cannot run `true` here"
    );
    let mut command = Command::new(&prepared.root.clawjail);
    command.args(["run", "--verdict", "-", "--workspace"]).arg(&prepared.root.workspace).args(["--", "true"]);
    let text = command.output().map(|output| output.stdout).unwrap_or_default();
    let verdict: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    let word = |path: &str| verdict.pointer(path).and_then(serde_json::Value::as_str).unwrap_or("unknown").to_owned();
    format!("enforcement {} in tier {}, by the verdict", word("/enforcement/level"), word("/tier"))
}
