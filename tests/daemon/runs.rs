//! Runs by way of a service: as those that `clawjail run` makes by itself.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::service::{Client, PATIENCE, Service, comm};
use crate::support::account;

fn params(service: &Service, argv: &[&str]) -> Value {
    json!({ "argv": argv, "profile": "untrusted", "workspace": service.place.workspace })
}

#[test]
fn the_supervisor_has_no_privilege_of_any_kind() {
    let service = Service::start("");
    // The socket is there before the supervisor has given everything up; an answer comes only afterwards.
    service.client().call("ping", json!({}));
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.process("clawjail-super")));
    let status = status.expect("it runs");
    let field = |name: &str| {
        let line =
            status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {status}"));
        line.trim_start_matches(':').split_ascii_whitespace().next().unwrap_or_default().to_owned()
    };
    for (name, value) in
        [("NoNewPrivs", "1"), ("Seccomp", "2"), ("CapEff", "0000000000000000"), ("CapPrm", "0000000000000000")]
    {
        assert_eq!(field(name), value, "{name}");
    }
    if nix::unistd::geteuid().is_root() {
        assert_ne!(field("Uid"), "0");
        assert_eq!(field("CapBnd"), "0000000000000000");
        // Positive control: the launcher is what it has to be.
        let launcher = std::fs::read_to_string(format!("/proc/{}/status", service.process("clawjail-launch")));
        assert!(launcher.expect("it runs").contains("Uid:\t0"));
    }
}

#[test]
fn output_input_and_the_end_come_as_notifications() {
    let service = Service::start("");
    let mut client = service.client();
    let mut asked =
        params(&service, &["sh", "-c", "read line; echo \"got $line\"; echo bad >&2; printf '\\377'; exit 3"]);
    asked["stdin"] = json!("pipe");
    let run = client.call("run", asked)["run"].as_str().expect("an id").to_owned();
    client.call("run.stdin", json!({ "run": run, "data": "this\n", "close": true }));
    let verdict = client.verdict(&run);
    assert_eq!((verdict["outcome"].as_str(), verdict["exit_code"].as_i64()), (Some("exited"), Some(3)));
    assert_eq!(verdict["output"], json!({ "observed": true, "bytes": 14, "truncated": false }));
    assert_eq!(client.output(&run, "stderr"), "bad\n");
    let bytes = client.notifications.iter().any(|line| line["params"]["base64"].as_str().is_some());
    assert!(bytes, "what is no text comes as base64: {:?}", client.notifications);
    assert_eq!(client.refused("run.signal", json!({ "run": run, "signal": "TERM" })), "refused.run_ended");
}

#[test]
fn descriptors_that_come_along_are_the_command_s() {
    let service = Service::start("");
    let mut client = service.client();
    let (mut reader, writer) = std::io::pipe().expect("descriptors are left");
    let input = std::fs::File::open("/etc/hostname").or_else(|_| std::fs::File::open("/etc/passwd")).expect("a file");
    let mut asked = params(&service, &["sh", "-c", "wc -c; echo out; echo err >&2"]);
    asked["descriptors"] = json!(3);
    let (id, line) = client.request("run", &asked);
    client.send_with(&line, &[input.as_fd(), writer.as_fd(), writer.as_fd()]);
    drop(writer);
    let run = client.answer(id)["result"]["run"].as_str().expect("an id").to_owned();
    assert_eq!(client.verdict(&run)["exit_code"], 0);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("a pipe can be read");
    assert!(text.ends_with("out\nerr\n"), "{text}");
    assert_eq!(client.output(&run, "stdout"), "", "nothing of it came as a notification");
}

#[test]
fn clawjail_run_is_the_same_by_way_of_the_service() {
    let service = Service::start("");
    let own = account::own();
    let run = |options: &[&str], words: &[&str]| service.run_as(own, &service.place.workspace, options, words);
    let script = "cat; echo out; echo err >&2; exit 9";
    let ran = run(&["--verbose"], &["sh", "-c", script]);
    let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!((ran.status.code(), ran.stdout.as_slice()), (Some(9), b"out\n".as_slice()), "{errors}");
    assert_eq!(errors, "err\nclawjail: run by the service\n");
    for (options, words, code, line) in [
        (&["--timeout", "300ms"][..], &["sleep", "9"][..], 124, "out of time"),
        (&[], &["nosuchprogram"], 127, "not found in the jail"),
        (&[], &["/etc/passwd"], 126, "cannot execute"),
        (&["--profile", "nosuch"], &["true"], 126, "unknown profile"),
        (&[], &["sh", "-c", "kill -TERM $$"], 143, ""),
    ] {
        let ran = run(options, words);
        let errors = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert_eq!(ran.status.code(), Some(code), "{words:?}: {errors}");
        assert!(errors.contains(line), "{words:?}: {errors}");
    }
}

