//! What a gate keeps to beside its rules: budgets, first contacts, and datagrams where a rule lets them out.

use serde_json::Value;

use super::in_each_tier;
use super::support::jail::{Jail, Ran};
use super::support::place::Place;
use super::world::World;

/// A profile that reaches these hosts, with more words of `[egress]`.
fn profile(allow: &str, words: &str) -> String {
    format!("summary = \"Test.\"\nextends = \"untrusted\"\n[egress]\nallow = [{allow}]\n{words}\n")
}

/// The rules by which connections were denied.
fn rules(ran: &Ran) -> String {
    let denials = ran.verdict["denials"].as_array().cloned().unwrap_or_default();
    denials.iter().filter_map(|denial| denial["rule"].as_str().map(str::to_owned)).collect::<Vec<_>>().join("; ")
}

fn connections(ran: &Ran) -> Vec<Value> {
    ran.verdict["activity"]["connections"].as_array().cloned().unwrap_or_default()
}

#[test]
fn no_more_bytes_leave_than_a_budget_has() {
    in_each_tier(|world, place| {
        let words = "[egress.budget]\nsent = \"100K\"\nsent_per_host = \"60K\"";
        world.profile("bytes", &profile("\"good.example:*\", \"other.example:*\"", words));
        let program = r#"
import socket, time
def say(host, count):
    begun = time.monotonic()
    try:
        c = socket.create_connection((host, 9000), timeout=20)
        for at in range(0, count, 1000):
            c.sendall(b'x' * 1000)
        c.shutdown(socket.SHUT_WR)
        return c.makefile().read().strip() or 'ended'
    except TimeoutError:
        raise
    except OSError:
        assert time.monotonic() - begun < 5
        return 'ended'
print(say('good.example', 50_000), say('good.example', 50_000), say('other.example', 30_000), say('other.example', 30_000))
"#;
        let ran = world.python(place, "bytes", program);
        assert_eq!(ran.text(), "heard 50000 ended heard 30000 ended", "{}", ran.whole());
        assert!(rules(&ran).contains("`sent_per_host` (61440 bytes) is used up"), "{}", rules(&ran));
        assert!(rules(&ran).contains("`sent` (102400 bytes) is used up"), "{}", rules(&ran));
        let sent: u64 = connections(&ran).iter().filter_map(|connection| connection["sent"].as_u64()).sum();
        assert!((80_000..=102_400).contains(&sent), "{sent}");
        assert!(ran.verdict["denials"].to_string().contains("raise `sent` in [egress.budget]"), "{}", ran.verdict);
    });
}

#[test]
fn no_more_bytes_leave_than_a_budget_has_where_the_kernel_moves_them() {
    in_each_tier(|world, place| {
        world.profile("megabytes", &profile("\"good.example:*\"", "budget = { sent = \"2M\" }"));
        let program = "import socket\n\
             def say(count):\n\
             \x20   c = socket.create_connection(('good.example', 9000), timeout=20)\n\
             \x20   try:\n\
             \x20       c.sendall(b'x' * count); c.shutdown(socket.SHUT_WR); return c.makefile().read().strip() or 'ended'\n\
             \x20   except TimeoutError:\n\
             \x20       raise\n\
             \x20   except OSError:\n\
             \x20       return 'ended'\n\
             print(say(1_500_000), say(1_500_000))\n";
        let ran = world.python(place, "megabytes", program);
        assert_eq!(ran.text(), "heard 1500000 ended", "{}", ran.whole());
        let sent: u64 = connections(&ran).iter().filter_map(|connection| connection["sent"].as_u64()).sum();
        assert!((1_500_000..=2 << 20).contains(&sent), "{sent}");
    });
}

#[test]
fn connections_and_requests_beyond_a_budget_are_refused_at_once_with_the_remedy() {
    in_each_tier(|world, place| {
        let words = "budget = { connections = 4, requests_per_minute = 4 }";
        world.profile("counted", &profile("\"good.example\"", words));
        let program = r#"
import http.client, time
def ask(count):
    c, statuses = http.client.HTTPConnection('good.example', timeout=20), []
    for _ in range(count):
        begun = time.monotonic()
        c.request('GET', '/counted')
        answer = c.getresponse(); said = answer.read().decode()
        statuses.append(answer.status)
        if answer.status != 200:
            assert time.monotonic() - begun < 2
            print(said.strip())
    return statuses
print(ask(2), ask(2), ask(1), ask(1), ask(1))
"#;
        let ran = world.python(place, "counted", program);
        let text = ran.text();
        assert!(text.ends_with("[200, 200] [200, 200] [403] [403] [403]"), "{}", ran.whole());
        assert!(text.contains("wait a minute, or have the operator raise `requests_per_minute`"), "{text}");
        assert!(text.contains("have the operator raise `connections` in [egress.budget]"), "{text}");
        assert!(rules(&ran).contains("`connections` (4) is used up"), "{}", rules(&ran));
    });
}

