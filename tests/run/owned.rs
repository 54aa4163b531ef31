//! Profiles and policies of root, in /etc/clawjail: what is believed there, and what is refused.

use std::os::unix::fs::{chown, symlink};

use super::*;
use support::etc::Etc;

const PLAIN: &str = "summary = \"Test.\"\nextends = \"untrusted\"\n";

/// In every tier, with an /etc/clawjail that holds `plain.toml`.
fn with_etc(test: impl Fn(&Place, &Etc)) {
    in_every_tier(|place| match Etc::new(place) {
        Some(etc) => {
            etc.write("profiles/plain.toml", PLAIN);
            test(place, &etc);
        }
        None => say_skipped("profiles in /etc/clawjail: not started as root"),
    });
}

/// `touch NAME` under this profile.
fn touch(place: &Place, etc: &Etc, profile: &str, name: &str) -> Ran {
    let jail = Jail::new(place).profile(profile);
    let mut command = etc.command(&jail.command(["touch", name]));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    jail.finish(command.spawn().expect("everyone has unshare"))
}

fn mode(etc: &Etc, below: &str, mode: u32) {
    fs::set_permissions(etc.path(below), fs::Permissions::from_mode(mode)).expect("own file");
}

fn give(etc: &Etc, below: &str, uid: u32) {
    chown(etc.path(below), Some(uid), None).expect("root can give");
}

#[test]
fn a_profile_of_root_is_used_in_every_tier() {
    with_etc(|place, etc| {
        let ran = touch(place, etc, "plain", "made");
        assert!(ran.code == Some(0) && place.holds("made"), "{}", ran.whole());
        assert_eq!(ran.verdict["profile"], "plain");
    });
}

#[test]
fn a_file_or_directory_that_somebody_but_root_could_have_written_is_refused_and_nothing_runs() {
    with_etc(|place, etc| {
        let outside = place.outside.join("elsewhere.toml");
        type Change<'a> = Box<dyn Fn() + 'a>;
        let file = "profiles/bad.toml";
        let changes: Vec<(&str, Change<'_>)> = vec![
            ("owned by uid 12345", Box::new(|| give(etc, file, 12345))),
            ("writable by everybody", Box::new(|| mode(etc, file, 0o646))),
            ("writable by its group", Box::new(|| mode(etc, file, 0o664))),
            ("owned by uid 12345", Box::new(|| give(etc, "profiles", 12345))),
            ("writable by everybody", Box::new(|| mode(etc, "profiles", 0o777))),
            ("writable by its group", Box::new(|| mode(etc, "profiles", 0o775))),
            ("owned by uid 12345", Box::new(|| give(etc, "", 12345))),
            ("writable by everybody", Box::new(|| mode(etc, "", 0o777))),
            ("writable by its group", Box::new(|| mode(etc, "", 0o775))),
            ("has 2 names", Box::new(|| fs::hard_link(etc.path(file), &outside).expect("one filesystem"))),
            (
                "a symbolic link",
                Box::new(|| {
                    fs::rename(etc.path(file), &outside).expect("one filesystem");
                    symlink(&outside, etc.path(file)).expect("own directory");
                }),
            ),
            (
                "not a directory",
                Box::new(|| {
                    fs::rename(etc.path("profiles"), etc.path("real")).expect("own directory");
                    symlink("real", etc.path("profiles")).expect("own directory");
                }),
            ),
            (
                "not a regular file",
                Box::new(|| {
                    fs::remove_file(etc.path(file)).expect("own file");
                    fs::create_dir(etc.path(file)).expect("own directory");
                }),
            ),
        ];
        for (word, change) in changes {
            let _ = fs::remove_dir_all(etc.path("real"));
            for stale in ["profiles", "profiles/bad.toml"] {
                let _ = fs::remove_file(etc.path(stale)).or_else(|_| fs::remove_dir_all(etc.path(stale)));
            }
            let _ = fs::remove_file(&outside);
            give(etc, "", 0);
            mode(etc, "", 0o755);
            etc.write(file, PLAIN);
            let ran = touch(place, etc, "bad", "control");
            assert!(ran.code == Some(0), "before it is {word}: {}", ran.whole());
            change();
            let ran = touch(place, etc, "bad", "executed");
            assert_one_line(&ran, 126, word);
            assert_eq!(ran.outcome(), "refused");
            assert!(!place.holds("executed"), "{word}");
        }
    });
}

