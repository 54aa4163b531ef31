//! Profiles, from text to resolved: what is shipped, how parents and children combine, and the one line that each kind of
//! bad input gives. The escapes D6, D9, D10, B7 and B19 are about this stage and stand here.

#![expect(clippy::expect_used, reason = "a test may stop where it stands")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use clawjail::plan::built_in;
use clawjail::policy::egress::rule::Rule;
use clawjail::policy::library::Library;
use clawjail::profile::check::check;
use clawjail::profile::error::ProfileError;
use clawjail::profile::listing::list;
use clawjail::profile::load::{ConfigDir, Sources, Trust};
use clawjail::profile::resolve::resolve;
use clawjail::profile::schema::schema;
use clawjail::profile::units::{Bytes, Cpus, Span};
use clawjail::profile::{Grant, Profile, WorkspaceAccess};
use tempfile::TempDir;

#[path = "profiles/requests.rs"]
mod requests;

/// A configuration directory of the user who runs the tests.
struct Host {
    dir: TempDir,
    trust: Trust,
}

impl Host {
    fn new() -> Self {
        let dir = TempDir::new().expect("a directory for the test");
        let host = Self { dir, trust: Trust::Caller(nix::unistd::getuid().as_raw()) };
        for below in ["", "profiles", "policies", "policies/paths", "policies/egress"] {
            fs::create_dir_all(host.path(below)).expect("a directory");
            host.mode(below, 0o755);
        }
        host
    }

    fn with(files: &[(&str, &str)]) -> Self {
        let host = Self::new();
        for (path, text) in files {
            fs::write(host.path(path), text).expect("a file");
            host.mode(path, 0o644);
        }
        host
    }

    fn path(&self, below: &str) -> PathBuf {
        if below.is_empty() { self.dir.path().to_owned() } else { self.dir.path().join(below) }
    }

    fn mode(&self, below: &str, mode: u32) {
        fs::set_permissions(self.path(below), fs::Permissions::from_mode(mode)).expect("a mode");
    }

    fn sources(&self) -> Sources {
        Sources { dirs: vec![ConfigDir { path: self.path(""), trust: self.trust }], home: None, built_in_stands: false }
    }

    fn resolve(&self, name: &str) -> Result<Profile, ProfileError> {
        let sources = self.sources();
        resolve(name, &sources, &sources.library())
    }

    /// The line that asking for `name` gives, with the directory of the test left out.
    fn refusal(&self, name: &str) -> String {
        let error = self.resolve(name).expect_err("it must be refused");
        let line = error.to_string();
        assert!(!line.contains('\n'), "{line:?} is more than one line");
        line.replace(&format!("{}/", self.path("").display()), "")
    }
}

/// The line that a profile `x` of this text gives, without its beginning.
fn refusal_of(text: &str) -> String {
    let line = Host::with(&[("profiles/x.toml", text)]).refusal("x");
    line.strip_prefix("cannot read profile `x`: profiles/x.toml:").map_or(line.clone(), str::to_owned)
}

fn paths(grants: &[Grant]) -> Vec<&str> {
    grants.iter().map(|grant| grant.path.as_str()).collect()
}

#[test]
fn what_nobody_says_is_the_strict_side() {
    let host = Host::with(&[("profiles/x.toml", "summary = \"nothing\"")]);
    let profile = host.resolve("x").expect("a profile");
    assert_eq!(profile.workspace.access, WorkspaceAccess::None);
    let lists = profile.filesystem;
    for list in [lists.read, lists.write, lists.execute, lists.hide, lists.protect] {
        assert_eq!(list, []);
    }
    assert_eq!((lists.tmp.size, lists.tmp.execute), (Bytes(64 << 20), false));
    assert_eq!(profile.environment.pass, [""; 0]);
    assert_eq!(profile.environment.set, BTreeMap::new());
    assert!(profile.require.is_empty());
    let limits = profile.limits;
    assert_eq!((limits.memory, limits.cpus), (Some(Bytes(256 << 20)), Some(Cpus(1000))));
    assert_eq!((limits.processes, limits.open_files), (Some(64), 256));
    assert_eq!((limits.file_size, limits.disk), (Some(Bytes(64 << 20)), Bytes(64 << 20)));
    assert_eq!((limits.wall, limits.output), (Some(Span(60_000)), Some(Bytes(1 << 20))));
}