/// One that is denied on a connection that is kept is answered like the first one would be.
#[test]
fn a_request_that_is_denied_on_a_connection_that_is_kept_is_answered_with_the_remedy() {
    in_each_tier(|world, place| {
        world.profile(
            "kept",
            &profile("\"good.example\"", "budget = { requests_per_minute = 4, sent_per_host = \"100K\" }"),
        );
        let program = r#"
import http.client, json, socket, sys
def ask(*requests):
    c, statuses = http.client.HTTPConnection('good.example', timeout=20), []
    for path, fields, body in requests:
        c.request('POST' if body else 'GET', path, body, fields)
        answer = c.getresponse(); said = answer.read().decode()
        statuses.append(answer.status)
    return statuses, json.loads(said)['rule'] if answer.status == 403 else ''
fine = ('/kept', {}, None)
print(*ask(fine, ('/kept-other', {'Host': 'other.example'}, None)))
print(*ask(fine, ('/kept-large', {}, b'x' * 200_000)))
print(*ask(fine, ('/kept-last', {}, None)))
# Two at once, of which one is denied: neither is sent.
c = socket.create_connection(('good.example', 80), timeout=20)
one = b'GET /kept-two HTTP/1.1\r\nHost: good.example\r\n\r\n'
c.sendall(one + one.replace(b'good', b'other')); print(c.recv(12))
"#;
        let ran = world.python(place, "kept", program);
        let text = ran.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("[200, 403] built in: an HTTP request for another host"), "{}", ran.whole());
        assert!(lines[1].starts_with("[200, 403] budget: `sent_per_host`"), "{}", ran.whole());
        assert!(lines[2].starts_with("[200, 403] budget: `requests_per_minute` (4)"), "{}", ran.whole());
        assert_eq!(lines[3], "b'HTTP/1.1 403'", "{}", ran.whole());
        assert!(world.saw("/kept ") && !world.log().contains("/kept-o") && !world.log().contains("/kept-last"));
        assert!(!world.log().contains("/kept-two"));
        assert!(
            rules(&ran).contains("for another host") && rules(&ran).contains("`requests_per_minute`"),
            "{}",
            rules(&ran)
        );
    });
}

fn first_contacts(ran: &Ran) -> Vec<String> {
    let first = connections(ran).into_iter().filter(|connection| connection["first_contact"] == true);
    first.filter_map(|connection| connection["name"].as_str().map(str::to_owned)).collect()
}

/// Runs a script, or our own program, with a state directory of the place's.
fn with_state(world: &World, place: &Place, profile: &str, script: &str) -> Ran {
    let jail = Jail::new(place).profile(profile).patient(80);
    let mut command = world.enter(place, jail.command(["bash", "-c", script]).env("XDG_STATE_HOME", &place.outside));
    command
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    jail.finish(command.spawn().expect("nsenter is there"))
}

