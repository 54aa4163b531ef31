//! The gate as a process: what it is, how it dies, and that a jail has no way around it.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::thread;

use clawjail::confine::redirect::Led;
use clawjail::confine::{gateway, network};
use clawjail::egress::connection::original;
use clawjail::jail::probe;
use clawjail::policy::egress::Rules;
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::in_each_tier;
use super::support::jail::Jail;
use super::support::place::Place;
use super::support::tier::Tier;
use super::world::{World, wait_for};

/// The gate below the process `from`: a child of its launcher.
pub fn gate_below(from: u32) -> Option<u32> {
    named_below(from, "clawjail-gate")
}

fn named_below(from: u32, wanted: &str) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{from}/task/{from}/children")).unwrap_or_default();
    children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).find_map(|pid: u32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        if name.trim() == wanted { Some(pid) } else { named_below(pid, wanted) }
    })
}

fn status(pid: u32, key: &str) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    line.unwrap_or_default().split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn a_gate_has_no_power_and_ends_with_its_jail() {
    in_each_tier(|world, place| {
        let jail = Jail::new(place).profile("web").patient(80);
        let child = world.start(
            place,
            &jail,
            &["bash", "-c", ": < /dev/tcp/good.example/7000; echo > begun; while [ ! -e done ]; do sleep 0.01; done"],
        );
        wait_for(|| place.holds("begun").then_some(()));
        let gate = wait_for(|| gate_below(child.id()));
        for (key, wanted) in [
            ("CapEff", "0000000000000000"),
            ("CapPrm", "0000000000000000"),
            ("CapInh", "0000000000000000"),
            ("CapAmb", "0000000000000000"),
            ("NoNewPrivs", "1"),
            ("Seccomp", "2"),
        ] {
            assert_eq!(status(gate, key), wanted, "{key}");
        }
        if place.account().uid == 0 {
            let uid: u32 = status(gate, "Uid").split(' ').next().and_then(|uid| uid.parse().ok()).expect("a uid");
            assert!(uid > 0x7000_0000, "{uid}");
            assert_eq!(status(gate, "Groups"), "");
        }
        place.write("done", "");
        assert_eq!(jail.finish(child).code, Some(0));
        wait_for(|| fs::metadata(format!("/proc/{gate}")).is_err().then_some(()));
    });
}

/// A process that nothing is asked of would cost what half a view costs.
#[test]
fn a_gate_begins_with_the_first_packet_and_not_before() {
    in_each_tier(|world, place| {
        let jail = Jail::new(place).profile("web").patient(80);
        let script = "wait_for() { while [ ! -e $1 ]; do sleep 0.01; done; }; echo > begun; wait_for knock; \
                      head -c5 < /dev/tcp/good.example/7000; echo > knocked; wait_for done";
        let child = world.start(place, &jail, &["bash", "-c", script]);
        wait_for(|| place.holds("begun").then_some(()));
        assert_eq!(gate_below(child.id()), None);
        place.write("knock", "");
        wait_for(|| place.holds("knocked").then_some(()));
        assert!(gate_below(child.id()).is_some());
        place.write("done", "");
        let ran = jail.finish(child);
        assert_eq!(ran.text(), "hello", "{}", ran.whole());
    });
}

/// What comes to the sockets before there is a gate stays there: who ends at once is not missed.
#[test]
fn who_knocks_and_ends_at_once_is_in_the_verdict() {
    in_each_tier(|world, place| {
        let program = "import socket\n\
                       connection = socket.socket(); connection.setblocking(False)\n\
                       try: connection.connect(('93.184.216.200', 4711))\n\
                       except BlockingIOError: pass\n\
                       datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n\
                       try: datagram.sendto(b'x', ('93.184.216.200', 4712))\n\
                       except PermissionError: print('denied')\n";
        let ran = world.python(place, "web", program);
        assert_eq!(ran.text(), "denied", "{}", ran.whole());
        let denied = ran.verdict["denials"].as_array().cloned().unwrap_or_default();
        for (kind, what) in [("connect", "93.184.216.200:4711"), ("send", "93.184.216.200:4712")] {
            assert!(
                denied.iter().any(|one| one["kind"] == kind && one["what"] == what),
                "{what}: {}",
                ran.verdict["denials"]
            );
        }
        assert_eq!(ran.verdict["activity"]["lost"], false);
    });
}