#[test]
fn an_empty_list_means_none_in_every_list() {
    let text = "summary = \"x\"\nextends = \"untrusted\"\n[filesystem]\nread = []\nwrite = []\nexecute = []\n\
        [egress]\nallow = []\nhttp = []\n[environment]\npass = []\n";
    let profile = Host::with(&[("profiles/x.toml", text)]).resolve("x").expect("a profile");
    assert_eq!(profile.filesystem.read, []);
    assert_eq!(profile.filesystem.write, []);
    assert_eq!(profile.filesystem.execute, []);
    assert_eq!(profile.environment.pass, [""; 0]);
    assert!(profile.egress.rules.allow_nothing());
    assert_eq!(profile.egress.rules.http, []);
}

#[test]
fn no_child_gives_back_what_a_parent_took_away() {
    let parent = "summary = \"p\"\n[filesystem]\nhide = [\"a\"]\nprotect = [\"b\"]\n[egress]\ndeny = [\"h\"]\n";
    let child = "summary = \"x\"\nextends = \"p\"\n[filesystem]\nhide = []\nprotect = [\"c\"]\n[egress]\ndeny = []\n";
    let host = Host::with(&[("profiles/p.toml", parent), ("profiles/x.toml", child)]);
    let profile = host.resolve("x").expect("a profile");
    assert_eq!(paths(&profile.filesystem.hide), ["a"]);
    assert_eq!(paths(&profile.filesystem.protect), ["b", "c"]);
    assert_eq!(hosts(&profile.egress.rules.deny), ["h"]);
}

#[test]
fn a_value_of_the_child_wins_and_tables_are_combined_key_by_key() {
    let parent = "summary = \"p\"\n[filesystem]\nread = [\"/a\"]\ntmp = { size = \"1M\", execute = true }\n\
        [environment.set]\nA = \"1\"\nB = \"1\"\n[limits]\nmemory = \"1G\"\nwall = \"1m\"\n[require]\nlimits = \"partial\"\n";
    let child = "summary = \"x\"\nextends = \"p\"\n[filesystem]\nread = [\"/b\"]\ntmp = { size = \"2M\" }\n\
        [environment.set]\nB = \"2\"\n[limits]\nmemory = \"unlimited\"\n[require]\nidentity = \"partial\"\n";
    let host = Host::with(&[("profiles/p.toml", parent), ("profiles/x.toml", child)]);
    let profile = host.resolve("x").expect("a profile");
    assert_eq!(paths(&profile.filesystem.read), ["/b"]);
    assert_eq!((profile.filesystem.tmp.size, profile.filesystem.tmp.execute), (Bytes(2 << 20), true));
    assert_eq!(profile.environment.set.into_iter().map(|(name, value)| name + &value).collect::<String>(), "A1B2");
    assert_eq!((profile.limits.memory, profile.limits.wall), (None, Some(Span(60_000))));
    assert_eq!(profile.require.len(), 2);
}

#[test]
fn a_grant_says_why_and_from_where() {
    let set = "summary = \"s\"\n[paths]\n\"/data\" = \"the data\"\n";
    let text = "summary = \"x\"\n[filesystem]\nread = [\"/own\", \"@mine\"]\n";
    let host = Host::with(&[("policies/paths/mine.toml", set), ("profiles/x.toml", text)]);
    let read = host.resolve("x").expect("a profile").filesystem.read;
    let grant = |path: &str, why: &str, from: String| Grant { path: path.into(), why: why.into(), from };
    let source = host.path("profiles/x.toml").display().to_string();
    assert_eq!(read, [grant("/data", "the data", "@mine".into()), grant("/own", "named by the profile", source)]);
}

