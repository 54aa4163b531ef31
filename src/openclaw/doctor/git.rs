//! Whether git has secrets, or would take them with the next `git add`.
//!
//! Reads git's own files. Starting git in a workspace would run what whoever wrote there has put into its settings.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use fast_glob::glob_match;

use super::{Hit, Setup, config, shown};

/// An index that is longer is not looked at.
const LONGEST_INDEX: u64 = 64 << 20;
/// How far above a directory its repository is looked for.
const ABOVE: usize = 20;

/// Files with secrets, by name.
const SECRET_NAMES: [&str; 10] = [
    ".env",
    ".env.local",
    ".env.production",
    ".env.staging",
    "openclaw.json",
    "clawdbot.json",
    "auth-profiles.json",
    "secrets.json",
    "openclaw-agent.sqlite",
    "openclaw.sqlite",
];

/// Looks.
pub fn look(setup: &Setup) -> Vec<(&'static str, Hit)> {
    let own = [Some(setup.place.state.clone()), setup.place.config.parent().map(Path::to_owned)];
    let mut directories: BTreeSet<PathBuf> = own.into_iter().flatten().collect();
    directories.extend(setup.workspaces());
    let mut repositories: BTreeSet<(PathBuf, PathBuf)> = BTreeSet::new();
    let mut found = Vec::new();
    for directory in &directories {
        let Some((top, git)) = repository(directory) else { continue };
        untracked(directory, &top, &git, &mut found);
        repositories.insert((top, git));
    }
    for (top, git) in repositories {
        tracked(&top, &git, &mut found);
    }
    found
}

/// The work tree that `directory` is in, and where its repository is.
fn repository(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    directory.ancestors().take(ABOVE).find_map(|top| {
        let git = top.join(".git");
        let about = fs::symlink_metadata(&git).ok()?;
        if about.is_dir() {
            return Some((top.to_owned(), git));
        }
        let text = config::read_text(&git, 4096).ok()?;
        let leads = text.strip_prefix("gitdir:")?.trim();
        Some((top.to_owned(), super::place::normal(&top.join(leads))))
    })
}

fn is_secret(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    SECRET_NAMES.contains(&name) || (name.starts_with(".env.") && name.ends_with(".local"))
}