/// Its sockets are closed then: nobody waits for an answer that will not come.
#[test]
fn a_gate_that_cannot_begin_leaves_everything_refused_and_the_verdict_says_so() {
    in_each_tier(|world, place| {
        // No limit of processes holds for root, so that its launcher can always fork.
        if place.tier != Tier::User {
            return;
        }
        for can_begin in [true, false] {
            let [here, knock] = ["here", "knock"].map(|name| format!("{name}-{can_begin}"));
            let jail = Jail::new(place).profile("web").patient(80);
            let script = format!(
                "echo > {here}; while [ ! -e {knock} ]; do sleep 0.01; done; \
                 head -c5 < /dev/tcp/45.90.0.2/7000 || echo refused"
            );
            let child = world.start(place, &jail, &["bash", "-c", &script]);
            wait_for(|| place.holds(&here).then_some(()));
            let launcher = wait_for(|| named_below(child.id(), "clawjail-launch")).to_string();
            if !can_begin {
                let limited = place.command("prlimit").args(["--pid", &launcher, "--nproc=1:1"]).output();
                let limited = limited.expect("prlimit is there");
                assert!(limited.status.success(), "{}", String::from_utf8_lossy(&limited.stderr));
            }
            place.write(&knock, "");
            let ran = jail.finish(child);
            let heard = ran.text().replace('\n', " ");
            assert_eq!(heard, if can_begin { "hello" } else { "refused" }, "{}", ran.whole());
            assert_eq!(ran.verdict["activity"]["lost"], !can_begin, "{}", ran.verdict["activity"]);
        }
    });
}

/// Nothing is left in the sockets by the attempt to get past them, which is in each verdict.
#[test]
fn what_leads_to_the_gate_was_tried_and_nothing_of_that_is_told() {
    in_each_tier(|world, place| {
        let ran = world.bash(place, "web", "head -c5 < /dev/tcp/good.example/7000");
        assert_eq!(ran.text(), "hello", "{}", ran.whole());
        let promises = ran.verdict["enforcement"]["promises"].as_array().cloned().unwrap_or_default();
        let network = promises.iter().find(|one| one["promise"] == "network").expect("a promise about the network");
        for (tried, got) in
            [("route a datagram out", "EPERM"), ("connect to an address that no rule allows", "ECONNRESET")]
        {
            let probes = network["probes"].as_array().cloned().unwrap_or_default();
            assert!(probes.iter().any(|one| one["tried"] == tried && one["got"] == got), "{tried}: {network}");
        }
        assert_eq!(ran.verdict["denials"].as_array().map(Vec::len), Some(0), "{}", ran.verdict["denials"]);
        assert_eq!(ran.verdict["activity"]["connections"].as_array().map(Vec::len), Some(1));
    });
}

#[test]
fn without_its_gate_a_jail_reaches_nothing_and_the_verdict_says_so() {
    in_each_tier(|world, place| {
        let jail = Jail::new(place).profile("web").patient(80);
        let script = "head -c5 < /dev/tcp/good.example/7000; echo > begun; while [ ! -e done ]; do sleep 0.01; done; \
                      curl -sS -m 5 http://good.example/without-gate; curl -sS -m 5 http://198.18.1.0/without-gate; echo end";
        let child = world.start(place, &jail, &["bash", "-c", script]);
        wait_for(|| place.holds("begun").then_some(()));
        let gate = wait_for(|| gate_below(child.id()));
        kill(Pid::from_raw(i32::try_from(gate).expect("a pid")), Signal::SIGKILL).expect("a gate");
        place.write("done", "");
        let ran = jail.finish(child);
        assert_eq!(ran.text(), "helloend", "{}", ran.whole());
        assert!(!world.log().contains("/without-gate"));
        assert_eq!(ran.verdict["activity"]["lost"], true, "{}", ran.verdict["activity"]);
    });
}