#[test]
fn a_host_is_named_by_the_profile_or_by_a_set_with_its_reason() {
    let set = "summary = \"s\"\n[hosts]\n\"a.example:22\" = \"ssh\"\n";
    let text = "summary = \"x\"\n[egress]\nallow = [\"b.example\", \"@mine\"]\ndeny = [\"@mine\"]\n";
    let host = Host::with(&[("policies/egress/mine.toml", set), ("profiles/x.toml", text)]);
    let rules = host.resolve("x").expect("a profile").egress.rules;
    assert_eq!(hosts(&rules.allow), ["a.example:22", "b.example"]);
    assert_eq!((rules.allow[0].why.as_str(), rules.allow[0].from.as_str()), ("ssh", "@mine"));
    assert_eq!(hosts(&rules.deny), ["a.example:22"]);
}

fn hosts(rules: &[Rule]) -> Vec<&str> {
    rules.iter().map(|rule| rule.text.as_str()).collect()
}

#[test]
fn a_shipped_egress_set_can_be_used() {
    for set in ["@github", "@llm-apis"] {
        let text = format!("summary = \"x\"\n[egress]\nallow = [\"{set}\"]\n");
        let profile = Host::with(&[("profiles/x.toml", &text)]).resolve("x").expect("a profile");
        assert!(profile.egress.rules.allow.len() > 5, "{set}");
    }
}

/// D9: each of these, in any other sandbox, was once read as "nothing forbidden".
#[test]
fn a_profile_that_cannot_be_read_whole_is_refused_with_its_place() {
    let cases = [
        ("", "1:1: an empty profile grants nothing, which is surely a mistake"),
        ("# only this\n\n", "1:1: an empty profile grants nothing, which is surely a mistake"),
        ("extends = \"base\"", "1:1: missing key `summary`"),
        ("summary = \" \"", "1:11: an empty `summary`"),
        ("summary = \"x", "1:13: invalid basic string, expected `\"`"),
        ("summary = \"x\"\n[limits\n", "2:8: unclosed table, expected `]`"),
        ("summary = 3", "1:11: invalid type: integer `3`, expected a string"),
        ("summary = \"x\"\nfilesystem = []", "2:14: invalid type: list, expected a table"),
        ("summary = \"x\"\n[[limits]]\nmemory = \"1G\"", "2:1: invalid type: list, expected a table"),
        ("summary = \"x\"\n[filesystem]\nread = \"/usr\"", "3:8: invalid type: string \"/usr\", expected a list"),
        ("summary = \"x\"\n[filesystem]\nread = [1]", "3:9: invalid type: integer `1`, expected a string"),
        ("summary = \"x\"\n[limits]\nwall = \"1m\"\nwall = \"1h\"", "4:1: duplicate key `wall` in [limits]"),
        ("summary = \"x\"\nsummary = \"y\"", "2:1: duplicate key `summary`"),
        ("summary = \"x\"\n[limits]\n[limits]\n", "3:2: duplicate key `limits`"),
    ];
    for (text, line) in cases {
        assert_eq!(refusal_of(text), line, "{text:?}");
    }
}

/// D10: a name that means nothing here is a mistake, and never a weaker sandbox.
#[test]
fn an_unknown_word_is_refused_with_what_may_be_meant() {
    let cases = [
        ("netwrok = true", "2:1: unknown key `netwrok`"),
        ("[filesytem]", "2:2: unknown key `filesytem`, did you mean `filesystem`?"),
        ("[filesystem]\nhied = []", "3:1: unknown key `hied` in [filesystem], did you mean `hide`?"),
        ("[filesystem]\ntmp = { sise = \"5M\" }", "3:9: unknown key `sise` in [filesystem.tmp], did you mean `size`?"),
        (
            "[egress]\nallow = [\"https://h.example\"]",
            "3:10: cannot use host `https://h.example`: only `tcp://` and `udp://` can stand before a host",
        ),
        (
            "[egress]\nallow = [\"127.1\"]",
            "3:10: cannot use host `127.1`: it ends in a number, but is no address as addresses are written",
        ),
        ("[egress]\ndeny = [\"@no-such\"]", "3:9: unknown set `@no-such`"),
        ("[egress]\nhosts = { \"a.example\" = \"127.1\" }", "3:25: the addresses of `a.example` are none"),
        ("[egress]\nallowed = []", "3:1: unknown key `allowed` in [egress], did you mean `allow`?"),
        ("[workspace]\naccess = \"rx\"", "3:10: unknown value `rx` for `access` in [workspace], did you mean `ro`?"),
        ("[workspace]\naccess = \"cow\"", "3:10: workspace access `cow` is not supported yet"),
        ("[require]\nnetwrok = \"full\"", "3:1: unknown promise `netwrok`, did you mean `network`?"),
        ("[require]\nlimits = \"none\"", "3:10: unknown value `none` for `limits` in [require]"),
        ("[filesystem]\nread = [\n  \"@systm\"]", "4:3: unknown set `@systm`, did you mean `@system`?"),
        ("[filesystem]\nread = [\"@../x\"]", "3:9: unknown set `@../x`"),
        ("[filesystem]\nread = [\"@workspace\"]", "3:9: unknown set `@workspace`"),
        ("[syscalls]\nbase = \"@defualt\"", "3:8: unknown set `@defualt`, did you mean `@default`?"),
        ("[syscalls]\nbase = \"default\"", "3:8: expected the name of a set, such as `@default`"),
    ];
    for (rest, line) in cases {
        assert_eq!(refusal_of(&format!("summary = \"x\"\n{rest}")), line, "{rest:?}");
    }
}