#[test]
fn a_shipped_name_that_is_refused_in_etc_does_not_fall_back_to_the_built_in() {
    with_etc(|place, etc| {
        etc.write("profiles/untrusted.toml", "summary = \"Test.\"\nextends = \"base\"\n");
        mode(etc, "profiles/untrusted.toml", 0o666);
        let ran = touch(place, etc, "untrusted", "executed");
        assert_one_line(&ran, 126, "writable by");
        let ran = touch(place, etc, "plain", "executed");
        assert_one_line(&ran, 126, "untrusted");
        assert!(!place.holds("executed"));
    });
}

#[test]
fn a_profile_is_only_as_good_as_the_one_it_extends() {
    with_etc(|place, etc| {
        etc.write("profiles/parent.toml", PLAIN);
        etc.write("profiles/child.toml", "summary = \"Test.\"\nextends = \"parent\"\n");
        let ran = touch(place, etc, "child", "made");
        assert!(ran.code == Some(0) && place.holds("made"), "{}", ran.whole());
        give(etc, "profiles/parent.toml", place.account().uid.max(1));
        let ran = touch(place, etc, "child", "executed");
        assert_one_line(&ran, 126, "parent");
        etc.write("profiles/child.toml", "summary = \"Test.\"\nextends = \"nobody\"\n");
        assert_one_line(&touch(place, etc, "child", "executed"), 126, "nobody");
        etc.write("profiles/child.toml", "summary = \"Test.\"\nextends = \"child\"\n");
        assert_one_line(&touch(place, etc, "child", "executed"), 126, "child");
        assert!(!place.holds("executed"));
    });
}

#[test]
fn a_policy_of_root_is_laid_over_the_built_in_of_its_name_and_held_to_the_same_rules() {
    with_etc(|place, etc| {
        etc.write("policies/paths/editor-config.toml", "summary = \"Test.\"\n[paths]\n\"special\" = \"a test\"\n");
        let ran = touch(place, etc, "plain", "special");
        assert!(ran.code != Some(0) && !place.holds("special"), "{}", ran.whole());
        let ran = touch(place, etc, "plain", ".envrc");
        assert!(ran.code == Some(0) && place.holds(".envrc"), "root said otherwise: {}", ran.whole());
        let parts =
            ["policies/paths/editor-config.toml", "policies/paths", "policies"].map(|part| (part, etc.path(part)));
        for (part, path) in parts {
            let before = fs::metadata(&path).expect("own file").mode() & 0o777;
            mode(etc, part, before | 0o022);
            assert_one_line(&touch(place, etc, "plain", "executed"), 126, "writable by");
            mode(etc, part, before);
        }
        etc.write("policies/paths/editor-config.toml", "summary = \"Test.\"\n[pahts]\n");
        assert_one_line(&touch(place, etc, "plain", "executed"), 126, "editor-config");
        assert!(!place.holds("executed"));
    });
}

#[test]
fn a_policy_that_clawjail_names_itself_is_refused_when_it_cannot_be_believed() {
    with_etc(|place, etc| {
        for name in ["default", "broker", "brokered", if place.tier.has_namespaces() { "namespaced" } else { "bare" }] {
            let file = format!("policies/syscalls/{name}.toml");
            etc.write(&file, "[[rule]]\nwhy = \"everything\"\ncall = \"ioctl\"\n");
            mode(etc, &file, 0o666);
            let ran = touch(place, etc, "plain", "executed");
            assert_one_line(&ran, 126, "writable by");
            fs::remove_file(etc.path(&file)).expect("own file");
        }
        assert!(!place.holds("executed"));
        let ran = touch(place, etc, "plain", "made");
        assert!(ran.code == Some(0), "{}", ran.whole());
    });
}
