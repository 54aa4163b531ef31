//! Rules for requests: what is let through of HTTP, inside TLS and without it.

use super::in_each_tier;
use super::support::jail::{Jail, Ran};
use super::support::place::{Place, clawjail};
use super::world::{World, has};

/// Rules for requests, with a host beside them that has none.
const REQUESTS: &str = r#"
summary = "Test."
extends = "untrusted"
[egress]
allow = ["other.example", "good.example:7000"]
hosts = { "b.wild.example" = "93.184.216.34", "unknown.example" = "93.184.216.34" }
[[egress.http]]
host = "good.example"
methods = ["GET", "HEAD"]
paths = ["/public/**", "/big/*"]
[[egress.http]]
host = "good.example"
methods = ["POST"]
paths = ["/in/*"]
headers = { X-Kind = "a*" }
[[egress.http]]
host = "good.example:8443"
methods = ["GET", "POST"]
paths = ["/public/**", "/big/*"]
[[egress.http]]
host = "*.wild.example"
methods = ["*"]
paths = ["/**"]
websocket = true
[[egress.http]]
host = "unknown.example"
methods = ["GET"]
paths = ["/**"]
"#;

fn under(world: &World, place: &Place, script: &str) -> Ran {
    world.profile("requests", REQUESTS);
    world.bash(place, "requests", script)
}

fn python(world: &World, place: &Place, program: &str) -> Ran {
    place.write("client.py", program);
    under(world, place, "/usr/bin/python3 client.py")
}

#[test]
fn a_request_is_let_through_by_method_path_and_field_and_nothing_else_is() {
    in_each_tier(|world, place| {
        let token = &place.token;
        let script = format!(
            "t() {{ curl -sS -o out -w '%{{http_code}} ' \"$@\"; }}; for s in http https; do \
             t $s://good.example/public/{token}; t -I $s://good.example/public/{token}; t $s://good.example/private/{token}; \
             t -X DELETE $s://good.example/public/{token}; t -d x -H 'X-Kind: ab' $s://good.example/in/{token}; \
             t -d x $s://good.example/in/{token}; t -d x -H 'X-Kind: b' $s://good.example/in/{token}; \
             t --path-as-is $s://good.example/public/../private/{token}; t $s://good.example/public/%2e%2e%2fprivate/{token}; \
             t --path-as-is $s://good.example//public///{token}/./x; t $s://other.example/{token}; done; echo; cat out"
        );
        let ran = under(world, place, &script);
        let codes = "200 200 403 403 200 403 403 403 403 200 200";
        assert!(ran.text().starts_with(&format!("{codes} {codes}")), "{}", ran.whole());
        assert!(ran.text().ends_with(&format!("https other.example GET /{token} 0")), "{}", ran.whole());
        let log = world.log();
        let heard: Vec<&str> = log.lines().filter(|line| line.contains(token.as_str())).collect();
        assert_eq!(heard.len(), 10, "{heard:?}");
        assert!(heard.iter().all(|line| !line.contains("private") && !line.contains("DELETE")), "{heard:?}");
        assert!(heard.iter().any(|line| line.ends_with(&format!("GET /public/{token}/x 0"))), "{heard:?}");
        assert_denied(
            &ran,
            &format!("request DELETE good.example:443/public/{token}"),
            "only GET|HEAD /public/** /big/*",
        );
        assert_denied(&ran, &format!("request GET good.example:80/private/{token}"), "[[egress.http]] `good.example`");
        let connections = ran.verdict["activity"]["connections"].as_array().cloned().unwrap_or_default();
        let listed: Vec<String> = connections
            .iter()
            .flat_map(|one| one["requests"].as_array().cloned().unwrap_or_default())
            .map(said)
            .collect();
        assert!(listed.contains(&format!("GET /public/{token} 200 allowed")), "{listed:?}");
        assert!(listed.contains(&format!("GET /private/{token} 403 denied")), "{listed:?}");
        assert!(
            connections.iter().any(|one| one["spoken"] == "https" && one["received"].as_u64() > Some(20)),
            "{connections:?}"
        );
    });
}

fn said(request: serde_json::Value) -> String {
    let word = |key: &str| request[key].as_str().unwrap_or_default().to_owned();
    format!("{} {} {} {}", word("method"), word("path"), request["status"], word("decision"))
}

