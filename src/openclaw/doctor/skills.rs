//! Where skills and plugins come from, and who looks at them first.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Hit, Setup, config, shown};

/// What is looked at for jobs that update skills.
const JOBS: [&str; 3] = ["/etc/crontab", "/etc/cron.d", "/var/spool/cron/crontabs"];
/// Files of jobs that are looked at.
const MOST_JOBS: usize = 500;
/// What updates skills.
const UPDATES: [&str; 4] = ["openclaw skills update", "clawhub update", "clawhub sync", "skills update --all"];

/// Looks.
pub fn look(setup: &Setup) -> Vec<(&'static str, Hit)> {
    let config = &setup.config;
    let mut found = Vec::new();
    let covers = config.get("security.installPolicy.targets").and_then(Value::as_array);
    let covers = covers.is_none_or(|targets| targets.is_empty() || targets.contains(&json!("skill")));
    if !config.is_true("security.installPolicy.enabled") || !covers {
        let what = if covers { "it is not enabled" } else { "it does not cover skills" };
        found.push(("skills.no-install-policy", policy(setup, what)));
    }
    let mode = config.text("skills.workshop.autonomous.mode");
    if mode.is_none_or(|mode| mode == "auto") {
        let what = format!("`{}`", mode.unwrap_or("auto, as when it is not set"));
        found.push(("skills.self-written", Hit::set("skills.workshop.autonomous.mode", what, json!("propose"))));
    }
    let approval = config.text("skills.workshop.approvalPolicy");
    if approval.is_none_or(|approval| approval == "auto") {
        let what = format!("`{}`", approval.unwrap_or("auto, as when it is not set"));
        found.push(("skills.self-written", Hit::set("skills.workshop.approvalPolicy", what, json!("pending"))));
    }
    if config.is_true("skills.install.allowUploadedArchives") {
        let hit = Hit::set("skills.install.allowUploadedArchives", "true", json!(false));
        found.push(("skills.uploads", hit));
    }
    found.extend(jobs(setup).into_iter().map(|hit| ("skills.auto-update", hit)));
    plugins(setup, &mut found);
    found
}

/// Ours as the policy, if OpenClaw would start it and there is no other.
fn policy(setup: &Setup, what: &str) -> Hit {
    let exec = json!({ "source": "exec", "command": setup.program, "args": ["openclaw", "install-policy"] });
    let policy = json!({ "enabled": true, "targets": ["skill"], "exec": exec });
    if let Some(other) = setup.config.text("security.installPolicy.exec.command") {
        let what = format!("{what}; its command is `{}`", crate::policy::names::cut(other, 200));
        return Hit::told("security.installPolicy", what);
    }
    match distrusted(&setup.program, setup.own_uid) {
        None => Hit::set("security.installPolicy", what, policy),
        Some(why) => {
            let what = format!("{what}; `{}` cannot be its command: {why}", shown(&setup.program));
            Hit::told("security.installPolicy", what)
        }
    }
}

/// Why OpenClaw would not start a program; the rules are its own.
fn distrusted(program: &Path, own_uid: u32) -> Option<String> {
    let Ok(about) = fs::symlink_metadata(program) else { return Some("it is not there".to_owned()) };
    if !about.is_file() {
        return Some("it is no regular file".to_owned());
    }
    if about.uid() != 0 && about.uid() != own_uid {
        return Some(format!("it belongs to uid {}", about.uid()));
    }
    if about.mode() & 0o022 != 0 {
        return Some("others can write it".to_owned());
    }
    program.ancestors().skip(1).find_map(|directory| {
        let about = fs::metadata(directory).ok()?;
        let open = about.mode() & 0o022 != 0 && about.mode() & 0o1000 == 0;
        let strange = about.uid() != 0 && about.uid() != own_uid;
        (open || strange).then(|| format!("others can change `{}`", shown(directory)))
    })
}

/// Timers and crontabs that update skills.
fn jobs(setup: &Setup) -> Vec<Hit> {
    let units = setup.place.home.join(".config/systemd/user");
    let places = JOBS.iter().map(PathBuf::from).chain([units]);
    let files = places.flat_map(|place| match fs::read_dir(&place) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![place],
    });
    let mut found = Vec::new();
    for file in files.take(MOST_JOBS) {
        let Ok(text) = config::read_text(&file, 1 << 20) else { continue };
        let live = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        if let Some(line) = live.into_iter().find(|line| UPDATES.iter().any(|update| line.contains(update))) {
            found.push(Hit::told(shown(&file), crate::policy::names::cut(line.trim(), 120)));
        }
    }
    found
}

fn plugins(setup: &Setup, found: &mut Vec<(&'static str, Hit)>) {
    let config = &setup.config;
    if config.get("plugins.allow").is_some() || config.get("plugins.enabled") == Some(&json!(false)) {
        return;
    }
    let linked = config.get("plugins.load.paths").and_then(Value::as_array).map_or(0, Vec::len);
    let lying = fs::read_dir(setup.place.state.join("extensions")).map_or(0, |entries| entries.take(100).count());
    if linked + lying > 0 {
        let what = format!("it is not set, and {} plugins lie there", linked + lying);
        found.push(("plugins.any", Hit::told("plugins.allow", what)));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_program_is_offered_only_if_openclaw_would_start_it() {
        let top = tempfile::tempdir().expect("a directory");
        let program = top.path().join("clawjail");
        fs::write(&program, "x").expect("a file");
        let own = fs::metadata(&program).expect("it is there").uid();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a mode");
        assert_eq!(distrusted(&program, own), None);
        assert!(distrusted(&program, own + 1).is_some() || own == 0);
        let link = top.path().join("link");
        symlink(&program, &link).expect("a link");
        assert!(distrusted(&link, own).is_some());
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o777)).expect("a mode");
        assert!(distrusted(&program, own).is_some());
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).expect("a mode");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o775)).expect("a mode");
        assert!(distrusted(&program, own).is_some());
        assert!(distrusted(Path::new("/absent"), own).is_some());
    }
}
