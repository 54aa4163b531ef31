use super::*;

fn denied(mechanism: &str, kind: &str, what: &[u8], rule: &str) -> Denied {
    Denied {
        kind: kind.into(),
        what: what.to_vec(),
        mechanism: mechanism.into(),
        rule: rule.into(),
        count: 1,
        when_us: Some((5, 9)),
        by: None,
    }
}

#[test]
fn what_a_list_of_the_profile_would_allow_has_a_line_of_toml_and_what_a_shield_keeps_has_none() {
    let line =
        |mechanism, kind, what: &[u8], rule| denial(&denied(mechanism, kind, what, rule)).grant.map(|grant| grant.line);
    assert_eq!(line("view", "read", b"/data/x", ""), Some("filesystem.read = [\"/data/x\"]".into()));
    assert_eq!(line("view", "create", b"/data/x", ""), Some("filesystem.write = [\"/data\"]".into()));
    assert_eq!(line("network", "connect", b"192.0.2.1:443", ""), Some("egress.allow = [\"192.0.2.1:443\"]".into()));
    assert_eq!(line("view", "read", b"/home/x/.ssh/id_rsa", "~/.ssh"), None);
    assert_eq!(line("broker", "create", b"/workspace/SOUL.md", "SOUL.md"), None);
    assert_eq!(line("view", "read", b"/data/\xff", ""), None, "what is not text cannot be written there");
}

#[test]
fn a_remedy_that_lets_something_through_says_first_that_the_command_asked_for_it() {
    let remedy = |mechanism, kind, what: &[u8], rule| denial(&denied(mechanism, kind, what, rule)).remedy;
    let first = "the command asked for it; only if you trust it, add to a profile of your own: ";
    for (mechanism, kind, what) in [
        ("network", "look_up", b"evil.example".as_slice()),
        ("network", "connect", b"192.0.2.1:443"),
        ("view", "read", b"/data/x"),
        ("landlock", "execute", b"/data/x"),
    ] {
        let said = remedy(mechanism, kind, what, "");
        let line = said.strip_prefix(first).unwrap_or_else(|| panic!("{said}"));
        assert!(line.contains(" = [\""), "{said}");
    }
    for (mechanism, kind, what, rule) in
        [("limit", "limit", b"memory".as_slice(), ""), ("broker", "create", b"/w/x", "x")]
    {
        assert!(!remedy(mechanism, kind, what, rule).contains("trust"), "{kind}");
    }
}

#[test]
fn the_hint_begins_with_what_most_likely_ended_the_attempt_and_has_two_sentences_at_most() {
    let all = [
        denial(&denied("seccomp", "system_call", b"ptrace", "")),
        denial(&denied("view", "read", b"/data/x", "")),
        denial(&denied("network", "connect", b"192.0.2.1:443", "")),
        denial(&denied("view", "create", b"/etc/x", "")),
    ];
    let said = hint(&all, "untrusted").expect("something was denied");
    assert!(said.starts_with("Network is off in this jail; "), "{said}");
    assert!(
        said.contains("`/etc/x` cannot be written") && !said.contains("ptrace") && !said.contains("/data/x"),
        "{said}"
    );
    assert_eq!(hint(&[], "untrusted"), None);
}

#[test]
fn no_name_breaks_the_hint_out_of_its_line() {
    let name = [b"/\n\x1b]0;x\x07".as_slice(), &[b'a'; 4096], b"\xff"].concat();
    let said = hint(&[denial(&denied("view", "read", &name, ""))], "untrusted").expect("something was denied");
    assert!(said.len() < 400 && !said.chars().any(char::is_control), "{said:?}");
}
