//! `clawjail profile show`: a resolved profile, as TOML that could be one.

use std::fmt::Display;
use std::process::ExitCode;

use clap::Args;

use super::super::answer;
use super::sources;
use crate::plan::explain::count;
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
    if rules.allow.is_empty() && rules.deny.is_empty() && profile.egress.http.is_empty() && rules.hosts.is_empty() {
        return "\n[egress]   # none: no network at all\n".to_owned();
    }
    let http = profile.egress.http.iter().map(|host| format!("[[egress.http]]\nhost = {}\n", quoted(host)));
    let http: String = http.collect();
    let known = rules.hosts.iter().map(|(name, addresses)| {
        let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        format!("{} = {}\n", quoted(name.as_str()), strings(&addresses))
    });
    let known: String = known.collect();
    let known = if known.is_empty() { known } else { format!("\n[egress.hosts]\n{known}") };
    format!("\n[egress]\n{}{}{known}{http}", hosts("allow", &rules.allow), hosts("deny", &rules.deny))
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
