//! `fs.*`: work with files by a process of the jail.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use serde_json::{Value, json};

use crate::service::{Client, Service};

/// A jail on the service's workspace, and its client.
fn open(service: &Service) -> (Client, String) {
    let mut client = service.client();
    let asked = json!({ "profile": "untrusted", "workspace": service.place.workspace });
    let jail = client.call("jail.open", asked)["jail"].as_str().expect("a jail has an id").to_owned();
    (client, jail)
}

fn with(jail: &str, mut params: Value) -> Value {
    params["jail"] = json!(jail);
    params
}

#[test]
fn files_are_written_read_looked_at_listed_renamed_and_removed() {
    let service = Service::start("");
    let (mut client, jail) = open(&service);
    let mut call = |method: &str, params: Value| client.call(method, with(&jail, params));
    call("fs.mkdir", json!({ "path": "deep/er", "parents": true }));
    call("fs.write", json!({ "path": "deep/er/text", "content": "one\ntwo\n" }));
    call("fs.create", json!({ "path": "deep/er/bytes", "content": { "base64": "/wD+" } }));
    assert_eq!(service.place.read("deep/er/text").as_deref(), Some("one\ntwo\n"));
    assert_eq!(
        call("fs.read", json!({ "path": "deep/er/text" })),
        json!({ "data": "one\ntwo\n", "size": 8, "end": true })
    );
    let part = call("fs.read", json!({ "path": "deep/er/text", "offset": 4, "length": 2 }));
    assert_eq!(part, json!({ "data": "tw", "size": 8, "end": false }));
    assert_eq!(call("fs.read", json!({ "path": "deep/er/bytes" }))["base64"], "/wD+");
    let facts = call("fs.stat", json!({ "path": "deep/er/text" }));
    assert_eq!(
        (facts["kind"].as_str(), facts["size"].as_u64(), facts["mode"].as_u64()),
        (Some("file"), Some(8), Some(0o644))
    );
    let listed = call("fs.list", json!({ "path": "deep/er" }));
    let names: Vec<&str> =
        listed["entries"].as_array().expect("a list").iter().filter_map(|entry| entry["name"].as_str()).collect();
    assert_eq!((names.as_slice(), listed["more"].as_bool()), (["bytes", "text"].as_slice(), Some(false)));
    call("fs.rename", json!({ "from": "deep/er/text", "to": "deep/moved" }));
    assert_eq!(service.place.read("deep/moved").as_deref(), Some("one\ntwo\n"));
    call("fs.remove", json!({ "path": "deep", "recursive": true }));
    assert!(!service.place.holds("deep"));
    // In private places too, which only the jail has.
    call("fs.write", json!({ "path": "/tmp/private", "content": "x" }));
    assert_eq!(client.run(json!({ "jail": jail, "argv": ["cat", "/tmp/private"] })).0, "x");
}

#[test]
fn a_look_has_the_facts_and_the_beginning_of_a_file_in_one_answer() {
    let service = Service::start("");
    let (mut client, jail) = open(&service);
    let mut call = |method: &str, params: Value| client.call(method, with(&jail, params));
    let content = |answer: &Value| (answer["kind"].clone(), answer["size"].clone(), answer["content"].clone());
    let written = call("fs.write", json!({ "path": "text", "content": "one\ntwo\n", "look": 64 }));
    let whole = json!({ "data": "one\ntwo\n", "size": 8, "end": true });
    assert_eq!(content(&written), (json!("file"), json!(8), whole.clone()));
    assert_eq!(content(&call("fs.stat", json!({ "path": "text", "look": 64 }))).2, whole);
    let part = json!({ "data": "one", "size": 8, "end": false });
    assert_eq!(content(&call("fs.stat", json!({ "path": "text", "look": 3 }))).2, part);
    assert!(content(&call("fs.stat", json!({ "path": "text" }))).2.is_null(), "only where it is asked for");
    let created = call("fs.create", json!({ "path": "new", "content": "x", "look": 0 }));
    assert_eq!(content(&created).2, json!({ "data": "", "size": 1, "end": false }));
    // What has no content, or none that may be read, is what it is all the same.
    assert_eq!(content(&call("fs.stat", json!({ "path": ".", "look": 64 }))).2, json!(null));
    let device = call("fs.stat", json!({ "path": "/dev/zero", "look": 64 }));
    assert_eq!((&device["kind"], &device["content"]), (&json!("other"), &json!(null)));
    let unreadable = call("fs.write", json!({ "path": "closed", "content": "x", "mode": 0o200, "look": 64 }));
    assert_eq!((&unreadable["kind"], &unreadable["content"]), (&json!("file"), &json!(null)));
}

