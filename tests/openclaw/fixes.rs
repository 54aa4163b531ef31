//! What `--fix` does, what it leaves, and that a second time changes nothing.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::Value;

use super::home::{Found, Home, SOUND};

const UNSAFE: &str = r#"{
  logging: { file: "~/.openclaw/logs/openclaw.log" },
  // where it listens
  gateway: { mode: "local", bind: "loopback", auth: { mode: "none" /* for now */ }, controlUi: { dangerouslyDisableDeviceAuth: true } },
  agents: {
    defaults: {
      workspace: "~/work",
      sandbox: { mode: "off" }, // too slow, they said
    },
  },
  channels: {
    telegram: { dmPolicy: "open", allowFrom: ["*", 42], groupPolicy: "open" },
  },
  discovery: { mdns: { mode: "full" } },
  plugins: { allow: ["clawjail"], entries: { clawjail: {} } },
}
"#;

fn mode(home: &Home, below: &str) -> u32 {
    fs::metadata(home.path(below)).expect("it is there").permissions().mode() & 0o7777
}

#[test]
fn nothing_is_changed_without_being_asked() {
    let home = Home::new(UNSAFE);
    home.mode(".openclaw", 0o755);
    let (before, names) = (fs::metadata(home.path(".openclaw/openclaw.json")).expect("it is there"), home.names());
    assert_eq!(home.doctor(&[]).status.code(), Some(1));
    assert_eq!(home.doctor(&["--json"]).status.code(), Some(1));
    let after = fs::metadata(home.path(".openclaw/openclaw.json")).expect("it is there");
    assert_eq!(
        (after.ino(), after.mtime_nsec(), home.settings(), home.names()),
        (before.ino(), before.mtime_nsec(), UNSAFE.to_owned(), names)
    );
    assert_eq!(mode(&home, ".openclaw"), 0o755);
}

#[test]
fn what_can_be_mended_is_and_comments_stay() {
    let home = Home::new(UNSAFE);
    home.mode(".openclaw", 0o755);
    home.mode(".openclaw/openclaw.json", 0o644);
    let found = Found::of(&home.doctor(&["--fix", "--json"]));
    let settings = home.settings();
    for comment in ["// where it listens", "/* for now */", "// too slow, they said"] {
        assert!(settings.contains(comment), "{comment}: {settings}");
    }
    let value: Value = json5::from_str(&settings).expect("JSON5");
    let defaults = &value["agents"]["defaults"];
    assert_eq!(defaults["sandbox"], serde_json::json!({ "mode": "all", "backend": "clawjail" }));
    assert_eq!(defaults["workspace"], "~/work");
    let telegram = &value["channels"]["telegram"];
    assert_eq!(*telegram, serde_json::json!({ "dmPolicy": "pairing", "allowFrom": [42], "groupPolicy": "allowlist" }));
    assert_eq!(value["gateway"]["auth"]["mode"], "token");
    assert_eq!(value["gateway"]["auth"]["token"].as_str().map(str::len), Some(64));
    assert_eq!(value["gateway"]["controlUi"]["dangerouslyDisableDeviceAuth"], false);
    assert_eq!(value["discovery"]["mdns"]["mode"], "minimal");
    assert_eq!((mode(&home, ".openclaw"), mode(&home, ".openclaw/openclaw.json")), (0o700, 0o600));
    // A token that has to be somewhere, and a program that OpenClaw would not start out of a build.
    let left: Vec<&str> = found.checks().into_iter().filter(|check| *check != "skills.no-install-policy").collect();
    assert_eq!(left, ["secrets.in-config"], "{}", found.report);
}

#[test]
fn a_backup_is_made_first_that_only_its_owner_can_read() {
    let home = Home::new(UNSAFE);
    let found = Found::of(&home.doctor(&["--fix", "--json"]));
    let backup = found.report["fix"]["backup"].as_str().expect("a backup");
    assert_eq!(fs::read_to_string(backup).expect("a file"), UNSAFE);
    assert_eq!(fs::metadata(backup).expect("a file").permissions().mode() & 0o7777, 0o600);
    let name = backup.rsplit('/').next().expect("a name");
    assert!(name.starts_with("openclaw.json.clawjail-2") && name.ends_with("Z.bak"), "{name}");
}

