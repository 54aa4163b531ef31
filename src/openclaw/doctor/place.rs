//! Where OpenClaw keeps its things: the same answer as its own, from the same variables.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Names of the configuration, newest first.
const CONFIG_NAMES: [&str; 2] = ["openclaw.json", "clawdbot.json"];
/// Names of the state directory, newest first.
const STATE_NAMES: [&str; 2] = [".openclaw", ".clawdbot"];

/// The variables that matter, and what else is asked of the machine.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// By name. An empty one counts as not there.
    pub variables: BTreeMap<String, String>,
    /// The home of the account.
    pub home: PathBuf,
    /// Where relative paths begin.
    pub current: PathBuf,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What `~` is to OpenClaw.
    pub home: PathBuf,
    /// The state directory.
    pub state: PathBuf,
    /// The configuration, whether or not it exists.
    pub config: PathBuf,
    /// Directories outside of the configuration's from which `$include` may take files.
    pub include_roots: Vec<PathBuf>,
    /// The workspace where the configuration names none.
    pub workspace: PathBuf,
    /// Whether the configuration is somebody else's to write.
    pub read_only: bool,
}

impl Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(|value| value.trim()).filter(|value| !value.is_empty())
    }

    fn home(&self) -> PathBuf {
        let given = |name| self.get(name).filter(|value| !matches!(*value, "undefined" | "null"));
        let account = given("HOME").map_or_else(|| self.home.clone(), |home| self.absolute(Path::new(home)));
        match given("OPENCLAW_HOME") {
            None => account,
            Some(home) => self.absolute(&expand(home, &account)),
        }
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        normal(&self.current.join(path))
    }
}

/// Finds it. `profile`: as after `openclaw --profile`.
pub fn find(environment: &Environment, profile: Option<&str>, exists: impl Fn(&Path) -> bool) -> Place {
    let home = environment.home();
    let path_in = |name| environment.get(name).map(|path| environment.absolute(&expand(path, &home)));
    let profile = profile.or_else(|| environment.get("OPENCLAW_PROFILE"));
    let profile = profile.filter(|name| !name.eq_ignore_ascii_case("default"));
    let given = path_in("OPENCLAW_STATE_DIR");
    let of_profile = profile.map(|name| home.join(format!(".openclaw-{name}")));
    let chosen = given.or_else(|| of_profile.clone());
    let state = chosen.clone().unwrap_or_else(|| {
        let known = STATE_NAMES.map(|name| home.join(name));
        known.iter().find(|path| exists(path)).or(known.first()).cloned().unwrap_or_default()
    });
    let candidates = |directory: &Path| CONFIG_NAMES.map(|name| directory.join(name));
    let config = path_in("OPENCLAW_CONFIG_PATH").or_else(|| of_profile.map(|_| state.join(CONFIG_NAMES[0])));
    let config = config.unwrap_or_else(|| {
        let homes = STATE_NAMES.map(|name| home.join(name));
        let all = chosen.iter().chain(&homes).flat_map(|directory| candidates(directory));
        all.into_iter().find(|path| exists(path)).unwrap_or_else(|| state.join(CONFIG_NAMES[0]))
    });
    let roots = environment.get("OPENCLAW_INCLUDE_ROOTS").unwrap_or_default().split(':').map(str::trim);
    let include_roots = roots.filter(|root| !root.is_empty()).map(|root| environment.absolute(&expand(root, &home)));
    let default_workspace = match (profile, environment.get("OPENCLAW_STATE_DIR")) {
        (_, Some(_)) => state.join("workspace"),
        (Some(name), None) => home.join(".openclaw").join(format!("workspace-{name}")),
        (None, None) => home.join(".openclaw").join("workspace"),
    };
    Place {
        include_roots: include_roots.collect(),
        workspace: path_in("OPENCLAW_WORKSPACE_DIR").unwrap_or(default_workspace),
        read_only: ["OPENCLAW_CONFIG_READONLY", "OPENCLAW_NIX_MODE"]
            .iter()
            .any(|name| environment.get(name) == Some("1")),
        home,
        state,
        config,
    }
}

/// With `~` as `home`.
pub fn expand(path: &str, home: &Path) -> PathBuf {
    match path.strip_prefix('~') {
        Some("") => home.to_owned(),
        Some(rest) if rest.starts_with('/') => home.join(rest.trim_start_matches('/')),
        _ => PathBuf::from(path),
    }
}

/// Without `.` and `..`, as text alone.
pub fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            other => normal.push(other),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)], profile: Option<&str>, there: &[&str]) -> (String, String) {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let environment = Environment { variables, home: "/home/me".into(), current: "/srv".into() };
        let place = find(&environment, profile, |path| there.contains(&path.to_string_lossy().as_ref()));
        (place.state.display().to_string(), place.config.display().to_string())
    }

    fn is(found: (String, String), state: &str, config: &str) {
        assert_eq!(found, (state.to_owned(), config.to_owned()));
    }

    #[test]
    fn the_place_is_the_one_that_openclaw_would_take() {
        is(with(&[], None, &[]), "/home/me/.openclaw", "/home/me/.openclaw/openclaw.json");
        is(with(&[], None, &["/home/me/.clawdbot"]), "/home/me/.clawdbot", "/home/me/.clawdbot/openclaw.json");
        let old = &["/home/me/.clawdbot", "/home/me/.clawdbot/clawdbot.json"];
        is(with(&[], None, old), "/home/me/.clawdbot", "/home/me/.clawdbot/clawdbot.json");
        is(with(&[("OPENCLAW_STATE_DIR", "~/s")], None, &[]), "/home/me/s", "/home/me/s/openclaw.json");
        // As there: with another state directory, a configuration at the usual place still counts.
        let usual = &["/home/me/.openclaw/openclaw.json"];
        is(with(&[("OPENCLAW_STATE_DIR", "/s")], None, usual), "/s", "/home/me/.openclaw/openclaw.json");
        is(with(&[("OPENCLAW_CONFIG_PATH", "c.json")], None, usual), "/home/me/.openclaw", "/srv/c.json");
        is(
            with(&[("OPENCLAW_HOME", "~/svc")], None, &[]),
            "/home/me/svc/.openclaw",
            "/home/me/svc/.openclaw/openclaw.json",
        );
        is(
            with(&[("HOME", "/root"), ("OPENCLAW_HOME", " ")], None, &[]),
            "/root/.openclaw",
            "/root/.openclaw/openclaw.json",
        );
    }

    #[test]
    fn a_profile_has_a_place_of_its_own() {
        let work = ("/home/me/.openclaw-work", "/home/me/.openclaw-work/openclaw.json");
        is(with(&[], Some("work"), &["/home/me/.openclaw/openclaw.json"]), work.0, work.1);
        is(with(&[("OPENCLAW_PROFILE", "work")], None, &[]), work.0, work.1);
        is(
            with(&[("OPENCLAW_PROFILE", "work")], Some("default"), &[]),
            "/home/me/.openclaw",
            "/home/me/.openclaw/openclaw.json",
        );
    }
}