#[test]
fn modes_and_owners_are_those_that_a_user_expects_and_writing_is_all_or_nothing() {
    let service = Service::start("");
    let (mut client, jail) = open(&service);
    service.place.write_program("script", "old");
    fs::set_permissions(service.place.workspace.join("script"), fs::Permissions::from_mode(0o750)).expect("own file");
    let before = fs::metadata(service.place.workspace.join("script")).expect("it is there");
    client.call("fs.write", with(&jail, json!({ "path": "script", "content": "new" })));
    let after = fs::metadata(service.place.workspace.join("script")).expect("it is there");
    assert_eq!((after.mode() & 0o7777, after.uid(), after.gid()), (0o750, before.uid(), before.gid()));
    assert_ne!(after.ino(), before.ino(), "it was put in the old one's place, not written over it");
    client.call("fs.create", with(&jail, json!({ "path": "exact", "content": "", "mode": 0o600 })));
    assert_eq!(fs::metadata(service.place.workspace.join("exact")).expect("it is there").mode() & 0o7777, 0o600);
    client.call("fs.write", with(&jail, json!({ "path": "plain", "content": "", "mode": 0o4755 })));
    assert_eq!(fs::metadata(service.place.workspace.join("plain")).expect("it is there").mode() & 0o7777, 0o755);
    // More than the jail's private disk holds: nothing of it stays.
    let large = "x".repeat(7 << 20);
    client.call("fs.write", with(&jail, json!({ "path": "large", "content": large })));
    assert_eq!(service.place.read("large").map(|text| text.len()), Some(7 << 20));
    let read = client.call("fs.read", with(&jail, json!({ "path": "large" })));
    assert_eq!((read["data"].as_str().map(str::len), read["end"].as_bool()), (Some(4 << 20), Some(false)));
    let left: Vec<_> = fs::read_dir(&service.place.workspace)
        .expect("own directory")
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left.len(), 4, "nothing else is left: {left:?}");
}

