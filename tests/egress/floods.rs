//! Floods, slow clients and clients that never read: who does it pays, and others are served in the meantime. Family C21.

use std::fs;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::in_each_tier;
use super::process::gate_below;
use super::support::jail::{Jail, Ran};
use super::support::patience;
use super::support::place::Place;
use super::support::tier::Tier;
use super::world::{World, wait_for};

/// What programs here have in common: a request on a connection of its own, and waiting for a file.
const COMMON: &str = r#"
import os, socket, ssl, sys, threading, time
def until(name):
    while not os.path.exists(name): time.sleep(0.02)
def say(name): open(name, 'w').close()
def served(path):
    c = socket.create_connection(('good.example', 80), timeout=30)
    c.sendall(b'GET ' + path.encode() + b' HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n')
    return b'200 OK' in c.recv(1000)
"#;

/// Requests into which the gate looks, TLS or not.
const LOOKED_INTO: &str = r#"
summary = "Test."
extends = "untrusted"
[egress]
allow = ["good.example:7000"]
[[egress.http]]
host = "good.example"
methods = ["GET"]
paths = ["/**"]
[limits]
open_files = 4096
"#;

/// Starts a Python program in a jail of its own.
fn start<'a>(world: &World, place: &'a Place, profile: &str, program: &str) -> (Jail<'a>, Child) {
    for gone in ["ready", "stop"] {
        let _ = fs::remove_file(place.workspace.join(gone));
    }
    place.write("flood.py", format!("{COMMON}{program}"));
    let jail = Jail::new(place).profile(profile).patient(80);
    let child = world.start(place, &jail, &["/usr/bin/python3", "flood.py"]);
    (jail, child)
}

/// Whether a jail of somebody else is served meanwhile, and soon.
fn another_is_served(world: &World, place: &Place) {
    let began = Instant::now();
    let ran = world.bash(place, "web", "curl -sS -m 20 http://good.example/other-jail");
    assert_eq!(ran.text(), "http good.example GET /other-jail 0", "{}", ran.whole());
    assert!(began.elapsed() < patience(Duration::from_secs(8)), "{:?}", began.elapsed());
}

/// Lets it go on to its end.
fn stop(place: &Place, jail: &Jail<'_>, child: Child) -> Ran {
    place.write("stop", "");
    jail.finish(child)
}

#[test]
fn c21_connections_on_which_nothing_is_said_cost_the_jail_that_made_them_and_only_while_they_last() {
    in_each_tier(|world, place| {
        let program = r#"
address, held = socket.gethostbyname('good.example'), []
def flood(count):
    for number in range(count):
        c = socket.socket(); c.setblocking(False); c.connect_ex((address, (80, 443)[number % 2])); held.append(c)
flood(500); time.sleep(1)
print(served('/beside-500'))
flood(1200); time.sleep(1)
say('ready'); until('stop')
for c in held: c.close()
print(served('/after'))
"#;
        let (jail, child) = start(world, place, "web", program);
        wait_for(|| place.holds("ready").then_some(()));
        another_is_served(world, place);
        let ran = stop(place, &jail, child);
        assert_eq!(ran.text(), "True\nTrue", "{}", ran.whole());
    });
}