/// B19: a quantity is what is written, or refused; it never wraps and never becomes "no limit".
#[test]
fn a_quantity_without_sense_is_refused_with_an_example() {
    const SIZE: &str = "expected a whole number and a unit of B, K, M, G or T, such as `512M`";
    const TIME: &str = "expected a whole number and a unit of ms, s, m, h or d, such as `30s`";
    const SHARE: &str = "expected a number of processors with at most three decimals, such as `0.5` or `2.0`";
    const COUNT: &str = "expected a whole number above zero, such as `64`";
    let cases = [
        ("memory = 1024", format!("10: `1024` has no unit: {SIZE}")),
        ("memory = \"1024\"", format!("10: `1024` has no unit: {SIZE}")),
        ("memory = \"0M\"", format!("10: `0M` is zero: {SIZE}")),
        ("memory = \"-1M\"", format!("10: cannot read `-1M`: {SIZE}")),
        ("memory = \"1.5G\"", format!("10: cannot read `1.5G`: {SIZE}")),
        ("memory = \"1GB\"", format!("10: cannot read `1GB`: {SIZE}")),
        ("memory = \"16777216T\"", format!("10: `16777216T` is too large: {SIZE}")),
        ("memory = \"99999999999999999999B\"", format!("10: `99999999999999999999B` is too large: {SIZE}")),
        ("memory = true", format!("10: invalid type: boolean `true`, {SIZE}, or `unlimited`")),
        ("disk = \"unlimited\"", format!("8: cannot read `unlimited`: {SIZE}")),
        ("wall = \"5\"", format!("8: `5` has no unit: {TIME}")),
        ("wall = \"5min\"", format!("8: cannot read `5min`: {TIME}")),
        ("cpus = 0", format!("8: `0` is zero: {SHARE}")),
        ("cpus = -1.0", format!("8: cannot read `-1`: {SHARE}")),
        ("cpus = nan", format!("8: cannot read `NaN`: {SHARE}")),
        ("cpus = inf", format!("8: cannot read `inf`: {SHARE}")),
        ("cpus = 1e300", format!("8: `1{}...` is too large: {SHARE}", "0".repeat(63))),
        ("cpus = 0.0001", format!("8: cannot read `0.0001`: {SHARE}")),
        ("processes = 0", format!("13: `0` is zero: {COUNT}")),
        ("processes = -1", format!("13: cannot read `-1`: {COUNT}")),
        ("open_files = \"unlimited\"", format!("14: cannot read `unlimited`: {COUNT}")),
    ];
    for (entry, line) in cases {
        assert_eq!(refusal_of(&format!("summary = \"x\"\n[limits]\n{entry}\n")), format!("3:{line}"), "{entry}");
    }
}

