//! Where the commands of agents run.

use serde_json::{Value, json};

use super::{Fix, Hit, Setup};

/// Our backend, and the plugin that brings it.
const OURS: &str = "clawjail";

/// A container with one of these on board is no wall.
const OPEN_BINDS: [&str; 9] =
    ["/", "/etc", "/root", "/home", "/proc", "/sys", "/dev", "/var/run/docker.sock", "/run/docker.sock"];

/// Looks.
pub fn look(setup: &Setup) -> Vec<(&'static str, Hit)> {
    let mut found = Vec::new();
    sandboxes(setup, &mut found);
    for (at, agent) in setup.agents() {
        loose(&at, agent, &mut found);
    }
    exec(setup, &mut found);
    elevated(setup, &mut found);
    found
}

/// How commands are kept, by the word in the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Not at all.
    Off,
    /// All sessions but the main one.
    NonMain,
    /// Every session.
    All,
}

fn mode(sandbox: Option<&Value>) -> Option<Mode> {
    match sandbox?.get("mode")?.as_str()? {
        "all" => Some(Mode::All),
        "non-main" => Some(Mode::NonMain),
        _ => Some(Mode::Off),
    }
}

/// The mode of the defaults.
pub fn default_mode(setup: &Setup) -> Mode {
    mode(setup.config.get("agents.defaults.sandbox")).unwrap_or(Mode::Off)
}

