//! Runs that go on by themselves: their output from any place on, and attaching to them.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::pty::{OpenptyResult, Winsize, openpty};
use serde_json::{Value, json};

use crate::as_root;
use crate::service::{Client, PATIENCE, Service, somebody_else, workspace_of};
use crate::support::account;
use crate::support::place::clawjail;

fn params(service: &Service, argv: &[&str]) -> Value {
    json!({ "argv": argv, "profile": "untrusted", "workspace": service.place.workspace, "detach": true })
}

/// `clawjail` with `words`, in the workspace.
fn cli(service: &Service, words: &[&str]) -> Command {
    let (verb, rest) = words.split_first().expect("a subcommand");
    let mut command = Command::new(clawjail());
    command.arg(verb).arg("--socket").arg(&service.socket).args(rest);
    command.current_dir(&service.place.workspace).stdin(Stdio::null());
    command
}

fn say(service: &Service, words: &[&str]) -> Output {
    cli(service, words).output().expect("the binary can be executed")
}

fn detach(service: &Service, words: &[&str]) -> String {
    let output = say(service, &[&["run", "--detach"], words].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn text_of(kept: &Value) -> String {
    kept["output"].as_array().expect("a list").iter().filter_map(|piece| piece["data"].as_str()).collect()
}

/// Reads until the run has ended: each answer's text.
fn read_all(client: &mut Client, run: &str) -> Vec<String> {
    let (mut texts, mut offset) = (Vec::new(), 0);
    loop {
        let kept = client.call("run.output", json!({ "run": run, "offset": offset, "wait_ms": 20000 }));
        assert_eq!(kept["offset"], offset, "nothing is lost");
        let text = text_of(&kept);
        if text.is_empty() {
            assert_eq!(kept["state"], "ended");
            return texts;
        }
        texts.push(text);
        offset = kept["next"].as_u64().expect("a place");
    }
}

#[test]
fn output_is_read_from_any_place_on_and_waited_for() {
    let service = Service::start("");
    let mut client = service.client();
    let script = "echo one; echo two >&2; while [ ! -e go ]; do sleep 0.01; done; printf 'thr\\303\\251e'";
    let run = client.call("run", params(&service, &["sh", "-c", script]))["run"].as_str().expect("an id").to_owned();
    let mut other = service.client();
    // Nothing yet is an answer too, to those who do not wait.
    let mut seen = String::new();
    while seen.len() < 8 {
        seen = text_of(&other.call("run.output", json!({ "run": run })));
    }
    let whole = other.call("run.output", json!({ "run": run }));
    let streams: Vec<_> = whole["output"].as_array().expect("a list").iter().map(|piece| &piece["stream"]).collect();
    assert_eq!(streams.len(), 2, "{whole}");
    assert_eq!((whole["next"].as_u64(), whole["state"].as_str()), (Some(8), Some("running")));
    let part = other.call("run.output", json!({ "run": run, "offset": 1, "limit": 5 }));
    assert_eq!((text_of(&part), part["next"].as_u64()), (seen[1..6].to_owned(), Some(6)));

    let began = Instant::now();
    let none = other.call("run.output", json!({ "run": run, "offset": 8, "wait_ms": 100 }));
    assert_eq!((text_of(&none).as_str(), none["next"].as_u64()), ("", Some(8)));
    assert!(began.elapsed() >= Duration::from_millis(100));
    let waiting = other.ask("run.output", json!({ "run": run, "offset": 8, "wait_ms": 20000 }));
    service.place.write("go", "");
    assert_eq!(text_of(&other.answer(waiting)["result"]), "thr\u{e9}e");
    // In the middle of a character there is no text.
    let bytes = other.call("run.output", json!({ "run": run, "offset": 12, "wait_ms": 20000 }));
    assert_eq!(bytes["output"][0]["base64"], "qWU=");
    assert_eq!(read_all(&mut other, &run).concat().len(), 14);
    assert_eq!(other.refused("run.output", json!({ "run": "none" })), "refused.unknown_run");
}

#[test]
fn of_much_output_the_end_is_kept_and_how_much_is_gone_is_said() {
    let service = Service::start("[limits]\noutput_kept = \"100K\"\n");
    let mut client = service.client();
    let script = "i=0; while [ $i -lt 40000 ]; do echo 123456789; i=$((i+1)); done; echo last";
    let run = client.call("run", params(&service, &["bash", "-c", script]))["run"].as_str().expect("an id").to_owned();
    client.verdict(&run);
    let kept = service.client().call("run.output", json!({ "run": run }));
    let (offset, next) = (kept["offset"].as_u64().expect("a place"), kept["next"].as_u64().expect("a place"));
    assert_eq!((next, kept["state"].as_str()), (400_005, Some("ended")));
    assert!(next - offset <= 100 << 10 && next - offset > 60 << 10, "{offset} to {next}");
    assert!(text_of(&kept).ends_with("last\n"));
}

#[test]
fn nobody_reads_the_output_of_others() {
    if !as_root("two users") {
        return;
    }
    let (ordinary, other) = (account::ordinary(), somebody_else());
    let service = Service::start(&format!(
        "[[caller]]\nuser = \"{}\"\nrole = \"operator\"\nprofiles = [\"untrusted\"]\n\
         [[caller]]\nuser = \"nobody\"\nrole = \"operator\"\nprofiles = [\"untrusted\"]\n",
        ordinary.name
    ));
    let workspace = workspace_of(ordinary, "background.own");
    let asked = json!({ "argv": ["echo", "mine"], "workspace": workspace, "detach": true });
    let mut owner = service.client_as(ordinary);
    let run = owner.call("run", asked)["run"].as_str().expect("an id").to_owned();
    owner.verdict(&run);
    assert_eq!(text_of(&owner.call("run.output", json!({ "run": run }))), "mine\n");
    let mut stranger = service.client_as(&other);
    for (method, mut asked) in [("run.output", json!({})), ("run.attach", json!({})), ("run.stdin", json!({}))] {
        asked["run"] = json!(run);
        assert_eq!(stranger.refused(method, asked), "refused.unknown_run", "{method}");
    }
}

#[test]
fn the_command_line_detaches_lists_attaches_and_ends() {
    let service = Service::start("");
    let run =
        detach(&service, &["--", "sh", "-c", "echo early; while [ ! -e go ]; do sleep 0.01; done; echo late; exit 7"]);
    let listed = String::from_utf8_lossy(&say(&service, &["ps"]).stdout).into_owned();
    assert!(listed.contains(&run), "{listed}");
    let mut attached = cli(&service, &["attach", &run]).stdout(Stdio::piped()).spawn().expect("it can be executed");
    let mut stdout = attached.stdout.take().expect("asked for");
    let mut early = [0; 6];
    stdout.read_exact(&mut early).expect("output so far");
    assert_eq!(&early, b"early\n");
    service.place.write("go", "");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("output from now on");
    assert_eq!((rest.as_str(), attached.wait().expect("our own child").code()), ("late\n", Some(7)));

    let sleeping = detach(&service, &["--", "sleep", "1000"]);
    assert!(say(&service, &["kill", &sleeping]).status.success());
    assert_eq!(say(&service, &["attach", &sleeping]).status.code(), Some(137));
    let refused = say(&service, &["run", "--detach", "--profile", "no-such", "--", "true"]);
    assert_eq!(refused.status.code(), Some(126), "{}", String::from_utf8_lossy(&refused.stderr));
}

/// A person at a terminal, attached to a run.
struct Person {
    child: Child,
    master: OwnedFd,
    seen: String,
}

impl Person {
    fn attach(service: &Service, run: &str) -> Person {
        let size = Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 };
        let OpenptyResult { master, slave } = openpty(Some(&size), None).expect("a host has terminals");
        let inner = cli(service, &["attach", run]);
        // setsid(1) makes the terminal the session's, as a login does.
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(inner.get_program()).args(inner.get_args());
        let end = || Stdio::from(slave.try_clone().expect("own descriptor"));
        command.stdin(end()).stdout(end()).stderr(end());
        let child = command.spawn().expect("everyone has setsid");
        nix::fcntl::fcntl(&master, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))
            .expect("own descriptor");
        Person { child, master, seen: String::new() }
    }

    fn types(&self, text: &str) {
        nix::unistd::write(&self.master, text.as_bytes()).expect("a terminal takes a line");
    }

    /// Waits until this was written, and takes what was seen up to there away.
    fn sees(&mut self, text: &str) {
        let began = Instant::now();
        while !self.seen.contains(text) {
            assert!(began.elapsed() < PATIENCE, "`{text}` is not written, but {:?}", self.seen);
            let mut bytes = [0; 4096];
            match nix::unistd::read(&self.master, &mut bytes) {
                Err(Errno::EAGAIN) => std::thread::sleep(Duration::from_millis(5)),
                read => self.seen.push_str(&String::from_utf8_lossy(&bytes[..read.unwrap_or(0)])),
            }
        }
        let at = self.seen.find(text).expect("it is there") + text.len();
        self.seen.drain(..at);
    }

    fn ends(mut self) -> Option<i32> {
        self.child.wait().expect("our own child").code()
    }
}

