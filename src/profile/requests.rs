//! Rules for requests and their secrets, from what is typed in `[egress]`.
//!
//! Owns the check of every word of `[[egress.http]]` and `[egress.secrets]`. Whatever decides how much is let out must be written:
//! a rule without methods or paths is an error, not one for all of them.

use std::collections::BTreeMap;

use super::error::ProfileError;
use super::lineage::Layer;
use super::schema::{HttpTable, InjectTable, SecretTable};
use super::typed::{Exact, Only};
use crate::policy::document::Spot;
use crate::policy::egress::http::path::flaw_of_pattern;
use crate::policy::egress::http::secret::{Secret, Source};
use crate::policy::egress::http::{Form, HttpRule, Inject, WebSocket, is_token};
use crate::policy::egress::rule::{Host, List, Rule};
use crate::policy::environment::{Hook, is_hook};
use crate::policy::names::{did_you_mean, nearest, shown};

/// The list of tables.
const HTTP: [&str; 2] = ["egress", "http"];
/// How long a program that says a secret may take, if nothing is written, and at most.
const PATIENCE_MS: u64 = 10_000;
const MOST_PATIENCE_MS: u64 = 60_000;

/// What was read, and what was wrong.
type Read<T> = (T, Vec<ProfileError>);

/// A word that cannot be used: what is wrong with it, and what could be.
struct Wrong<'a> {
    key: &'a [&'a str],
    what: String,
    hint: Option<&'a str>,
}

fn wrong<'a>(key: &'a [&'a str], what: impl Into<String>, hint: &'a str) -> Wrong<'a> {
    Wrong { key, what: what.into(), hint: Some(hint).filter(|hint| !hint.is_empty()) }
}

/// The rules for requests of one layer.
pub fn rules(layer: &Layer, tables: &[Only<HttpTable>]) -> Read<Vec<HttpRule>> {
    let (mut rules, mut errors) = (Vec::new(), Vec::new());
    for (number, Only(table)) in tables.iter().enumerate() {
        match rule(layer, table) {
            Ok(rule) => rules.push(rule),
            Err(Wrong { key, what, hint }) => {
                let flaw = layer.document.flaw(Spot::Nth(&HTTP, number, key), what);
                errors.push(layer.error(match hint {
                    Some(hint) => flaw.with_hint(hint),
                    None => flaw,
                }));
            }
        }
    }
    (rules, errors)
}

fn rule(layer: &Layer, table: &HttpTable) -> Result<HttpRule, Wrong<'static>> {
    Ok(HttpRule {
        host: host(layer, table)?,
        methods: methods(table)?,
        paths: paths(table)?,
        headers: headers(table)?,
        websocket: if table.websocket == Some(true) { WebSocket::Allowed } else { WebSocket::Denied },
        inject: table.inject.as_ref().map(|Only(table)| inject(table)).transpose()?,
    })
}

fn host(layer: &Layer, table: &HttpTable) -> Result<Rule, Wrong<'static>> {
    let missing =
        || wrong(&[], "missing key `host` in [[egress.http]]", "such as `api.example.org` or `*.example.org:8443`");
    let text = table.host.as_deref().ok_or_else(missing)?;
    let no = |why: &str, hint| wrong(&["host"], format!("cannot use host `{}`: {why}", shown(text)), hint);
    if text.starts_with('@') {
        return Err(no("a set has many owners", "write one rule for each host"));
    }
    let rule = Rule::parse(text, List::Allow, "a rule for requests", &layer.document.source);
    let rule = rule.map_err(|flaw| no(&flaw.to_string(), flaw.hint()))?;
    match rule.host {
        Host::Name(_) | Host::Below(_) if text.contains("://") => {
            Err(no("requests go over TCP", "write the host alone"))
        }
        Host::Name(_) | Host::Below(_) => Ok(rule),
        Host::Network(_) => Err(no("it is an address", "requests are judged by the name that they are for")),
    }
}