fn sandboxes(setup: &Setup, found: &mut Vec<(&'static str, Hit)>) {
    // Without any setting OpenClaw has no sandbox.
    let implied = json!({});
    let mut agents = setup.agents();
    if !agents.iter().any(|(at, _)| at == "agents.defaults") {
        agents.insert(0, ("agents.defaults".to_owned(), &implied));
    }
    let plugin = has_plugin(setup);
    let default_backend = setup.config.text("agents.defaults.sandbox.backend").unwrap_or("docker");
    for (at, agent) in agents {
        let sandbox = agent.get("sandbox");
        let is_default = at == "agents.defaults";
        let own = mode(sandbox).or(is_default.then_some(Mode::Off));
        let backend = sandbox.and_then(|sandbox| sandbox.get("backend")?.as_str());
        let ours = backend.unwrap_or(default_backend) == OURS;
        match own {
            Some(Mode::Off) => found.push(("sandbox.off", switched(&at, "mode", "off", plugin, ours))),
            Some(Mode::NonMain) => {
                found.push(("sandbox.main-outside", switched(&at, "mode", "non-main", plugin, ours)))
            }
            Some(Mode::All) | None => {}
        }
        let told = backend.or((is_default && own != Some(Mode::Off)).then_some("docker"));
        if let Some(other) = told.filter(|backend| *backend != OURS) {
            found.push(("sandbox.backend", switched(&at, "backend", other, plugin, false)));
        }
        if sandbox.and_then(|sandbox| sandbox.get("scope")?.as_str()) == Some("shared") {
            let key = format!("{at}.sandbox.scope");
            found.push(("sandbox.shared", Hit::set(&key, "`shared`", json!("session"))));
        }
    }
}

/// Mended by switching, which needs the plugin: without it every command would fail.
fn switched(at: &str, key: &str, what: &str, plugin: bool, ours: bool) -> Hit {
    let path = |key: &str| at.split('.').chain(["sandbox", key]).map(str::to_owned).collect::<Vec<String>>();
    let change = |key: &str, value: &str| (path(key), json!(value));
    let whole = [change("mode", "all")].into_iter().chain((!ours).then(|| change("backend", OURS)));
    let changes: Vec<_> = if key == "backend" { vec![change("backend", OURS)] } else { whole.collect() };
    let fix = (plugin && !at.contains('[')).then_some(Fix::Set(changes));
    Hit { at: format!("{at}.sandbox.{key}"), what: format!("`{what}`"), fix }
}

/// Whether OpenClaw would load our plugin.
pub fn has_plugin(setup: &Setup) -> bool {
    let config = &setup.config;
    let entry = config.get("plugins.entries.clawjail");
    let names = |key: &str| config.get(key).and_then(Value::as_array).map(|list| list.contains(&json!(OURS)));
    let switched_off = config.get("plugins.enabled") == Some(&json!(false))
        || entry.and_then(|entry| entry.get("enabled")) == Some(&json!(false))
        || names("plugins.deny") == Some(true)
        || names("plugins.allow") == Some(false);
    let paths = config.get("plugins.load.paths").and_then(Value::as_array).into_iter().flatten();
    let linked = paths.filter_map(Value::as_str).map(|path| super::place::expand(path, &setup.place.home));
    let installed = linked.chain([setup.place.state.join("extensions").join(OURS)]).any(|folder| is_ours(&folder));
    !switched_off && (installed || entry.is_some())
}

fn is_ours(folder: &std::path::Path) -> bool {
    let text = super::config::read_text(&folder.join("openclaw.plugin.json"), 1 << 20);
    let manifest = text.ok().and_then(|text| serde_json::from_str::<Value>(&text).ok());
    manifest.is_some_and(|manifest| manifest.get("id") == Some(&json!(OURS)))
}

/// Settings of containers that take the wall away.
fn loose(at: &str, agent: &Value, found: &mut Vec<(&'static str, Hit)>) {
    let Some(docker) = agent.get("sandbox").and_then(|sandbox| sandbox.get("docker")) else { return };
    let mut tell = |key: &str, what: &str| {
        found.push(("sandbox.loose", Hit::told(format!("{at}.sandbox.docker.{key}"), format!("`{what}`"))));
    };
    let text = |key: &str| docker.get(key).and_then(Value::as_str).unwrap_or_default();
    let network = text("network");
    if network == "host" || network.starts_with("container:") {
        tell("network", network);
    }
    for key in ["seccompProfile", "apparmorProfile"] {
        if text(key) == "unconfined" {
            tell(key, "unconfined");
        }
    }
    let binds = docker.get("binds").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    for bind in binds {
        let source = bind.split(':').next().unwrap_or_default().trim_end_matches('/');
        let source = if source.is_empty() { "/" } else { source };
        let keys = [".ssh", ".aws", ".gnupg", ".openclaw", ".config/gcloud"].iter().any(|end| source.ends_with(end));
        if OPEN_BINDS.contains(&source) || keys {
            tell("binds", bind);
        }
    }
}

fn exec(setup: &Setup, found: &mut Vec<(&'static str, Hit)>) {
    let every = [("tools.exec".to_owned(), setup.config.get("tools.exec"))].into_iter().chain(
        setup
            .agents()
            .into_iter()
            .map(|(at, agent)| (format!("{at}.tools.exec"), agent.get("tools").and_then(|tools| tools.get("exec")))),
    );
    for (at, exec) in every {
        let host = exec.and_then(|exec| exec.get("host")?.as_str());
        if let Some(host) = host.filter(|host| matches!(*host, "gateway" | "node")) {
            let key = format!("{at}.host");
            let fixed = Hit::set(&key, format!("`{host}`"), json!("auto"));
            found.push(("exec.outside", if at.contains('[') { Hit { fix: None, ..fixed } } else { fixed }));
        }
    }
    if default_mode(setup) == Mode::All {
        return;
    }
    let word = |key: &str| setup.config.text(&format!("tools.exec.{key}"));
    let asks = matches!(word("security"), Some("deny" | "allowlist"))
        || matches!(word("mode"), Some("deny" | "allowlist" | "ask"))
        || word("ask") == Some("always");
    if !asks {
        let what = word("mode").or(word("security")).unwrap_or("full, as when it is not set");
        found.push(("exec.unasked", Hit::told("tools.exec", what)));
    }
}

fn elevated(setup: &Setup, found: &mut Vec<(&'static str, Hit)>) {
    let every = [("tools".to_owned(), setup.config.get("tools"))]
        .into_iter()
        .chain(setup.agents().into_iter().map(|(at, agent)| (format!("{at}.tools"), agent.get("tools"))));
    for (at, tools) in every {
        let elevated = tools.and_then(|tools| tools.get("elevated"));
        if elevated.and_then(|elevated| elevated.get("enabled")) == Some(&json!(false)) {
            continue;
        }
        let channels = elevated.and_then(|elevated| elevated.get("allowFrom")?.as_object());
        for (channel, senders) in channels.into_iter().flatten() {
            let Some(senders) = senders.as_array().filter(|senders| senders.contains(&json!("*"))) else { continue };
            let named: Vec<&Value> = senders.iter().filter(|sender| **sender != json!("*")).collect();
            let key = format!("{at}.elevated.allowFrom.{channel}");
            let fixed = Hit::set(&key, "`*`", json!(named));
            found.push(("elevated.anyone", if at.contains('[') { Hit { fix: None, ..fixed } } else { fixed }));
        }
    }
}