#[test]
fn a_second_time_changes_nothing() {
    let home = Home::new(UNSAFE);
    for number in 0..60 {
        home.write(&format!(".openclaw/credentials/{number}.json"), "{}");
        home.mode(&format!(".openclaw/credentials/{number}.json"), 0o644);
    }
    let _ = home.doctor(&["--fix"]);
    let before = fs::metadata(home.path(".openclaw/openclaw.json")).expect("it is there");
    let (settings, names) = (home.settings(), home.names());
    let found = Found::of(&home.doctor(&["--fix", "--json"]));
    let after = fs::metadata(home.path(".openclaw/openclaw.json")).expect("it is there");
    assert_eq!((after.ino(), after.mtime_nsec()), (before.ino(), before.mtime_nsec()));
    assert_eq!((home.settings(), home.names()), (settings, names));
    assert_eq!(found.report["fix"], serde_json::json!({ "mended": [], "left": [] }));
}

#[test]
fn a_sandbox_is_not_switched_to_a_backend_that_is_not_there() {
    let without = UNSAFE.replace("entries: { clawjail: {} }", "entries: {}").replace("allow: [\"clawjail\"], ", "");
    let home = Home::new(&without);
    let _ = home.doctor(&["--fix"]);
    assert!(home.settings().contains("sandbox: { mode: \"off\" }"), "{}", home.settings());
    let installed = Home::new(&without);
    installed.write(".openclaw/extensions/clawjail/openclaw.plugin.json", r#"{"id": "clawjail"}"#);
    let _ = installed.doctor(&["--fix"]);
    assert!(installed.settings().contains("\"clawjail\""), "{}", installed.settings());
}

#[test]
fn what_an_included_file_sets_is_left_and_told() {
    let home = Home::new(&SOUND.replace(
        "session: { dmScope: \"per-channel-peer\" }",
        "discovery: { $include: \"./discovery.json5\" }, browser: { noSandbox: true }",
    ));
    home.write(".openclaw/discovery.json5", "{ mdns: { mode: \"full\" } }");
    let found = Found::of(&home.doctor(&["--fix", "--json"]));
    assert!(found.checks().contains(&"discovery.full") && !found.checks().contains(&"browser.no-sandbox"));
    let left = found.report["fix"]["left"].to_string();
    assert!(left.contains("`discovery.mdns.mode` is set by an included file"), "{left}");
    assert_eq!(
        fs::read_to_string(home.path(".openclaw/discovery.json5")).expect("a file"),
        "{ mdns: { mode: \"full\" } }"
    );
}

#[test]
fn a_configuration_that_is_a_link_or_somebody_elses_is_not_written() {
    let home = Home::new(UNSAFE);
    home.write("real.json", UNSAFE);
    fs::remove_file(home.path(".openclaw/openclaw.json")).expect("it is there");
    symlink(home.path("real.json"), home.path(".openclaw/openclaw.json")).expect("a link");
    let _ = home.doctor(&["--fix"]);
    assert_eq!(fs::read_to_string(home.path("real.json")).expect("a file"), UNSAFE);
    let home = Home::new(UNSAFE);
    let found = Found::of(&home.doctor_with(&[("OPENCLAW_CONFIG_READONLY", "1")], &["--fix", "--json"]));
    assert_eq!(home.settings(), UNSAFE);
    assert!(found.report["fix"]["left"].to_string().contains("OPENCLAW_CONFIG_READONLY"));
}

#[test]
fn modes_are_never_changed_through_a_link_or_of_a_file_with_other_names() {
    let home = Home::new(SOUND);
    home.write("outside.json", "{}");
    home.mode("outside.json", 0o644);
    symlink(home.path("outside.json"), home.path(".openclaw/credentials/link.json")).expect("a link");
    fs::hard_link(home.path("outside.json"), home.path(".openclaw/credentials/hard.json")).expect("a name");
    let found = Found::of(&home.doctor(&["--fix", "--json"]));
    assert_eq!(mode(&home, "outside.json"), 0o644);
    assert!(found.report["fix"]["left"].to_string().contains("other names"), "{}", found.report);
}

#[test]
fn another_install_policy_is_left_as_it_is() {
    let settings = SOUND.replace("enabled: true, exec", "enabled: false, exec");
    let home = Home::new(&settings);
    let found = Found::of(&home.doctor(&["--fix", "--json"]));
    assert_eq!(found.checks(), ["skills.no-install-policy"], "{}", found.report);
    assert_eq!(home.settings(), settings);
}

#[test]
fn a_configuration_is_made_where_there_is_none() {
    let home = Home::new("{}");
    fs::remove_file(home.path(".openclaw/openclaw.json")).expect("it is there");
    let found = Found::of(&home.doctor(&["--fix", "--json"]));
    assert!(found.report["fix"].get("backup").is_none());
    assert_eq!(mode(&home, ".openclaw/openclaw.json"), 0o600);
    assert!(home.settings().contains("\"propose\""), "{}", home.settings());
}
