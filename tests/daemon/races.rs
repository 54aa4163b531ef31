//! `fs.*` while somebody changes what it works on: names that become links, shielded files under further names, odd names, huge
//! directories, a disk that is full.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::service::{Client, Service};

fn open(service: &Service, profile: &str) -> (Client, String) {
    let mut client = service.client();
    let asked = json!({ "profile": profile, "workspace": service.place.workspace });
    let jail = client.call("jail.open", asked)["jail"].as_str().expect("a jail has an id").to_owned();
    (client, jail)
}

/// What it came to: `done`, or the code of the error.
fn code(client: &mut Client, method: &str, jail: &str, mut params: Value) -> (String, String) {
    params["jail"] = json!(jail);
    let id = client.ask(method, params);
    let answer = client.answer(id);
    let code = answer["error"]["data"]["code"].as_str().unwrap_or("done").to_owned();
    (code, answer["error"]["message"].as_str().unwrap_or_default().to_owned())
}

/// Every file below, with what it holds.
fn contents(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).expect("own directory").flatten() {
        if entry.path().is_dir() {
            found.extend(contents(&entry.path()));
        } else {
            found.push((entry.path(), fs::read(entry.path()).unwrap_or_default()));
        }
    }
    found.sort();
    found
}

#[test]
fn a_directory_that_turns_into_a_link_and_back_leads_nowhere() {
    let service = Service::start("");
    service.place.make_repository();
    service.place.write(".env", "TOKEN=secret-of-the-host");
    service.place.mkdir("real");
    let outside = service.place.outside.join("elsewhere");
    fs::create_dir(&outside).expect("own directory");
    fs::write(outside.join("kept"), "kept").expect("own directory");
    let top = service.place.workspace.clone();
    symlink(".git/hooks", top.join("inward")).expect("own directory");
    symlink(&outside, top.join("outward")).expect("own directory");
    let (hooks, beyond) = (contents(&top.join(".git")), contents(&outside));
    let (mut client, jail) = open(&service, "untrusted");
    let over = AtomicBool::new(false);
    let done = std::thread::scope(|scope| {
        scope.spawn(|| {
            // As fast as it goes: the directory, a link to what is protected, the directory, a link out.
            let mut turn = 0;
            while !over.load(Ordering::Relaxed) {
                let link = top.join(if turn % 2 == 0 { "inward" } else { "outward" });
                let _ = fs::rename(top.join("real"), top.join("aside"));
                let _ = fs::rename(&link, top.join("real"));
                let _ = fs::rename(top.join("real"), &link);
                let _ = fs::rename(top.join("aside"), top.join("real"));
                turn += 1;
            }
        });
        let (mut done, began) = (0, Instant::now());
        for round in 0.. {
            let name = format!("real/file{}", round % 7);
            let came = [
                code(&mut client, "fs.write", &jail, json!({ "path": name, "content": "x" })),
                code(&mut client, "fs.create", &jail, json!({ "path": "real/pre-commit", "content": "x" })),
                code(&mut client, "fs.rename", &jail, json!({ "from": name, "to": "real/post-checkout" })),
                code(&mut client, "fs.mkdir", &jail, json!({ "path": "real/deep", "parents": true })),
                code(&mut client, "fs.remove", &jail, json!({ "path": "real/deep", "recursive": true })),
                code(&mut client, "fs.remove", &jail, json!({ "path": "real/kept" })),
                code(&mut client, "fs.remove", &jail, json!({ "path": "real/pre-commit" })),
            ];
            done += came.iter().filter(|(code, _)| code == "done").count();
            assert!(came.iter().all(|(code, _)| code == "done" || code.starts_with("denied.")), "{came:?}");
            if round >= 30 && done > 20 || began.elapsed() > Duration::from_secs(15) {
                break;
            }
        }
        over.store(true, Ordering::Relaxed);
        done
    });
    assert_eq!(contents(&top.join(".git")), hooks, "what is protected is as it was");
    assert_eq!(contents(&outside), beyond, "what is outside is as it was");
    assert!(done > 0, "what is allowed was done meanwhile");
}

#[test]
fn what_is_hidden_or_protected_is_so_by_any_name_that_it_has() {
    let service = Service::start("");
    service.place.make_repository();
    service.place.write(".env", "TOKEN=secret-of-the-host");
    let top = &service.place.workspace;
    fs::hard_link(top.join(".env"), top.join("alias")).expect("own directory");
    fs::hard_link(top.join(".git/config"), top.join("settings")).expect("own directory");
    symlink(".env", top.join("link")).expect("own directory");
    let before = fs::read(top.join(".git/config")).expect("git made it");
    let (mut client, jail) = open(&service, "untrusted");
    for name in [".env", "alias", "link", "./x/../.env", "/workspace/alias"] {
        let (code, message) = code(&mut client, "fs.read", &jail, json!({ "path": name }));
        assert!(code.starts_with("denied."), "{name}: {code}: {message}");
    }
    for name in ["alias", "settings", ".git/config"] {
        for (method, params) in [
            ("fs.write", json!({ "path": name, "content": "x" })),
            ("fs.remove", json!({ "path": name })),
            ("fs.rename", json!({ "from": name, "to": "free" })),
            ("fs.rename", json!({ "from": "README", "to": name })),
        ] {
            let (code, message) = code(&mut client, method, &jail, params);
            assert!(code.starts_with("denied."), "{method} {name}: {code}: {message}");
        }
    }
    assert_eq!(service.place.read(".env").as_deref(), Some("TOKEN=secret-of-the-host"));
    assert_eq!(fs::read(top.join(".git/config")).expect("it is there"), before);
    // Positive control: a name like these that is nobody's shield.
    assert_eq!(code(&mut client, "fs.write", &jail, json!({ "path": "envy", "content": "x" })).0, "done");
    assert_eq!(code(&mut client, "fs.rename", &jail, json!({ "from": "README", "to": "free" })).0, "done");
}