#[test]
fn c21_a_client_that_says_a_byte_a_second_holds_up_nobody_and_a_hello_has_to_end() {
    in_each_tier(|world, place| {
        let program = r#"
incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
try: ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname='good.example').do_handshake()
except ssl.SSLWantReadError: pass
hello, ended = outgoing.read(), []
def slow_hello():
    c, began = socket.create_connection(('good.example', 443)), time.monotonic()
    try:
        for byte in hello:
            c.sendall(bytes([byte])); c.settimeout(1)
            try:
                if not c.recv(100): break
                # An alert is an end, too.
                break
            except TimeoutError: pass
    except OSError: pass
    ended.append(time.monotonic() - began)
def slow_request():
    c = socket.create_connection(('good.example', 80), timeout=30)
    c.sendall(b'GET /slow HTTP/1.1\r\n')
    for byte in b'Host: good.e': c.sendall(bytes([byte])); time.sleep(1)
    c.sendall(b'xample\r\n\r\n')
    ended.append(b'200 OK' in c.recv(1000))
threads = [threading.Thread(target=slow) for slow in (slow_hello, slow_request)]
for thread in threads: thread.start()
quick = []
for number in range(11):
    began = time.monotonic(); fine = served('/quick%d' % number); quick.append(fine and time.monotonic() - began < 4)
    time.sleep(1)
for thread in threads: thread.join()
took = [end for end in ended if end is not True and end is not False]
print(all(quick), True in ended, len(took) == 1 and 8 < took[0] < 25)
"#;
        let (jail, child) = start(world, place, "web", program);
        let ran = stop(place, &jail, child);
        assert_eq!(ran.text(), "True True True", "{}", ran.whole());
        let denied = ran.verdict["denials"].to_string();
        assert!(
            denied.contains("first message makes no sense") || denied.contains("did not say what it speaks"),
            "{denied}"
        );
    });
}

#[test]
fn c21_clients_that_never_read_are_waited_for_in_bounded_memory() {
    in_each_tier(|world, place| {
        world.profile("flood-looked-into", LOOKED_INTO);
        let program = r#"
held = []
for number in range(12):
    c = socket.create_connection(('good.example', (80, 443)[number % 2]))
    if number % 2: c = ssl.create_default_context().wrap_socket(c, server_hostname='good.example')
    c.sendall(b'GET /big/16000000 HTTP/1.1\r\nHost: good.example\r\n\r\n'); held.append(c)
time.sleep(2)
print(served('/beside'))
say('ready'); until('stop')
count, c = 0, held[1]
while count < 16000000: count += len(c.recv(65536))
print('all of it')
"#;
        for profile in ["web", "flood-looked-into"] {
            // Without rules for requests the server's own certificate is seen, whose authority no jail knows.
            let program = if profile == "web" {
                program.replace("(80, 443)[number % 2]", "80").replace("if number % 2", "if False")
            } else {
                program.to_owned()
            };
            let (jail, child) = start(world, place, profile, &program);
            wait_for(|| place.holds("ready").then_some(()));
            let gate = wait_for(|| gate_below(child.id()));
            let kib = resident(gate);
            assert!(kib < 48 << 10, "{kib} KiB of 190 MB that nobody read");
            another_is_served(world, place);
            let ran = stop(place, &jail, child);
            assert_eq!(ran.text(), "True\nall of it", "{profile}: {}", ran.whole());
        }
    });
}

/// KiB of a process that are in memory.
fn resident(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).expect("a living process")
}

#[test]
fn c21_a_gate_without_descriptors_is_no_concern_of_another_jail() {
    in_each_tier(|world, place| {
        if place.tier != Tier::Root {
            return;
        }
        let program = r#"
address, held = socket.gethostbyname('good.example'), []
for _ in range(110):
    c = socket.socket(); c.setblocking(False); c.connect_ex((address, 7000)); held.append(c)
time.sleep(0.5)
def heard(c):
    try: return c.recv(5) == b'hello'
    except OSError: return False
print(0 < sum(map(heard, held)) < 110)
say('ready'); until('stop')
for c in held: c.close()
print(served('/after'))
"#;
        for gone in ["ready", "stop"] {
            let _ = fs::remove_file(place.workspace.join(gone));
        }
        place.write("flood.py", format!("{COMMON}{program}"));
        let jail = Jail::new(place).profile("web").patient(80);
        let inner = jail.command(["/usr/bin/python3", "flood.py"]);
        let mut scarce = place.command("sh");
        scarce.args(["-c", "ulimit -n 128; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
        let mut outer = world.enter(place, &scarce);
        outer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = outer.spawn().expect("nsenter is there");
        wait_for(|| place.holds("ready").then_some(()));
        another_is_served(world, place);
        let ran = stop(place, &jail, child);
        assert_eq!(ran.text(), "True\nTrue", "{}", ran.whole());
    });
}