/// Whether the verdict says that it was denied, by a rule with these words, with a remedy.
pub fn assert_denied(ran: &Ran, what: &str, rule: &str) {
    let denials = ran.verdict["denials"].as_array().cloned().unwrap_or_default();
    let text = |denial: &serde_json::Value, key: &str| denial[key].as_str().unwrap_or_default().to_owned();
    let found = denials.iter().find(|denial| format!("{} {}", text(denial, "kind"), text(denial, "what")) == what);
    assert!(found.is_some(), "{what} is none of {denials:#?}");
    let found = found.expect("it was just seen");
    assert!(text(found, "rule").contains(rule) && !text(found, "remedy").is_empty(), "{found:#?}");
}

#[test]
fn a_denied_request_is_answered_with_the_rule_and_the_remedy() {
    in_each_tier(|world, place| {
        let ran = under(world, place, "curl -sS https://good.example/private/x");
        let body: serde_json::Value = serde_json::from_str(&ran.text()).expect("json");
        assert_eq!(
            (&body["host"], &body["method"], &body["path"]),
            (&"good.example".into(), &"GET".into(), &"/private/x".into())
        );
        assert!(body["rule"].as_str().is_some_and(|rule| rule.contains("/public/**")), "{body}");
        assert!(body["remedy"].as_str().is_some_and(|remedy| remedy.contains("/private/x")), "{body}");
        assert!(ran.error_text().contains("/private/x"), "{}", ran.whole());
    });
}

/// Real clients, which are told whom to trust by variables alone.
#[test]
fn clients_of_every_family_trust_the_gate_and_are_let_through() {
    in_each_tier(|world, place| {
        let token = &place.token;
        let clients = [
            ("curl", format!("curl -sS https://good.example/public/{token}curl")),
            (
                "python3",
                format!(
                    "/usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen(\"https://good.example/public/{token}python3\").read())'"
                ),
            ),
            (
                "node",
                format!(
                    "node -e 'fetch(\"https://good.example/public/{token}node\").then(r => r.text()).then(console.log)'"
                ),
            ),
            ("git", format!("git ls-remote https://good.example/public/{token}git")),
            ("npm", format!("npm view --registry https://good.example/public/{token}npm/ left-pad")),
            (
                "pip",
                format!(
                    "pip download --disable-pip-version-check --index-url https://good.example/public/{token}pip/simple left"
                ),
            ),
            (
                "openssl",
                format!(
                    "printf 'GET /public/{token}openssl HTTP/1.1\\r\\nHost: good.example\\r\\n\\r\\n' | timeout 5 openssl s_client -quiet -verify_return_error -connect good.example:443 -servername good.example"
                ),
            ),
        ];
        for (client, script) in clients {
            if !has(client) {
                continue;
            }
            let ran = under(world, place, &script);
            assert!(world.saw(&format!("/public/{token}{client}")), "{client}: {}", ran.whole());
        }
    });
}

#[test]
fn java_trusts_the_gate_by_the_store_that_it_reads() {
    in_each_tier(|world, place| {
        if !has("java") {
            return;
        }
        place.write(
            "Client.java",
            "public class Client { public static void main(String[] words) throws Exception { \
             System.out.print(new String(new java.net.URL(words[0]).openStream().readAllBytes())); } }",
        );
        let built = std::process::Command::new("javac")
            .arg("-d")
            .arg(&place.workspace)
            .arg(place.workspace.join("Client.java"))
            .status();
        if !built.is_ok_and(|status| status.success()) {
            return super::world::say_skipped("java: no compiler");
        }
        let ran = under(
            world,
            place,
            "java -Xmx128m -cp . Client https://good.example/public/java; java -Xmx128m -cp . Client https://good.example/private/java",
        );
        assert_eq!(ran.text(), "https good.example GET /public/java 0", "{}", ran.whole());
        assert!(!world.log().contains("/private/java"));
    });
}

#[test]
fn http_2_is_spoken_on_both_sides_and_judged_alike() {
    in_each_tier(|world, place| {
        if !world.has_second() {
            return super::world::say_skipped("HTTP/2: no node");
        }
        let ran = under(
            world,
            place,
            "t() { curl -sS -w '%{http_version} %{http_code}\\n' \"$@\"; }; t https://good.example:8443/public/two; \
             t --http1.1 https://good.example:8443/public/one; t -o /dev/null https://good.example:8443/private/two; \
             t -o /dev/null https://good.example:8443/big/5000000 -o /dev/null https://good.example:8443/big/3; \
             head -c 3000000 /dev/zero | t --data-binary @- https://good.example:8443/public/up; \
             t -o /dev/null -H 'Host: evil.example' https://good.example:8443/public/fronted; \
             curl -sS -Z --parallel-immediate -o /dev/null -o /dev/null -o /dev/null -w '%{http_code}\\n' \
             https://good.example:8443/big/100000 https://good.example:8443/private/two https://good.example:8443/big/100001 | sort",
        );
        let wanted = [
            "h2.0 good.example:8443 GET /public/two 0",
            "2 200",
            "h1.1 good.example:8443 GET /public/one 0",
            "1.1 200",
            "2 403",
            "2 200",
            "2 200",
            "h2.0 good.example:8443 POST /public/up 3000000",
            "2 200",
            "2 403",
            "200",
            "200",
            "403",
        ];
        assert_eq!(ran.text().lines().collect::<Vec<_>>(), wanted, "{}", ran.whole());
        let log = world.log();
        assert!(!log.contains("/private/two") && !log.contains("/fronted"), "{log}");
    });
}