#[test]
fn what_a_command_could_not_do_a_file_tool_cannot_either_and_says_so_in_one_line() {
    let service = Service::start("");
    service.place.make_repository();
    service.place.write(".env", "TOKEN=1");
    let (mut client, jail) = open(&service);
    symlink("/etc/shadow", service.place.workspace.join("out")).expect("own directory");
    symlink("nowhere", service.place.workspace.join("dangling")).expect("own directory");
    let mut denied = |method: &str, params: Value| {
        let id = client.ask(method, with(&jail, params));
        let answer = client.answer(id);
        let error = &answer["error"];
        let code = error["data"]["code"].as_str().unwrap_or_else(|| panic!("{method}: {answer}")).to_owned();
        (code, error["message"].as_str().unwrap_or_default().to_owned())
    };
    let one =
        |code: &str| ["denied.eacces", "denied.enoent", "denied.eperm", "denied.erofs", "denied.ebusy"].contains(&code);
    for (method, params) in [
        ("fs.read", json!({ "path": "/etc/shadow" })),
        ("fs.read", json!({ "path": "out" })),
        ("fs.read", json!({ "path": "../../../../../../etc/shadow" })),
        ("fs.read", json!({ "path": "/proc/1/root/etc/shadow" })),
        ("fs.read", json!({ "path": ".env" })),
        ("fs.write", json!({ "path": "/etc/clawjail-new", "content": "" })),
        ("fs.write", json!({ "path": "out", "content": "" })),
        ("fs.write", json!({ "path": ".git/hooks/pre-commit", "content": "#!/bin/sh\n" })),
        ("fs.create", json!({ "path": ".git/hooks/post-checkout", "content": "" })),
        ("fs.create", json!({ "path": "SOUL.md", "content": "" })),
        ("fs.write", json!({ "path": ".git/config", "content": "" })),
        ("fs.rename", json!({ "from": "README", "to": "SOUL.md" })),
        ("fs.rename", json!({ "from": ".git", "to": "git" })),
        ("fs.remove", json!({ "path": ".git/config" })),
        ("fs.mkdir", json!({ "path": "/root/new" })),
        ("fs.list", json!({ "path": "/root" })),
    ] {
        let shown = params.to_string();
        let (code, message) = denied(method, params);
        assert!(one(&code), "{method} {shown}: {code}: {message}");
        assert!(!message.contains('\n') && !message.is_empty(), "{message}");
    }
    assert!(denied("fs.read", json!({ "path": "out" })).1.contains("a link to `/etc/shadow`"));
    assert_eq!(denied("fs.create", json!({ "path": "README", "content": "" })).0, "denied.eexist");
    assert_eq!(denied("fs.remove", json!({ "path": ".git/objects" })).0, "denied.enotempty");
    assert_eq!(denied("fs.read", json!({ "path": ".git" })).0, "denied.eisdir");
    assert_eq!(denied("fs.read", json!({ "path": "missing" })).0, "denied.enoent");
    assert_eq!(denied("fs.read", json!({ "path": "" })).0, "refused.path_invalid");
    assert_eq!(denied("fs.read", json!({ "path": "a\u{0}b" })).0, "refused.path_invalid");
    // Through a link to nowhere nothing is made.
    assert_eq!(denied("fs.write", json!({ "path": "dangling", "content": "" })).0, "denied.enoent");
    assert_eq!(client.run(json!({ "jail": jail, "argv": ["git", "status", "--short"] })).1["exit_code"], 0);
    // Positive control: what is not shielded goes.
    client.call("fs.write", with(&jail, json!({ "path": "README", "content": "changed" })));
    assert_eq!(service.place.read("README").as_deref(), Some("changed"));
}

#[test]
fn a_pipe_or_a_device_does_not_make_the_service_wait() {
    let service = Service::start("");
    let (mut client, jail) = open(&service);
    nix::unistd::mkfifo(&service.place.workspace.join("pipe"), nix::sys::stat::Mode::from_bits_truncate(0o666))
        .expect("own directory");
    for path in ["pipe", "/dev/zero", "/dev/tty"] {
        let code = client.refused("fs.read", with(&jail, json!({ "path": path })));
        assert!(code.starts_with("denied."), "{path}: {code}");
    }
    let code = client.refused("fs.write", with(&jail, json!({ "path": "pipe", "content": "x" })));
    assert_eq!(code, "denied.einval");
}

#[test]
fn a_hundred_at_once_are_answered() {
    let service = Service::start("");
    let (mut client, jail) = open(&service);
    let ids: Vec<i64> = (0..100)
        .map(|number| client.ask("fs.write", with(&jail, json!({ "path": format!("file{number}"), "content": "x" }))))
        .collect();
    let mut answered = std::collections::BTreeSet::new();
    while answered.len() < ids.len() {
        let line = client.line();
        assert!(line.get("result").is_some(), "{line}");
        answered.insert(line["id"].as_i64().expect("an id"));
    }
    let listed = client.call("fs.list", with(&jail, json!({ "path": "." })));
    assert_eq!(listed["entries"].as_array().map(Vec::len), Some(100));
}
