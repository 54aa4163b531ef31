//! `clawjail profile show`: a resolved profile, as TOML that could be one.

use std::fmt::Display;
use std::process::ExitCode;

use clap::Args;

use super::super::answer;
use super::sources;
use crate::plan::explain::count;
use crate::policy::egress::http::secret::{Secret, Source};
use crate::policy::egress::http::{Form, HttpRule, Inject, Look, WebSocket};
use crate::policy::egress::rule::Rule;
use crate::profile::promise::Demand;
use crate::profile::resolve::resolve;
use crate::profile::{Grant, Limits, Profile, WorkspaceAccess, WorkspaceAt};

/// Print a profile with its parents and sets resolved.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail profile show untrusted
  clawjail profile show offline --json | jq .limits

What a host makes of it, `clawjail profile explain` shows.")]
pub struct Show {
    /// Its name.
    #[arg(value_name = "PROFILE")]
    name: String,
    /// The same as data, with every system call rule.
    #[arg(long)]
    json: bool,
}

/// Shows it.
pub fn run(show: &Show) -> ExitCode {
    let sources = sources();
    match resolve(&show.name, &sources, &sources.library()) {
        Ok(profile) if show.json => answer::give(&answer::json(&profile)),
        Ok(profile) => answer::give(&text(&profile)),
        Err(error) => answer::refuse_profile(&error),
    }
}

/// The profile as TOML, with the reason and the origin of every grant beside it.
fn text(profile: &Profile) -> String {
    let mut text = format!("# {}: {}\n", profile.name, profile.sources.join(", then "));
    text.push_str(&format!("summary = {}\n", quoted(&profile.summary)));
    text.push_str(&workspace(profile));
    text.push_str(&filesystem(profile));
    text.push_str(&egress(profile));
    text.push_str(&environment(profile));
    text.push_str(&limits(&profile.limits));
    let calls = count(&profile.syscalls.rules);
    text.push_str(&format!(
        "\n[syscalls]   # {} allowed, {} with conditions; `--json` shows each rule\n",
        calls.allowed, calls.conditional
    ));
    text.push_str(&format!("\n[record]\nactivity = {}\n", quoted(profile.recording.word())));
    text.push_str(&require(profile));
    text
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn workspace(profile: &Profile) -> String {
    let access = match profile.workspace.access {
        WorkspaceAccess::None => "none",
        WorkspaceAccess::Ro => "ro",
        WorkspaceAccess::Rw => "rw",
    };
    let at = match &profile.workspace.at {
        WorkspaceAt::Same => "same",
        WorkspaceAt::Path(path) => path,
    };
    format!("\n[workspace]\naccess = {}\nat     = {}\n", quoted(access), quoted(at))
}

fn filesystem(profile: &Profile) -> String {
    let files = &profile.filesystem;
    let lists = [
        ("read", &files.read),
        ("write", &files.write),
        ("execute", &files.execute),
        ("hide", &files.hide),
        ("protect", &files.protect),
    ];
    let lists: String = lists.into_iter().map(|(key, grants)| list(key, grants)).collect();
    let tmp = format!("tmp = {{ size = {}, execute = {} }}\n", quoted(&files.tmp.size.to_string()), files.tmp.execute);
    format!("\n[filesystem]\n{lists}{tmp}")
}

fn list(key: &str, grants: &[Grant]) -> String {
    if grants.is_empty() {
        return format!("{key} = []\n");
    }
    let paths: Vec<String> = grants.iter().map(|grant| quoted(&grant.path) + ",").collect();
    let width = paths.iter().map(|path| path.chars().count()).max().unwrap_or(0);
    let lines: String = paths
        .iter()
        .zip(grants)
        .map(|(path, grant)| format!("  {path:<width$}  # {} ({})\n", grant.why, grant.from))
        .collect();
    format!("{key} = [\n{lines}]\n")
}

fn egress(profile: &Profile) -> String {
    let rules = &profile.egress.rules;
    if rules.allow_nothing() && rules.deny.is_empty() && rules.hosts.is_empty() {
        return "\n[egress]   # none: no network at all\n".to_owned();
    }
    let http: String = rules.http.iter().map(requests).collect();
    let secrets: String = rules.secrets.iter().map(|(name, secret)| secret_of(name, secret)).collect();
    let inspect = if rules.look == Look::IntoAll { "inspect = \"all\"\n" } else { "" };
    let known = rules.hosts.iter().map(|(name, addresses)| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        format!("{} = {}\n", quoted(name.as_str()), strings(&addresses))
    });
    let known: String = known.collect();
    let known = if known.is_empty() { known } else { format!("\n[egress.hosts]\n{known}") };
    format!("\n[egress]\n{}{}{inspect}{known}{http}{secrets}", hosts("allow", &rules.allow), hosts("deny", &rules.deny))
}

