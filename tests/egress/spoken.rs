//! What a client says first, and with each request, must speak of the host that it connected to.

use super::in_each_tier;

/// C6: the server name of TLS.
#[test]
fn c6_a_tls_client_that_asks_for_another_server_is_denied() {
    in_each_tier(|world, place| {
        place.write("ca.pem", world.certificate());
        let ran = world.bash(
            place,
            "web",
            "curl -sS --cacert ca.pem --connect-to other.example:443:good.example:443 https://other.example/fronted; echo rc $?; \
             curl -sS -k https://good.example/plain -H 'Host: good.example'; \
             timeout 5 openssl s_client -connect good.example:443 -noservername </dev/null >/dev/null 2>&1; echo rc $?",
        );
        let lines: Vec<String> = ran.text().lines().map(str::to_owned).collect();
        assert_eq!(lines, ["rc 35", "https good.example GET /plain 0", "rc 1"], "{}", ran.whole());
        let said = ran.error_text();
        assert!(said.contains("asks for `other.example` after connecting to `good.example`"), "{said}");
        assert!(said.contains("names no server"), "{said}");
        assert!(!world.log().contains("/fronted"));
    });
}

/// C6: the host of a request, of the first and of every further one on the connection.
#[test]
fn c6_a_request_for_another_host_is_denied_wherever_it_stands() {
    in_each_tier(|world, place| {
        let program = r#"
import socket
def say(*requests):
    c = socket.create_connection(('good.example', 80)); c.settimeout(5)
    heard = b''
    try:
        for request in requests:
            c.sendall(request)
            part = c.recv(65536)
            while part and b'\n' not in part.partition(b'\r\n\r\n')[2]:
                part += c.recv(65536)
            heard += part
            if not part:
                break
    except OSError:
        pass
    return heard
good = b'GET /good HTTP/1.1\r\nHost: good.example\r\n\r\n'
evil = b'GET /fronted HTTP/1.1\r\nHost: other.example\r\n\r\n'
assert say(good, good).count(b'GET /good') == 2, say(good, good)
for requests in ((evil,), (good, evil), (good + evil,), (b'\r\n' + evil,), (b' ' + evil,),
        (b'GET http://other.example/fronted HTTP/1.1\r\nHost: good.example\r\n\r\n',),
        (b'GET http://good.example@other.example/fronted HTTP/1.1\r\nHost: good.example\r\n\r\n',),
        (b'GET /fronted HTTP/1.1\r\nHost: good.example\r\nHost: other.example\r\n\r\n',),
        (b'CONNECT other.example:443 HTTP/1.1\r\nHost: other.example\r\n\r\n',),
        (b'GET /fronted HTTP/1.0\r\n\r\n',),
        (b'POST /fronted HTTP/1.1\r\nHost: good.example\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n' + evil,),
        (b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',), (b'\x00\x01\x02\x03',), (b'HELO me\r\n',)):
    heard = say(*requests)
    assert b'/fronted' not in heard, (requests, heard)
one = socket.create_connection(('good.example', 80)); one.settimeout(5)
for byte in b'GET /slow HTTP/1.1\r\nHost: good.example\r\n\r\n':
    one.sendall(bytes([byte]))
heard = b''
while b'/slow' not in heard:
    heard += one.recv(65536) or exit('closed')
print('said')
"#;
        let ran = world.python(place, "web", program);
        assert_eq!(ran.text(), "said", "{}", ran.whole());
        assert!(!world.log().contains("/fronted"), "{}", world.log());
        assert!(world.saw("/slow"));
        let denials = ran.verdict["denials"].to_string();
        assert!(denials.contains("for another host than the one that was connected to"), "{denials}");
    });
}

#[test]
fn an_answer_to_a_denied_request_names_the_rule() {
    in_each_tier(|world, place| {
        let ran = world.bash(place, "web", "curl -sS -w '%{http_code}' -H 'Host: other.example' http://good.example/");
        let text = ran.text();
        let body: serde_json::Value = serde_json::from_str(text.trim_end_matches("403").trim()).expect("json");
        assert!(text.ends_with("403"), "{text}");
        assert_eq!((body["host"].as_str(), body["port"].as_u64()), (Some("good.example"), Some(80)), "{body}");
        assert!(body["rule"].as_str().is_some_and(|rule| rule.contains("another host")), "{body}");
    });
}