#[test]
fn a_path_without_one_plain_reading_is_refused() {
    let cases = [
        ("read", "src", "`src`: it is not absolute"),
        ("write", "./out", "`./out`: it has a `.` or `..` component"),
        ("read", "/a/../b", "`/a/../b`: it has a `.` or `..` component"),
        ("read", "/a/", "`/a/`: it has a doubled or trailing `/`"),
        ("read", "//a", "`//a`: it has a doubled or trailing `/`"),
        ("read", "", "``: it is empty"),
        ("read", "/", "`/`: it is everything"),
        ("write", "~", "`~`: it is everything"),
        ("read", "~root/x", "`~root/x`: `~` stands for the caller's home only, as in `~/name`"),
        ("read", "/a\\u0000", "`/a\\0`: it has a control character"),
        ("read", "/a ", "`/a `: it begins or ends with a blank"),
        ("read", "/home/*", "`/home/*`: `read` takes no patterns"),
        ("hide", "../x", "`../x`: it has a `.` or `..` component"),
        ("hide", "a**", "`a**`: `**` must be a whole component"),
        ("protect", "*.{a,b}", "`*.{a,b}`: in a pattern only `*` and `**` stand for something"),
    ];
    for (list, path, problem) in cases {
        let text = format!("summary = \"x\"\n[filesystem]\n{list} = [\"{path}\"]\n");
        let column = list.len() + 5;
        assert_eq!(refusal_of(&text), format!("3:{column}: cannot use path {problem}"), "{list} {path:?}");
    }
    let text = "summary = \"x\"\n[filesystem]\nread = [\"@secrets\"]\n";
    assert_eq!(
        refusal_of(text),
        "3:9: cannot use set `@secrets` in `read`: `.env` cannot stand there: it is not absolute"
    );
}

#[test]
fn the_workspace_stands_at_a_plain_place_or_the_profile_is_refused() {
    let cases = [
        ("ws", "it is neither `same` nor absolute"),
        ("/", "it is everything"),
        ("/proc/x", "the kernel's own files are there"),
        ("/w/..", "it has a `.` or `..` component"),
    ];
    for (at, problem) in cases {
        let text = format!("summary = \"x\"\n[workspace]\nat = \"{at}\"\n");
        assert_eq!(refusal_of(&text), format!("3:6: cannot put the workspace at `{at}`: {problem}"));
    }
}

#[test]
fn an_environment_hook_or_secret_is_never_passed() {
    let cases = [
        ("LD_PRELOAD", "cannot pass `LD_PRELOAD`: programs run or load what it says"),
        ("GIT_SSH_COMMAND", "cannot pass `GIT_SSH_COMMAND`: programs run or load what it says"),
        ("GITHUB_TOKEN", "cannot pass `GITHUB_TOKEN`: it looks like a secret"),
        ("LC_*", "`LC_*` is not an environment name"),
        ("A=B", "`A=B` is not an environment name"),
    ];
    for (name, line) in cases {
        let text = format!("summary = \"x\"\n[environment]\npass = [\"TERM\", \"{name}\"]\n");
        assert_eq!(refusal_of(&text), format!("3:17: {line}"));
    }
}

#[test]
fn only_a_profile_that_root_vouches_for_sets_a_hook() {
    let text = "summary = \"x\"\n[environment.set]\nBASH_ENV = \"/x\"\n";
    assert_eq!(refusal_of(text), "3:1: cannot set `BASH_ENV`: programs run or load what it says");
    let mut host = Host::with(&[("profiles/x.toml", text)]);
    host.trust = Trust::Root;
    if nix::unistd::getuid().is_root() {
        assert_eq!(host.resolve("x").expect("root's own").environment.set["BASH_ENV"], "/x");
    } else {
        host.resolve("x").expect_err("not owned by root");
    }
}

#[test]
fn a_circle_of_profiles_is_shown_whole() {
    let extends = |parent| format!("summary = \"x\"\nextends = \"{parent}\"\n");
    let (a, b, c) = (extends("b"), extends("c"), extends("b"));
    let host = Host::with(&[("profiles/a.toml", &a), ("profiles/b.toml", &b), ("profiles/c.toml", &c)]);
    let line = "cannot read profile `c`: profiles/c.toml:2:11: `extends` goes in a circle: b -> c -> b";
    assert_eq!(host.refusal("a"), line);
    let host = Host::with(&[("profiles/a.toml", &extends("a"))]);
    assert_eq!(host.refusal("a"), "cannot read profile `a`: profiles/a.toml:2:11: `extends` goes in a circle: a -> a");
}

