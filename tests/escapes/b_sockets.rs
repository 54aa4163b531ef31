//! Sockets and terminals: every way for a byte to leave without a file.

use std::io::Read;
use std::net::{TcpListener, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::trial::{Trial, denied, says, works};
use super::{Case, case};

/// The cases.
pub const CASES: &[Case] = &[
    case("B4", "no socket of the host can be reached, by path, by abstract name, or by datagram", host_sockets),
    case("B18", "only the socket families of the policy can be made", families),
    case("B16", "nothing is put into the caller's terminal", terminal_injection),
    case("B21", "a gigabyte on both streams is delivered or cut, and never hangs", flood),
    case("C22", "nothing on the host's own addresses can be reached", host_addresses),
];

fn host_sockets(trial: &mut Trial) {
    let name = format!("{}abstract", trial.place.token);
    let stream = UnixListener::bind(trial.place.workspace.join("stream")).expect("own directory");
    let datagram = UnixDatagram::bind(trial.place.workspace.join("datagram")).expect("own directory");
    let hidden = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("a new name");
    let hidden_datagram = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(format!("{name}d")).expect("a name"))
        .expect("a new name");
    for socket in ["stream", "datagram"] {
        let path = trial.place.workspace.join(socket);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("own file");
    }
    for listener in [&stream, &hidden] {
        listener.set_nonblocking(true).expect("own socket");
    }
    for socket in [&datagram, &hidden_datagram] {
        socket.set_nonblocking(true).expect("own socket");
    }
    const NO: &str = "EPERM|EACCES|EISCONN|EOPNOTSUPP|EINVAL|ECONNREFUSED|EPROTOTYPE";
    let mut wishes = vec![
        denied("unix-connect stream", "EPERM"),
        denied(format!("unix-connect @{name}"), "EPERM"),
        denied("unix-connect /run/systemd/private", "EPERM"),
        denied("unix-connect /var/run/docker.sock", "EPERM"),
        denied("socketpair 2 0", "EPERM"),
        says("pair 1", "x"),
        says("pair 5", "x"),
    ];
    for kind in [1, 2, 5] {
        for way in ["pair-sendto", "pair-sendmsg", "pair-sendmmsg", "pair-connect"] {
            for to in ["datagram".to_owned(), "stream".to_owned(), format!("@{name}d"), format!("@{name}")] {
                // A connected stream ignores the address and sends to its pair; the listeners below say who got it.
                if kind == 2 || way == "pair-connect" {
                    wishes.push(denied(format!("{way} {kind} {to}"), NO));
                }
            }
        }
    }
    trial.attack_all(wishes);
    let program = trial.arm();
    let rest: Vec<String> = [1, 5]
        .iter()
        .flat_map(|kind| ["pair-sendto", "pair-sendmsg", "pair-sendmmsg"].map(|way| format!("{way} {kind} datagram")))
        .collect();
    trial.jail().run(std::iter::once(&program).chain(&rest));
    let mut text = [0; 64];
    for (what, got) in [
        ("stream", stream.accept().is_ok()),
        ("abstract", hidden.accept().is_ok()),
        ("datagram", datagram.recv(&mut text).is_ok()),
        ("abstract datagram", hidden_datagram.recv(&mut text).is_ok()),
    ] {
        trial.deny(what, !got, "the host's socket heard the jail");
    }
}

fn families(trial: &mut Trial) {
    let inet = "2/1,2/2,10/1,10/2,16/2,16/3";
    let pairs = "pair:1/1,pair:1/5";
    let ran = trial.attack([works("families")]);
    let text = ran.text();
    let made = text.split("ok ").nth(1).unwrap_or_default();
    let mut made: Vec<&str> = made.split(',').collect();
    made.sort_unstable();
    let mut wanted: Vec<&str> = pairs.split(',').collect();
    if trial.tier.has_namespaces() {
        wanted.extend(inet.split(','));
    }
    wanted.sort_unstable();
    trial.deny("the families that can be made", made == wanted, format!("made {made:?}, must be {wanted:?}"));
}

