use super::*;
use crate::verdict::{Asked, Caller, Output, Reason, Seen};

/// The arguments of a verdict after redaction.
fn redacted(arguments: &[&str], known: &[&str]) -> Vec<String> {
    let mut verdict = verdict(arguments);
    verdict.redact(&known.iter().map(|value| value.as_bytes().to_vec()).collect::<Vec<_>>());
    verdict.argv
}

fn verdict(arguments: &[&str]) -> Verdict {
    let asked = Asked {
        id: "i".into(),
        time: "t".into(),
        caller: Caller { uid: 1, gid: 1 },
        agent: None,
        session: None,
        profile: "p".into(),
        argv: arguments.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
    };
    let reason = Reason { code: "c".into(), message: "m".into(), remedy: None };
    Verdict::new(asked, &Seen::Refused(reason), Output::default())
}

#[test]
fn every_form_of_the_list_compiles_and_the_shortest_is_found() {
    let list: ValueList = toml::from_str(SECRETS).expect("a shipped list");
    assert_eq!(forms().values.len(), list.values.len());
    assert!(forms().assignment.is_some());
    assert_eq!(redacted(&["a://b:c@"], &[]), [REDACTED]);
}

#[test]
fn a_secret_is_taken_out_by_its_form() {
    let token = format!("ghp_{}", "a".repeat(36));
    let said = redacted(&["curl", &format!("https://x.org/?a=1&b={token}"), "-HAuthorization: Bearer abcdef"], &[]);
    assert_eq!(said, ["curl", "https://x.org/?a=1&b=[redacted]", "-H[redacted]"]);
    let said = redacted(&["git", "clone", "https://me:hunter22@example.org/x.git"], &[]);
    assert_eq!(said, ["git", "clone", "[redacted]example.org/x.git"]);
}

#[test]
fn a_secret_is_taken_out_by_the_name_before_it() {
    let said =
        redacted(&["env", "DB_PASSWORD=x", "PATH=/bin", "tool", "--api-key", "k", "--token=t", "--user", "me"], &[]);
    let expected = ["env", "DB_PASSWORD=[redacted]", "PATH=/bin", "tool", "--api-key", "[redacted]"];
    assert_eq!(said[..6], expected);
    assert_eq!(said[6..], ["--token=[redacted]", "--user", "me"]);
    assert_eq!(redacted(&["sh", "-c", "export API_KEY='a b'; x"], &[])[2], "export API_KEY=[redacted]; x");
}

#[test]
fn a_known_value_is_taken_out_wherever_it_stands_and_a_short_one_is_not_looked_for() {
    let mut verdict = verdict(&["echo", "xcorrect horsex", "abc"]);
    verdict.reason = Some(Reason { code: "c".into(), message: "no correct horse".into(), remedy: None });
    verdict.redact(&[b"correct horse".to_vec(), b"abc".to_vec()]);
    assert_eq!(verdict.argv, ["echo", "x[redacted]x", "abc"]);
    assert_eq!(verdict.reason.map(|reason| reason.message).as_deref(), Some("no [redacted]"));
}

#[test]
fn what_is_no_secret_stays() {
    let said = ["npm", "test", "--", "a=b", "--color", "never", "src/tokens.rs", "https://example.org/a?b=c"];
    assert_eq!(redacted(&said, &[]), said);
}

#[test]
fn a_command_is_recorded_up_to_a_bound_and_no_part_of_a_secret_on_its_edge() {
    let token = format!("ghp_{}", "a".repeat(36));
    let known = "k".repeat(40_000);
    for shift in [0, 10, 39, 41] {
        let filler = "x ".repeat((LONGEST_COMMAND - shift) / 2);
        let said = redacted(&["a", &format!("{filler}{token}"), "never seen"], &[]);
        assert!(!said.concat().contains("ghp_") && said.concat().len() <= LONGEST_COMMAND + 4, "{shift}");
        let said = redacted(&["a", &format!("{filler}{known}")], &[&known]);
        assert!(!said.concat().contains("kk"), "{shift}");
    }
    let mut long = verdict(&["y"; 100_000]);
    long.redact(&[]);
    assert!(long.shortened && long.argv.len() <= LONGEST_COMMAND);
    let mut one = verdict(&["y", &"z".repeat(100_000)]);
    one.redact(&[]);
    let once = one.argv.clone();
    one.redact(&[]);
    assert_eq!(once, one.argv);
    let mut short = verdict(&["y"; 1000]);
    short.redact(&[]);
    assert!(!short.shortened && short.argv.len() == 1000);
}