#[test]
fn a_parent_that_cannot_be_had_is_refused_where_it_is_named() {
    let cases = [
        ("bse", "2:11: unknown profile `bse`, did you mean `base`?"),
        ("/etc/x", "2:11: `/etc/x` is not a name: expected a letter or digit, then up to 63 of a-z, 0-9, `_` and `-`"),
    ];
    for (parent, line) in cases {
        assert_eq!(refusal_of(&format!("summary = \"x\"\nextends = \"{parent}\"\n")), line);
    }
}

#[test]
fn an_unknown_profile_is_refused_with_what_may_be_meant() {
    let host = Host::with(&[("profiles/mine.toml", "summary = \"x\"")]);
    assert_eq!(host.refusal("untrsuted"), "unknown profile `untrsuted`, did you mean `untrusted`?");
    assert_eq!(host.refusal("mien"), "unknown profile `mien`, did you mean `mine`?");
    assert_eq!(host.refusal("kubernetes"), "unknown profile `kubernetes`");
}

/// D6: a profile is found by name in trusted directories, so no path leads to one in a workspace.
#[test]
fn a_profile_is_never_taken_from_a_path() {
    let host = Host::with(&[("profiles/mine.toml", "summary = \"x\"")]);
    fs::write(host.path("evil.toml"), "summary = \"evil\"").expect("a file");
    let absolute = host.path("evil.toml").display().to_string();
    for name in ["../evil", "evil.toml", "./mine", "profiles/mine", "mine\0", "", absolute.as_str()] {
        let error = host.resolve(name).expect_err("no name");
        let line = error.to_string();
        assert!(line.starts_with("cannot open profile: `"), "{line}");
        assert!(line.ends_with(" is not a name: expected a letter or digit, then up to 63 of a-z, 0-9, `_` and `-`"));
        assert_eq!(error.hint().as_deref(), Some("a profile is asked for by its name, never by a path"));
    }
}

/// D6: what only the caller vouches for changes nothing that root vouches for.
#[test]
fn a_set_or_parent_of_the_caller_never_stands_in_for_one_that_a_built_in_profile_names() {
    let host = Host::with(&[
        ("profiles/base.toml", "summary = \"mine\"\n[filesystem]\nwrite = [\"/\"]\n"),
        ("policies/paths/secrets.toml", "summary = \"none\"\n[paths]\n\"~/none\" = \"nothing is secret\"\n"),
    ]);
    let profile = host.resolve("untrusted").expect("the built-in one");
    assert_eq!(profile.sources, ["built-in:base", "built-in:untrusted"]);
    assert!(paths(&profile.filesystem.hide).contains(&"~/.ssh"));
}

#[test]
fn a_file_of_the_host_wins_over_the_built_in_of_its_name() {
    let host = Host::with(&[("profiles/untrusted.toml", "summary = \"mine\"")]);
    let profile = host.resolve("untrusted").expect("a profile");
    assert_eq!(profile.summary, "mine");
    assert_eq!(profile.sources, [host.path("profiles/untrusted.toml").display().to_string()]);
}

#[test]
fn a_file_that_somebody_else_can_write_is_refused_at_every_step_above_it() {
    let cases = [
        ("profiles/x.toml", 0o664, "profiles/x.toml: writable by its group"),
        ("profiles/x.toml", 0o646, "profiles/x.toml: writable by everybody"),
        ("profiles", 0o775, "profiles: writable by its group"),
        ("profiles", 0o1777, "profiles: writable by everybody"),
    ];
    for (path, mode, line) in cases {
        let host = Host::with(&[("profiles/x.toml", "summary = \"x\"")]);
        host.mode(path, mode);
        assert_eq!(host.refusal("x"), format!("cannot open profile `x`: {line}"));
    }
    let host = Host::with(&[("profiles/x.toml", "summary = \"x\"")]);
    host.mode("", 0o777);
    let line = format!("cannot open profile `x`: {}: writable by everybody", host.path("").display());
    assert_eq!(host.refusal("x"), line);
}

