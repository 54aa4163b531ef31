//! `mounts` of `jail.open`: directories beside the workspace.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::service::{Client, Service, workspace_of};
use crate::support::account;

fn beside(name: &str) -> PathBuf {
    let path = workspace_of(account::own(), &format!("{name}-{}", std::process::id()));
    fs::write(path.join("file"), "from beside\n").expect("own directory");
    path
}

fn asked(service: &Service, mounts: Value) -> Value {
    json!({ "profile": "untrusted", "workspace": service.place.workspace, "mounts": mounts })
}

fn sh(client: &mut Client, jail: &Value, script: &str) -> (String, Value) {
    client.run(json!({ "jail": jail, "argv": ["sh", "-c", script] }))
}

#[test]
fn a_directory_beside_the_workspace_can_be_read_and_not_written() {
    let service = Service::start("");
    let path = beside("shown");
    fs::write(path.join(".env"), "SECRET=1\n").expect("own directory");
    fs::write(path.join("tool"), "#!/bin/sh\necho a tool\n").expect("own directory");
    fs::set_permissions(path.join("tool"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("own file");
    fs::create_dir_all(service.place.workspace.join("deep/skills")).expect("own directory");
    service.place.write("deep/skills/own", "covered\n");
    let mut client = service.client();
    let mounts = json!([{ "path": path, "at": "/agent" }, { "path": path, "at": "/workspace/deep/skills" }]);
    let jail = client.call("jail.open", asked(&service, mounts))["jail"].clone();
    let (text, verdict) = sh(&mut client, &jail, "cat /agent/file deep/skills/file; /agent/tool; ls deep/skills");
    assert_eq!(text, "from beside\nfrom beside\na tool\nfile\ntool\n", "{verdict}");
    let tries = "for at in /agent deep/skills; do (echo x >$at/file) 2>/dev/null && echo written; \
                 (echo x >$at/new) 2>/dev/null && echo made; rm -f $at/file 2>/dev/null && echo removed; \
                 cat $at/.env 2>/dev/null && echo secret; done; echo x >workspace-file && echo control";
    assert_eq!(sh(&mut client, &jail, tries).0, "control\n");
    assert_eq!(fs::read_to_string(path.join("file")).ok().as_deref(), Some("from beside\n"));
    let write = json!({ "jail": jail, "path": "/agent/file", "content": "x" });
    assert!(client.refused("fs.write", write).starts_with("denied."));
    let read = json!({ "jail": jail, "path": "/agent/file" });
    assert_eq!(client.call("fs.read", read)["data"], "from beside\n", "positive control");
    fs::remove_dir_all(path).expect("own directory");
}

#[test]
fn what_is_no_workspace_is_not_shown_beside_one_either_nor_anything_where_something_is() {
    let service = Service::start("");
    let path = beside("refused");
    let link = path.with_extension("link");
    symlink(&path, &link).expect("own directory");
    let mut client = service.client();
    let mut refused =
        |path: &str, at: &str| client.refused("jail.open", asked(&service, json!([{ "path": path, "at": at }])));
    let good = path.to_str().expect("a test's own path").to_owned();
    for (path, code) in [
        ("/", "refused.workspace_forbidden"),
        ("/etc/ssl", "refused.workspace_forbidden"),
        ("/nonexistent-of-this-test", "refused.workspace_unusable"),
        (link.to_str().expect("as above"), "refused.workspace_link"),
    ] {
        assert_eq!(refused(path, "/agent"), code, "{path}");
    }
    for at in [
        "/",
        "agent",
        "/agent/..",
        "/agent/",
        "//agent",
        "/usr/share/x",
        "/etc",
        "/workspace",
        "/home/agent/x",
        "/proc/1",
        "/tmp/x",
        "/workspace/not/there",
        "/dev",
    ] {
        assert_eq!(refused(&good, at), "refused.mount_unusable", "{at}");
    }
    let twice = json!([{ "path": good, "at": "/agent" }, { "path": good, "at": "/agent/below" }]);
    assert_eq!(client.refused("jail.open", asked(&service, twice)), "refused.mount_unusable");
    let control = json!([{ "path": good, "at": "/agent" }, { "path": good, "at": "/openclaw/attachments" }]);
    let jail = client.call("jail.open", asked(&service, control))["jail"].clone();
    assert_eq!(sh(&mut client, &jail, "cat /openclaw/attachments/file").0, "from beside\n");
    for gone in [path.as_path(), link.as_path()] {
        let _ = fs::remove_dir_all(gone).or_else(|_| fs::remove_file(gone));
    }
}

#[test]
fn a_tier_that_mounts_nothing_refuses_them() {
    let service = Service::start("");
    let path = beside("bare");
    let mut client = service.client();
    let mut params = asked(&service, json!([{ "path": path, "at": "/agent" }]));
    params["tier"] = json!("bare");
    let code = client.refused("jail.open", params);
    assert!(["refused.mounts_not_supported", "refused.tier_not_for_others"].contains(&code.as_str()), "{code}");
    fs::remove_dir_all(path).expect("own directory");
}
