//! `narrow`: a request for less than the profile grants.

use std::time::Duration;

use serde_json::{Value, json};

use crate::service::{Client, Service};

fn run(service: &Service, client: &mut Client, script: &str, narrow: Value) -> (String, Value) {
    let asked = json!({
        "argv": ["sh", "-c", script], "profile": "untrusted", "workspace": service.place.workspace, "narrow": narrow
    });
    client.run(asked)
}

#[test]
fn what_is_taken_away_is_not_there_and_nothing_else_is_missing() {
    let service = Service::start("");
    service.place.write("notes/private", "nobody's business\n");
    service.place.write("tools/one", "as it was\n");
    let mut client = service.client();
    let script = "ulimit -n; df -k /tmp | tail -1 | { read -r _ size _; echo $size; }; cat notes/private; \
                  echo x >tools/one; echo x >tools/two; echo x >free && echo written";
    let (whole, plan) = run(&service, &mut client, script, json!({}));
    assert!(whole.contains("nobody's business\n") && whole.ends_with("written\n"), "{whole}");
    assert_eq!(service.place.read("tools/two").as_deref(), Some("x\n"), "positive control");
    service.place.write("tools/one", "as it was\n");
    let less = json!({ "open_files": 99, "tmp": 1 << 20, "hide": ["notes/*"], "protect": ["tools", "tools/**"] });
    let (printed, verdict) = run(&service, &mut client, script, less);
    assert!(printed.starts_with("99\n") && printed.ends_with("\nwritten\n"), "{printed} {verdict}");
    if plan["tier"] != "bare" {
        assert!(printed.contains("\n1024\n"), "{printed}");
    }
    assert!(!printed.contains("nobody's business"), "{printed}");
    assert_eq!(service.place.read("tools/one").as_deref(), Some("as it was\n"));
    assert_ne!(plan["plan"], verdict["plan"]);
    let (_, cut) = run(&service, &mut client, "echo one; echo two", json!({ "output": 4 }));
    assert_eq!(cut["output"]["truncated"], true, "{cut}");
}

#[test]
fn a_jail_made_ahead_for_more_is_not_used_for_less_nor_the_other_way_round() {
    let service = Service::start("");
    let mut client = service.client();
    let write = "(echo x >file) 2>/dev/null && echo written || echo kept";
    for (narrow, wanted) in [
        (json!({}), "written\n"),
        (json!({ "workspace": "ro" }), "kept\n"),
        (json!({ "workspace": "ro" }), "kept\n"),
        (json!({}), "written\n"),
        (json!({ "workspace": "ro", "open_files": 64 }), "kept\n"),
    ] {
        assert_eq!(run(&service, &mut client, write, narrow.clone()).0, wanted, "{narrow}");
        // By then the next one stands.
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_jail_that_stays_keeps_what_it_was_opened_with_and_its_file_tools_too() {
    let service = Service::start("");
    service.place.write("file", "as it was\n");
    let mut client = service.client();
    let asked =
        json!({ "profile": "untrusted", "workspace": service.place.workspace, "narrow": { "workspace": "ro" } });
    let jail = client.call("jail.open", asked)["jail"].clone();
    assert_eq!(client.call("fs.read", json!({ "jail": jail, "path": "file" }))["data"], "as it was\n");
    let code = client.refused("fs.write", json!({ "jail": jail, "path": "file", "content": "changed" }));
    assert!(code.starts_with("denied."), "{code}");
    let (_, verdict) = client.run(json!({ "jail": jail, "argv": ["sh", "-c", "echo changed >file"] }));
    assert_ne!(verdict["exit_code"], 0);
    assert_eq!(service.place.read("file").as_deref(), Some("as it was\n"));
    let again = json!({ "jail": jail, "argv": ["true"], "narrow": {} });
    assert_eq!(client.refused("run", again), "refused.jail_differs");
}

#[test]
fn words_that_would_add_or_make_no_sense_are_refused() {
    let service = Service::start("");
    let mut client = service.client();
    let mut code = |narrow: Value| {
        let asked =
            json!({ "argv": ["true"], "profile": "untrusted", "workspace": service.place.workspace, "narrow": narrow });
        client.refused("run", asked)
    };
    for narrow in [json!({ "workspace": "rw" }), json!({ "memory": 0 }), json!({ "read": ["/root"] })] {
        assert_eq!(code(narrow.clone()), "invalid.parameters", "{narrow}");
    }
    for narrow in
        [json!({ "hide": ["../outside"] }), json!({ "protect": ["a\u{0}b"] }), json!({ "hide": vec!["x"; 65] })]
    {
        assert_eq!(code(narrow.clone()), "refused.request_invalid", "{narrow}");
    }
}