#[test]
fn what_to_do_is_said_where_it_is_not_plain() {
    let host = Host::with(&[("profiles/x.toml", "[filesystem]\nnetwrok = []"), ("profiles/open.toml", "")]);
    host.mode("profiles/open.toml", 0o666);
    let hint = |name| host.resolve(name).expect_err("it must be refused").hint();
    let keys = "expected one of `read`, `write`, `execute`, `hide`, `protect`, `tmp`";
    assert_eq!(hint("x").as_deref(), Some(keys));
    let remedy = format!("`chmod go-w {}` after reading it", host.path("profiles/open.toml").display());
    assert_eq!(hint("open"), Some(remedy));
    assert_eq!(hint("kubernetes").as_deref(), Some("`clawjail profile list` shows the profiles that there are"));
    assert_eq!(hint("untrsuted"), None);
}

#[test]
fn a_file_of_somebody_else_is_refused() {
    let mut host = Host::with(&[("profiles/x.toml", "summary = \"x\"")]);
    let uid = nix::unistd::getuid();
    if uid.is_root() {
        std::os::unix::fs::chown(host.path("profiles/x.toml"), Some(1000), None).expect("root may");
        host.trust = Trust::Root;
        assert_eq!(host.refusal("x"), "cannot open profile `x`: profiles/x.toml: owned by uid 1000, not by root");
        host.trust = Trust::Caller(1001);
        let line = "cannot open profile `x`: profiles/x.toml: owned by uid 1000, not by root or uid 1001";
        assert_eq!(host.refusal("x"), line);
    } else {
        host.trust = Trust::Root;
        let line = format!("cannot open profile `x`: {}: owned by uid {uid}, not by root", host.path("").display());
        assert_eq!(host.refusal("x"), line);
    }
}

#[test]
fn a_link_or_a_special_file_is_no_profile() {
    let host = Host::with(&[("real.toml", "summary = \"x\"")]);
    symlink(host.path("real.toml"), host.path("profiles/link.toml")).expect("a link");
    fs::create_dir(host.path("profiles/dir.toml")).expect("a directory");
    host.mode("profiles/dir.toml", 0o755);
    let pipe = host.path("profiles/pipe.toml");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o600)).expect("a pipe");
    fs::write(host.path("profiles/huge.toml"), "#".repeat(300_000)).expect("a file");
    fs::write(host.path("profiles/bytes.toml"), [0xff, 0xfe]).expect("a file");
    host.mode("profiles/huge.toml", 0o644);
    host.mode("profiles/bytes.toml", 0o644);
    for (name, problem) in [
        ("link", "a symbolic link, which is not followed"),
        ("dir", "not a regular file"),
        ("pipe", "not a regular file"),
        ("huge", "larger than 256 KiB"),
        ("bytes", "not UTF-8 text"),
    ] {
        assert_eq!(host.refusal(name), format!("cannot open profile `{name}`: profiles/{name}.toml: {problem}"));
    }
    fs::rename(host.path("profiles"), host.path("elsewhere")).expect("a directory");
    symlink(host.path("elsewhere"), host.path("profiles")).expect("a link");
    let line = "cannot open profile `base`: profiles: not a directory (a symbolic link is not followed)";
    assert_eq!(host.refusal("base"), line);
}

#[test]
fn a_broken_set_is_named_with_its_place() {
    let cases = [
        (
            "summary = \"s\"\n[paths]\n\"/a/..\" = \"w\"\n",
            "3:1: cannot use path `/a/..`: it has a `.` or `..` component",
        ),
        ("summary = \"s\"\n[paths]\n\"/a\" = \"\"\n", "3:1: path `/a` has no reason"),
        ("summary = \"s\"\n[paths]\n", "2:2: a set without paths"),
        ("[paths]\n\"/a\" = \"w\"\n", "1:1: missing field `summary`"),
        ("summary = \"s\"\n[pahts]\n", "2:2: unknown key `pahts`, did you mean `paths`?"),
        ("summary = \"s\"\n[paths]\n\"/a\" = \"w\"\n\"/a\" = \"w\"\n", "4:1: duplicate key `\"/a\"` in [paths]"),
    ];
    for (set, line) in cases {
        let text = "summary = \"x\"\n[filesystem]\nread = [\"@mine\"]\n";
        let host = Host::with(&[("policies/paths/mine.toml", set), ("profiles/x.toml", text)]);
        assert_eq!(host.refusal("x"), format!("cannot read policy `@mine`: policies/paths/mine.toml:{line}"));
    }
}