fn host_addresses(trial: &mut Trial) {
    let tcp = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let udp = UdpSocket::bind("0.0.0.0:0").expect("a free port");
    tcp.set_nonblocking(true).expect("own socket");
    udp.set_nonblocking(true).expect("own socket");
    let (tcp_port, udp_port) = (tcp.local_addr().expect("bound").port(), udp.local_addr().expect("bound").port());
    const NO: &str = "EPERM|EACCES|ENETUNREACH|ECONNREFUSED|EADDRNOTAVAIL|EHOSTUNREACH";
    let mut wishes = Vec::new();
    for host in ["127.0.0.1", "127.0.0.2", "0.0.0.0", "169.254.169.254", "10.0.0.1", "192.0.2.1", "255.255.255.255"] {
        wishes.push(denied(format!("tcp-connect {host}:{tcp_port}"), NO));
        // To its own loopback a datagram goes out and is lost.
        if !host.starts_with("127.") && host != "0.0.0.0" {
            wishes.push(denied(format!("udp-send {host}:{udp_port}"), NO));
        }
    }
    for host in ["[::1]", "[::ffff:127.0.0.1]", "[2001:db8::1]", "[fe80::1%25lo]"] {
        if !host.contains('%') {
            wishes.push(denied(format!("tcp-connect {host}:{tcp_port}"), NO));
        }
    }
    if trial.tier.has_namespaces() {
        wishes.push(says("loopback", "hello"));
        wishes.push(says("loopback-udp", "hello"));
        wishes.push(works(format!("udp-send 127.0.0.1:{udp_port}")));
    } else {
        wishes.push(denied("loopback", "EPERM|EACCES"));
        wishes.push(denied("loopback-udp", "EPERM|EACCES"));
        wishes.push(says("pair 1", "x"));
    }
    trial.attack_all(wishes);
    trial.deny("the host's listener", tcp.accept().is_err(), "it heard the jail");
    trial.deny("the host's datagrams", udp.recv(&mut [0; 8]).is_err(), "they came from the jail");
}

fn terminal_injection(trial: &mut Trial) {
    let program = trial.arm();
    let (tiocsti, tioclinux, tiocsetd, tioccons) = (0x5412, 0x541c, 0x5423, 0x541d);
    let mut operations = vec!["create plain".to_owned(), "ioctl 0 21505".to_owned()];
    for descriptor in 0..3 {
        for request in [tiocsti, tioclinux, tiocsetd, tioccons, tiocsti | (1i64 << 32)] {
            operations.push(format!("ioctl {descriptor} {request}"));
        }
    }
    for option in ["--tty", "--no-tty"] {
        let pty = nix::pty::openpty(None, None).expect("a host has terminals");
        let jail = trial.jail().option(option);
        let mut command = jail.command(std::iter::once(&program).chain(&operations));
        let slave = || Stdio::from(pty.slave.try_clone().expect("own descriptor"));
        command.stdin(slave()).stdout(Stdio::piped()).stderr(slave());
        let ran = jail.finish(command.spawn().expect("the binary can be executed"));
        let mut wishes: Vec<_> =
            operations[2..].iter().map(|operation| denied(operation, "EPERM|ENOTTY|EACCES")).collect();
        wishes.push(works("create plain"));
        let _ = std::fs::remove_file(trial.place.workspace.join("plain"));
        trial.judge(&ran, &wishes);
        nix::fcntl::fcntl(&pty.slave, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))
            .expect("own descriptor");
        let mut typed = [0; 64];
        let typed = nix::unistd::read(&pty.slave, &mut typed);
        trial.deny("what was typed into the caller's terminal", typed.is_err(), format!("{typed:?}"));
    }
}

fn flood(trial: &mut Trial) {
    const GIGABYTE: u64 = 1 << 30;
    let script = "head -c 1G /dev/zero & head -c 1G /dev/zero >&2; wait";
    for (profile, limit) in [("untrusted", GIGABYTE), ("trusted", 2 * GIGABYTE)] {
        let jail = trial.jail().profile(profile).patient(60);
        let mut child = {
            let mut command = jail.command(["bash", "-c", script]);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("the binary can be executed")
        };
        let stdout = child.stdout.take().expect("asked for");
        let stderr = child.stderr.take().expect("asked for");
        // Whoever reads late holds one stream up while the other goes on to the limit.
        let read = Arc::new(AtomicU64::new(0));
        let begun = Instant::now();
        let errors = std::thread::spawn({
            let read = read.clone();
            move || {
                while read.load(Ordering::Relaxed) < GIGABYTE - (1 << 20) && begun.elapsed() < Duration::from_secs(20) {
                    std::thread::sleep(Duration::from_millis(1));
                }
                std::thread::sleep(Duration::from_millis(100));
                count(stderr, &AtomicU64::new(0))
            }
        });
        let total = count(stdout, &read) + errors.join().expect("it does not panic");
        let ended = child.wait().expect("our own child");
        let verdict = jail.verdict();
        // Our own line about what was cut comes after.
        let near = total >= limit && total < limit + 1000;
        trial.deny(
            profile,
            near && verdict["output"]["truncated"] == (profile == "untrusted"),
            format!("{total} bytes, {verdict}"),
        );
        trial.allow(
            profile,
            ended.success() && verdict["output"]["bytes"] == 2 * GIGABYTE || profile == "trusted",
            format!("{ended} {verdict}"),
        );
    }
}

fn count(mut stream: impl Read, total: &AtomicU64) -> u64 {
    let mut buffer = vec![0; 1 << 20];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return total.load(Ordering::Relaxed),
            Ok(count) => total.fetch_add(count as u64, Ordering::Relaxed),
        };
    }
}
