//! The profiles that we ship: what each means, and that every line of one has its reason.

#![expect(clippy::expect_used, reason = "a test may stop where it stands")]

use std::fs;
use std::path::Path;

use clawjail::plan::built_in;
use clawjail::policy::environment::{Hook, Secrecy, is_hook, secrecy};
use clawjail::policy::library::Library;
use clawjail::profile::check::check;
use clawjail::profile::load::Sources;
use clawjail::profile::promise::{Demand, Promise};
use clawjail::profile::resolve::resolve;
use clawjail::profile::units::{Bytes, Cpus, Span};
use clawjail::profile::{Grant, Profile, WorkspaceAccess, WorkspaceAt};

const SHIPPED: [&str; 6] = ["base", "offline", "readonly", "skill-test", "trusted", "untrusted"];

fn shipped(name: &str) -> Profile {
    let sources = Sources::default();
    resolve(name, &sources, &Library::built_in()).expect("a shipped profile")
}

#[test]
fn every_shipped_profile_resolves_and_has_no_network() {
    for name in SHIPPED {
        let profile = shipped(name);
        assert_eq!(profile.name, name);
        assert_eq!(profile.sources.first().map(String::as_str), Some("built-in:base"));
        assert!(!profile.summary.is_empty());
        assert!(profile.egress.rules.allow_nothing(), "{name}");
    }
}

#[test]
fn every_grant_of_a_shipped_profile_has_a_reason_and_an_origin() {
    for name in SHIPPED {
        let filesystem = shipped(name).filesystem;
        for list in [filesystem.read, filesystem.write, filesystem.execute, filesystem.hide, filesystem.protect] {
            assert!(list.is_sorted_by(|one, other| one.path < other.path), "{name}: sorted, each path once");
            assert!(list.iter().all(|grant| !grant.why.is_empty() && !grant.from.is_empty()), "{name}");
        }
    }
}

#[test]
fn every_line_of_a_shipped_profile_that_grants_has_its_reason() {
    for name in SHIPPED {
        let text = fs::read_to_string(format!("profiles/{name}.toml")).expect("a shipped profile");
        let mut head = true;
        for line in text.lines().map(str::trim) {
            head &= !line.starts_with('[');
            let punctuation = line.is_empty() || line.starts_with(['[', ']', '#']) || line.ends_with('[');
            assert!(head || punctuation || line.contains('#'), "{name}: no reason for `{line}`");
        }
    }
}

#[test]
fn what_untrusted_means() {
    let profile = shipped("untrusted");
    assert_eq!(profile.workspace.access, WorkspaceAccess::Rw);
    assert_eq!(profile.workspace.at, WorkspaceAt::Path("/workspace".to_owned()));
    assert_eq!(paths(&profile.filesystem.write), [""; 0]);
    assert!(paths(&profile.filesystem.execute).contains(&"@workspace"));
    assert!(paths(&profile.filesystem.read).contains(&"/usr"));
    assert!(paths(&profile.filesystem.hide).contains(&"~/.ssh"));
    for protected in ["SOUL.md", "memory", "AGENTS.md", ".git/hooks", ".git/config", ".vscode", "~/.bashrc"] {
        assert!(paths(&profile.filesystem.protect).contains(&protected), "{protected}");
    }
    assert_eq!(profile.limits.memory, Some(Bytes(1 << 30)));
    assert_eq!(profile.limits.cpus, Some(Cpus(1000)));
    assert_eq!(profile.limits.processes, Some(256));
    assert_eq!(profile.limits.wall, Some(Span(300_000)));
    assert_eq!(profile.require.get(&Promise::Limits), Some(&Demand::Partial));
    assert_eq!(profile.require.len(), 1);
}

#[test]
fn the_shipped_profiles_differ_from_untrusted_where_they_say() {
    assert_eq!(shipped("readonly").workspace.access, WorkspaceAccess::Ro);
    assert_eq!(shipped("offline").workspace.at, WorkspaceAt::Same);
    assert_eq!(shipped("offline").environment.set["CARGO_HOME"], "{home}/.cargo");
    assert_eq!(shipped("skill-test").environment.pass, [""; 0]);
    assert!(shipped("skill-test").limits.memory < shipped("untrusted").limits.memory);
    let trusted = shipped("trusted");
    assert_eq!(trusted.limits.output, None);
    assert!(!paths(&trusted.filesystem.protect).contains(&"SOUL.md"));
    assert!(paths(&trusted.filesystem.protect).contains(&".git/hooks"));
    assert!(paths(&trusted.filesystem.hide).contains(&"~/.ssh"));
}

#[test]
fn the_system_set_grants_neither_etc_whole_nor_what_is_made_for_each_jail() {
    let read = shipped("trusted").filesystem.read;
    let never =
        ["/", "/etc", "/etc/passwd", "/etc/group", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/home", "/var"];
    for path in never {
        assert!(!paths(&read).contains(&path), "{path}");
    }
}

#[test]
fn a_built_in_profile_passes_no_hook_and_no_secret() {
    for name in SHIPPED {
        for passed in shipped(name).environment.pass {
            assert_eq!(is_hook(passed.as_bytes()), Hook::No, "{passed}");
            assert_eq!(secrecy(passed.as_bytes()), Secrecy::Open, "{passed}");
        }
    }
}

#[test]
fn a_check_of_each_shipped_file_finds_nothing() {
    for name in SHIPPED {
        let errors = check(Path::new(&format!("profiles/{name}.toml")), &Sources::default(), &Library::built_in());
        assert!(errors.is_empty(), "{name}: {}", errors[0]);
    }
}

fn paths(grants: &[Grant]) -> Vec<&str> {
    grants.iter().map(|grant| grant.path.as_str()).collect()
}

#[test]
fn what_was_resolved_at_build_time_is_what_the_texts_say() {
    let sources = Sources::default();
    for name in ["base", "offline", "readonly", "skill-test", "trusted", "untrusted"] {
        let read = resolve(name, &sources, &Library::built_in()).expect("a shipped profile");
        assert_eq!(built_in::profile(name, &sources), Some(read), "{name}");
    }
}

#[test]
fn a_directory_of_the_host_is_always_asked_first() {
    assert_eq!(built_in::profile("untrusted", &Sources::of_root()), None);
}
