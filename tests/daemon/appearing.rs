//! What appears in the workspace, or is written anew, while a jail stays.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::service::{Client, Service};

fn open(client: &mut Client, workspace: &Path, tier: Option<&str>) -> String {
    let asked = json!({ "profile": "untrusted", "workspace": workspace, "tier": tier });
    client.call("jail.open", asked)["jail"].as_str().expect("a jail has an id").to_owned()
}

fn sh(client: &mut Client, jail: &str, script: &str) -> (String, Value) {
    client.run(json!({ "jail": jail, "argv": ["sh", "-c", script] }))
}

/// As editors save: the new file takes the place of the old one.
fn save(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).expect("own workspace");
    fs::rename(&beside, path).expect("own workspace");
}

#[test]
fn a_secret_that_appears_or_is_saved_again_is_hidden_from_the_next_run() {
    let service = Service::start("");
    let (workspace, mut client) = (&service.place.workspace, service.client());
    let jail = open(&mut client, workspace, None);
    let (printed, _) = sh(&mut client, &jail, "cat .env || echo none");
    assert!(printed.ends_with("none\n"), "{printed}");
    let secrets: [fn(&Path); 3] = [
        |path| fs::write(path, "SECRET").expect("own workspace"),
        |path| save(path, "SECRET"),
        |path| fs::write(path, "SECRET, longer").expect("own workspace"),
    ];
    for write in secrets {
        write(&workspace.join(".env"));
        // Control: the same on a name that no shield has.
        write(&workspace.join("plain"));
        let (printed, _) = sh(&mut client, &jail, "cat plain; cat .env 2>&1; mv .env x 2>&1; cat x .env 2>&1; true");
        assert!(printed.starts_with("SECRET"), "{printed}");
        assert_eq!(printed.matches("SECRET").count(), 1, "{printed}");
        assert!(printed.contains(".env: Permission denied"), "{printed}");
    }
    let links = service.place.workspace.join("id_rsa");
    fs::create_dir(workspace.join("keys")).expect("own workspace");
    fs::write(workspace.join("keys/one"), "SECRET").expect("own workspace");
    fs::hard_link(workspace.join("keys/one"), workspace.join("keys/other")).expect("own workspace");
    std::os::unix::fs::symlink("keys/one", links).expect("own workspace");
    let (printed, _) = sh(&mut client, &jail, "cat id_rsa keys/one keys/other; true");
    assert!(!printed.contains("SECRET"), "{printed}");
}

#[test]
fn instructions_that_appear_or_are_saved_again_are_protected_from_the_next_run() {
    let service = Service::start("");
    let (workspace, mut client) = (&service.place.workspace, service.client());
    let jail = open(&mut client, workspace, None);
    sh(&mut client, &jail, "true");
    for text in ["first\n", "second\n"] {
        save(&workspace.join("CLAUDE.md"), text);
        fs::create_dir_all(workspace.join(".vscode")).expect("own workspace");
        save(&workspace.join(".vscode/tasks.json"), text);
        save(&workspace.join("plain"), text);
        let change = |name: &str| format!("echo obey >>{name}; rm -f {name}; mv {name} moved");
        let (_, verdict) = sh(&mut client, &jail, &change("CLAUDE.md"));
        assert_ne!(verdict["exit_code"], 0, "{verdict}");
        sh(&mut client, &jail, &change(".vscode/tasks.json"));
        for name in ["CLAUDE.md", ".vscode/tasks.json"] {
            assert_eq!(fs::read_to_string(workspace.join(name)).expect("it is there still"), text, "{name}");
        }
        // Control: it can be read, and what no shield names can be changed.
        let (printed, _) = sh(&mut client, &jail, "cat CLAUDE.md; echo more >>plain");
        assert_eq!(printed, text);
        assert_eq!(fs::read_to_string(workspace.join("plain")).expect("own workspace"), format!("{text}more\n"));
    }
}

#[test]
fn without_a_view_the_jail_has_to_be_opened_again() {
    let service = Service::start("");
    let (workspace, mut client) = (&service.place.workspace, service.client());
    fs::write(workspace.join("plain"), "PLAIN").expect("own workspace");
    let jail = open(&mut client, workspace, Some("bare"));
    let (printed, _) = sh(&mut client, &jail, "cat plain");
    assert_eq!(printed, "PLAIN");
    fs::write(workspace.join(".env"), "SECRET").expect("own workspace");
    let run = json!({ "jail": jail, "argv": ["cat", ".env"] });
    assert_eq!(client.refused("run", run), "refused.jail_outdated");
    let again = open(&mut client, workspace, Some("bare"));
    let (printed, _) = sh(&mut client, &again, "cat plain .env; true");
    assert_eq!(printed, "PLAIN");
}
