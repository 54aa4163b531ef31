//! Loopback, and nothing else.

use super::*;

#[test]
fn a_server_inside_answers_its_client_inside() {
    in_tiers(Tier::has_namespaces, |place| {
        if !has("python3") || !has("curl") {
            return;
        }
        place.write("page", "hello\n");
        let ran = Jail::new(place).bash(
            "/usr/bin/python3 -m http.server --bind 127.0.0.1 8765 >/dev/null 2>&1 & \
             for i in $(seq 100); do curl -sf http://127.0.0.1:8765/page && break; sleep 0.1; done; \
             curl -s --connect-timeout 2 http://localhost:8765/page; kill %1",
        );
        assert_eq!(ran.text(), "hello\nhello", "{}", ran.whole());
    });
}

#[test]
fn nothing_outside_can_be_reached() {
    in_every_tier(|place| {
        let ran = Jail::new(place).bash(
            "(exec 3<>/dev/tcp/192.0.2.1/80) 2>/dev/null && echo tcp; (echo x > /dev/udp/192.0.2.1/53) 2>/dev/null && echo udp; \
             getent hosts example.org && echo name; echo end",
        );
        assert_eq!(ran.text(), "end", "{}", ran.whole());
    });
}
