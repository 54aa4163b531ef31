//! Rules for requests, as profiles say them.

use clawjail::policy::egress::http::secret::Source;
use clawjail::policy::egress::http::{Look, WebSocket};

use super::Host;

#[test]
fn a_rule_for_requests_says_what_may_be_sent_and_what_is_put_in() {
    let text = "summary = \"x\"\n[[egress.http]]\nhost = \"h.example\"\nmethods = [\"GET\"]\npaths = [\"/a/**\"]\n\
        headers = { Accept = \"x/*\" }\ninject = { header = \"Authorization\", secret = \"s\", format = \"Bearer {}\" }\n\
        [egress.secrets.s]\nenv = \"S\"\nfile = \"/run/s\"\n";
    let child = "summary = \"y\"\nextends = \"x\"\n[egress]\nallow = []\n";
    let host = Host::with(&[("profiles/x.toml", text), ("profiles/y.toml", child)]);
    for name in ["x", "y"] {
        let rules = host.resolve(name).expect("a profile").egress.rules;
        let rule = &rules.http[0];
        assert_eq!(
            (rule.host.text.as_str(), rule.methods[0].as_str(), rule.paths[0].as_str()),
            ("h.example", "GET", "/a/**")
        );
        assert_eq!((rule.headers["accept"].as_str(), rule.websocket), ("x/*", WebSocket::Denied));
        assert_eq!(rule.inject.as_ref().map(|inject| inject.header.as_str()), Some("authorization"));
        assert_eq!(rules.secrets["s"].source, Source::File("/run/s".into()));
        assert_eq!(rules.look, Look::IntoAll);
    }
}

#[test]
fn a_rule_for_requests_that_leaves_a_doubt_is_refused_with_its_place() {
    let cases = [
        ("[[egress.http]]\nmethods = []\npaths = []", "2:1: missing key `host` in [[egress.http]]"),
        ("[[egress.http]]\nhost = \"h.example\"\npaths = []", "2:1: missing key `methods` in [[egress.http]]"),
        ("[[egress.http]]\nhost = \"h.example\"\nmethods = []", "2:1: missing key `paths` in [[egress.http]]"),
        ("[[egress.http]]\nhost = \"@github\"\nmethods = []\npaths = []", "3:8: cannot use host `@github`"),
        (
            "[[egress.http]]\nhost = \"10.0.0.1\"\nmethods = []\npaths = []",
            "3:8: cannot use host `10.0.0.1`: it is an address",
        ),
        ("[[egress.http]]\nhost = \"h.example\"\nmethods = [\"get\"]\npaths = []", "4:11: cannot use method `get`"),
        (
            "[[egress.http]]\nhost = \"h.example\"\nmethods = [\"CONNECT\"]\npaths = []",
            "4:11: cannot use method `CONNECT`",
        ),
        (
            "[[egress.http]]\nhost = \"h.example\"\nmethods = []\npaths = [\"/a/../b\"]",
            "5:9: cannot use path `/a/../b`",
        ),
        ("[[egress.http]]\nhots = \"h.example\"", "3:1: unknown key `hots`"),
        ("[egress]\nhttp = [[\"h.example\", [], []]]", "expected a table"),
        ("[egress]\ninspect = \"none\"", "3:11: unknown"),
        (
            "[[egress.http]]\nhost = \"h\"\nmethods = []\npaths = []\ninject = { header = \"Host\", secret = \"s\" }",
            "6:21: cannot put a secret into field `Host`",
        ),
        (
            "[[egress.http]]\nhost = \"h\"\nmethods = []\npaths = []\ninject = { header = \"A\", secret = \"githup\" }\n\
             [egress.secrets.github]\nfile = \"/x\"",
            "6:35: unknown secret `githup`, did you mean `github`?",
        ),
        ("[egress.secrets.s]\nfile = \"x\"", "2:17: cannot use secret `s`: its file is not written by its whole path"),
        (
            "[egress.secrets.s]\nenv = \"LD_PRELOAD\"\nfile = \"/x\"",
            "2:17: cannot use secret `s`: `LD_PRELOAD` is no variable",
        ),
        ("[egress.secrets.s]\nfile = \"/x\"\nenvironment = \"X\"", "2:17: cannot use secret `s`: it comes from one of"),
        ("[egress.secrets.s]\ncommand = [\"vault\"]", "2:17: cannot use secret `s`: its program"),
    ];
    for (text, expected) in cases {
        let text = format!("summary = \"x\"\n{text}");
        let error = Host::with(&[("profiles/x.toml", &text)]).resolve("x").expect_err(expected);
        assert!(error.to_string().contains(expected), "{error}\n{expected}");
    }
}
