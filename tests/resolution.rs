//! Properties of profile resolution: whatever a text is, it gives a profile or one line; and what a parent took away stays
//! away.

#![expect(clippy::expect_used, reason = "a test may stop where it stands")]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use clawjail::policy::library::Library;
use clawjail::profile::Profile;
use clawjail::profile::check::check;
use clawjail::profile::error::ProfileError;
use clawjail::profile::load::{ConfigDir, Sources, Trust};
use clawjail::profile::resolve::resolve;
use proptest::prelude::*;
use tempfile::TempDir;

/// Resolves profile `x` of a host that has these profiles.
fn resolve_x(profiles: &[(&str, &str)]) -> Result<Profile, ProfileError> {
    let (_dir, sources) = host(profiles);
    resolve("x", &sources, &Library::built_in())
}

fn host(profiles: &[(&str, &str)]) -> (TempDir, Sources) {
    let dir = TempDir::new().expect("a directory for the test");
    let below = dir.path().join("profiles");
    fs::create_dir(&below).expect("a directory");
    for (name, text) in profiles {
        fs::write(below.join(format!("{name}.toml")), text).expect("a file");
    }
    for path in [dir.path().to_owned(), below.clone()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }
    for (name, _) in profiles {
        fs::set_permissions(below.join(format!("{name}.toml")), fs::Permissions::from_mode(0o644)).expect("a mode");
    }
    let trust = Trust::Caller(nix::unistd::getuid().as_raw());
    let path = dir.path().to_owned();
    (dir, Sources { dirs: vec![ConfigDir { path, trust }], home: None, built_in_stands: false })
}

/// That a text gives a profile or one line, and that `check` ends and agrees.
fn one_profile_or_one_line(text: &str) -> Result<(), TestCaseError> {
    let (dir, sources) = host(&[("x", text)]);
    let resolved = resolve("x", &sources, &Library::built_in());
    let errors = check(&dir.path().join("profiles/x.toml"), &sources, &Library::built_in());
    match resolved {
        Ok(_) => prop_assert!(errors.is_empty()),
        Err(error) => {
            let line = error.to_string();
            prop_assert!(line.starts_with("cannot ") && !line.contains('\n') && !line.ends_with('.'), "{}", line);
            prop_assert!(!errors.is_empty(), "{}", line);
            prop_assert!(errors.iter().all(|error| !error.to_string().contains('\n')));
        }
    }
    Ok(())
}

const UNTRUSTED: &str = include_str!("../profiles/untrusted.toml");

fn list(entries: &[String]) -> String {
    format!("[{}]", entries.iter().map(|entry| format!("\"{entry}\"")).collect::<Vec<_>>().join(", "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_text_gives_a_profile_or_one_line(text in any::<String>()) {
        one_profile_or_one_line(&text)?;
    }

    #[test]
    fn a_damaged_profile_gives_a_profile_or_one_line(at in 0..UNTRUSTED.len(), gone in 0..40usize, put in "[ -~\\n]{0,6}") {
        let mut text = UNTRUSTED.to_owned();
        prop_assume!(text.is_char_boundary(at));
        let end = (at + gone).min(text.len());
        prop_assume!(text.is_char_boundary(end));
        text.replace_range(at..end, &put);
        one_profile_or_one_line(&text)?;
    }

    #[test]
    fn a_child_hides_and_protects_at_least_what_its_parent_does(
        parent in prop::collection::vec("[a-d]{1,2}", 0..5),
        child in prop::collection::vec("[a-d]{1,2}", 0..5),
    ) {
        let parent_text = format!("summary = \"p\"\n[filesystem]\nhide = {0}\nprotect = {0}\n", list(&parent));
        let child_text = format!("summary = \"x\"\nextends = \"p\"\n[filesystem]\nhide = {0}\nprotect = {0}\n", list(&child));
        let profile = resolve_x(&[("p", &parent_text), ("x", &child_text)]).expect("a profile");
        for shield in [profile.filesystem.hide, profile.filesystem.protect] {
            prop_assert!(parent.iter().chain(&child).all(|path| shield.iter().any(|grant| grant.path == *path)));
            prop_assert!(shield.is_sorted_by(|one, other| one.path < other.path));
        }
    }

    #[test]
    fn a_child_that_only_narrows_gets_nothing_more_than_its_parent(
        parent in prop::collection::btree_set("/[a-d]{1,2}", 0..5),
        keep in prop::collection::vec(any::<bool>(), 5),
    ) {
        let parent: Vec<String> = parent.into_iter().collect();
        let child: Vec<String> = parent.iter().zip(keep).filter(|(_, keep)| *keep).map(|(path, _)| path.clone()).collect();
        let parent_text = format!("summary = \"p\"\n[filesystem]\nread = {}\n", list(&parent));
        let child_text = format!("summary = \"x\"\nextends = \"p\"\n[filesystem]\nread = {}\n", list(&child));
        let profile = resolve_x(&[("p", &parent_text), ("x", &child_text)]).expect("a profile");
        let read: Vec<String> = profile.filesystem.read.into_iter().map(|grant| grant.path).collect();
        prop_assert_eq!(read, child);
        prop_assert!(profile.filesystem.write.is_empty());
    }
}