fn requests(rule: &HttpRule) -> String {
    let mut text = format!("\n[[egress.http]]   # {}\nhost = {}\n", rule.host.from, quoted(&rule.host.text));
    text.push_str(&format!("methods = {}\npaths = {}\n", strings(&rule.methods), strings(&rule.paths)));
    if !rule.headers.is_empty() {
        let fields: Vec<String> =
            rule.headers.iter().map(|(name, value)| format!("{} = {}", quoted(name), quoted(value))).collect();
        text.push_str(&format!("headers = {{ {} }}\n", fields.join(", ")));
    }
    if rule.websocket == WebSocket::Allowed {
        text.push_str("websocket = true\n");
    }
    if let Some(Inject { header, secret, form }) = &rule.inject {
        let form = match form {
            Form::Text { before, after } => format!("format = {}", quoted(&format!("{before}{{}}{after}"))),
            Form::Basic { user } => format!("basic = {}", quoted(user)),
        };
        text.push_str(&format!("inject = {{ header = {}, secret = {}, {form} }}\n", quoted(header), quoted(secret)));
    }
    text
}

fn secret_of(name: &str, secret: &Secret) -> String {
    let env = secret.env.iter().map(|env| format!("env = {}\n", quoted(env))).collect::<String>();
    let source = match &secret.source {
        Source::File(path) => format!("file = {}\n", quoted(path)),
        Source::Environment(variable) => format!("environment = {}\n", quoted(variable)),
        Source::Credential(credential) => format!("credential = {}\n", quoted(credential)),
        Source::Command { argv, timeout_ms } => format!("command = {}\ntimeout = \"{timeout_ms}ms\"\n", strings(argv)),
    };
    format!("\n[egress.secrets.{name}]\n{env}{source}")
}

fn hosts(key: &str, rules: &[Rule]) -> String {
    if rules.is_empty() {
        return format!("{key} = []\n");
    }
    let texts: Vec<String> = rules.iter().map(|rule| quoted(&rule.text) + ",").collect();
    let width = texts.iter().map(|text| text.chars().count()).max().unwrap_or(0);
    let lines =
        texts.iter().zip(rules).map(|(text, rule)| format!("  {text:<width$}  # {} ({})\n", rule.why, rule.from));
    format!("{key} = [\n{}]\n", lines.collect::<String>())
}

fn strings(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(", "))
}

fn environment(profile: &Profile) -> String {
    let environment = &profile.environment;
    let set: String = environment.set.iter().map(|(name, value)| format!("{name} = {}\n", quoted(value))).collect();
    let set = if set.is_empty() { set } else { format!("\n[environment.set]\n{set}") };
    format!("\n[environment]\npass = {}\n{set}", strings(&environment.pass))
}

fn limits(limits: &Limits) -> String {
    fn typed<T: Display>(limit: Option<T>) -> String {
        limit.map_or_else(|| quoted("unlimited"), |limit| quoted(&limit.to_string()))
    }
    fn number<T: Display>(limit: Option<T>) -> String {
        limit.map_or_else(|| quoted("unlimited"), |limit| limit.to_string())
    }
    let rows = [
        ("memory", typed(limits.memory)),
        ("cpus", number(limits.cpus)),
        ("processes", number(limits.processes)),
        ("open_files", limits.open_files.to_string()),
        ("file_size", typed(limits.file_size)),
        ("wall", typed(limits.wall)),
        ("output", typed(limits.output)),
        ("disk", quoted(&limits.disk.to_string())),
        ("runs_per_minute", number(limits.runs_per_minute)),
    ];
    let rows: String = rows.iter().map(|(key, value)| format!("{key:<15} = {value}\n")).collect();
    format!("\n[limits]\n{rows}")
}

fn require(profile: &Profile) -> String {
    let word = |demand| if demand == Demand::Full { "full" } else { "partial" };
    let rows: String = profile
        .require
        .iter()
        .map(|(promise, demand)| format!("{} = {}\n", promise.word(), quoted(word(*demand))))
        .collect();
    if rows.is_empty() { "\n[require]   # every promise in full\n".to_owned() } else { format!("\n[require]\n{rows}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::library::Library;
    use crate::profile::load::Sources;

    #[test]
    fn what_is_shown_is_a_profile_that_means_the_same() {
        for name in ["base", "offline", "openclaw", "readonly", "skill-test", "trusted", "untrusted"] {
            let shown = resolve(name, &Sources::default(), &Library::built_in()).expect("a shipped profile");
            let directory = tempfile::TempDir::new().expect("a directory");
            let file = directory.path().join("x.toml");
            std::fs::write(&file, text(&shown)).expect("a file");
            let errors = crate::profile::check::check(&file, &Sources::default(), &Library::built_in());
            assert!(errors.is_empty(), "{name}: {errors:?}");
        }
    }
}