#[test]
fn a_killed_run_leaves_no_gate() {
    in_each_tier(|world, place| {
        let jail = Jail::new(place).profile("web").patient(80);
        let mut child =
            world.start(place, &jail, &["bash", "-c", ": < /dev/tcp/good.example/7000; echo > begun; sleep 60"]);
        wait_for(|| place.holds("begun").then_some(()));
        let gate = wait_for(|| gate_below(child.id()));
        child.kill().expect("our own child");
        child.wait().expect("our own child");
        wait_for(|| fs::metadata(format!("/proc/{gate}")).is_err().then_some(()));
    });
}

/// In a network of this test's own, for the kernel that runs it may have the better way, which jails then take.
#[test]
fn either_way_of_leading_connections_brings_them_with_where_they_were_meant_to_go() {
    if super::world().is_none() {
        return super::say_skipped("egress: the tests were not started as root");
    }
    for way in Led::BEST_FIRST {
        let brought = thread::spawn(move || -> Vec<SocketAddr> {
            unshare(CloneFlags::CLONE_NEWNET).expect("root may");
            network::bring_up_loopback().expect("a loopback");
            let sockets = gateway::open(&Rules::default(), &[way]).expect("nftables");
            assert_eq!(sockets.led, way);
            let findings = probe::try_past_gate(&sockets);
            assert!(findings.iter().all(|finding| finding.held), "{findings:?}");
            let families =
                [(&sockets.v4, "151.101.0.1:443"), (sockets.v6.as_ref().expect("IPv6"), "[2001:db8::1]:443")];
            let meant = families.map(|(sockets, to)| {
                let _client = TcpStream::connect(to).expect("everything is led somewhere");
                original(&came(&sockets[0])).expect("it was led")
            });
            meant.to_vec()
        });
        let brought = brought.join().expect("it ends").iter().map(SocketAddr::to_string).collect::<Vec<_>>();
        assert_eq!(brought, ["151.101.0.1:443", "[2001:db8::1]:443"], "{way:?}");
    }
}

/// The connection that came to the gate's socket.
fn came(socket: &OwnedFd) -> tokio::net::TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let listener = TcpListener::from(socket.try_clone().expect("a descriptor"));
    let (client, _) = listener.accept().expect("somebody has come");
    client.set_nonblocking(true).expect("a socket");
    runtime.block_on(async { tokio::net::TcpStream::from_std(client).expect("a runtime") })
}

/// C19, C20: the gate's own sockets and settings are no host, and no command can change what leads to them.
#[test]
fn c19_c20_a_command_cannot_reach_take_or_change_what_leads_to_the_gate() {
    in_each_tier(|world, place| {
        let program = r#"
import ctypes, socket, struct
def tried(attempt):
    try:
        return attempt() or 'worked'
    except OSError as error:
        return error.strerror
def bind(kind, address, port):
    s = socket.socket(socket.AF_INET6 if ':' in address else socket.AF_INET, kind)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind((address, port))
for address in ('127.0.0.1', '0.0.0.0', '198.18.0.1', '::1', '::', 'fd00:c1a0::1', '93.184.216.34'):
    for kind, port in ((socket.SOCK_STREAM, 1), (socket.SOCK_STREAM, 53), (socket.SOCK_DGRAM, 53), (socket.SOCK_STREAM, 443)):
        assert tried(lambda: bind(kind, address, port)) in ('Permission denied', 'Address already in use'), (address, port)
for address in ('127.0.0.1', '::1', '198.18.0.1', 'fd00:c1a0::1'):
    def talk():
        c = socket.create_connection((address, 1), timeout=5); c.sendall(b'GET / HTTP/1.1\r\nHost: good.example\r\n\r\n')
        return 'worked' if c.recv(9) else 'closed'
    assert tried(talk) in ('Connection reset by peer', 'Connection refused', 'closed', 'Broken pipe'), address
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
address = struct.pack('=IHHII', 28, 21, 5, 1, 0) + struct.pack('=BBBBIBBBB', 2, 32, 0, 254, 1, 0, 0, 0, 0)[:12]
netlink.send(address); reply = netlink.recv(4096)
assert struct.unpack('=i', reply[16:20])[0] == -1, 'an address of lo was removed'
assert tried(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 12)) == 'Operation not permitted'
assert tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 255)) == 'Operation not permitted'
assert tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).setsockopt(0, 19, 1)) == 'Operation not permitted'
# What the filter knows the gate's own word by.
assert tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).setsockopt(socket.SOL_SOCKET, 36, 0x636a)) == 'Operation not permitted'
print(socket.create_connection(('good.example', 7000)).recv(5).decode())
"#;
        let ran = world.python(place, "web", program);
        assert_eq!(ran.text(), "hello", "{}", ran.whole());
    });
}