fn methods(table: &HttpTable) -> Result<Vec<String>, Wrong<'static>> {
    let hint = "such as `[\"GET\", \"HEAD\"]`; `[\"*\"]` is all of them";
    let missing = || wrong(&[], "missing key `methods` in [[egress.http]]", hint);
    let methods = table.methods.as_ref().ok_or_else(missing)?;
    for method in methods {
        let known = method == "*" || (is_token(method) && *method == method.to_ascii_uppercase());
        if !known || method == "CONNECT" {
            let why = if method == "CONNECT" { "it asks for a tunnel" } else { "it is no method" };
            return Err(wrong(&["methods"], format!("cannot use method `{}`: {why}", shown(method)), hint));
        }
    }
    Ok(methods.clone())
}

fn paths(table: &HttpTable) -> Result<Vec<String>, Wrong<'static>> {
    let hint = "such as `[\"/repos/**\"]`; `[\"/**\"]` is all of them";
    let missing = || wrong(&[], "missing key `paths` in [[egress.http]]", hint);
    let paths = table.paths.as_ref().ok_or_else(missing)?;
    let flawed = paths.iter().find_map(|path| flaw_of_pattern(path).map(|flaw| (path, flaw)));
    match flawed {
        Some((path, flaw)) => Err(wrong(&["paths"], format!("cannot use path `{}`: {flaw}", shown(path)), hint)),
        None => Ok(paths.clone()),
    }
}

fn headers(table: &HttpTable) -> Result<BTreeMap<String, String>, Wrong<'static>> {
    let mut headers = BTreeMap::new();
    for (header, value) in &table.headers {
        let plain = value.bytes().all(|byte| matches!(byte, b' '..=b'~'));
        if !is_token(header) || !plain {
            let what = format!("`{}` is no field, or its value no text", shown(header));
            return Err(wrong(&["headers"], what, "such as `{ Accept = \"application/*\" }`"));
        }
        if headers.insert(header.to_ascii_lowercase(), value.clone()).is_some() {
            return Err(wrong(&["headers"], format!("field `{header}` is written twice"), ""));
        }
    }
    Ok(headers)
}

fn inject(table: &InjectTable) -> Result<Inject, Wrong<'static>> {
    let hint = "such as `{ header = \"Authorization\", secret = \"github\", format = \"Bearer {}\" }`";
    let missing = |key: &str| wrong(&["inject"], format!("missing key `{key}` in `inject`"), hint);
    let header = table.header.as_ref().ok_or_else(|| missing("header"))?;
    let secret = table.secret.clone().ok_or_else(|| missing("secret"))?;
    if !Inject::can_write(header) {
        let what = format!("cannot put a secret into field `{}`", shown(header));
        return Err(wrong(&["inject", "header"], what, "fields that frame a request are written by the gate"));
    }
    let form = match (&table.format, &table.basic) {
        (Some(_), Some(_)) => {
            return Err(wrong(&["inject"], "`format` and `basic` are two ways to write one secret", ""));
        }
        (None, Some(user)) if user.contains(':') || user.chars().any(char::is_control) => {
            return Err(wrong(&["inject", "basic"], "a user of `basic` has no `:` and no control character", ""));
        }
        (None, Some(user)) => Form::Basic { user: user.clone() },
        (format, None) => text(format.as_deref().unwrap_or("{}"))?,
    };
    Ok(Inject { header: header.to_ascii_lowercase(), secret, form })
}

fn text(format: &str) -> Result<Form, Wrong<'static>> {
    let plain = format.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match format.split_once("{}") {
        Some((before, after)) if plain && !after.contains("{}") => {
            Ok(Form::Text { before: before.to_owned(), after: after.to_owned() })
        }
        _ => Err(wrong(
            &["inject", "format"],
            "`format` says where the secret stands once, as `{}`",
            "such as `Bearer {}`",
        )),
    }
}

/// The secrets of one layer.
pub fn secrets(layer: &Layer, tables: &BTreeMap<String, Only<SecretTable>>) -> Read<BTreeMap<String, Secret>> {
    let (mut secrets, mut errors) = (BTreeMap::new(), Vec::new());
    for (name, Only(table)) in tables {
        let spot = ["egress", "secrets", name];
        match secret(name, table) {
            Ok(secret) => drop(secrets.insert(name.clone(), secret)),
            Err((what, hint)) => {
                errors.push(layer.error(layer.document.flaw(Spot::Key(&spot), what).with_hint(hint)));
            }
        }
    }
    (secrets, errors)
}