#[test]
fn signals_reach_the_command_and_a_client_that_is_gone_ends_its_run() {
    let service = Service::start("");
    let own = account::own();
    let start = |words: &[&str]| {
        let mut command = service.command_as(own, &service.place.workspace);
        command.args(["run", "--socket"]).arg(&service.socket).arg("--").args(words);
        command.stdout(Stdio::piped()).spawn().expect("the binary can be executed")
    };
    let mut child =
        start(&["bash", "-c", "trap 'echo trapped; exit 5' TERM; echo ready; while :; do sleep 0.05; done"]);
    let mut stdout = child.stdout.take().expect("asked for");
    let mut byte = [0; 6];
    stdout.read_exact(&mut byte).expect("the command says that it is ready");
    let pid = nix::unistd::Pid::from_raw(child.id() as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).expect("our own child");
    assert_eq!(child.wait().expect("our own child").code(), Some(5));
    let mut left = start(&["sh", "-c", "echo ready; sleep 1000"]);
    left.stdout.take().expect("asked for").read_exact(&mut byte).expect("the command says that it is ready");
    left.kill().and_then(|()| left.wait()).expect("our own child");
    await_no_jail(&service);
}

/// Waits until no jail of the service is left.
fn await_no_jail(service: &Service) {
    let began = Instant::now();
    loop {
        let jails: Vec<_> = service.processes().into_iter().filter(|pid| comm(*pid) == "clawjail-init").collect();
        if jails.is_empty() {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "jails are left: {jails:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_terminal_is_the_command_s_own() {
    let service = Service::start("");
    let mut client = service.client();
    let mut asked = params(&service, &["sh", "-c", "stty size; read x; echo \"<$x>\"; stty size; tty"]);
    asked["tty"] = json!({ "rows": 11, "columns": 22 });
    let run = client.call("run", asked)["run"].as_str().expect("an id").to_owned();
    await_output(&mut client, &run, "11 22");
    client.call("run.resize", json!({ "run": run, "rows": 33, "columns": 44 }));
    client.call("run.stdin", json!({ "run": run, "data": "typed\n" }));
    assert_eq!(client.verdict(&run)["exit_code"], 0);
    let text = client.output(&run, "terminal");
    assert!(text.contains("<typed>") && text.contains("33 44") && text.contains("/dev/pts/"), "{text}");
}

fn await_output(client: &mut Client, run: &str, wanted: &str) {
    while !client.output(run, "terminal").contains(wanted) && !client.output(run, "stdout").contains(wanted) {
        let line = client.line();
        assert!(!line.is_null(), "the service has closed");
        client.notifications.push(line);
    }
}

#[test]
fn output_over_the_limit_is_thrown_away_and_a_slow_reader_slows_only_its_own_command() {
    let service = Service::start("");
    let mut slow = service.client();
    // More than the outbox, the socket and the pipe hold together, and nobody reads it.
    let asked = slow.ask("run", params(&service, &["sh", "-c", "head -c 30000000 /dev/zero | tr '\\0' x"]));
    let mut other = service.client();
    for _ in 0..5 {
        let (text, verdict) = other.run(params(&service, &["echo", "quick"]));
        assert_eq!((text.as_str(), verdict["exit_code"].as_i64()), ("quick\n", Some(0)));
    }
    let supervisor = std::fs::read_to_string(format!("/proc/{}/status", service.process("clawjail-super")));
    let supervisor = supervisor.expect("it runs");
    let resident = supervisor.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has a size");
    let kilobytes: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(kilobytes < 60_000, "the supervisor holds {kilobytes} kB");
    let run = slow.answer(asked)["result"]["run"].as_str().expect("an id").to_owned();
    let verdict = slow.verdict(&run);
    assert_eq!((verdict["exit_code"].as_i64(), verdict["output"]["bytes"].as_i64()), (Some(0), Some(30_000_000)));
    assert_eq!(slow.output(&run, "stdout").len(), 30_000_000);
}

#[test]
fn a_detached_run_goes_on_without_its_client_and_can_be_attached_to() {
    let service = Service::start("");
    let mut first = service.client();
    let mut asked = params(&service, &["sh", "-c", "echo early; while [ ! -e go ]; do sleep 0.02; done; echo late"]);
    asked["detach"] = json!(true);
    let run = first.call("run", asked)["run"].as_str().expect("an id").to_owned();
    await_output(&mut first, &run, "early");
    drop(first);
    let mut second = service.client();
    assert_eq!(second.call("run.attach", json!({ "run": run }))["state"], "running");
    await_output(&mut second, &run, "early");
    service.place.write("go", "");
    assert_eq!(second.verdict(&run)["exit_code"], 0);
    assert_eq!(second.output(&run, "stdout"), "early\nlate\n");
    let mut third = service.client();
    assert_eq!(third.call("run.attach", json!({ "run": run }))["state"], "ended");
    assert_eq!(third.verdict(&run)["exit_code"], 0);
    assert_eq!(third.output(&run, "stdout"), "early\nlate\n");
}

#[test]
fn a_service_that_is_told_to_stop_ends_its_runs_and_leaves_nothing() {
    let mut service = Service::start("");
    let mut client = service.client();
    let run = client.call("run", params(&service, &["sleep", "1000"]))["run"].as_str().expect("an id").to_owned();
    let processes = service.processes();
    assert!(processes.len() >= 5, "guard's children, keeper, init and command: {processes:?}");
    assert_eq!(service.stop(), Some(0), "{}", service.log());
    assert_eq!(client.verdict(&run)["outcome"], "killed");
    for pid in processes {
        assert_eq!(nix::sys::signal::kill(pid, None), Err(nix::errno::Errno::ESRCH), "{} is left", comm(pid));
    }
    std::io::stdout().flush().expect("tests have an output");
}

#[test]
fn a_run_that_still_waits_can_be_given_up() {
    let service = Service::start("[limits]\nruns_per_caller = 1\n");
    let mut client = service.client();
    let first = client.call("run", params(&service, &["sleep", "1000"]))["run"].as_str().expect("an id").to_owned();
    let waits = client.ask("run", params(&service, &["true"]));
    assert_eq!(service.client().refused("run.cancel", json!({ "request": waits })), "refused.unknown_request");
    client.call("run.cancel", json!({ "request": waits }));
    let given_up = client.answer(waits);
    assert_eq!(given_up["error"]["data"]["code"], "refused.given_up", "{given_up}");
    assert_eq!(client.refused("run.cancel", json!({ "request": waits })), "refused.unknown_request");
    client.call("run.signal", json!({ "run": first, "signal": "KILL" }));
    assert_eq!(client.verdict(&first)["outcome"], "killed");
}

#[test]
fn nothing_that_whoever_starts_a_service_left_open_is_open_in_it() {
    if !crate::as_root("descriptors of a service") {
        return;
    }
    let secret = std::fs::File::open("/etc/shadow").expect("root may");
    let (reader, _writer) = std::io::pipe().expect("descriptors are left");
    for left_open in [secret.as_fd(), reader.as_fd()] {
        nix::fcntl::fcntl(left_open, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))
            .expect("own descriptor");
    }
    let pipe = std::fs::read_link(format!("/proc/self/fd/{}", reader.as_raw_fd())).expect("own descriptor");
    let service = Service::start("");
    service.client().call("ping", json!({}));
    for name in ["clawjail-super", "clawjail-launch"] {
        let directory = format!("/proc/{}/fd", service.process(name));
        let entries = std::fs::read_dir(directory).expect("root may look").flatten();
        let open: Vec<_> = entries.filter_map(|entry| std::fs::read_link(entry.path()).ok()).collect();
        assert!(open.len() >= 5, "{open:?}");
        let is_left_open = |path: &&std::path::PathBuf| path.ends_with("shadow") || **path == pipe;
        assert_eq!(open.iter().find(is_left_open), None, "{name}");
    }
}