#[test]
fn what_every_secret_of_a_form_has_in_it_is_read_off_its_pattern() {
    for (form, literal) in [
        ("-----BEGIN [A-Z ]*PRIVATE KEY-----", "PRIVATE KEY-----"),
        ("gh[pousr]_[A-Za-z0-9]{36,}", "gh"),
        ("sk-(proj-)?[A-Za-z0-9_-]{20,}", "sk-"),
        (r"ya29\.[0-9A-Za-z_-]{20,}", "ya29"),
        ("[rs]k_live_[0-9A-Za-z]{20,}", "k_live_"),
        ("[0-9]{8,10}:AA[A-Za-z0-9_-]{33}", ":AA"),
        (r"[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@]+@", "://"),
        (r"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}", "eyJ"),
        ("ab?c", "a"),
        ("abc*", "ab"),
        ("ab{0,2}", "a"),
        ("ab+", "ab"),
        (r"\dab", "ab"),
        ("a|b", ""),
        ("(?i)authorization", ""),
        ("(?s).+", ""),
    ] {
        assert_eq!(literal_of(form), literal, "{form}");
    }
}

#[test]
fn a_form_whose_brackets_are_hard_to_read_is_looked_for_in_every_text() {
    for (form, secret) in [
        (r"k-[)abc]+9", "k-)))9"),
        (r"[\]abc]+9", "]]]9"),
        (r"[]abc]+9", "]]9"),
        (r"[^]abc]+9", "zz9"),
        (r"(a\)bcd)*9", "9"),
        (r"\x41bcd9", "Abcd9"),
        (r"[[:digit:]]+bc", "12bc"),
    ] {
        assert_eq!(literal_of(form), "", "{form}");
        assert!(Form::of(form).is_some_and(|form| form.is_match(secret)), "{form}");
    }
}

#[test]
fn one_secret_of_each_form_is_found_by_all_that_looks_for_it() {
    let long = "a1B2c3D4e5".repeat(6);
    let (digits, capitals) = ("0123456789", "A0B1C2D3E4F5G6H7");
    let secrets = [
        "-----BEGIN PRIVATE KEY-----".to_owned(),
        format!("ghp_{long}"),
        format!("github_pat_{long}"),
        format!("glpat-{long}"),
        format!("sk-ant-{long}"),
        format!("sk-{long}"),
        format!("AKIA{capitals}"),
        format!("ASIA{capitals}"),
        format!("AIza{long}"),
        format!("ya29.{long}"),
        format!("xoxb-{long}"),
        format!("xapp-{long}"),
        format!("npm_{long}"),
        format!("pypi-{long}"),
        format!("hf_{long}"),
        format!("rk_live_{long}"),
        format!("SG.{}.{}", &long[..22], &long[..43]),
        format!("{digits}:AA{long}"),
        format!("eyJ{long}.eyJ{long}.{long}"),
        "ftp://me:me@".to_owned(),
        "AUTHORIZATION: basic x".to_owned(),
    ];
    for form in &forms().values {
        let found: Vec<_> = secrets.iter().filter(|secret| form.pattern.is_match(secret)).collect();
        assert!(!found.is_empty(), "no secret of the form {}", form.pattern);
        assert!(found.iter().all(|secret| form.is_match(secret)), "{} by {}", form.pattern, form.literal);
    }
    assert_eq!(redacted(&["/usr/bin/python3"], &[]), ["/usr/bin/python3"]);
}