const SOURCES: &str = "one of `file`, `environment`, `credential` and `command`";

fn secret(name: &str, table: &SecretTable) -> Result<Secret, (String, &'static str)> {
    let no = |what: String, hint| Err((format!("cannot use secret `{}`: {what}", shown(name)), hint));
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    if name.is_empty() || name.len() > 40 || !name.bytes().all(plain) {
        return no("its name has others than `a-z`, `0-9`, `-` and `_`".into(), "such as `github`");
    }
    if let Some(env) = table.env.as_deref().filter(|env| !is_name(env) || is_hook(env.as_bytes()) == Hook::Yes) {
        return no(format!("`{}` is no variable for it", shown(env)), "programs must not run or load what it says");
    }
    let timeout_ms = table.timeout.map_or(PATIENCE_MS, |Exact(span)| span.0);
    if timeout_ms > MOST_PATIENCE_MS || (table.timeout.is_some() && table.command.is_none()) {
        return no("`timeout` is for a `command`, at most 60s".into(), "such as `10s`");
    }
    let source = match (&table.file, &table.environment, &table.credential, &table.command) {
        (Some(file), None, None, None) if file.starts_with('/') && !file.contains('\0') => Source::File(file.clone()),
        (Some(_), None, None, None) => {
            return no("its file is not written by its whole path".into(), "such as `/etc/clawjail/secrets/github`");
        }
        (None, Some(variable), None, None) if is_name(variable) => Source::Environment(variable.clone()),
        (None, None, Some(credential), None) if is_credential(credential) => Source::Credential(credential.clone()),
        (None, None, None, Some(argv)) => match argv.first() {
            Some(program) if program.starts_with('/') && !argv.iter().any(|argument| argument.contains('\0')) => {
                Source::Command { argv: argv.clone(), timeout_ms }
            }
            _ => {
                return no(
                    "its program is not written by its whole path".into(),
                    "such as `[\"/usr/bin/pass\", \"show\", \"github\"]`",
                );
            }
        },
        _ => return no(format!("it comes from {SOURCES}"), "write where the gate finds it, once"),
    };
    Ok(Secret { env: table.env.clone(), source })
}

/// A credential is a file by its name alone. systemd.exec(5).
fn is_credential(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('.')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
}

/// The first rule that counts and puts in a secret that no layer has; or a variable that two secrets claim.
pub fn unknown_secret(layers: &[Layer]) -> Option<ProfileError> {
    let layer = layers.iter().rev().find(|layer| layer.file.egress.http.is_some())?;
    let known: BTreeMap<&str, &SecretTable> = layers
        .iter()
        .flat_map(|layer| &layer.file.egress.secrets)
        .map(|(name, Only(table))| (name.as_str(), table))
        .collect();
    let mut claimed = BTreeMap::new();
    for (name, env) in known.iter().filter_map(|(name, table)| Some((*name, table.env.as_deref()?))) {
        if let Some(other) = claimed.insert(env, name) {
            let what = format!("variable `{}` stands for two secrets, `{other}` and `{name}`", shown(env));
            return Some(layer.flaw(Spot::Key(&["egress", "secrets", name]), what));
        }
    }
    let named = layer.file.egress.http.iter().flatten().enumerate();
    named.filter_map(|(number, Only(table))| Some((number, table.inject.as_ref()?.0.secret.as_deref()?))).find_map(
        |(number, secret)| {
            if known.contains_key(secret) {
                return None;
            }
            let meant = nearest(secret, known.keys().copied());
            let what = format!("unknown secret `{}`{}", shown(secret), did_you_mean(meant.as_deref()));
            let flaw = layer.document.flaw(Spot::Nth(&HTTP, number, &["inject", "secret"]), what);
            Some(layer.error(flaw.with_hint("say where it comes from in [egress.secrets]")))
        },
    )
}

/// Whether an environment variable can have this name.
pub fn is_name(name: &str) -> bool {
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    starts_well && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
