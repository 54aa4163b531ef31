//! `package.json`: what a package manager runs when somebody installs the folder, and where it gets more from.

use serde_json::Value;

use crate::policy::names::cut;

/// Run by `npm install` in the folder or of it.
const LIFECYCLE: [&str; 8] =
    ["preinstall", "install", "postinstall", "prepare", "preprepare", "postprepare", "prepublish", "dependencies"];
const DEPENDENCIES: [&str; 4] = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];
/// Characters of what is shown.
const SHOWN: usize = 160;

/// Each thing in it: rule, what it says. Also `binding.gyp`, which makes npm compile.
pub fn look(name: &str, text: &str) -> Vec<(&'static str, String)> {
    match name {
        "binding.gyp" => vec![("lifecycle-script", "node-gyp rebuild".to_owned())],
        "package.json" => match serde_json::from_str::<Value>(text) {
            Ok(value) => scripts(&value).chain(sources(&value)).collect(),
            Err(_) => vec![("unreadable", "this is no JSON".to_owned())],
        },
        _ => Vec::new(),
    }
}

fn scripts(package: &Value) -> impl Iterator<Item = (&'static str, String)> {
    let scripts = package.get("scripts").cloned().unwrap_or_default();
    LIFECYCLE.into_iter().filter_map(move |name| {
        let script = scripts.get(name)?;
        Some(("lifecycle-script", cut(&format!("{name}: {}", script.as_str().unwrap_or("?")), SHOWN)))
    })
}

fn sources(package: &Value) -> impl Iterator<Item = (&'static str, String)> {
    let all = DEPENDENCIES.into_iter().filter_map(|kind| package.get(kind)?.as_object());
    all.flatten().filter_map(|(name, version)| {
        let version = version.as_str().unwrap_or("?");
        let elsewhere = version.contains(':') && !version.starts_with("npm:") && !version.starts_with("workspace:");
        let github = version.contains('/') && !version.starts_with("npm:");
        (elsewhere || github).then(|| ("foreign-dependency", cut(&format!("{name}: {version}"), SHOWN)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_npm_would_run_and_fetch_from_elsewhere_is_found() {
        let text = r#"{"scripts": {"postinstall": "node x.js", "test": "node test.js"},
            "dependencies": {"a": "git+https://x.example/a", "b": "someone/b", "c": "^1.0.0", "d": "npm:c@1"}}"#;
        let found = look("package.json", text);
        let expected = [
            ("lifecycle-script", "postinstall: node x.js"),
            ("foreign-dependency", "a: git+https://x.example/a"),
            ("foreign-dependency", "b: someone/b"),
        ];
        assert_eq!(found, expected.map(|(rule, text)| (rule, text.to_owned())));
        assert_eq!(look("package.json", r#"{"scripts": {"test": "x"}, "dependencies": {"c": "1"}}"#), []);
        assert_eq!(look("binding.gyp", "{}").len(), 1);
        assert_eq!(look("other.json", text), []);
    }

    #[test]
    fn one_that_cannot_be_read_is_told() {
        for text in ["{", "", &"[".repeat(100_000)] {
            assert_eq!(look("package.json", text), [("unreadable", "this is no JSON".to_owned())]);
        }
    }
}