#[test]
fn names_with_newlines_and_no_text_at_all_work_and_are_told_in_one_line() {
    let service = Service::start("");
    let (mut client, jail) = open(&service, "untrusted");
    let odd = [&b"line\nbreak"[..], b"\xff\xfe", b"esc\x1b[2J", b"-rf", b" ", b"quote\"\\"];
    for name in odd {
        let path = match std::str::from_utf8(name) {
            Ok(text) => json!(text),
            Err(_) => json!({ "base64": "//4=" }),
        };
        assert_eq!(code(&mut client, "fs.create", &jail, json!({ "path": path, "content": "x" })).0, "done", "{path}");
        let (code, message) = code(&mut client, "fs.create", &jail, json!({ "path": path, "content": "x" }));
        assert_eq!(code, "denied.eexist", "{path}");
        assert!(!message.chars().any(char::is_control), "{message:?}");
        assert!(service.place.workspace.join(std::ffi::OsStr::from_bytes(name)).exists(), "{path}");
    }
    let listed = client.call("fs.list", json!({ "jail": jail, "path": "." }));
    let names: Vec<&Value> = listed["entries"].as_array().expect("a list").iter().map(|entry| &entry["name"]).collect();
    assert_eq!(names.len(), odd.len());
    assert!(names.contains(&&json!({ "base64": "//4=" })) && names.contains(&&json!("line\nbreak")), "{names:?}");
}

#[test]
fn a_huge_directory_is_listed_in_parts_and_sockets_are_no_files() {
    let service = Service::start("");
    service.place.mkdir("many");
    for number in 0..9000 {
        fs::write(service.place.workspace.join(format!("many/{number:05}")), "").expect("own directory");
    }
    let _listener = UnixListener::bind(service.place.workspace.join("socket")).expect("own directory");
    let (mut client, jail) = open(&service, "untrusted");
    let (mut names, mut after) = (Vec::new(), Value::Null);
    loop {
        let mut asked = json!({ "jail": jail, "path": "many" });
        if !after.is_null() {
            asked["after"] = after.clone();
        }
        let part = client.call("fs.list", asked);
        names.extend(part["entries"].as_array().expect("a list").iter().map(|entry| entry["name"].clone()));
        if part["more"] == false {
            break;
        }
        after = names.last().expect("a part has some").clone();
    }
    let expected: Vec<Value> = (0..9000).map(|number| json!(format!("{number:05}"))).collect();
    assert!(names == expected, "{} names", names.len());
    assert!(code(&mut client, "fs.read", &jail, json!({ "path": "socket" })).0.starts_with("denied."));
    assert_eq!(code(&mut client, "fs.write", &jail, json!({ "path": "socket", "content": "x" })).0, "denied.einval");
    assert_eq!(client.call("fs.stat", json!({ "jail": jail, "path": "socket" }))["kind"], "other");
}

#[test]
fn a_disk_that_is_full_is_told_and_nothing_half_written_stays() {
    let service = Service::start("");
    let profiles = service.directory.join("profiles");
    fs::create_dir(&profiles).expect("own directory");
    let text =
        "summary = \"Little room.\"\nextends = \"untrusted\"\n[filesystem]\ntmp = { size = \"1M\", execute = true }\n";
    fs::write(profiles.join("small.toml"), text).expect("own directory");
    for path in [profiles.clone(), profiles.join("small.toml")] {
        let mode = if path.is_dir() { 0o755 } else { 0o644 };
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("own file");
    }
    service.client().call("reload", json!({}));
    let (mut client, jail) = open(&service, "small");
    let some = json!({ "path": "/tmp/some", "content": "x".repeat(100 << 10) });
    assert_eq!(code(&mut client, "fs.write", &jail, some).0, "done");
    for method in ["fs.write", "fs.create"] {
        let large = json!({ "path": "/tmp/large", "content": "x".repeat(3 << 20) });
        assert_eq!(code(&mut client, method, &jail, large).0, "denied.enospc", "{method}");
    }
    let replaced = json!({ "path": "/tmp/some", "content": "y".repeat(3 << 20) });
    assert_eq!(code(&mut client, "fs.write", &jail, replaced).0, "denied.enospc");
    let (text, _) = client.run(json!({ "jail": jail, "argv": ["sh", "-c", "ls -A /tmp; head -c 3 /tmp/some"] }));
    assert_eq!(text, "some\nxxx", "the old one is whole, and nothing is beside it");
}