/// C6, C23: inside TLS, too, a request is for the host that was connected to.
#[test]
fn a_request_for_another_host_inside_tls_is_denied_and_never_sent() {
    in_each_tier(|world, place| {
        let script = "for h in other.example good.example.evil.example good.example:444 good.example@other.example; do \
             curl -sS -o /dev/null -w '%{http_code} ' -H \"Host: $h\" https://good.example/public/hidden; done; \
             curl -sS -o /dev/null -w '%{http_code}' -H 'Host: GOOD.example:443' https://good.example/public/shown";
        let ran = under(world, place, script);
        assert_eq!(ran.text(), "403 403 403 403 200", "{}", ran.whole());
        assert!(!world.log().contains("/public/hidden"));
        assert_denied(&ran, "request GET good.example:443/public/hidden", "another host");
    });
}

/// C10: whatever is read here as one request is sent as one request, in one form.
#[test]
fn no_request_is_smuggled_inside_another() {
    in_each_tier(|world, place| {
        let program = r#"
import socket, ssl
context = ssl.create_default_context()
def say(data, secure):
    c = socket.create_connection(('good.example', 443 if secure else 80)); c.settimeout(3)
    if secure:
        c = context.wrap_socket(c, server_hostname='good.example')
    heard = b''
    try:
        c.sendall(data)
        while True:
            part = c.recv(65536)
            if not part:
                break
            heard += part
    except OSError:
        pass
    return heard
head = b'POST /in/x HTTP/1.1\r\nHost: good.example\r\nX-Kind: a\r\nConnection: close\r\n'
evil = b'GET /smuggled HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n'
for secure in (True, False):
    heard = say(b'GET /public/1 HTTP/1.1\r\nHost: good.example\r\n\r\nGET /public/2 HTTP/1.1\r\nHost: good.example\r\nConnection: close\r\n\r\n', secure)
    assert b'/public/1' in heard and b'/public/2' in heard, heard
    heard = say(b'GET /public/1 HTTP/1.1\r\nHost: good.example\r\n\r\n' + evil, secure)
    assert b'/public/1' in heard and heard.count(b'403 Forbidden') == 1, heard
    chunked = b'1\r\nx\r\n0\r\n\r\n'
    for name, data in (
        ('cl.te', head + b'Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' % (5 + len(evil)) + evil),
        ('te.cl', head + b'Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n%x\r\n' % len(evil) + evil + b'\r\n0\r\n\r\n'),
        ('two cl', head + b'Content-Length: 0\r\nContent-Length: %d\r\n\r\n' % len(evil) + evil),
        ('list cl', head + b'Content-Length: 0, %d\r\n\r\n' % len(evil) + evil),
        ('plus cl', head + b'Content-Length: +0\r\n\r\n' + evil),
        ('te list', head + b'Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n' + evil),
        ('te twice', head + b'Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n' + evil),
        ('te odd', head + b'Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n' + evil),
        ('te space', head + b'Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n' + evil),
        ('te tab', head + b'Transfer-Encoding:\tchunked\x0b\r\n\r\n0\r\n\r\n' + evil),
        ('te 1.0', head.replace(b'1.1', b'1.0') + b'Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n' + evil),
        ('bare lf', head.replace(b'\r\n', b'\n') + b'Content-Length: 0\n\n' + evil),
        ('bare cr', head + b'X: a\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' + evil),
        ('fold', head + b'X: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n' + evil),
        ('nul', head + b'X: a\0b\r\n\r\n' + evil),
        ('chunk size', head + b'Transfer-Encoding: chunked\r\n\r\n-1\r\n' + evil),
        ('chunk large', head + b'Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n' + evil),
        ('chunk end', head + b'Transfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n' + evil),
        ('trailer', head + b'Transfer-Encoding: chunked\r\n\r\n0\r\nHost: other.example\r\nX-Smuggled: /smuggled\r\n\r\n'),
        ('two hosts', b'GET /public/smuggled HTTP/1.1\r\nHost: good.example\r\nHost: other.example\r\n\r\n'),
        ('absolute', b'GET https://other.example/smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n'),
        ('userinfo', b'GET http://good.example@other.example/smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n'),
        ('no host', b'GET /public/smuggled HTTP/1.1\r\n\r\n'),
        ('connect', b'CONNECT other.example:443 HTTP/1.1\r\nHost: other.example\r\n\r\n' + evil),
        ('prior', b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + evil),
        ('escape', b'GET /public/%2e%2e/smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n'),
        ('twice escaped', b'GET /public/%252e%252e/smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n'),
        ('semicolon', b'GET /public/..;/smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n'),
        ('backslash', b'GET /public/..\\smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n'),
        ('method', b'get /smuggled HTTP/1.1\r\nHost: good.example\r\n\r\n'),
        ('no version', b'GET /smuggled\r\n\r\n'),
        ('noise', bytes(range(256)) * 4),
    ):
        say(data, secure)
heard = say(head + b'Transfer-Encoding: chunked\r\n\r\n' + chunked, True)
assert b'POST /in/x 1' in heard, heard
print('said')
"#;
        let ran = python(world, place, program);
        assert_eq!(ran.text(), "said", "{}", ran.whole());
        let log = world.log();
        assert!(!log.contains("smuggled"), "{log}");
    });
}

