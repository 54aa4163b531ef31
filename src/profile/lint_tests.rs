//! Each rule of lint: what it finds, and the neighbour that it leaves alone.

use super::*;
use crate::policy::egress::rule::Protocol;
use crate::profile::usage::Host as Reached;

fn linted(text: &str, usage: &Usage) -> Vec<Finding> {
    let directory = tempfile::TempDir::new().expect("a directory");
    let path = directory.path().join("x.toml");
    std::fs::write(&path, text).expect("a file");
    let text = std::fs::read_to_string(&path).expect("a file");
    lint(Which::Draft(&path), usage, &Sources::default(), &Library::built_in()).expect(&text)
}

/// The rules that find something in a profile with this in it.
fn rules(body: &str) -> Vec<&'static str> {
    let text = format!("summary = \"A test.\"\nextends = \"base\"\n{body}");
    let mut rules: Vec<&str> = linted(&text, &Usage::default()).iter().map(|finding| finding.rule).collect();
    rules.dedup();
    rules
}

const SHIELDED: &str = "[filesystem]\nhide = [\"@secrets\"]\nprotect = [\"@vcs-hooks\", \"@shell-startup\"]\n";

#[test]
fn each_rule_finds_what_it_is_about_and_leaves_its_neighbour_alone() {
    let with = |line: &str| rules(&format!("{SHIELDED}{line}"));
    assert_eq!(with("read = [\"/var\"]"), ["too-wide"]);
    assert_eq!(with("read = [\"/var/lib/dpkg\"]"), [""; 0]);
    assert_eq!(with("read = [\"/home/somebody\"]"), ["reads-home"]);
    assert_eq!(with("read = [\"/home/somebody/work\"]"), [""; 0]);
    assert_eq!(with("write = [\"~/.local/bin\"]"), ["write-on-path"]);
    assert_eq!(with("write = [\"~/.local\"]"), ["too-wide", "write-on-path"]);
    assert_eq!(with("write = [\"~/.local/share/x\"]"), [""; 0]);
    assert_eq!(with("write = [\"/srv/x\"]\nexecute = [\"/srv/x/bin\"]"), ["write-execute"]);
    assert_eq!(with("write = [\"/srv/x\"]\nexecute = [\"/srv/y\"]"), [""; 0]);
    assert_eq!(with("tmp = { size = \"1M\", execute = true }"), ["write-execute"]);
    assert_eq!(with("tmp = { size = \"1M\", execute = false }"), [""; 0]);
}

#[test]
fn what_is_not_shielded_is_found_and_what_is_shielded_is_not() {
    assert_eq!(rules("[filesystem]\nread = [\"/etc/ssl\"]"), ["secrets-in-reach"]);
    assert_eq!(rules("[filesystem]\nread = [\"/etc/ssl\"]\nhide = [\"@secrets\"]"), [""; 0]);
    assert_eq!(rules("[workspace]\naccess = \"rw\"\n[filesystem]\nhide = [\"@secrets\"]"), ["unprotected-hooks"]);
    assert_eq!(rules(&format!("[workspace]\naccess = \"rw\"\n{SHIELDED}")), [""; 0]);
    assert_eq!(rules("[filesystem]\nhide = [\"@secrets\"]\nwrite = [\"~/.config/fish\"]"), ["writes-startup"]);
    assert_eq!(rules(&format!("{SHIELDED}write = [\"~/.config/fish\"]")), [""; 0]);
}

#[test]
fn hosts_and_limits_that_say_nothing_are_found() {
    for (line, expected) in [
        ("\"*.com\"", Some("wide-egress")),
        ("\"*.example.com\"", None),
        ("\"198.0.0.0/8:443\"", Some("wide-egress")),
        ("\"93.184.216.0/24:443\"", None),
        ("\"api.example.com:*\"", Some("wide-egress")),
        ("\"169.254.169.254\"", Some("special-address")),
        ("\"10.1.2.3:5432\"", Some("special-address")),
        ("\"[fd00::1]:5432\"", Some("special-address")),
        ("\"93.184.216.34:443\"", None),
    ] {
        assert_eq!(rules(&format!("[egress]\nallow = [{line}]")).first().copied(), expected, "{line}");
    }
    assert_eq!(rules("[limits]\nmemory = \"unlimited\""), ["no-limit"]);
    assert_eq!(rules("[limits]\ncpus = \"unlimited\""), [""; 0]);
}

#[test]
fn a_reason_on_the_line_that_grants_it_is_stated_and_one_elsewhere_is_not() {
    let stated = |body: &str| {
        let text = format!("summary = \"A test.\"\nextends = \"base\"\n{SHIELDED}{body}");
        linted(&text, &Usage::default()).iter().map(|finding| finding.stated.is_some()).collect::<Vec<_>>()
    };
    assert_eq!(stated("tmp = { execute = true }   # lint: write-execute, installers run what they unpack"), [true]);
    assert_eq!(stated("tmp = { execute = true }   # lint: too-wide, installers run what they unpack"), [false]);
    assert_eq!(stated("tmp = { execute = true }   # installers run what they unpack\n# lint: write-execute"), [false]);
}

#[test]
fn a_reason_of_a_parent_counts_for_what_the_parent_grants() {
    let text = "summary = \"A test.\"\nextends = \"untrusted\"\n";
    let found = linted(text, &Usage::default());
    assert!(found.iter().any(|finding| finding.rule == "write-execute"), "{found:?}");
    assert!(found.iter().all(|finding| finding.stated.is_some()), "{found:?}");
}

#[test]
fn shipped_profiles_are_clean_or_state_their_reason() {
    for name in ["base", "offline", "openclaw", "readonly", "skill-test", "trusted", "untrusted"] {
        let found = lint(Which::Named(name), &Usage::default(), &Sources::default(), &Library::built_in());
        let unstated: Vec<Finding> =
            found.expect(name).into_iter().filter(|finding| finding.stated.is_none()).collect();
        assert!(unstated.is_empty(), "{name}: {unstated:?}");
    }
}

#[test]
fn what_runs_did_not_use_is_found_and_what_they_used_is_not() {
    let text = format!(
        "summary = \"A test.\"\nextends = \"base\"\n[workspace]\naccess = \"rw\"\n{SHIELDED}execute = [\"/opt/a/tool\", \
         \"/opt/b/tool\"]\n[egress]\nallow = [\"a.example:443\", \"b.example:443\"]\n[limits]\nmemory = \"4G\"\nwall = \"1h\"\n"
    );
    let usage = Usage {
        runs: 2,
        executed: Some(["/opt/a/tool".to_owned()].into()),
        changed: Some(false),
        reached: [Reached { name: Some("a.example".into()), address: None, port: 443, protocol: Protocol::Tcp }].into(),
        memory: 10 << 20,
        processes: Some(3),
        wall_ms: 3_000_000,
    };
    let found = linted(&text, &usage);
    let told: Vec<(&str, &str)> = found.iter().map(|finding| (finding.rule, finding.place.as_str())).collect();
    assert_eq!(
        told,
        [
            ("unused-write", "[workspace] access"),
            ("unused-program", "[filesystem] execute `/opt/b/tool`"),
            ("unused-host", "[egress] allow `b.example:443`"),
            ("loose-limit", "[limits] memory"),
        ]
    );
    // Nobody kept a record: nothing is said.
    assert_eq!(linted(&text, &Usage::default()), []);
}
