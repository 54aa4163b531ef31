//! A home with an OpenClaw in it, and what the doctor says of it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Settings in which nothing is wrong, as far as settings go.
pub const SOUND: &str = r#"{
  // one machine, one person
  logging: { file: "~/.openclaw/logs/openclaw.log" },
  gateway: { mode: "local", bind: "loopback", auth: { mode: "token", token: "${OPENCLAW_GATEWAY_TOKEN}" } },
  agents: { defaults: { workspace: "~/work", sandbox: { mode: "all", backend: "clawjail", scope: "session" } } },
  session: { dmScope: "per-channel-peer" },
  channels: { telegram: { dmPolicy: "pairing", groupPolicy: "allowlist", botToken: "${TELEGRAM_TOKEN}" } },
  skills: { workshop: { autonomous: { mode: "propose" }, approvalPolicy: "pending" } },
  security: { installPolicy: { enabled: true, exec: { source: "exec", command: "/usr/local/bin/clawjail" } } },
  plugins: { allow: ["clawjail"], entries: { clawjail: { enabled: true } } },
}
"#;

/// A home.
pub struct Home {
    top: TempDir,
}

impl Home {
    /// With these settings, and with modes as they should be.
    pub fn new(settings: &str) -> Home {
        let top = tempfile::Builder::new().prefix("clawjail-openclaw").tempdir().expect("a directory");
        let home = Home { top };
        for directory in ["", ".openclaw", ".openclaw/credentials", "work"] {
            fs::create_dir_all(home.path(directory)).expect("a directory");
            home.mode(directory, 0o700);
        }
        home.write(".openclaw/openclaw.json", settings);
        home
    }

    /// Below it.
    pub fn path(&self, below: &str) -> PathBuf {
        self.top.path().canonicalize().expect("it is there").join(below)
    }

    /// A file that its owner alone can read.
    pub fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        fs::create_dir_all(path.parent().expect("it is below the home")).expect("a directory");
        fs::write(&path, text).expect("a file");
        self.mode(below, 0o600);
    }

    /// Sets a mode.
    pub fn mode(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), Permissions::from_mode(mode)).expect("a mode");
    }

    /// The settings, as they are now.
    pub fn settings(&self) -> String {
        fs::read_to_string(self.path(".openclaw/openclaw.json")).expect("settings")
    }

    /// What lies in the state directory.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path(".openclaw")).expect("a directory");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Runs the doctor with this home and nothing else.
    pub fn doctor(&self, arguments: &[&str]) -> Output {
        self.doctor_with(&[], arguments)
    }

    /// The same, with variables.
    pub fn doctor_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawjail"));
        command.args(["openclaw", "doctor"]).args(arguments).env_clear().env("HOME", self.path(""));
        command.envs(variables.iter().copied()).current_dir(self.path(""));
        command.stdin(Stdio::null()).output().expect("clawjail starts")
    }

    /// What is found, as data.
    pub fn found(&self) -> Found {
        Found::of(&self.doctor(&["--json"]))
    }
}

/// Findings.
pub struct Found {
    /// All of it.
    pub report: Value,
}

impl Found {
    /// Reads what the doctor printed.
    pub fn of(output: &Output) -> Found {
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            unreachable!("no JSON ({error}): {said}")
        });
        Found { report }
    }

    /// Which checks found something, but for what this machine and not the settings decide.
    pub fn checks(&self) -> Vec<&str> {
        let findings = self.report["findings"].as_array().expect("findings");
        let ids = findings.iter().filter_map(|finding| finding["checkId"].as_str()?.strip_prefix("clawjail."));
        let mut ids: Vec<&str> =
            ids.filter(|id| !["host.root", "files.log", "skills.auto-update"].contains(id)).collect();
        ids.dedup();
        ids
    }

    /// What one check says.
    pub fn details(&self, check: &str) -> Vec<&str> {
        let findings = self.report["findings"].as_array().expect("findings");
        let alike = findings.iter().filter(|finding| finding["checkId"] == format!("clawjail.{check}").as_str());
        alike.filter_map(|finding| finding["detail"].as_str()).collect()
    }
}
