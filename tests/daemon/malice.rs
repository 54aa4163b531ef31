//! Clients that break the rules: what they get, and that nobody else notices.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::as_root;
use crate::callers::two_grants;
use crate::service::{Client, PATIENCE, Service, comm, somebody_else, workspace_of};
use crate::support::account::{self, Account};

fn code(answer: &Value) -> &str {
    answer["error"]["data"]["code"].as_str().unwrap_or("none")
}

/// The code of the one answer to `line`.
fn told(client: &mut Client, line: &[u8]) -> String {
    assert!(client.send_raw(line), "the service has closed");
    code(&client.line()).to_owned()
}

fn await_no_jail(service: &Service) {
    let began = Instant::now();
    let left = || service.processes().into_iter().map(comm).filter(|name| name == "clawjail-init").count();
    while left() > 0 {
        assert!(began.elapsed() < PATIENCE, "{} jails are left", left());
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn what_is_no_request_is_told_so_and_the_connection_goes_on() {
    let service = Service::start("");
    let mut client = service.client();
    let request = |method: &str, params: &str| {
        format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"{method}\",\"params\":{params}}}\n").into_bytes()
    };
    let long = "x".repeat(100_000);
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"{\n".to_vec(), "invalid.json"),
        (b"\xff\xfe{}\n".to_vec(), "invalid.encoding"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\0ng\"}\n".to_vec(), "invalid.json"),
        (b"[{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}]\n".to_vec(), "invalid.request"),
        (format!("{}\n", deep("[", "]")).into_bytes(), "invalid.depth"),
        (request("ping", &deep("{\"a\":", "}")), "invalid.depth"),
        (format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{long}\",\"method\":\"ping\"}}\n").into_bytes(), "invalid.request"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1e999,\"method\":\"ping\"}\n".to_vec(), "invalid.json"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":18446744073709551616,\"method\":\"ping\"}\n".to_vec(), "invalid.request"),
        (b"{\"jsonrpc\":\"2.0\",\"id\":1,\"id\":2,\"method\":\"ping\"}\n".to_vec(), "invalid.request"),
        (request(&long, "{}"), "invalid.method"),
        (request("../run", "{}"), "invalid.method"),
        (request("run", "[[\"true\"]]"), "invalid.parameters"),
        (request("run", "{\"argv\":[1]}"), "invalid.parameters"),
        (request("run", "{\"argv\":\"true\"}"), "invalid.parameters"),
        (request("run", "{\"argv\":[],\"argv\":[\"true\"]}"), "invalid.parameters"),
        (request("run", "{\"argv\":[\"true\"],\"env\":{\"A\":\"1\",\"A\":\"2\"}}"), "invalid.parameters"),
        (request("run", "{\"argv\":[\"true\"],\"inherit\":{\"A\":\"1\",\"\\u0041\":\"2\"}}"), "invalid.parameters"),
        (request("run", "{\"argv\":[\"true\"],\"timeout_ms\":-1}"), "invalid.parameters"),
        (request("run", "{\"argv\":[\"true\"],\"timeout_ms\":1e400}"), "invalid.parameters"),
        (request("run", "{\"argv\":[\"true\"],\"tty\":{\"rows\":65536,\"columns\":1}}"), "invalid.parameters"),
        (request("run", "{\"argv\":[{\"base64\":\"%\"}]}"), "invalid.parameters"),
        (request("run", "{\"argv\":[\"true\"],\"descriptors\":3}"), "invalid.descriptors"),
        (request("run", "{\"argv\":[\"true\"],\"descriptors\":18446744073709551615}"), "invalid.descriptors"),
        (request("run", "{\"argv\":[]}"), "refused.request_invalid"),
        (request("run.signal", "{\"run\":\"x\",\"signal\":[]}"), "invalid.parameters"),
        (request("fs.read", "{\"jail\":\"x\",\"path\":\"/\",\"offset\":-1}"), "invalid.parameters"),
    ];
    for (line, wanted) in cases {
        let shown = String::from_utf8_lossy(&line).chars().take(100).collect::<String>();
        assert_eq!(told(&mut client, &line), wanted, "{shown}");
    }
    // Positive control: it is still the same connection.
    assert!(client.call("ping", json!({}))["protocol"].is_u64());
}