#[test]
fn a_person_attaches_to_a_terminal_types_leaves_and_comes_back() {
    let service = Service::start("");
    let script = "stty size; while read line; do echo \"<$line>\"; stty size; done";
    let run = detach(&service, &["--tty", "--", "sh", "-c", script]);
    let mut person = Person::attach(&service, &run);
    person.types("hello\n");
    person.sees("<hello>");
    // The run's terminal has the size of theirs by now.
    person.sees("33 77");
    person.types("\x10\x11");
    person.sees("left; the run goes on");
    assert_eq!(person.ends(), Some(0));
    let mut again = Person::attach(&service, &run);
    again.sees("<hello>");
    // Ctrl-C is the command's.
    again.types("more\n");
    again.sees("<more>");
    again.types("\x03");
    assert_eq!(again.ends(), Some(130));
    let ended = service.client().call("run.output", json!({ "run": run }));
    assert_eq!(ended["state"], "ended");
}

#[test]
fn input_is_passed_to_a_run_that_reads_a_pipe_when_that_is_asked_for() {
    let service = Service::start("");
    let mut client = service.client();
    let mut asked = params(&service, &["sh", "-c", "cat; echo end"]);
    asked["stdin"] = json!("pipe");
    let run = client.call("run", asked)["run"].as_str().expect("an id").to_owned();
    let input = service.place.outside.join("input");
    fs::write(&input, "typed\n".repeat(10_000)).expect("own directory");
    let mut attach = cli(&service, &["attach", "--stdin", &run]);
    let output = attach.stdin(fs::File::open(&input).expect("own file")).output().expect("it can be executed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!((text.len(), output.status.code()), (60_004, Some(0)), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn top_shows_what_jails_use_and_to_whom_they_belong() {
    let service = Service::start("");
    let mut client = service.client();
    let asked = json!({ "profile": "untrusted", "workspace": service.place.workspace });
    let jail = client.call("jail.open", asked.clone())["jail"].as_str().expect("an id").to_owned();
    let idle = client.call("jail.open", asked)["jail"].as_str().expect("an id").to_owned();
    client.run(json!({ "jail": jail, "argv": ["sh", "-c", ": > SOUL.md"] }));
    let busy = "python3 -c 'x = bytearray(50 << 20)\nprint(1, flush=True)\nwhile True: pass'";
    client.call("run", json!({ "jail": jail, "argv": ["sh", "-c", busy], "detach": true }));
    let own = client.call("run", params(&service, &["sleep", "1000"]))["run"].as_str().expect("an id").to_owned();
    let found = |client: &mut Client, name: &str| {
        let used = client.call("top", json!({}))["jails"].as_array().expect("a list").clone();
        used.into_iter().find(|used| used["jail"] == name || used["run"] == name).expect("it is there")
    };
    let began = Instant::now();
    let is_busy =
        |used: &Value| used["processor_us"].as_u64() >= Some(100_000) && used["memory"].as_u64() > Some(50 << 20);
    while !is_busy(&found(&mut client, &jail)) {
        assert!(began.elapsed() < PATIENCE, "{}", found(&mut client, &jail));
    }
    let (used, quiet, single) = (found(&mut client, &jail), found(&mut client, &idle), found(&mut client, &own));
    assert!(quiet["memory"].as_u64() < Some(20 << 20), "{quiet}");
    assert!(used["processes"].as_u64() > quiet["processes"].as_u64(), "{used} {quiet}");
    assert_eq!(
        (used["runs"].as_u64(), used["denials"].as_u64(), quiet["denials"].as_u64()),
        (Some(1), Some(1), Some(0))
    );
    assert!(single["processes"].as_u64() >= Some(2) && single["argv"][0] == "sleep", "{single}");

    let table = String::from_utf8_lossy(&say(&service, &["top", "--once"]).stdout).into_owned();
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[0].starts_with("3 jails, "), "{table}");
    // The busiest first, and nothing for a terminal where there is none.
    assert!(lines[3].contains(&jail) && !table.contains('\x1b'), "{table}");
    let listed = say(&service, &["top", "--json"]).stdout;
    assert_eq!(serde_json::from_slice::<Value>(&listed).expect("JSON").as_array().map(Vec::len), Some(3));
}

#[test]
fn top_goes_on_until_nobody_reads_it() {
    let service = Service::start("");
    let mut top =
        cli(&service, &["top", "--interval", "200ms"]).stdout(Stdio::piped()).spawn().expect("it is executed");
    let mut stdout = top.stdout.take().expect("asked for");
    let (mut seen, mut bytes) = (String::new(), [0; 512]);
    while seen.matches("0 jails, ").count() < 3 {
        let count = stdout.read(&mut bytes).expect("it goes on");
        seen.push_str(&String::from_utf8_lossy(&bytes[..count]));
    }
    drop(stdout);
    assert_eq!(top.wait().expect("our own child").code(), Some(0));
}