fn tracked(top: &Path, git: &Path, found: &mut Vec<(&'static str, Hit)>) {
    for name in index(git).into_iter().flatten().filter(|name| is_secret(name)) {
        found.push(("secrets.in-git", Hit::told(shown(&top.join(&name)), "git tracks it")));
    }
}

fn untracked(directory: &Path, top: &Path, git: &Path, found: &mut Vec<(&'static str, Hit)>) {
    let known = index(git).unwrap_or_default();
    for name in SECRET_NAMES {
        let path = directory.join(name);
        let within = path.strip_prefix(top).map(|within| within.to_string_lossy().into_owned()).unwrap_or_default();
        if path.symlink_metadata().is_ok_and(|about| about.is_file())
            && !known.contains(&within)
            && !is_ignored(&within, top, git)
        {
            found.push(("secrets.not-ignored", Hit::told(shown(&path), "git does not ignore it")));
        }
    }
}

/// Whether a line of the usual files ignores it, or a directory above it. Lines that take back are not understood.
fn is_ignored(path: &str, top: &Path, git: &Path) -> bool {
    let files = [top.join(".gitignore"), git.join("info/exclude")];
    let nested = Path::new(path).ancestors().skip(1).map(|above| top.join(above).join(".gitignore"));
    let texts = files.into_iter().chain(nested).filter_map(|file| config::read_text(&file, 1 << 20).ok());
    let lines: Vec<String> =
        texts.flat_map(|text| text.lines().map(|line| line.trim().to_owned()).collect::<Vec<_>>()).collect();
    lines.iter().filter(|line| !line.is_empty() && !line.starts_with(['#', '!'])).any(|line| {
        let pattern = line.trim_start_matches('/').trim_end_matches('/');
        path.split('/').any(|part| glob_match(pattern, part)) || glob_match(pattern, path)
    })
}

/// The names that git tracks; `None` where that cannot be read.
fn index(git: &Path) -> Option<BTreeSet<String>> {
    let mut bytes = Vec::new();
    let file = fs::File::open(git.join("index")).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    file.take(LONGEST_INDEX).read_to_end(&mut bytes).ok()?;
    let settings = config::read_text(&git.join("config"), 1 << 20).unwrap_or_default().to_ascii_lowercase();
    let long = settings.lines().any(|line| line.contains("objectformat") && line.contains("sha256"));
    names(&bytes, if long { 32 } else { 20 })
}

/// Names of an index: the format is git's, `gitformat-index`.
fn names(bytes: &[u8], hash: usize) -> Option<BTreeSet<String>> {
    let number = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let version = number(4).filter(|_| bytes.starts_with(b"DIRC"))?;
    let count = number(8).filter(|_| (2..=4).contains(&version))?;
    let mut names = BTreeSet::new();
    let mut before: Vec<u8> = Vec::new();
    let mut at = 12;
    for _ in 0..count {
        let start = at;
        let flags = u16::from_be_bytes(bytes.get(at + 40 + hash..at + 42 + hash)?.try_into().ok()?);
        at += 42 + hash + if flags & 0x4000 != 0 { 2 } else { 0 };
        let mut name = Vec::new();
        if version == 4 {
            let (strip, used) = offset(bytes.get(at..)?)?;
            at += used;
            name.extend_from_slice(before.get(..before.len().checked_sub(strip)?)?);
        }
        let rest = bytes.get(at..)?;
        let end = rest.iter().position(|byte| *byte == 0)?;
        name.extend_from_slice(rest.get(..end)?);
        at += end + 1;
        if version < 4 {
            at = start + (at - start).next_multiple_of(8);
        }
        names.insert(String::from_utf8_lossy(&name).into_owned());
        before = name;
    }
    Some(names)
}

/// A number of the kind that git writes offsets with, and how many bytes it has.
fn offset(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    for (index, byte) in bytes.iter().take(8).enumerate() {
        value = value << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
        value += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(directory: &Path, arguments: &[&str]) {
        let status = Command::new("git").current_dir(directory).args(arguments).output().expect("git starts").status;
        assert!(status.success(), "git {arguments:?}");
    }

    #[test]
    fn every_version_of_an_index_is_read_as_git_wrote_it() {
        for version in ["2", "3", "4"] {
            let top = tempfile::tempdir().expect("a directory");
            git(top.path(), &["init", "-q"]);
            for name in ["a/.env", "a/b.txt", "a/bc.txt", ".gitignore"] {
                fs::create_dir_all(top.path().join("a")).expect("a directory");
                fs::write(top.path().join(name), "x").expect("a file");
            }
            git(top.path(), &["add", "-A"]);
            if version == "3" {
                fs::write(top.path().join("later"), "x").expect("a file");
                git(top.path(), &["add", "-N", "later"]);
            }
            git(top.path(), &["update-index", "--index-version", version]);
            let names = index(&top.path().join(".git")).expect("an index");
            for name in ["a/.env", "a/b.txt", "a/bc.txt", ".gitignore"] {
                assert!(names.contains(name), "version {version}: {names:?}");
            }
        }
    }

    #[test]
    fn an_index_that_is_broken_anywhere_is_none_and_no_crash() {
        let top = tempfile::tempdir().expect("a directory");
        git(top.path(), &["init", "-q"]);
        fs::write(top.path().join(".env"), "x").expect("a file");
        git(top.path(), &["add", ".env"]);
        let whole = fs::read(top.path().join(".git/index")).expect("an index");
        assert!(names(&whole, 20).is_some());
        for end in 0..80 {
            let _ = names(&whole[..end], 20);
            let mut changed = whole.clone();
            changed[end] = !changed[end];
            let _ = names(&changed, 20);
        }
        assert_eq!(names(b"", 20), None);
    }

    #[test]
    fn a_file_is_ignored_by_its_name_a_pattern_or_a_directory_above_it() {
        let top = tempfile::tempdir().expect("a directory");
        let ignores = |text: &str, path: &str| {
            fs::write(top.path().join(".gitignore"), text).expect("a file");
            is_ignored(path, top.path(), &top.path().join(".git"))
        };
        for (text, path) in
            [(".env\n", "a/.env"), ("*.env*\n", ".env.local"), ("/state/\n", "state/x/.env"), (".env*", ".env")]
        {
            assert!(ignores(text, path), "{text} {path}");
        }
        for (text, path) in [("", ".env"), ("# .env\n", ".env"), (".environment\n", ".env"), ("!.env\n", ".env")] {
            assert!(!ignores(text, path), "{text} {path}");
        }
    }
}