#[test]
fn an_id_is_a_key_and_never_a_path() {
    let service = Service::start("");
    let mut client = service.client();
    let long = "a/".repeat(200_000);
    for id in ["", ".", "../../etc/passwd", "/etc/passwd", "a\0b", "\u{202e}\n", "%2e%2e", "*", long.as_str()] {
        for (method, params) in [
            ("run.signal", json!({ "run": id, "signal": 9 })),
            ("run.attach", json!({ "run": id })),
            ("run.stdin", json!({ "run": id, "data": "x" })),
        ] {
            assert_eq!(client.refused(method, params), "refused.unknown_run", "{method}");
        }
        for (method, params) in [
            ("jail.close", json!({ "jail": id })),
            ("run", json!({ "jail": id, "argv": ["true"] })),
            ("fs.read", json!({ "jail": id, "path": "x" })),
            ("fs.write", json!({ "jail": id, "path": "x", "content": "x" })),
        ] {
            assert_eq!(client.refused(method, params), "refused.unknown_jail", "{method}");
        }
        let run = json!({ "argv": ["true"], "profile": id, "workspace": service.place.workspace });
        assert!(client.refused("run", run).starts_with("refused.profile_"));
        let run =
            json!({ "argv": ["true"], "agent": id, "profile": "untrusted", "workspace": service.place.workspace });
        assert_eq!(client.refused("run", run), "refused.unknown_agent");
    }
    let run = json!({ "argv": ["true"], "profile": "untrusted", "workspace": service.place.workspace });
    assert_eq!(client.run(run).1["exit_code"], 0);
}

#[test]
fn a_request_that_is_too_long_or_too_slow_ends_its_connection_alone() {
    let service = Service::start("[limits]\nframe = \"64K\"\nslowest_request = \"300ms\"\n");
    let mut other = service.client();
    let of_length = |length: usize| {
        let head = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"params\":{}";
        format!("{head}{}}}\n", " ".repeat(length - head.len() - 1))
    };
    let mut just = service.client();
    assert!(just.send_raw(of_length(64 << 10).as_bytes()));
    assert!(just.line().get("result").is_some());
    let mut long = service.client();
    assert_eq!(told(&mut long, of_length((64 << 10) + 1).as_bytes()), "invalid.too_long");
    assert!(long.line().is_null(), "it is closed");
    let mut endless = service.client();
    endless.send_raw(&vec![b'x'; 200 << 10]);
    assert_eq!(code(&endless.line()), "invalid.too_long");
    // One byte at a time does not begin the time anew.
    let mut slow = service.client();
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(400) && slow.send_raw(b"{") {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(code(&slow.line()), "invalid.slow");
    assert!(slow.line().is_null(), "it is closed");
    // Who says nothing at all may wait.
    assert!(other.call("ping", json!({})).is_object());
}

#[test]
fn descriptors_that_nobody_asked_for_are_closed() {
    if !as_root("descriptors of the supervisor") {
        return;
    }
    let service = Service::start("");
    let null = fs::File::open("/dev/null").expect("it is on every system");
    let mut client = service.client();
    // Some are opened when they are first needed, and stay.
    let run = json!({ "argv": ["true"], "profile": "untrusted", "workspace": service.place.workspace });
    client.run(run);
    let before = service.descriptors("clawjail-super");
    for count in [17, 253] {
        for _ in 0..60 {
            let mut flood = service.client();
            flood.send_with(b"{", &vec![null.as_fd(); count]);
            assert_eq!(code(&flood.line()), "invalid.descriptors", "{count}");
            assert!(flood.line().is_null(), "it is closed");
        }
    }
    // Some with every byte, so that no message has too many.
    let mut drip = service.client();
    for _ in 0..2 {
        drip.send_with(b"\n", &[null.as_fd(); 10]);
    }
    assert_eq!(code(&drip.line()), "invalid.descriptors");
    await_descriptors(&service, before);
    // Positive control: those that a request takes are taken.
    let (mut reader, writer) = std::io::pipe().expect("descriptors are left");
    let params = json!({ "argv": ["echo", "here"], "profile": "untrusted", "workspace": service.place.workspace, "descriptors": 3 });
    let (id, line) = client.request("run", &params);
    client.send_with(&line, &[null.as_fd(), writer.as_fd(), writer.as_fd()]);
    drop(writer);
    let run = client.answer(id)["result"]["run"].as_str().expect("an id").to_owned();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut reader, &mut text).expect("a pipe");
    assert_eq!((text.as_str(), client.verdict(&run)["exit_code"].as_i64()), ("here\n", Some(0)));
    await_descriptors(&service, before);
}

