//! Hosts that have a proxy of their own to go through, and name servers that a profile names.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};

use super::in_each_tier;

const HOSTS: &str = "summary = \"Test.\"\nextends = \"untrusted\"\n[egress]\nallow = [\"good.example:*\", \"behind.example\", \"45.90.0.2:7000\", \"loop.example\"]\n";

#[test]
fn connections_go_through_the_proxy_of_the_hosts_network() {
    in_each_tier(|world, place| {
        world.profile("upstream", &format!("{HOSTS}proxy = \"http://45.90.0.2:3128\"\n"));
        place.write("ca.pem", world.certificate());
        let token = &place.token;
        let script = format!(
            "curl -sS http://good.example/{token}; curl -sS --cacert ca.pem https://good.example/s{token}; \
             curl -sS http://behind.example/b{token}; head -c5 < /dev/tcp/good.example/7000; head -c5 < /dev/tcp/45.90.0.2/7000; \
             curl -sS -m 5 http://other.example/x{token} 2>/dev/null; timeout 5 curl -sS -o /dev/null -w '%{{http_code}}' -H 'Host: other.example' http://good.example/x{token}"
        );
        let ran = world.bash(place, "upstream", &script);
        let heard = format!(
            "http good.example GET /{token} 0\nhttps good.example GET /s{token} 0\nhttp behind.example GET /b{token} 0\nhellohello403"
        );
        assert_eq!(ran.text(), heard, "{}", ran.whole());
        for asked in ["good.example:80", "good.example:443", "behind.example:80", "good.example:7000", "45.90.0.2:7000"]
        {
            assert!(world.saw(&format!("proxy {asked} without word")), "{asked}: {}", world.log());
        }
        assert!(
            !world.log().contains("proxy other.example") && !world.log().contains(&format!("/x{token}")),
            "{}",
            world.log()
        );
    });
}

#[test]
fn a_proxy_that_wants_credentials_gets_those_of_a_file_and_no_command_does() {
    in_each_tier(|world, place| {
        let file = place.outside.join("credentials");
        let words = format!("proxy = \"http://45.90.0.2:3129\"\nproxy_credentials = \"{}\"\n", file.display());
        world.profile("wanting", &format!("{HOSTS}{words}"));
        let put = |text: &str, mode: u32| {
            fs::write(&file, text).expect("own file");
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("own file");
            chown(&file, Some(place.account().uid), Some(place.account().gid)).expect("root can");
        };
        let script = "curl -sS http://good.example/worded; env | grep -c 'dXNlcjp3b3Jk\\|user:word'";
        put("user:word\n", 0o600);
        let ran = world.bash(place, "wanting", script);
        assert_eq!(ran.text(), "http good.example GET /worded 0\n0", "{}", ran.whole());
        assert!(world.saw("proxy good.example:80 as word"));
        put("user:other\n", 0o600);
        let ran = world.bash(place, "wanting", script);
        assert_eq!(ran.text(), "0", "{}", ran.whole());
        assert!(
            ran.verdict["activity"].to_string().contains("the proxy wants other credentials"),
            "{}",
            ran.verdict["activity"]
        );
        put("user:word\n", 0o644);
        let ran = world.bash(place, "wanting", script);
        assert_eq!(ran.code, Some(125), "{}", ran.whole());
        assert!(ran.own_lines().join("\n").contains("read_proxy_credentials"), "{}", ran.whole());
    });
}

/// C3: what a proxy would connect to is judged here where the profile says who is asked for names.
#[test]
fn c3_where_a_profile_names_a_name_server_that_one_is_asked_and_its_addresses_are_judged() {
    in_each_tier(|world, place| {
        world.profile("own-server", &format!("{HOSTS}resolver = [\"192.0.2.77\", \"udp://45.90.0.2:5353\"]\n"));
        let ran = world.bash(place, "own-server", "curl -sS http://good.example/served");
        assert_eq!(ran.text(), "http good.example GET /served 0", "{}", ran.whole());
        assert!(world.saw("other dns good.example"));
        let both = "proxy = \"http://45.90.0.2:3128\"\nresolver = [\"udp://45.90.0.2:5353\"]\n";
        world.profile("both", &format!("{HOSTS}{both}"));
        let before = world.log().lines().count();
        let script =
            "curl -sS http://good.example/judged; curl -sS -m 5 -o /dev/null -w '%{http_code}' http://loop.example/";
        let ran = world.bash(place, "both", script);
        assert_eq!(ran.text(), "http good.example GET /judged 0\n403", "{}", ran.whole());
        let since: Vec<String> = world.log().lines().skip(before).map(str::to_owned).collect();
        assert!(
            since
                .iter()
                .any(|line| line.starts_with("proxy 93.184.216.34:80") || line.starts_with("proxy [2a0c:2::34]:80")),
            "{since:?}"
        );
        assert!(
            !since.iter().any(|line| line.starts_with("proxy 127.0.0.1") || line.starts_with("proxy [::1]")),
            "{since:?}"
        );
    });
}

#[test]
fn names_are_asked_for_over_tls_and_https_of_whom_the_host_believes_and_of_nobody_else() {
    in_each_tier(|world, place| {
        let get = "curl -sS -m 15 http://good.example/secure || echo none";
        for (number, (server, word)) in [
            ("tls://45.90.0.2#good.example", "tls dns good.example"),
            ("https://45.90.0.2/dns-query#good.example", "https dns good.example"),
        ]
        .into_iter()
        .enumerate()
        {
            let profile = format!("secure-{number}");
            world.profile(&profile, &format!("{HOSTS}resolver = [\"{server}\"]\n"));
            let before = world.log().lines().count();
            let ran = world.bash(place, &profile, get);
            assert_eq!(ran.text(), "http good.example GET /secure 0", "{}", ran.whole());
            let since: Vec<String> = world.log().lines().skip(before).map(str::to_owned).collect();
            assert!(since.iter().any(|line| line == word), "{since:?}");
            // A certificate for another name, and one for no address.
            for (other, server) in
                [("named", server.replace("#good", "#evil")), ("nameless", server.replace("#good.example", ""))]
            {
                let profile = format!("{profile}-{other}");
                world.profile(&profile, &format!("{HOSTS}resolver = [\"{server}\"]\n"));
                let ran = world.bash(place, &profile, get);
                assert_eq!(ran.text(), "none", "{}", ran.whole());
                assert!(ran.verdict["activity"].to_string().contains("cannot resolve"), "{}", ran.verdict["activity"]);
            }
        }
    });
}
