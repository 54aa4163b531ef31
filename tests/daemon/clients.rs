//! The clients in examples/, in the sessions that come with them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::installed;
use crate::service::Service;

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/clients").join(path)
}

/// Runs a session against a service of its own: what it said.
fn session(program: &str, script: &str) -> (Service, String) {
    let service = Service::start("[ledger]\npath = \"@OUTSIDE/ledger\"\n");
    let mut command = Command::new(program);
    command.arg(example(script)).args([&service.socket, &service.place.workspace]);
    // Without this the module would leave its compiled form in the sources.
    let ended = command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("the program is installed");
    let (said, errors) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{said}\n{errors}");
    let said = said.into_owned();
    (service, said)
}

#[test]
fn an_agent_in_python_serves_fetches_writes_reads_and_is_denied() {
    if !installed("python3") {
        return;
    }
    let (service, said) = session("python3", "python/session.py");
    assert!(said.contains("fetched: <h1>made by an agent</h1>\n"), "{said}");
    assert!(said.contains("denied.eacces: `SOUL.md`: Permission denied\n"), "{said}");
    assert!(said.contains("verdict: exited 2 "), "{said}");
    assert!(said.contains("recorded: 3 denials"), "{said}");
    assert_eq!(service.place.read("notes/plan.txt").as_deref(), Some("1. serve\n2. fetch\n"));
    assert!(!service.place.holds("SOUL.md"));
    assert_eq!(service.client().call("jail.list", serde_json::json!({}))["jails"], serde_json::json!([]));
}

#[test]
fn an_agent_in_node_runs_side_by_side_types_aborts_and_is_denied() {
    if !installed("node") {
        return;
    }
    let (service, said) = session("node", "node/session.mjs");
    assert!(said.contains("side by side: one two three\n"), "{said}");
    assert!(said.contains("aborted: killed\n"), "{said}");
    assert!(said.ends_with("ended: { jails: 1, runs: 0 }\n"), "{said}");
    assert_eq!(std::fs::read(service.place.workspace.join("data.bin")).expect("it was written"), [255, 0, 254]);
    assert!(!service.place.holds(".git"));
}

#[test]
fn the_client_in_python_keeps_kinds_of_errors_apart_and_finds_a_run_again() {
    if !installed("python3") {
        return;
    }
    let service = Service::start("[limits]\nruns_per_minute = 6\n");
    let script = "
import sys
sys.path.insert(0, sys.argv[1])
import clawjail
client = clawjail.Client(sys.argv[2])
def said(error, work):
    try:
        work()
    except error as said:
        return said
    raise SystemExit(f'no {error}')
at = dict(workspace=sys.argv[3], profile='untrusted')
assert said(clawjail.Invalid, lambda: client.call('nothing')).code == 'invalid.method'
run = client.start(['sh', '-c', 'echo early; exec sleep 1000'], detach=True, **at)
assert next(iter(run)) == ('stdout', b'early\\n')
client.close()
client = clawjail.Client(sys.argv[2])
again = client.attach(run.id)
assert next(iter(again)) == ('stdout', b'early\\n')
again.signal('KILL')
assert again.finish().verdict['outcome'] == 'killed'
assert client.run(['true'], input='nobody reads this', **at).exit_code == 0
refused = said(clawjail.Refused, lambda: [client.run(['true'], **at) for _ in range(9)])
assert refused.code == 'refused.rate' and 0 < refused.retry_after <= 10, (refused.code, refused.retry_after)
print('sound')
";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(example("python")).args([&service.socket, &service.place.workspace]);
    let ended = command.env("PYTHONDONTWRITEBYTECODE", "1").output().expect("the program is installed");
    assert_eq!(String::from_utf8_lossy(&ended.stdout), "sound\n", "{}", String::from_utf8_lossy(&ended.stderr));
}
