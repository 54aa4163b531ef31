//! A skill, and what the real binary says of it when it is asked as OpenClaw asks.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

/// What a harmless skill says.
pub const HARMLESS: &str = "\
---
name: weather
description: Tells the weather of a place.
---

# Weather

Ask `curl -s https://wttr.in/London?format=3` and tell the user what it says.
";

/// A folder with a harmless SKILL.md.
pub struct Skill {
    top: TempDir,
}

impl Skill {
    /// Makes it.
    pub fn new() -> Skill {
        let top = tempfile::Builder::new().prefix("clawjail-skill").tempdir().expect("a directory");
        let skill = Skill { top };
        skill.with("SKILL.md", HARMLESS)
    }

    /// With a file more, or instead.
    pub fn with(self, path: &str, text: impl AsRef<[u8]>) -> Skill {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("it is below the folder")).expect("a directory");
        fs::write(path, text).expect("a file");
        self
    }

    /// With a line more in SKILL.md.
    pub fn saying(self, line: &str) -> Skill {
        self.with("SKILL.md", format!("{HARMLESS}\n{line}\n"))
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.top.path().canonicalize().expect("it is there")
    }

    /// What OpenClaw would be answered.
    pub fn judged(&self) -> Judged {
        Judged::of(&request(&self.path()))
    }
}

/// The request that OpenClaw sends for a skill there.
pub fn request(path: &Path) -> Value {
    json!({
        "protocolVersion": 1, "openclawVersion": "2026.9.6", "targetName": "weather", "targetType": "skill",
        "sourcePath": path, "sourcePathKind": "directory",
        "source": { "kind": "local-path", "authority": "user", "mutable": true, "network": false },
        "origin": { "type": "path", "spec": "./weather" },
        "request": { "kind": "skill-install", "mode": "install", "requestedSpecifier": "./weather" },
        "skill": { "installId": "path" }
    })
}

/// Starts it as OpenClaw does: no environment, a request on standard input.
pub fn ask(input: &[u8], arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clawjail"));
    command.args(["openclaw", "install-policy"]).args(arguments).env_clear();
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("clawjail starts");
    // Whoever has enough of it closes its end.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("it ends")
}

/// An answer.
pub struct Judged {
    /// All of it.
    pub answer: Value,
}

impl Judged {
    /// Asks.
    pub fn of(request: &Value) -> Judged {
        let output = ask(request.to_string().as_bytes(), &["--within", "60s"]);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        let answer: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
        assert_eq!(answer["protocolVersion"], 1);
        Judged { answer }
    }

    /// `allow`, `warn` or `block`.
    pub fn decision(&self) -> &str {
        self.answer["decision"].as_str().expect("a decision")
    }

    /// The rules that found something.
    pub fn rules(&self) -> Vec<&str> {
        let findings = self.answer["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
        findings.iter().filter_map(|finding| finding["ruleId"].as_str()).collect()
    }

    /// Blocked by this rule.
    pub fn is_blocked_by(&self, rule: &str) {
        assert_eq!((self.decision(), self.rules().contains(&rule)), ("block", true), "{rule}: {}", self.answer);
    }

    /// Left to the operator by this rule.
    pub fn is_asked_about_by(&self, rule: &str) {
        assert_eq!((self.decision(), self.rules().contains(&rule)), ("warn", true), "{rule}: {}", self.answer);
    }

    /// Allowed.
    pub fn is_allowed(&self) {
        assert_eq!(self.decision(), "allow", "{}", self.answer);
    }
}
