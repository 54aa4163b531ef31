//! Each thing that is unsafe in settings and files is found, and its safe neighbour is not.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use super::home::{Found, Home, SOUND};

/// What is found in settings that say this.
fn found(settings: &str) -> Found {
    Home::new(settings).found()
}

/// The sound settings with something put in place of something.
fn with(old: &str, new: &str) -> String {
    assert!(SOUND.contains(old), "{old}");
    SOUND.replace(old, new)
}

#[test]
fn nothing_is_found_in_sound_settings() {
    assert_eq!(found(SOUND).checks(), Vec::<&str>::new());
}

#[test]
fn settings_that_say_nothing_have_no_sandbox_and_take_every_skill() {
    let found = found("{}");
    for check in ["sandbox.off", "exec.unasked", "skills.no-install-policy", "skills.self-written"] {
        assert!(found.checks().contains(&check), "{check}: {:?}", found.checks());
    }
    assert!(!found.checks().contains(&"gateway.no-auth"));
}

#[test]
fn each_unsafe_setting_is_found_by_its_check_alone() {
    let cases = [
        ("bind: \"loopback\"", "bind: \"lan\", controlUi: {}", vec!["gateway.bind", "gateway.no-rate-limit"]),
        ("mode: \"token\"", "mode: \"none\"", vec!["gateway.no-auth"]),
        ("${OPENCLAW_GATEWAY_TOKEN}", "short", vec!["gateway.weak-secret"]),
        ("bind: \"loopback\"", "tailscale: { mode: \"funnel\" }", vec!["gateway.funnel"]),
        ("bind: \"loopback\"", "controlUi: { allowedOrigins: [\"*\"] }", vec!["gateway.any-origin"]),
        ("bind: \"loopback\"", "controlUi: { dangerouslyDisableDeviceAuth: true }", vec!["config.dangerous-flags"]),
        ("session:", "hooks: { enabled: true, token: \"abc\" }, session:", vec!["hooks.weak-token"]),
        ("session:", "discovery: { mdns: { mode: \"full\" } }, session:", vec!["discovery.full"]),
        ("session:", "browser: { noSandbox: true }, session:", vec!["browser.no-sandbox"]),
        ("mode: \"all\"", "mode: \"off\"", vec!["sandbox.off", "exec.unasked"]),
        ("mode: \"all\"", "mode: \"non-main\"", vec!["sandbox.main-outside", "exec.unasked"]),
        ("backend: \"clawjail\"", "backend: \"docker\"", vec!["sandbox.backend"]),
        ("scope: \"session\"", "scope: \"shared\"", vec!["sandbox.shared"]),
        ("scope: \"session\"", "docker: { network: \"host\" }", vec!["sandbox.loose"]),
        ("scope: \"session\"", "docker: { binds: [\"/var/run/docker.sock:/x\"] }", vec!["sandbox.loose"]),
        ("session:", "tools: { exec: { host: \"gateway\" } }, session:", vec!["exec.outside"]),
        ("session:", "tools: { elevated: { allowFrom: { telegram: [\"*\"] } } }, session:", vec!["elevated.anyone"]),
        ("dmPolicy: \"pairing\"", "dmPolicy: \"open\", allowFrom: [\"*\"]", vec!["channels.open"]),
        ("groupPolicy: \"allowlist\"", "groupPolicy: \"open\"", vec!["channels.open"]),
        ("dmScope: \"per-channel-peer\" }", "}, web: { allowFrom: [1, 2] }", vec![]),
        ("enabled: true, exec", "enabled: false, exec", vec!["skills.no-install-policy"]),
        ("enabled: true, exec", "enabled: true, targets: [\"plugin\"], exec", vec!["skills.no-install-policy"]),
        ("approvalPolicy: \"pending\"", "approvalPolicy: \"auto\"", vec!["skills.self-written"]),
        ("skills: {", "skills: { install: { allowUploadedArchives: true },", vec!["skills.uploads"]),
        ("allow: [\"clawjail\"]", "load: { paths: [\"~/p\"] }", vec!["plugins.any"]),
        ("${TELEGRAM_TOKEN}", "1234567:abcdefgh", vec!["secrets.in-config"]),
    ];
    for (old, new, expected) in cases {
        assert_eq!(found(&with(old, new)).checks(), expected, "{new}");
    }
}