fn await_descriptors(service: &Service, most: usize) {
    let began = Instant::now();
    while service.descriptors("clawjail-super") > most {
        let now = service.descriptors("clawjail-super");
        assert!(began.elapsed() < PATIENCE, "{now} descriptors are open, before {most}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_relay_s_end_that_is_no_pipe_is_refused() {
    let service = Service::start("");
    let mut client = service.client();
    let null = fs::File::options().read(true).write(true).open("/dev/null").expect("it is on every system");
    let (input, writer) = std::io::pipe().expect("descriptors are left");
    let (output, end) = std::io::pipe().expect("descriptors are left");
    let (socket, _peer) = std::os::unix::net::UnixStream::pair().expect("descriptors are left");
    let directory = fs::File::open("/").expect("a directory");
    let params =
        json!({ "argv": ["true"], "profile": "untrusted", "workspace": service.place.workspace, "descriptors": 6 });
    let mut send = |relay: [BorrowedFd<'_>; 3]| {
        let (id, line) = client.request("run", &params);
        client.send_with(&line, &[&[null.as_fd(); 3][..], &relay].concat());
        let answer = client.answer(id);
        answer["error"]["data"]["code"].as_str().unwrap_or("started").to_owned()
    };
    assert_eq!(send([input.as_fd(), end.as_fd(), end.as_fd()]), "started");
    for reaching in [socket.as_fd(), directory.as_fd(), output.as_fd()] {
        assert_eq!(send([input.as_fd(), end.as_fd(), reaching]), "refused.descriptor_not_plain");
    }
    assert_eq!(send([socket.as_fd(), end.as_fd(), end.as_fd()]), "refused.descriptor_not_plain");
    assert_eq!(send([writer.as_fd(), end.as_fd(), end.as_fd()]), "refused.descriptor_not_plain");
}

#[test]
fn a_client_may_leave_at_any_point_and_nothing_of_it_stays() {
    let service = Service::start("");
    let mut control = service.client();
    let script = "echo first; while :; do echo more; sleep 0.01; done";
    let params = json!({ "argv": ["sh", "-c", script], "profile": "untrusted", "workspace": service.place.workspace });
    let (_, line) = control.request("run", &params);
    for cut in (0..line.len()).step_by(line.len() / 12) {
        let mut client = service.client();
        client.send_raw(line.get(..cut).expect("in the line"));
    }
    for lines in 0..6 {
        let mut client = service.client();
        assert!(client.send_raw(&line));
        for _ in 0..lines {
            assert!(!client.line().is_null());
        }
    }
    // The same with a jail of the connection's own, with a file in flight, and with descriptors on the way.
    for step in 0..4 {
        let mut client = service.client();
        let open = json!({ "profile": "untrusted", "workspace": service.place.workspace, "until_disconnect": true });
        let asked = client.ask("jail.open", open);
        if step > 0 {
            let jail = client.answer(asked)["result"]["jail"].clone();
            client.ask("fs.write", json!({ "jail": jail, "path": "big", "content": "x".repeat(1 << 20) }));
            if step > 1 {
                client.ask("run", json!({ "jail": jail, "argv": ["sleep", "1000"] }));
            }
            if step > 2 {
                client.line();
            }
        }
    }
    await_no_jail(&service);
    // What has ended is off the lists when its keeper has said so.
    let began = Instant::now();
    let mut listed =
        || [control.call("ps", json!({}))["runs"].clone(), control.call("jail.list", json!({}))["jails"].clone()];
    while listed() != [json!([]), json!([])] {
        assert!(began.elapsed() < PATIENCE, "{:?}", listed());
        std::thread::sleep(Duration::from_millis(10));
    }
    let run = json!({ "argv": ["true"], "profile": "untrusted", "workspace": service.place.workspace });
    assert_eq!(control.run(run).1["exit_code"], 0);
    let left: Vec<_> = fs::read_dir(&service.place.workspace).expect("own directory").flatten().collect();
    // A writer that is killed between making its file and renaming it leaves that one, under a name that says so.
    let is_known = |name: String| name == "big" || name.starts_with(".clawjail-") && name.ends_with(".big");
    assert!(left.iter().all(|entry| is_known(entry.file_name().to_string_lossy().into_owned())), "{left:?}");
}

#[test]
fn so_many_connections_and_no_more_and_strangers_share_theirs() {
    if !as_root("callers of many uids") {
        return;
    }
    let service = Service::start(&format!("{}[limits]\nconnections_per_caller = 4\n", two_grants()));
    let stranger = |uid: u32| Account { name: uid.to_string(), uid, gid: uid, home: "/".into() };
    let answers = |client: &mut Client| client.send_raw(b"{}\n") && !client.line().is_null();
    let mut held: Vec<Client> = Vec::new();
    for uid in 0..8 {
        let mut client = service.client_as(&stranger(70_000 + uid));
        assert_eq!(answers(&mut client), uid < 4, "the stranger number {uid}");
        held.push(client);
    }
    let ordinary = account::ordinary();
    for count in 0..8 {
        let mut client = service.client_as(ordinary);
        assert_eq!(answers(&mut client), count < 4, "connection {count} of the same caller");
        held.push(client);
    }
    let other = somebody_else();
    let run = json!({ "argv": ["true"], "profile": "readonly", "workspace": workspace_of(&other, "connections") });
    assert_eq!(service.client_as(&other).run(run).1["exit_code"], 0);
    drop(held);
    let began = Instant::now();
    while !answers(&mut service.client_as(ordinary)) {
        assert!(began.elapsed() < PATIENCE, "those that left do not count");
        std::thread::sleep(Duration::from_millis(5));
    }
    std::io::stdout().flush().expect("tests have an output");
}
