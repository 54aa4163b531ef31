//! What is allowed works as if there were no gate, for programs that know nothing of one.

use super::in_each_tier;
use super::support::jail::Jail;
use super::world::has;

/// C7: plain HTTP and TLS alike, C16: whatever proxy somebody's environment names.
#[test]
fn c7_c16_curl_reaches_what_is_allowed_over_both_families_with_its_certificate_checked() {
    in_each_tier(|world, place| {
        place.write("ca.pem", world.certificate());
        let token = &place.token;
        let ran = world.bash(
            place,
            "web",
            &format!(
                "set -e; curl -sS http://good.example/{token}; curl -sS --cacert ca.pem https://good.example/s{token}; \
                 curl -4 -sS --cacert ca.pem https://GOOD.example/four; curl -6 -sS http://good.example/six; \
                 curl -sS --cacert ca.pem https://a.wild.example/wild; curl -4 -sS http://pinned.example/pinned; \
                 curl -sS --http1.1 -d body=1 http://good.example/post http://good.example/again"
            ),
        );
        let heard = [
            &format!("http good.example GET /{token} 0"),
            &format!("https good.example GET /s{token} 0"),
            "https GOOD.example GET /four 0",
            "http good.example GET /six 0",
            "https a.wild.example GET /wild 0",
            "http pinned.example GET /pinned 0",
            "http good.example POST /post 6",
            "http good.example POST /again 6",
        ];
        assert_eq!(ran.text(), heard.join("\n"), "{}", ran.whole());
        assert_eq!(ran.own_lines(), [""; 0], "{}", ran.whole());
        assert!(world.saw(&format!("/{token}")));
    });
}

#[test]
fn a_name_that_the_profile_knows_is_asked_of_nobody_and_its_addresses_are_judged_like_any_other() {
    in_each_tier(|world, place| {
        let script = "curl -sS http://known.wild.example/known; curl -sS -o /dev/null -w '%{http_code}' http://turned.wild.example/";
        let ran = world.bash(place, "web", script);
        assert_eq!(ran.text(), "http known.wild.example GET /known 0\n403", "{}", ran.whole());
        assert!(world.saw("http ::ffff:93.184.216.35 80 known.wild.example"));
        assert!(!world.log().contains("dns known.wild.example") && !world.log().contains("dns turned.wild.example"));
    });
}

#[test]
fn python_and_node_reach_what_is_allowed_without_a_proxy_variable() {
    in_each_tier(|world, place| {
        place.write("ca.pem", world.certificate());
        let ran = world.python(
            place,
            "web",
            "import ssl, urllib.request as request\n\
             context = ssl.create_default_context(cafile='ca.pem')\n\
             opener = request.build_opener(request.ProxyHandler({}), request.HTTPSHandler(context=context))\n\
             for scheme in ('http', 'https'):\n    print(opener.open(scheme + '://good.example/python').read().decode().strip())\n",
        );
        assert_eq!(ran.text(), "http good.example GET /python 0\nhttps good.example GET /python 0", "{}", ran.whole());
        if !has("node") {
            return;
        }
        let ran = world.bash(
            place,
            "web",
            "NODE_EXTRA_CA_CERTS=ca.pem node -e '(async () => { for (const scheme of [\"http\", \"https\"]) \
             console.log((await (await fetch(scheme + \"://good.example/node\")).text()).trim()) })()'",
        );
        assert_eq!(ran.text(), "http good.example GET /node 0\nhttps good.example GET /node 0", "{}", ran.whole());
    });
}

#[test]
fn a_server_that_speaks_first_is_heard_and_answered() {
    in_each_tier(|world, place| {
        let ran = world.bash(
            place,
            "web",
            "for host in good.example 45.90.0.2; do exec 3<>/dev/tcp/$host/7000; head -n1 <&3; echo back >&3; head -n1 <&3; \
             exec 3<&-; done",
        );
        assert_eq!(ran.text(), "hello, I speak first\nback\nhello, I speak first\nback", "{}", ran.whole());
    });
}

#[test]
fn an_address_that_is_named_is_reached_by_address_also_where_it_is_private() {
    in_each_tier(|world, place| {
        let ran =
            world.bash(place, "web", "exec 3<>/dev/tcp/10.1.2.3/9000; echo hello >&3; timeout 1 cat <&3; echo end");
        assert_eq!(ran.text(), "end", "{}", ran.whole());
        assert!(world.saw("quiet ::ffff:10.1.2.3 9000"), "{}", world.log());
    });
}

#[test]
fn the_end_of_one_direction_leaves_the_other_open() {
    in_each_tier(|world, place| {
        let ran = world.python(
            place,
            "web",
            "import socket\n\
             c = socket.create_connection(('good.example', 9000))\n\
             c.sendall(b'\\0' * 3_000_000)\n\
             c.shutdown(socket.SHUT_WR)\n\
             print(c.makefile().read().strip())\n",
        );
        assert_eq!(ran.text(), "heard 3000000", "{}", ran.whole());
    });
}

#[test]
fn much_arrives_whole_and_is_counted() {
    in_each_tier(|world, place| {
        let jail = Jail::new(place).profile("web").patient(80);
        let script = "curl -sS http://good.example/big/30000000 | wc -c";
        let ran = jail.finish(world.start(place, &jail, &["bash", "-c", script]));
        assert_eq!(ran.text(), "30000000", "{}", ran.whole());
        let connection = &ran.verdict["activity"]["connections"][0];
        let received = connection["received"].as_u64().expect("a number");
        assert!((30_000_000..30_001_000).contains(&received), "{connection}");
        assert_eq!(
            (connection["name"].as_str(), connection["port"].as_u64(), connection["decision"].as_str()),
            (Some("good.example"), Some(80), Some("allowed")),
            "{connection}"
        );
    });
}

#[test]
fn many_connections_at_once_are_all_served() {
    in_each_tier(|world, place| {
        let ran = world.python(
            place,
            "web",
            "import socket\n\
             held = [socket.create_connection(('good.example', 7000)) for _ in range(300)]\n\
             print(sum(c.makefile().readline() == 'hello, I speak first\\n' for c in held))\n",
        );
        assert_eq!(ran.text(), "300", "{}", ran.whole());
    });
}

#[test]
fn a_server_inside_is_reached_inside_whatever_its_port() {
    in_each_tier(|world, place| {
        let ran = world.python(
            place,
            "web",
            "import socket\n\
             for family, address in ((socket.AF_INET, '127.0.0.1'), (socket.AF_INET6, '::1'), (socket.AF_INET, '127.9.9.9')):\n\
             \x20   server = socket.socket(family); server.bind((address, 7000)); server.listen()\n\
             \x20   client = socket.create_connection((address, 7000)); other, _ = server.accept()\n\
             \x20   other.sendall(b'inside'); print(client.recv(9).decode())\n\
             \x20   one, two = [socket.socket(family, socket.SOCK_DGRAM) for _ in 'ab']\n\
             \x20   one.bind((address, 9999)); two.sendto(b'datagram', (address, 9999)); print(one.recv(9).decode())\n",
        );
        assert_eq!(ran.text(), ["inside", "datagram"].repeat(3).join("\n"), "{}", ran.whole());
        assert_eq!(ran.own_lines(), [""; 0], "{}", ran.whole());
    });
}