fn contacts(world: &World, place: &Place, words: &[&str]) -> String {
    let mut command = place.command(super::support::place::clawjail());
    command.arg("contacts").args(words).env("XDG_STATE_HOME", &place.outside);
    let output = world.enter(place, &command).output().expect("nsenter is there");
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_host_that_was_never_reached_is_flagged_once_or_denied_until_somebody_knows_it() {
    in_each_tier(|world, place| {
        let hosts = "\"good.example\", \"other.example\", \"45.90.0.2:7000\"";
        world.profile("flags", &profile(hosts, "first_contact = \"flag\""));
        world.profile("strangers", &profile(hosts, "first_contact = \"deny\""));
        let get =
            "curl -sS -w '%{http_code} ' -o /dev/null http://good.example/met -o /dev/null http://good.example/met; ";
        let ran = with_state(world, place, "flags", get);
        assert_eq!(
            (ran.text().as_str(), first_contacts(&ran)),
            ("200 200", vec!["good.example".to_owned()]),
            "{}",
            ran.whole()
        );
        assert!(
            ran.own_lines().iter().any(|line| line.contains("first contact: `good.example:80`")),
            "{}",
            ran.whole()
        );
        let again = with_state(world, place, "flags", get);
        assert_eq!((again.text().as_str(), first_contacts(&again).len()), ("200 200", 0), "{}", again.whole());
        let both = "curl -sS http://good.example/met; curl -sS -m 5 http://other.example/unmet; head -c5 < /dev/tcp/45.90.0.2/7000";
        let denied = with_state(world, place, "strangers", both);
        assert!(denied.text().starts_with("http good.example GET /met"), "{}", denied.whole());
        assert!(denied.text().contains("clawjail contacts add other.example"), "{}", denied.whole());
        assert!(rules(&denied).contains("first contact") && !denied.text().contains("hello"), "{}", denied.whole());
        assert!(!world.log().contains("/unmet"));
        contacts(world, place, &["add", "Other.Example.", "45.90.0.2"]);
        assert_eq!(contacts(world, place, &["list"]), "45.90.0.2\ngood.example\nother.example\n");
        let known = with_state(world, place, "strangers", &both.replace("/unmet", "/introduced"));
        assert!(known.text().contains("/introduced") && known.text().ends_with("hello"), "{}", known.whole());
        contacts(world, place, &["forget", "other.example"]);
        let forgotten = with_state(world, place, "strangers", both);
        assert!(forgotten.text().contains("first contact"), "{}", forgotten.whole());
    });
}

#[test]
fn a_datagram_goes_where_a_rule_for_udp_lets_it_and_its_answer_comes_back() {
    in_each_tier(|world, place| {
        let hosts = "\"udp://good.example:7001\", \"udp://45.90.0.0/24:7001\", \"udp://private.example:7001\", \"good.example\", \"other.example\"";
        world.profile("datagrams", &profile(hosts, ""));
        let program = r#"
import socket, time
def ask(host, port=7001, family=socket.AF_INET):
    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(1 if 'private' in host else 10)
    begun = time.monotonic()
    try:
        address = socket.getaddrinfo(host, port, family)[0][4]
        s.sendto(b'x' * 1200, address)
        said, who = s.recvfrom(100)
        assert who[:2] == address[:2], (who, address)
        return said.decode()
    except PermissionError:
        assert time.monotonic() - begun < 0.5
        return 'denied'
    except TimeoutError:
        return 'silence'
assert socket.gethostbyname('good.example').startswith('198.19.')
assert socket.gethostbyname('other.example').startswith('198.18.')
print(ask('good.example'), ask('good.example', 7001, socket.AF_INET6), ask('45.90.0.2'))
print(ask('good.example', 443), ask('other.example', 7001), ask('93.184.216.34'), ask('45.91.0.2'), ask('private.example'))
for family in (socket.AF_INET, socket.AF_INET6):
    s = socket.socket(family, socket.SOCK_DGRAM); s.settimeout(5)
    s.connect(socket.getaddrinfo('private.example', 7001, family)[0][4][:2])
    begun = time.monotonic()
    s.send(b'x')
    try:
        print(s.recv(100))
    except ConnectionRefusedError:
        print('refused', time.monotonic() - begun < 0.5)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(10); s.connect(('good.example', 7001))
for size in (1, 100, 1400):
    s.send(b'x' * size); print(s.recv(100).decode(), end=' ')
"#;
        let ran = world.python(place, "datagrams", program);
        let expected = "heard 1200 heard 1200 heard 1200\ndenied denied denied denied silence\nrefused True\nrefused True\nheard 1 heard 100 heard 1400";
        assert_eq!(ran.text(), expected, "{}", ran.whole());
        let over_udp: Vec<Value> = connections(&ran).into_iter().filter(|one| one["protocol"] == "udp").collect();
        let counted = over_udp.iter().find(|one| one["sent"] == 1501).expect("three datagrams of one conversation");
        assert_eq!((counted["name"].as_str(), counted["decision"].as_str()), (Some("good.example"), Some("allowed")));
        assert!(counted["received"].as_u64().is_some_and(|received| received > 20), "{counted}");
        let denials = ran.verdict["denials"].to_string();
        for what in ["good.example:443", "other.example:7001", "93.184.216.34:7001", "private.example:7001 (10.1.2.3)"]
        {
            assert!(denials.contains(&format!("\"what\":\"{what}\"")), "{what}: {denials}");
        }
        assert!(denials.contains("add `udp://other.example:7001` to `allow`"), "{denials}");
    });
}

#[test]
fn datagrams_are_paid_from_the_same_budget() {
    in_each_tier(|world, place| {
        world.profile("few", &profile("\"udp://good.example:7001\"", "budget = { sent = \"3K\" }"));
        let program = "import socket\n\
             s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(1); s.connect(('good.example', 7001))\n\
             heard = 0\n\
             for _ in range(6):\n\
             \x20   try:\n\
             \x20       s.send(b'x' * 1000)\n\
             \x20       heard += s.recv(100) == b'heard 1000'\n\
             \x20   except ConnectionRefusedError:\n\
             \x20       print('refused')\n\
             print(heard)\n";
        let ran = world.python(place, "few", program);
        assert!(ran.text().starts_with("refused") && ran.text().ends_with("3"), "{}", ran.whole());
        assert!(rules(&ran).contains("`sent` (3072 bytes) is used up"), "{}", rules(&ran));
    });
}

#[test]
fn more_ports_of_udp_than_a_gate_has_sockets_for_are_refused() {
    in_each_tier(|world, place| {
        for (name, allow, why) in [
            ("all-ports", "\"udp://good.example:*\"", "more than 16 ports"),
            ("port-53", "\"udp://good.example:53\"", "the gate itself is on port 53"),
        ] {
            world.profile(name, &profile(allow, ""));
            let ran = world.bash(place, name, "true");
            assert_eq!(ran.code, Some(126), "{}", ran.whole());
            assert!(ran.own_lines().iter().any(|line| line.contains(why)), "{}", ran.whole());
        }
    });
}