#[test]
fn a_websocket_is_made_by_rule_alone() {
    in_each_tier(|world, place| {
        let program = r#"
import socket, ssl, os
context = ssl.create_default_context()
def ask(host, path, upgrade='websocket'):
    c = context.wrap_socket(socket.create_connection((host, 443)), server_hostname=host); c.settimeout(5)
    c.sendall((f'GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n'
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n').encode())
    return c, c.recv(4096)
c, heard = ask('a.wild.example', '/socket')
assert heard.startswith(b'HTTP/1.1 101') and b's3pPLMBiTxaQ9kYGzzhZRbK+xOo=' in heard, heard
mask = os.urandom(4)
for text in (b'hello', b'again'):
    c.sendall(bytes([0x81, 0x80 | len(text)]) + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(text)))
    assert c.recv(100) == bytes([0x81, len(text)]) + text
c, heard = ask('good.example', '/public/socket')
assert heard.startswith(b'HTTP/1.1 403'), heard
c, heard = ask('good.example', '/public/h2c', 'h2c')
assert heard.startswith(b'HTTP/1.1 200'), heard
print('asked')
"#;
        let ran = python(world, place, program);
        assert_eq!(ran.text(), "asked", "{}", ran.whole());
        assert!(world.saw("frame hello") && world.saw("frame again"));
        let log = world.log();
        assert!(!log.contains("/public/socket") && !log.contains("asks to upgrade h2c"), "{log}");
    });
}

/// C13: what cannot be believed is not spoken to, and nothing is relayed unseen instead.
#[test]
fn a_server_without_a_good_certificate_hears_no_request() {
    in_each_tier(|world, place| {
        let ran = under(world, place, "curl -sS -w '%{http_code}' https://unknown.example/believed");
        assert!(ran.text().ends_with("502") && ran.text().contains("its certificate is not good"), "{}", ran.whole());
        let failed = ran.verdict["activity"]["connections"][0].clone();
        assert_eq!(failed["decision"], "failed", "{failed}");
        let plain = under(
            world,
            place,
            "curl -sS -k https://unknown.example/believed; curl -sS http://unknown.example/control",
        );
        assert!(plain.text().ends_with("GET /control 0"), "{}", plain.whole());
        assert!(!world.log().contains("/believed"));
    });
}

#[test]
fn a_host_with_rules_for_requests_is_spoken_to_in_requests_alone() {
    in_each_tier(|world, place| {
        let ran = under(
            world,
            place,
            "for port in 80 443; do exec 3<>/dev/tcp/good.example/$port; echo 'SSH-2.0-x' >&3; timeout 3 cat <&3; echo rc $?; done; \
             exec 3<>/dev/tcp/good.example/7000; head -n1 <&3",
        );
        assert!(ran.text().ends_with("hello, I speak first"), "{}", ran.whole());
        assert!(ran.verdict["denials"].to_string().contains("requests alone"), "{}", ran.verdict["denials"]);
        let unruled = under(world, place, "curl -sS -k --cacert /dev/null https://other.example/unruled");
        assert_eq!(unruled.text(), "https other.example GET /unruled 0", "{}", unruled.whole());
    });
}

/// A client that hears no variable reads what the host has, and the gate's authority is in that, too; nothing else of it changes.
#[test]
fn clients_that_read_the_hosts_own_bundle_trust_the_gate() {
    in_each_tier(|world, place| {
        let token = &place.token;
        let bundle = "/etc/ssl/certs/ca-certificates.crt";
        let curl = format!("env -i /usr/bin/curl -sS --cacert {bundle} https://good.example/public/{token}");
        let ran = under(
            world,
            place,
            &format!("{curl}bundle; cmp {bundle} /etc/clawjail/trust.pem && echo; echo x >> {bundle}"),
        );
        assert_eq!(ran.text(), format!("https good.example GET /public/{token}bundle 0"), "{}", ran.whole());
        if has("wget") {
            let wget = format!("env -i /usr/bin/wget -q -O - https://good.example/public/{token}wget");
            let ran = under(world, place, &wget);
            assert_eq!(ran.text(), format!("https good.example GET /public/{token}wget 0"), "{}", ran.whole());
        }
        // Where the gate ends no TLS, it is the host's.
        let without = world.bash(place, "web", &format!("grep -c BEGIN {bundle}"));
        let with = under(world, place, &format!("grep -c BEGIN {bundle}"));
        let count = |ran: &Ran| ran.text().trim().parse::<u32>().unwrap_or_default();
        assert_eq!(count(&with), count(&without) + 1, "{}{}", with.whole(), without.whole());
    });
}

#[test]
fn what_does_not_trust_the_gate_gets_nothing_by_another_way() {
    in_each_tier(|world, place| {
        place.write("ca.pem", world.certificate());
        // The gate has to hear of it before the run has ended.
        let ran =
            under(world, place, "curl -sS --cacert ca.pem https://good.example/public/distrust; echo rc $?; sleep 0.5");
        assert!(ran.text().ends_with("rc 60"), "{}", ran.whole());
        assert!(!world.log().contains("/distrust"));
        let connection = ran.verdict["activity"]["connections"][0].clone();
        assert!(connection["rule"].as_str().is_some_and(|rule| rule.contains("broke TLS")), "{connection}");
    });
}

#[test]
fn the_key_of_the_authority_is_in_no_file_and_each_jail_has_its_own() {
    in_each_tier(|world, place| {
        let script = "cat /etc/clawjail/trust.pem | tail -n 12 | sha256sum; grep -c BEGIN /etc/clawjail/trust.pem; \
                      grep -rl 'PRIVATE KEY' /etc/clawjail; ls /etc/clawjail | tr '\\n' ' '; echo x >> /etc/clawjail/trust.pem";
        let [one, other] = [(); 2].map(|()| under(world, place, script).text());
        let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        assert_ne!(lines(&one)[0], lines(&other)[0]);
        assert_eq!(lines(&one)[2], "trust.jks trust.pem", "{one}");
        let without = world.bash(place, "web", "ls /etc/clawjail; env | grep -c trust.pem");
        assert_eq!(without.text(), "0", "{}", without.whole());
    });
}

#[test]
fn what_is_explained_of_a_request_is_what_is_enforced() {
    in_each_tier(|world, place| {
        world.profile("requests", REQUESTS);
        for (host, method, path, allowed) in [
            ("good.example", "GET", "/public/x", true),
            ("good.example", "HEAD", "/public/a/../b?x=1", true),
            ("good.example", "GET", "/public/../x", false),
            ("good.example", "GET", "/public/%2e%2e%2fx", false),
            ("good.example", "DELETE", "/public/x", false),
            ("other.example", "DELETE", "/anything", true),
            ("evil.example", "GET", "/", false),
        ] {
            let mut inner = place.command(clawjail());
            inner
                .args(["profile", "explain", "requests", "--host", host, "--method", method, "--path", path, "--json"]);
            let output = world.enter(place, &inner).output().expect("nsenter is there");
            let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
            assert_eq!(
                (answer["allowed"].as_bool(), output.status.success()),
                (Some(allowed), allowed),
                "{method} {path}: {answer}"
            );
            let mut why = place.command(clawjail());
            why.args(["why", "--profile", "requests", "--host", host, "--method", method, "--path", path, "--json"]);
            let why = world.enter(place, &why).output().expect("nsenter is there");
            assert_eq!((why.stdout, why.status.code()), (output.stdout, output.status.code()), "{method} {path}");
            let script = format!(
                "curl -sS --path-as-is -o /dev/null -w '%{{http_code}}' -X {method} -m 3 'http://{host}{path}'"
            );
            let jail = Jail::new(place).profile("requests").patient(80);
            let ran = jail.finish(world.start(place, &jail, &["bash", "-c", &script]));
            assert_eq!(ran.text() == "200", allowed, "{method} {path}: {}", ran.whole());
        }
    });
}
