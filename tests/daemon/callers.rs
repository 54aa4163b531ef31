//! Who may do what: decided by who they are, as the kernel says.

use std::fs;

use serde_json::json;

use crate::as_root;
use crate::service::{Service, somebody_else, workspace_of};
use crate::support::account;

/// The two ordinary users, with different grants.
pub fn two_grants() -> String {
    let ordinary = account::ordinary();
    format!(
        "[[caller]]\nuser = \"{}\"\nrole = \"operator\"\nprofiles = [\"untrusted\", \"readonly\"]\n\
         [[caller]]\nuser = \"nobody\"\nrole = \"guest\"\nprofiles = [\"readonly\"]\n",
        ordinary.name
    )
}

#[test]
fn a_caller_is_told_who_they_are_and_what_is_granted() {
    let service = Service::start("");
    let pong = service.client().call("ping", json!({}));
    assert_eq!((pong["uid"].as_u64(), pong["role"].as_str()), (Some(account::own().uid.into()), Some("admin")));
    assert_eq!(pong["profiles"], json!(["*"]));
}

#[test]
fn two_users_of_one_service_have_what_is_granted_to_each() {
    if !as_root("two users of one service") {
        return;
    }
    let service = Service::start(&two_grants());
    let (ordinary, other) = (account::ordinary(), somebody_else());
    let (first, second) = (workspace_of(ordinary, "grants.first"), workspace_of(&other, "grants.second"));
    for (account, workspace, profile, granted) in [
        (ordinary, &first, "untrusted", true),
        (ordinary, &first, "readonly", true),
        (ordinary, &first, "trusted", false),
        (&other, &second, "readonly", true),
        (&other, &second, "untrusted", false),
    ] {
        let ran = service.run_as(account, workspace, &["--profile", profile], &["cat", "/proc/self/cmdline"]);
        let errors = String::from_utf8_lossy(&ran.stderr);
        let expected = if granted { Some(0) } else { Some(126) };
        assert_eq!(ran.status.code(), expected, "{profile} for {}: {errors}", account.name);
        let line = format!("clawjail: refused: profile `{profile}` is not granted to user `{}`", account.name);
        assert_eq!(errors.starts_with(&line), !granted, "{errors}");
    }
}

#[test]
fn a_caller_of_root_s_service_works_with_their_own_rights_and_in_nobody_else_s_directory() {
    if !as_root("a caller of root's service") {
        return;
    }
    let service = Service::start(&two_grants());
    let (ordinary, other) = (account::ordinary(), somebody_else());
    let (own, foreign) = (workspace_of(ordinary, "rights.own"), workspace_of(&other, "rights.foreign"));
    let mut client = service.client_as(ordinary);
    let (_, verdict) = client.run(json!({ "argv": ["touch", "new"], "profile": "untrusted", "workspace": own }));
    assert_eq!(
        (verdict["exit_code"].as_i64(), verdict["caller"]["uid"].as_u64()),
        (Some(0), Some(ordinary.uid.into()))
    );
    let made = fs::metadata(own.join("new")).expect("the command made it");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), ordinary.uid);
    let run = |workspace: &std::path::Path| json!({ "argv": ["true"], "profile": "untrusted", "workspace": workspace });
    assert_eq!(client.refused("run", run(&foreign)), "refused.workspace_not_owned");
    // A directory that only root may enter cannot be looked into by way of the service.
    let closed = foreign.parent().expect("it has one").join("rights.closed");
    fs::create_dir(&closed).expect("own directory");
    fs::create_dir(closed.join("inside")).expect("own directory");
    std::os::unix::fs::chown(closed.join("inside"), Some(ordinary.uid), None).expect("root can give");
    fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("own directory");
    assert_eq!(client.refused("run", run(&closed.join("inside"))), "refused.workspace_unusable");
}

#[test]
fn whoever_is_not_named_can_do_nothing() {
    if !as_root("a stranger") {
        return;
    }
    let service = Service::start("");
    let other = somebody_else();
    let mut client = service.client_as(&other);
    assert_eq!(client.call("ping", json!({}))["role"], "none");
    let run = json!({ "argv": ["true"], "workspace": workspace_of(&other, "stranger"), "profile": "untrusted" });
    assert_eq!(client.refused("run", run), "refused.not_granted");
    for (method, params) in
        [("ps", json!({})), ("reload", json!({})), ("run.signal", json!({ "run": "x", "signal": 9 }))]
    {
        assert_eq!(client.refused(method, params), "refused.not_granted", "{method}");
    }
}

#[test]
fn a_caller_cannot_say_that_they_are_somebody_else() {
    let service = Service::start("");
    let mut client = service.client();
    for member in ["uid", "caller", "user", "role"] {
        let mut params = json!({ "argv": ["true"], "workspace": "/tmp", "profile": "untrusted" });
        params[member] = json!(0);
        assert_eq!(client.refused("run", params), "invalid.parameters", "{member}");
    }
}

#[test]
fn runs_of_others_can_be_neither_seen_nor_signalled() {
    if !as_root("runs of others") {
        return;
    }
    let service = Service::start(&two_grants());
    let (ordinary, other) = (account::ordinary(), somebody_else());
    let workspace = workspace_of(ordinary, "others");
    let mut owner = service.client_as(ordinary);
    let run = json!({ "argv": ["sleep", "60"], "profile": "untrusted", "workspace": workspace });
    let run = owner.call("run", run)["run"].as_str().expect("an id").to_owned();
    let mut guest = service.client_as(&other);
    assert_eq!(guest.call("ps", json!({}))["runs"], json!([]));
    for (method, params) in [
        ("run.signal", json!({ "run": run, "signal": "KILL" })),
        ("run.stdin", json!({ "run": run, "data": "x" })),
        ("run.resize", json!({ "run": run, "rows": 1, "columns": 1 })),
        ("run.attach", json!({ "run": run })),
    ] {
        assert_eq!(guest.refused(method, params), "refused.unknown_run", "{method}");
    }
    // Those who may, can: the owner, and an admin.
    assert_eq!(owner.call("ps", json!({}))["runs"][0]["run"], json!(run));
    assert_eq!(service.client().call("ps", json!({}))["runs"][0]["run"], json!(run));
    owner.call("run.signal", json!({ "run": run, "signal": "TERM" }));
    assert_eq!(owner.verdict(&run)["signal"], 15);
}

#[test]
fn a_reload_counts_for_those_who_are_connected_and_a_broken_file_changes_nothing() {
    if !as_root("a reload") {
        return;
    }
    let service = Service::start(&two_grants());
    let other = somebody_else();
    let run = json!({ "argv": ["true"], "profile": "untrusted", "workspace": workspace_of(&other, "reload") });
    let mut client = service.client_as(&other);
    assert_eq!(client.refused("run", run.clone()), "refused.profile_not_granted");
    assert_eq!(client.refused("reload", json!({})), "refused.role");
    let mut admin = service.client();
    service.reconfigure("[[caller]]\nuser = \"nobody\"\nrole = \"operator\"\nprofile = [\"untrusted\"]\n");
    let id = admin.ask("reload", json!({}));
    let answer = admin.answer(id);
    let message = answer["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("clawjail.toml:6:1: unknown key `profile`") && message.contains("`profiles`"), "{answer}");
    assert_eq!(client.refused("run", run.clone()), "refused.profile_not_granted");
    service.reconfigure("[[caller]]\nuser = \"nobody\"\nrole = \"operator\"\nprofiles = [\"untrusted\"]\n");
    admin.call("reload", json!({}));
    assert_eq!(client.run(run).1["exit_code"], 0);
}