#[test]
fn an_open_channel_is_worse_where_tools_run_outside_of_a_sandbox() {
    let open = with("dmPolicy: \"pairing\"", "dmPolicy: \"open\", allowFrom: [\"*\"]");
    let outside = open.replace("mode: \"all\"", "mode: \"off\"");
    assert!(found(&outside).checks().contains(&"channels.open-tools"));
    assert!(!found(&open).checks().contains(&"channels.open-tools"));
    let messaging = outside.replace("session:", "tools: { profile: \"messaging\" }, session:");
    assert!(!found(&messaging).checks().contains(&"channels.open-tools"));
    let alone = open.replace("dmScope: \"per-channel-peer\"", "");
    assert!(found(&alone).checks().contains(&"channels.one-session"));
}

#[test]
fn an_agent_of_its_own_and_an_account_of_its_own_are_looked_at() {
    let agents = with("agents: {", "agents: { entries: { helper: { sandbox: { mode: \"off\" } } },");
    assert_eq!(found(&agents).details("sandbox.off"), ["agents.entries.helper.sandbox.mode: `off`"]);
    let accounts = with("telegram: {", "telegram: { accounts: { second: { groupPolicy: \"open\" } },");
    let open = found(&accounts);
    assert_eq!(open.details("channels.open"), ["channels.telegram.accounts.second.groupPolicy: every group may write"]);
}

#[test]
fn files_that_others_can_read_or_write_are_found() {
    let home = Home::new(SOUND);
    home.write(".openclaw/credentials/telegram.json", "{}");
    home.write(".openclaw/agents/main/agent/auth-profiles.json", "{}");
    for directory in [".openclaw/agents", ".openclaw/agents/main", ".openclaw/agents/main/agent"] {
        home.mode(directory, 0o700);
    }
    assert_eq!(home.found().checks(), Vec::<&str>::new());
    home.mode(".openclaw/credentials/telegram.json", 0o644);
    home.mode(".openclaw/agents/main/agent/auth-profiles.json", 0o640);
    assert_eq!(home.found().details("files.readable").len(), 2);
    home.mode(".openclaw", 0o770);
    home.mode(".openclaw/openclaw.json", 0o666);
    assert_eq!(home.found().details("files.writable").len(), 2);
}

#[test]
fn links_are_told_and_not_followed() {
    let home = Home::new(SOUND);
    home.write("real.json", SOUND);
    fs::remove_file(home.path(".openclaw/openclaw.json")).expect("it is there");
    symlink(home.path("real.json"), home.path(".openclaw/openclaw.json")).expect("a link");
    symlink("/etc", home.path(".openclaw/credentials/etc")).expect("a link");
    assert_eq!(home.found().checks(), ["files.link"]);
}

#[test]
fn secrets_in_the_workspace_are_told_by_their_place_alone() {
    let home = Home::new(SOUND);
    let token = format!("ghp_{}", "a1B2".repeat(10));
    home.write("work/MEMORY.md", &format!("notes\nthe token is {token}\n"));
    home.write("work/memory/2026-11-21.md", "nothing special\n");
    home.write("work/.env", "A=1\n");
    let found = home.found();
    assert_eq!(found.checks(), ["secrets.in-workspace"]);
    assert_eq!(found.details("secrets.in-workspace").len(), 2);
    assert!(!found.report.to_string().contains(&token));
}

