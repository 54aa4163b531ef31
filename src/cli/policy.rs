//! `clawjail policy`: sets of hosts made on this machine, from the settings of the clients that use them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use clap::{Args, Subcommand, ValueEnum};
use toml::Value;

use super::answer;
use crate::policy::egress::rule::{List, Rule};

/// Make policies from what this machine is set to.
#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  clawjail policy from-client npm > ~/.config/clawjail/policies/egress/npm.toml")]
pub struct Policy {
    /// What to make.
    #[command(subcommand)]
    pub action: Action,
}

/// What to make.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Print an egress set of the registries that a package client is set to.
    FromClient(FromClient),
}

/// Print an egress set of the registries that a package client is set to, mirrors included. Nothing is known about registries
/// here: the client is asked, and its settings are read.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail policy from-client pip
  clawjail policy from-client npm > ~/.config/clawjail/policies/egress/npm.toml   then: allow = [\"@npm\"]
  sudo sh -c 'clawjail policy from-client apt > /etc/clawjail/policies/egress/apt.toml'

Run it again when a mirror changes. Exit code: 0; 125 when the client names no registry.")]
pub struct FromClient {
    /// The client.
    client: Client,
}

/// A client of package registries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Client {
    /// Node packages.
    Npm,
    /// Python packages.
    Pip,
    /// Rust packages.
    Cargo,
    /// Debian packages.
    Apt,
}

/// An address that a client uses, with where that was said.
type Found = Vec<(String, String)>;

/// Makes it.
pub fn run(policy: &Policy) -> ExitCode {
    let Action::FromClient(FromClient { client }) = &policy.action;
    let found = match client {
        Client::Npm => npm(),
        Client::Pip => pip(),
        Client::Cargo => cargo(),
        Client::Apt => apt(),
    };
    let name = client.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    match set(&name, &found) {
        Some(text) => answer::give(&text),
        None => answer::fail(&format!(
            "cannot find a registry that `{name}` is set to: is it installed, and has it been used here?"
        )),
    }
}

/// The set as text; `None` when there is no host in it.
fn set(name: &str, found: &Found) -> Option<String> {
    let mut hosts = BTreeMap::new();
    for (url, why) in found {
        // What is no host over the network, such as a directory, needs no rule.
        if let Some(rule) = rule_of(url) {
            hosts.entry(rule).or_insert_with(|| why.clone());
        }
    }
    let lines: String = hosts.iter().map(|(rule, why)| format!("{} = {}\n", quoted(rule), quoted(why))).collect();
    let summary = format!("The registries that {name} is set to on this machine.");
    (!hosts.is_empty()).then(|| format!("summary = {}\n\n[hosts]\n{lines}", quoted(&summary)))
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

/// The rule for the host of a URL. Neither the path nor a user's name and password are looked at.
fn rule_of(url: &str) -> Option<String> {
    let url = url.trim().trim_start_matches("sparse+").trim_start_matches("git+");
    let (scheme, rest) = url.split_once("://")?;
    let port = match scheme {
        "https" => 443,
        "http" => 80,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(before, port)| !port.contains(']') && (!before.contains(':') || before.ends_with(']')));
    let rule = if has_port { host.to_owned() } else { format!("{host}:{port}") };
    Rule::parse(&rule, List::Allow, "", "").is_ok().then_some(rule)
}

fn npm() -> Found {
    let settings = said(Command::new("npm").args(["config", "list", "--json", "--long"]));
    let settings: BTreeMap<String, serde_json::Value> = serde_json::from_str(&settings).unwrap_or_default();
    let registries = settings.iter().filter(|(key, _)| *key == "registry" || key.ends_with(":registry"));
    registries.filter_map(|(key, value)| Some((value.as_str()?.to_owned(), format!("npm's `{key}`")))).collect()
}

/// Where pip looks when nothing is set, in its own words.
const PIP_DEFAULTS: &str =
    "from pip._internal.models.index import PyPI; print(PyPI.simple_url); print('https://' + PyPI.file_storage_domain)";

fn pip() -> Found {
    let python = |arguments: &[&str]| said(Command::new("python3").args(arguments));
    let listed = python(&["-m", "pip", "config", "list"]);
    let mut found = Found::new();
    for line in listed.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let name = key.rsplit('.').next().unwrap_or(key);
        if ["index-url", "extra-index-url", "find-links"].contains(&name) {
            let words = value.trim_matches(['\'', '"']).replace("\\n", " ");
            found.extend(words.split_ascii_whitespace().map(|url| (url.to_owned(), format!("pip's `{name}`"))));
        }
    }
    if !found.iter().any(|(_, why)| why == "pip's `index-url`") {
        let defaults = python(&["-c", PIP_DEFAULTS]);
        found.extend(defaults.lines().map(|url| (url.to_owned(), "pip's own, where nothing is set".to_owned())));
    }
    found
}