#[test]
fn a_check_of_a_draft_finds_all_errors_at_once() {
    let text = "summary = \"x\"\nextends = \"bse\"\nextra = 1\n[filesystem]\nread = [\"src\", \"@systm\"]\n\
        [limits]\nmemory = 5\nwall = \"x\"\n";
    let host = Host::with(&[("draft.toml", text)]);
    let sources = Sources::default();
    let errors = check(&host.path("draft.toml"), &sources, &Library::built_in());
    let beginning = format!("cannot read profile `draft`: {}:", host.path("draft.toml").display());
    let mut places: Vec<String> = errors.iter().map(|error| error.to_string().replace(&beginning, "")).collect();
    places.sort();
    assert_eq!(
        places,
        [
            "2:11: unknown profile `bse`, did you mean `base`?",
            "3:1: unknown key `extra`",
            "5:16: unknown set `@systm`, did you mean `@system`?",
            "5:9: cannot use path `src`: it is not absolute",
            "7:10: `5` has no unit: expected a whole number and a unit of B, K, M, G or T, such as `512M`",
            "8:8: cannot read `x`: expected a whole number and a unit of ms, s, m, h or d, such as `30s`",
        ]
    );
}

#[test]
fn the_list_names_every_profile_once_and_says_which_is_broken() {
    let host = Host::with(&[
        ("profiles/mine.toml", "summary = \"my own\""),
        ("profiles/broken.toml", ""),
        ("profiles/untrusted.toml", "summary = \"stricter\""),
        ("profiles/Not A Name.toml", ""),
    ]);
    let listed = list(&host.sources());
    let names: Vec<&str> = listed.iter().map(|profile| profile.name.as_str()).collect();
    let expected = ["base", "broken", "mine", "offline", "openclaw", "readonly", "skill-test", "trusted", "untrusted"];
    assert_eq!(names, expected);
    assert!(listed[1].summary.is_err());
    assert_eq!(listed[2].summary.as_deref().expect("readable"), "my own");
    assert_eq!(listed[8].source, host.path("profiles/untrusted.toml").display().to_string());
}

#[test]
fn the_schema_names_every_section_and_forbids_others() {
    let schema = schema();
    let sections = schema["properties"].as_object().expect("an object");
    for section in [
        "summary",
        "extends",
        "workspace",
        "filesystem",
        "egress",
        "environment",
        "limits",
        "syscalls",
        "record",
        "require",
    ] {
        assert!(sections.contains_key(section), "{section}");
    }
    assert_eq!(schema["additionalProperties"], false);
}

#[test]
fn what_is_built_in_is_used_as_it_was_built_where_nothing_on_the_host_takes_its_place() {
    let ahead = |host: &Host| built_in::profile("untrusted", &host.sources().present()).is_some();
    let own = ("profiles/mine.toml", "summary = \"x\"\nextends = \"untrusted\"\n");
    let host = Host::with(&[own]);
    assert!(ahead(&host), "another profile takes no place");
    assert!(host.resolve("mine").is_ok(), "and is there");
    assert!(!ahead(&Host::with(&[own, ("profiles/untrusted.toml", "extends = \"base\"\n")])));
    assert!(!ahead(&Host::with(&[own, ("profiles/base.toml", "")])), "one that others extend");
    assert!(!ahead(&Host::with(&[("policies/paths/extra.toml", "")])));
    let host_with_calls = Host::new();
    fs::create_dir_all(host_with_calls.path("policies/syscalls")).expect("a directory");
    fs::write(host_with_calls.path("policies/syscalls/default.toml"), "").expect("a file");
    assert!(!ahead(&host_with_calls));
    host.mode("profiles", 0o777);
    assert!(!ahead(&host), "what anybody can write into is refused when it is read");
}