#[test]
fn an_env_file_in_git_is_found_and_one_that_is_ignored_is_not() {
    let home = Home::new(SOUND);
    let git = |arguments: &[&str]| {
        let run = Command::new("git").current_dir(home.path("work")).args(arguments).output().expect("git starts");
        assert!(run.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    };
    git(&["init", "-q"]);
    home.write("work/.env", "A=1\n");
    assert!(home.found().checks().contains(&"secrets.not-ignored"));
    home.write("work/.gitignore", ".env\n");
    assert!(!home.found().checks().contains(&"secrets.not-ignored"));
    git(&["add", "-f", ".env"]);
    assert!(home.found().checks().contains(&"secrets.in-git"));
    git(&["rm", "-q", "--cached", ".env"]);
    assert!(!home.found().checks().contains(&"secrets.in-git"));
}

#[test]
fn looking_starts_nothing_that_a_workspace_names() {
    let home = Home::new(SOUND);
    let run = Command::new("git").current_dir(home.path("work")).args(["init", "-q"]).output().expect("git starts");
    assert!(run.status.success());
    home.write("work/.env", "A=1\n");
    let trap = home.path("work/trap.sh");
    fs::write(&trap, format!("#!/bin/sh\ntouch {}\n", home.path("sprung").display())).expect("a file");
    home.mode("work/trap.sh", 0o755);
    let settings = format!("[core]\n\tfsmonitor = {}\n", trap.display());
    fs::write(home.path("work/.git/config"), settings).expect("settings");
    let _ = home.found();
    assert!(!home.path("sprung").exists());
    // The trap is a trap: git itself springs it.
    let _ = Command::new("git").current_dir(home.path("work")).args(["status"]).output().expect("git starts");
    assert!(home.path("sprung").exists());
}

#[test]
fn settings_are_found_where_openclaw_finds_them() {
    let home = Home::new(SOUND);
    let off = with("mode: \"all\"", "mode: \"off\"");
    home.write("other/openclaw.json", &off);
    home.write(".openclaw-second/openclaw.json", &off);
    let elsewhere = home.path("other").display().to_string();
    let file = home.path("other/openclaw.json").display().to_string();
    for (variables, arguments) in [
        (vec![("OPENCLAW_STATE_DIR", elsewhere.as_str())], vec!["--json"]),
        (vec![("OPENCLAW_CONFIG_PATH", file.as_str())], vec!["--json"]),
        (vec![("OPENCLAW_CONFIG_PATH", "~/other/openclaw.json")], vec!["--json"]),
        (vec![("OPENCLAW_PROFILE", "second")], vec!["--json"]),
        (vec![], vec!["--json", "--profile", "second"]),
    ] {
        let found = Found::of(&home.doctor_with(&variables, &arguments));
        assert!(found.checks().contains(&"sandbox.off"), "{variables:?} {arguments:?}: {}", found.report);
    }
    assert!(!home.found().checks().contains(&"sandbox.off"));
}

#[test]
fn settings_that_cannot_be_read_are_a_finding_with_their_line() {
    for broken in ["{ gateway: ", "{\n\n gateway }", "[]", &"{a:".repeat(50_000)] {
        let found = found(broken);
        assert_eq!(found.checks(), ["config.unreadable"], "{}", found.report);
    }
    let home = Home::new(SOUND);
    fs::write(home.path(".openclaw/openclaw.json"), b"{ a: '\xff' }").expect("a file");
    assert_eq!(home.found().checks(), ["config.unreadable"]);
    let lines = found("{\n\n gateway }");
    assert!(lines.details("config.unreadable")[0].contains("line 3"), "{}", lines.report);
}

#[test]
fn every_check_on_the_list_has_code_that_finds_it() {
    let list: toml::Value = toml::from_str(include_str!("../../policies/openclaw/setup.toml")).expect("TOML");
    let sources = fs::read_dir("src/openclaw/doctor").expect("sources").flatten();
    let sources: String = sources.map(|file| fs::read_to_string(file.path()).expect("a source")).collect();
    let checks = list["check"].as_array().expect("checks");
    assert!(checks.len() > 30);
    for check in checks {
        let id = check["id"].as_str().expect("an id");
        assert!(sources.contains(&format!("\"{id}\"")), "{id}");
    }
}

#[test]
fn a_job_that_updates_skills_is_found() {
    let home = Home::new(SOUND);
    let unit = ".config/systemd/user/skills.service";
    home.write(unit, "[Service]\n# openclaw skills update\nExecStart=/usr/bin/true\n");
    assert!(!home.found().report.to_string().contains("skills.service"));
    home.write(unit, "[Service]\nExecStart=/usr/bin/openclaw skills update --all\n");
    let found = home.found();
    let told = found.details("skills.auto-update");
    assert!(told.iter().any(|line| line.contains("skills.service: ExecStart")), "{told:?}");
}

#[test]
fn the_exit_code_says_whether_there_is_something_to_do() {
    let home = Home::new(&with("mode: \"all\"", "mode: \"off\""));
    assert_eq!(home.doctor(&[]).status.code(), Some(1));
    if !nix::unistd::geteuid().is_root() {
        assert_eq!(Home::new(SOUND).doctor(&[]).status.code(), Some(0));
    }
    let none = home.doctor_with(&[("OPENCLAW_HOME", "/nonexistent")], &[]);
    assert_eq!(none.status.code(), Some(126));
    assert!(String::from_utf8_lossy(&none.stderr).contains("refused: there is no OpenClaw at"));
}

#[test]
fn a_person_is_told_where_why_what_to_do_and_what_switching_changes() {
    let said = Home::new(&with("mode: \"all\"", "mode: \"off\"")).doctor(&[]);
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    for part in [
        "critical  commands of the agent run without a sandbox (clawjail.sandbox.off)",
        "agents.defaults.sandbox.mode: `off`  [--fix]",
        "why: ",
        "do: ",
        "with clawjail: ",
        "see https://",
        "`clawjail openclaw doctor --fix` mends 1 of them",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