fn cargo() -> Found {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let Some(home) = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"))) else {
        return Found::new();
    };
    let mut found = Found::new();
    for name in ["config.toml", "config"] {
        let text = std::fs::read_to_string(home.join(name)).unwrap_or_default();
        if let Ok(settings) = text.parse::<toml::Table>() {
            urls(&Value::Table(settings), &mut found);
        }
    }
    // What it has used leaves an index here, which says where downloads come from.
    for entry in std::fs::read_dir(home.join("registry/index")).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let host = name.rsplit_once('-').map_or(name.as_str(), |(host, _)| host).to_owned();
        found.push((format!("https://{host}"), "the index of a registry that cargo has used".to_owned()));
        let config = std::fs::read_to_string(entry.path().join("config.json")).unwrap_or_default();
        let config: BTreeMap<String, serde_json::Value> = serde_json::from_str(&config).unwrap_or_default();
        for key in ["dl", "api"] {
            let url = config.get(key).and_then(serde_json::Value::as_str);
            found.extend(url.map(|url| (url.to_owned(), format!("`{key}` of that registry"))));
        }
    }
    found
}

/// Every registry in settings of cargo, however deep.
fn urls(value: &Value, found: &mut Found) {
    for (key, value) in value.as_table().into_iter().flatten() {
        match value {
            Value::String(url) if ["registry", "index"].contains(&key.as_str()) => {
                found.push((url.clone(), format!("`{key}` in cargo's config.toml")));
            }
            other => urls(other, found),
        }
    }
}

fn apt() -> Found {
    let targets = said(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]));
    targets.lines().map(|url| (url.to_owned(), "a source of apt".to_owned())).collect()
}

/// What a client says, if it is there and says anything.
fn said(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_becomes_the_rule_for_its_host_alone() {
        for (url, rule) in [
            ("https://registry.example/", Some("registry.example:443")),
            ("http://mirror.example:8081/npm", Some("mirror.example:8081")),
            ("sparse+https://index.example/x/", Some("index.example:443")),
            ("https://user:secret@mirror.example/simple", Some("mirror.example:443")),
            ("https://[2001:db8::1]/", Some("[2001:db8::1]:443")),
            ("https://[2001:db8::1]:8443/", Some("[2001:db8::1]:8443")),
            ("file:///opt/wheels", None),
            ("/opt/wheels", None),
            ("https:///x", None),
        ] {
            assert_eq!(rule_of(url).as_deref(), rule, "{url}");
        }
    }

    #[test]
    fn a_set_that_is_printed_can_be_read_as_one() {
        let found = vec![("https://a.example/x".to_owned(), "a \"reason\"".to_owned())];
        let text = set("npm", &found).expect("a host");
        let document = crate::policy::document::Document {
            source: "x".into(),
            text: text.into(),
            authority: crate::policy::document::Authority::Root,
        };
        let read = crate::policy::egress::set::parse(&document).expect("a set");
        assert_eq!(read.hosts.len(), 1);
        assert_eq!(set("npm", &vec![("file:///x".to_owned(), String::new())]), None);
    }
}