/// C21: a gate that has no descriptor left takes no new connection, keeps those that it has, and goes on when some have ended.
#[test]
fn c21_a_gate_without_descriptors_goes_on_when_there_are_some_again() {
    in_each_tier(|world, place| {
        if place.tier != Tier::Root {
            return;
        }
        let program = r#"
import socket, time
first = socket.create_connection(('good.example', 7000)); first.settimeout(60); first.recv(100)
address, held = socket.gethostbyname('good.example'), []
for _ in range(110):
    c = socket.socket(); c.setblocking(False); c.connect_ex((address, 7000)); held.append(c)
time.sleep(0.5)
first.sendall(b'still'); print(first.recv(100).decode())
served = 0
for c in held:
    try:
        served += c.recv(5) == b'hello'
    except OSError:
        pass
    c.close()
print(0 < served < 110)
c = socket.create_connection(('good.example', 7000)); c.settimeout(60); print(c.recv(5).decode())
"#;
        place.write("client.py", program);
        let jail = Jail::new(place).profile("web").patient(80);
        let inner = jail.command(["/usr/bin/python3", "client.py"]);
        let mut scarce = place.command("sh");
        scarce.args(["-c", "ulimit -n 128; exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
        let mut outer = world.enter(place, &scarce);
        outer.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ran = jail.finish(outer.spawn().expect("nsenter is there"));
        assert_eq!(ran.text(), "still\nTrue\nhello", "{}", ran.whole());
    });
}

/// C21: connections that go away while they are made, and more than there is room for.
#[test]
fn c21_a_storm_of_connections_hurts_nobody_but_itself() {
    in_each_tier(|world, place| {
        let program = r#"
import socket, struct
for _ in range(1000):
    c = socket.create_connection(('good.example', 7000))
    c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    c.close()
held = []
address = socket.gethostbyname('good.example')
for _ in range(1700):
    c = socket.socket(); c.setblocking(False); c.connect_ex((address, 9000)); held.append(c)
for c in held:
    c.close()
c = socket.create_connection(('good.example', 7000)); c.settimeout(60)
print(c.recv(5).decode())
"#;
        let ran = world.python(place, "web", program);
        assert_eq!(ran.text(), "hello", "{}", ran.whole());
    });
}

#[test]
fn what_is_explained_is_what_is_enforced() {
    in_each_tier(|world, place| {
        let explain = |host: &str, port: &str| {
            let mut inner = place.command(super::support::place::clawjail());
            inner.args(["profile", "explain", "web", "--host", host, "--port", port, "--json"]);
            answer(world, place, &inner)
        };
        for (host, port, allowed) in [
            ("good.example", "443", true),
            ("GOOD.example.", "80", true),
            ("good.example", "81", false),
            ("x.wild.example", "443", true),
            ("bad.wild.example", "443", false),
            ("10.1.2.3", "9000", true),
            ("::ffff:10.1.2.3", "9000", true),
            ("10.1.2.3", "80", false),
            ("127.0.0.1", "80", false),
        ] {
            let (code, answer) = explain(host, port);
            assert_eq!((answer["allowed"].as_bool(), code == 0), (Some(allowed), allowed), "{host}:{port}: {answer}");
            assert!(answer["rule"].as_str().is_some_and(|rule| !rule.is_empty()), "{answer}");
        }
    });
}

fn answer(world: &World, place: &Place, inner: &Command) -> (i32, serde_json::Value) {
    let output = world.enter(place, inner).output().expect("nsenter is there");
    (output.status.code().unwrap_or(-1), serde_json::from_slice(&output.stdout).unwrap_or_default())
}
