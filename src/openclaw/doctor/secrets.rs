//! Secrets that stand in plain text, where copies are made of them or where the agent reads.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::{Hit, Setup, config, shown};
use crate::policy::environment::{Secrecy, secrecy};
use crate::verdict::redact::is_secret_by_form;

/// Shorter values are no secrets, or weak ones, which is another finding.
const SHORTEST: usize = 8;
/// Shorter words have no form of a secret.
const SHORTEST_FORM: usize = 16;
/// Notes that are looked at in one workspace.
const MOST_NOTES: usize = 300;
/// Bytes of one.
const LONGEST_NOTE: u64 = 1 << 20;

/// Files that a model is given, and files with secrets that lie where it looks.
const DOT_FILES: [&str; 6] = [".env", ".env.local", ".env.production", ".netrc", "id_rsa", "id_ed25519"];

/// Looks.
pub fn look(setup: &Setup) -> Vec<(&'static str, Hit)> {
    let mut found = Vec::new();
    plain(&setup.config.value, &mut Vec::new(), &mut found);
    for workspace in setup.workspaces() {
        found.extend(in_workspace(&workspace).into_iter().map(|hit| ("secrets.in-workspace", hit)));
    }
    found
}

/// Values under a name that says so, or with the form of one. Only where they are is told.
fn plain(value: &Value, path: &mut Vec<String>, found: &mut Vec<(&'static str, Hit)>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                path.push(key.clone());
                plain(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                plain(item, path, found);
                path.pop();
            }
        }
        Value::String(text) if text.len() >= SHORTEST && !text.contains("${") => {
            let by_name = path.last().is_some_and(|key| is_secret_name(key)) && !text.contains(char::is_whitespace);
            if by_name || has_secret(text) {
                found.push((
                    "secrets.in-config",
                    Hit::told(path.join("."), format!("{} characters", text.chars().count())),
                ));
            }
        }
        _ => {}
    }
}

/// Whether a key is that of a secret, written in whichever way.
fn is_secret_name(key: &str) -> bool {
    let mut name = String::new();
    let mut before = '_';
    for letter in key.chars() {
        if letter.is_ascii_uppercase() && before.is_ascii_lowercase() {
            name.push('_');
        }
        name.push(if letter == '-' { '_' } else { letter.to_ascii_uppercase() });
        before = letter;
    }
    secrecy(name.as_bytes()) == Secrecy::Secret
}

fn in_workspace(workspace: &Path) -> Vec<Hit> {
    let mut found = Vec::new();
    for name in DOT_FILES {
        let path = workspace.join(name);
        if path.symlink_metadata().is_ok_and(|about| about.is_file() && about.len() > 0) {
            found.push(Hit::told(shown(&path), "it is in the workspace"));
        }
    }
    for note in notes(workspace) {
        let Ok(text) = config::read_text(&note, LONGEST_NOTE) else { continue };
        if let Some(index) = text.lines().position(has_secret) {
            found.push(Hit::told(shown(&note), format!("line {} looks like it", index + 1)));
        }
    }
    found
}

fn notes(workspace: &Path) -> Vec<PathBuf> {
    let directories = [workspace.to_owned(), workspace.join("memory")];
    let names = directories
        .iter()
        .flat_map(|directory| fs::read_dir(directory).into_iter().flatten().flatten().take(4 * MOST_NOTES));
    let mut notes: Vec<PathBuf> = names
        .filter(|name| name.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|name| name.path())
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect();
    notes.sort();
    notes.truncate(MOST_NOTES);
    notes
}

/// Word by word: a form costs time, and most of a text is prose.
fn has_secret(line: &str) -> bool {
    let mut words = line.split(|letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | '`' | '=' | ','));
    line.contains("PRIVATE KEY-----") || words.any(|word| word.len() >= SHORTEST_FORM && is_secret_by_form(word))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_in_settings_are_told_by_their_place_alone() {
        let github = format!("ghp_{}", "a1B2".repeat(10));
        let value = json!({
            "channels": { "telegram": { "botToken": "12345678:secretsecret", "tokenFile": "/run/secrets/telegram" } },
            "models": { "providers": { "x": { "apiKey": "plainplain", "headers": { "X-Other": github } } } },
            "gateway": { "auth": { "token": "${OPENCLAW_GATEWAY_TOKEN}", "password": { "source": "env", "id": "X_PASSWORD_X" } } },
            "agents": { "defaults": { "maxTokens": 4096, "token": "" } }
        });
        let mut found = Vec::new();
        plain(&value, &mut Vec::new(), &mut found);
        let mut places: Vec<&str> = found.iter().map(|(_, hit)| hit.at.as_str()).collect();
        places.sort_unstable();
        let expected =
            ["channels.telegram.botToken", "models.providers.x.apiKey", "models.providers.x.headers.X-Other"];
        assert_eq!(places, expected);
        assert!(found.iter().all(|(_, hit)| !hit.what.contains("plain") && !hit.what.contains("ghp_")));
    }

    #[test]
    fn a_name_is_that_of_a_secret_however_it_is_written() {
        for name in ["token", "botToken", "api_key", "apiKey", "signing-secret", "password", "OPENAI_API_KEY"] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["tokenFile", "maxChars", "id", "keyboard", "workspace"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
