//! Who can reach the Gateway, and what it asks of them.

use serde_json::{Value, json};

use super::{Fix, Hit, Setup};

/// OpenClaw's own audit calls shorter ones too short.
const SHORTEST_SECRET: usize = 24;
/// What stands where somebody forgot to put a secret.
const PLACEHOLDERS: [&str; 8] = [
    "undefined",
    "null",
    "changeme",
    "change-me",
    "password",
    "token",
    "replace-with-long-random-token",
    "your-long-random-token",
];

/// Looks.
pub fn look(setup: &Setup) -> Vec<(&'static str, Hit)> {
    let mut found = Vec::new();
    auth(setup, &mut found);
    reach(setup, &mut found);
    hooks(setup, &mut found);
    flags(&setup.config.value, &mut Vec::new(), &mut found);
    if setup.config.text("discovery.mdns.mode") == Some("full") {
        found.push(("discovery.full", Hit::set("discovery.mdns.mode", "`full`", json!("minimal"))));
    }
    if setup.config.is_true("browser.noSandbox") {
        found.push(("browser.no-sandbox", Hit::set("browser.noSandbox", "true", json!(false))));
    }
    found
}

fn auth(setup: &Setup, found: &mut Vec<(&'static str, Hit)>) {
    let config = &setup.config;
    if config.text("gateway.auth.mode") == Some("none") {
        let path = |key: &str| ["gateway", "auth", key].map(str::to_owned).to_vec();
        let fix =
            random_token().map(|token| Fix::Set(vec![(path("mode"), json!("token")), (path("token"), json!(token))]));
        found.push(("gateway.no-auth", Hit { at: "gateway.auth.mode".into(), what: "`none`".into(), fix }));
    }
    for key in ["gateway.auth.token", "gateway.auth.password"] {
        if let Some(what) = config.text(key).and_then(weakness) {
            found.push(("gateway.weak-secret", Hit::told(key, what)));
        }
    }
}

fn reach(setup: &Setup, found: &mut Vec<(&'static str, Hit)>) {
    let config = &setup.config;
    let bind = config.text("gateway.bind").unwrap_or("loopback");
    let custom = config.text("gateway.customBindHost").unwrap_or_default();
    let beyond = match bind {
        "loopback" => false,
        "custom" => !matches!(custom, "127.0.0.1" | "::1" | "localhost"),
        _ => true,
    };
    if beyond {
        let what = if bind == "custom" { format!("`custom`, {custom}") } else { format!("`{bind}`") };
        found.push(("gateway.bind", Hit::told("gateway.bind", what)));
        if config.get("gateway.auth.rateLimit").is_none() {
            let limit = json!({ "maxAttempts": 10, "windowMs": 60_000, "lockoutMs": 300_000 });
            found.push(("gateway.no-rate-limit", Hit::set("gateway.auth.rateLimit", "it is not there", limit)));
        }
    }
    if config.text("gateway.tailscale.mode") == Some("funnel") {
        found.push(("gateway.funnel", Hit::told("gateway.tailscale.mode", "`funnel`")));
    }
    let origins = config.get("gateway.controlUi.allowedOrigins").and_then(Value::as_array);
    if origins.is_some_and(|origins| origins.contains(&json!("*"))) {
        found.push(("gateway.any-origin", Hit::told("gateway.controlUi.allowedOrigins", "`*`")));
    }
}

fn hooks(setup: &Setup, found: &mut Vec<(&'static str, Hit)>) {
    if !setup.config.is_true("hooks.enabled") {
        return;
    }
    let token = setup.config.text("hooks.token").unwrap_or_default();
    let reused =
        ["gateway.auth.token", "gateway.auth.password"].iter().any(|key| setup.config.text(key) == Some(token));
    match weakness(token) {
        _ if reused => found.push(("hooks.weak-token", Hit::told("hooks.token", "it is the Gateway's secret, too"))),
        Some(what) => found.push(("hooks.weak-token", Hit::told("hooks.token", what))),
        None => {}
    }
}

/// What is wrong with a secret; nothing, if it stands somewhere else.
fn weakness(secret: &str) -> Option<String> {
    if secret.contains("${") {
        return None;
    }
    let length = secret.trim().chars().count();
    match secret.trim() {
        "" => Some("it is empty".to_owned()),
        secret if PLACEHOLDERS.contains(&secret.to_ascii_lowercase().as_str()) => {
            Some("it is a placeholder".to_owned())
        }
        _ if length < SHORTEST_SECRET => Some(format!("it has {length} characters")),
        _ => None,
    }
}

/// Whatever its name calls dangerous, anywhere.
fn flags(value: &Value, path: &mut Vec<String>, found: &mut Vec<(&'static str, Hit)>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                path.push(key.clone());
                if *value == Value::Bool(true) && is_dangerous(key) {
                    let fix = Some(Fix::Set(vec![(path.clone(), json!(false))]));
                    found.push(("config.dangerous-flags", Hit { at: path.join("."), what: "true".into(), fix }));
                }
                flags(value, path, found);
                path.pop();
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(index.to_string());
                let before = found.len();
                flags(item, path, found);
                // Members of lists are not changed: a list may come from several files.
                found.iter_mut().skip(before).for_each(|(_, hit)| hit.fix = None);
                path.pop();
            }
        }
        _ => {}
    }
}

fn is_dangerous(key: &str) -> bool {
    key.starts_with("dangerously") || key.starts_with("insecure") || key.contains("Unsafe") || key.starts_with("unsafe")
}

/// 32 bytes of the kernel's, in hexadecimal.
fn random_token() -> Option<String> {
    use std::io::Read;
    let mut bytes = [0_u8; 32];
    std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes)).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_weak_when_it_is_short_or_a_placeholder_and_not_when_it_stands_elsewhere() {
        for weak in ["", " ", "hunter2", "undefined", "your-long-random-token"] {
            assert!(weakness(weak).is_some(), "{weak}");
        }
        for strong in ["${OPENCLAW_GATEWAY_TOKEN}", &"a1".repeat(16)] {
            assert_eq!(weakness(strong), None, "{strong}");
        }
        let (one, other) = (random_token().expect("a token"), random_token().expect("a token"));
        assert!(one != other && weakness(&one).is_none());
    }

    #[test]
    fn what_calls_itself_dangerous_is_found_wherever_it_is() {
        let value = json!({
            "gateway": { "controlUi": { "dangerouslyDisableDeviceAuth": true, "enabled": true } },
            "hooks": { "mappings": [{ "allowUnsafeExternalContent": true }], "gmail": { "allowUnsafeExternalContent": false } },
            "models": { "providers": { "x": { "request": { "tls": { "insecureSkipVerify": true } } } } }
        });
        let mut found = Vec::new();
        flags(&value, &mut Vec::new(), &mut found);
        let told: Vec<(&str, bool)> = found.iter().map(|(_, hit)| (hit.at.as_str(), hit.fix.is_some())).collect();
        let expected = [
            ("gateway.controlUi.dangerouslyDisableDeviceAuth", true),
            ("hooks.mappings.0.allowUnsafeExternalContent", false),
            ("models.providers.x.request.tls.insecureSkipVerify", true),
        ];
        assert_eq!(told, expected);
    }
}
