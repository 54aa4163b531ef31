//! Who may speak to the agent.

use serde_json::{Value, json};

use super::agents::{self, Mode};
use super::{Fix, Hit, Setup};

/// Not the name of a channel.
const NO_CHANNELS: [&str; 2] = ["defaults", "modelByChannel"];

/// Looks.
pub fn look(setup: &Setup) -> Vec<(&'static str, Hit)> {
    let mut open = Vec::new();
    let mut people = false;
    for (at, channel) in doors(setup) {
        if channel.get("enabled") == Some(&json!(false)) {
            continue;
        }
        let before = open.len();
        messages(&at, channel, &mut open);
        groups(&at, channel, &mut open);
        people |= open.len() > before || senders(channel).is_some_and(|senders| senders.len() > 1);
    }
    let mut found = Vec::new();
    if people && !is_isolated(setup) {
        let what = format!("`{}`", setup.config.text("session.dmScope").unwrap_or("main"));
        found.push(("channels.one-session", Hit::set("session.dmScope", what, json!("per-channel-peer"))));
    }
    if let Some(first) = open.first().filter(|_| agents::default_mode(setup) != Mode::All && has_tools(setup)) {
        let what = format!("it is open, `tools.profile` is `{}`", setup.config.text("tools.profile").unwrap_or("full"));
        found.push(("channels.open-tools", Hit::told(first.at.clone(), what)));
    }
    found.extend(open.into_iter().map(|hit| ("channels.open", hit)));
    found
}

/// Channels and their accounts.
fn doors(setup: &Setup) -> Vec<(String, &Value)> {
    let channels = setup.config.get("channels").and_then(Value::as_object).into_iter().flatten();
    let channels = channels.filter(|(name, _)| !NO_CHANNELS.contains(&name.as_str()));
    channels
        .flat_map(|(name, channel)| {
            let at = format!("channels.{name}");
            let accounts = channel.get("accounts").and_then(Value::as_object).into_iter().flatten();
            let within = at.clone();
            let accounts = accounts.map(move |(account, value)| (format!("{within}.accounts.{account}"), value));
            [(at, channel)].into_iter().chain(accounts)
        })
        .collect()
}

fn senders(channel: &Value) -> Option<&Vec<Value>> {
    channel.get("allowFrom").or_else(|| channel.get("dm")?.get("allowFrom"))?.as_array()
}

fn messages(at: &str, channel: &Value, open: &mut Vec<Hit>) {
    let path = |keys: &[&str]| at.split('.').chain(keys.iter().copied()).map(str::to_owned).collect::<Vec<String>>();
    let old = channel.get("dm").and_then(|dm| dm.get("policy")).and_then(Value::as_str);
    let policy = channel.get("dmPolicy").and_then(Value::as_str);
    let everybody = senders(channel).is_some_and(|senders| senders.contains(&json!("*")));
    if policy.or(old) != Some("open") && !everybody {
        return;
    }
    let mut changes = Vec::new();
    if policy == Some("open") {
        changes.push((path(&["dmPolicy"]), json!("pairing")));
    } else if old == Some("open") {
        changes.push((path(&["dm", "policy"]), json!("pairing")));
    }
    if everybody {
        let named: Vec<&Value> =
            senders(channel).into_iter().flatten().filter(|sender| **sender != json!("*")).collect();
        let keys: &[&str] = if channel.get("allowFrom").is_some() { &["allowFrom"] } else { &["dm", "allowFrom"] };
        changes.push((path(keys), json!(named)));
    }
    let what = if everybody { "everybody may write (`*`)" } else { "everybody may write" };
    open.push(Hit { at: format!("{at}.dmPolicy"), what: what.to_owned(), fix: Some(Fix::Set(changes)) });
}

fn groups(at: &str, channel: &Value, open: &mut Vec<Hit>) {
    if channel.get("groupPolicy").and_then(Value::as_str) == Some("open") {
        let key = format!("{at}.groupPolicy");
        let path = key.split('.').map(str::to_owned).collect();
        let fix = Some(Fix::Set(vec![(path, json!("allowlist"))]));
        open.push(Hit { at: key, what: "every group may write".to_owned(), fix });
    }
}

fn is_isolated(setup: &Setup) -> bool {
    setup.config.text("session.dmScope").is_some_and(|scope| scope != "main")
}

/// Whether an agent can run commands or change files, as far as the common settings say.
fn has_tools(setup: &Setup) -> bool {
    let denied = setup.config.get("tools.deny").and_then(Value::as_array);
    let denies = |tool: &str| denied.is_some_and(|denied| denied.contains(&json!(tool)));
    let profile = setup.config.text("tools.profile");
    let restricted = matches!(profile, Some("minimal" | "messaging"));
    let commands = !denies("group:runtime") && !denies("exec");
    let files = !denies("group:fs") && !denies("write");
    !restricted && (commands || files)
}
