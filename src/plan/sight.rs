//! What a plan's grants and shields say of one path: whether it may be read, written or executed, and what hides it.
//!
//! For those who explain, never for those who enforce: mounts, Landlock and the broker do that by themselves.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use super::paths::{is_glob, lies_at_or_below, literal_prefix};
use super::shield::{Name, judge};
use super::{Rights, Shield};

/// What somebody wants to do with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// Read it, or list it.
    Read,
    /// Change it, make it or remove it.
    Write,
    /// Execute it.
    Execute,
}

/// The grants and shields of one plan, laid out for whoever asks of each path that a command opens: a question touches a few lines of
/// memory. To compare a path with each shield in turn touched hundreds, none of which the processor still had.
#[derive(Debug)]
pub struct Sight {
    // By bytes, as paths without a slash at the end: to compare paths by their components takes ten times as long.
    rules: BTreeMap<Vec<u8>, Rights>,
    shields: Vec<Shield>,
    // Those that name one path, by their place among all; the other ones are patterns.
    named: BTreeMap<Vec<u8>, usize>,
    patterns: Vec<usize>,
}

impl Sight {
    /// Of these `rules` and `shields`.
    pub fn new(rules: &BTreeMap<PathBuf, Rights>, shields: Vec<Shield>) -> Sight {
        let plain = |path: &Path| normal(path).as_os_str().as_bytes().to_vec();
        let (mut named, mut patterns) = (BTreeMap::new(), Vec::new());
        for (place, shield) in shields.iter().enumerate() {
            if is_glob(shield.pattern.as_bytes()) {
                patterns.push(place);
            } else {
                named.entry(plain(Path::new(&shield.pattern))).or_insert(place);
            }
        }
        let rules = rules.iter().map(|(path, rights)| (plain(path), *rights)).collect();
        Sight { rules, shields, named, patterns }
    }

    /// The rights that are granted at `path`, which is absolute and normal.
    pub fn rights(&self, path: &Path) -> Rights {
        let above = itself_and_above(path).filter_map(|above| self.rules.get(above));
        above.fold(Rights::default(), |all, rights| all.union(*rights))
    }

    /// Whether that is granted. What a shield takes away again is not asked for here.
    pub fn grants(&self, path: &Path, wish: Wish) -> bool {
        let rights = self.rights(path);
        match wish {
            Wish::Read => rights.read,
            Wish::Write => rights.write,
            Wish::Execute => rights.execute,
        }
    }

    /// The first shield that `path` is at or below, if any: in the jail, or where it would be on the host or in a home.
    pub fn shield(&self, path: &Path) -> Option<&Shield> {
        let named = itself_and_above(path).filter_map(|above| self.named.get(above)).copied();
        let matching = self.patterns.iter().copied().filter(|place| self.matches(*place, path));
        named.chain(matching).min().and_then(|first| self.shields.get(first))
    }

    fn matches(&self, place: usize, path: &Path) -> bool {
        self.shields.get(place).is_some_and(|shield| {
            lies_at_or_below(path, literal_prefix(Path::new(&shield.pattern)))
                && matches!(judge(std::slice::from_ref(shield), path), Name::Shielded(_))
        })
    }
}

/// `/a/b` as `/a/b`, `/a` and `/`.
fn itself_and_above(path: &Path) -> impl Iterator<Item = &[u8]> {
    std::iter::successors(Some(path.as_os_str().as_bytes()), |path| above(path))
}

fn above(path: &[u8]) -> Option<&[u8]> {
    match path.iter().rposition(|byte| *byte == b'/')? {
        0 => path.get(..1).filter(|top| top.len() < path.len()),
        last => path.get(..last),
    }
}

/// `path` without `.`, `..` and doubled slashes, by its letters alone: links are not looked at.
pub fn normal(path: &Path) -> PathBuf {
    if is_normal(path) {
        return path.to_path_buf();
    }
    let mut normal = PathBuf::new();
    for component in path.components() {
        match component {
            Component::ParentDir => drop(normal.pop()),
            Component::CurDir => {}
            other => normal.push(other),
        }
    }
    normal
}

/// Whether nothing is to be left out: most paths are written so, and to see that takes a tenth of making one.
fn is_normal(path: &Path) -> bool {
    let mut names = path.as_os_str().as_bytes().split(|byte| *byte == b'/');
    names.next() == Some(b"") && names.all(|name| !matches!(name, b"" | b"." | b".."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Effect;

    #[test]
    fn a_path_is_made_normal_by_its_letters() {
        for (written, is) in [
            ("/a/./b//c", "/a/b/c"),
            ("/a/../../b", "/b"),
            ("/", "/"),
            ("/a/b/..", "/a"),
            ("/a/b/", "/a/b"),
            ("/a/.b", "/a/.b"),
        ] {
            assert_eq!(normal(Path::new(written)), Path::new(is), "{written}");
        }
    }

    fn sight() -> Sight {
        let read = Rights { read: true, ..Rights::default() };
        let write = Rights { write: true, ..Rights::default() };
        let rules = [("/usr", read), ("/w", read), ("/w/out", write)];
        let shield = |pattern: &str| Shield {
            pattern: pattern.into(),
            effect: Effect::Hide,
            why: String::new(),
            from: String::new(),
        };
        let shields = ["/w/**/.env*", "/w/a", "/w/a/b", "/w/c/*/key", "/w/d/"].map(shield);
        Sight::new(&rules.map(|(path, rights)| (path.into(), rights)).into(), shields.into())
    }

    #[test]
    fn rights_are_those_of_a_path_and_of_all_above_it() {
        let sight = sight();
        for (path, reads, writes) in [
            ("/usr", true, false),
            ("/usr/bin/a", true, false),
            ("/usrlocal", false, false),
            ("/w/out/x", true, true),
            ("/w/outer", true, false),
            ("/", false, false),
        ] {
            let found = (sight.grants(Path::new(path), Wish::Read), sight.grants(Path::new(path), Wish::Write));
            assert_eq!(found, (reads, writes), "{path}");
        }
        let all = Sight::new(&[("/".into(), Rights::READ)].into(), Vec::new());
        assert!(all.grants(Path::new("/any/thing"), Wish::Read) && all.grants(Path::new("/"), Wish::Read));
    }

    #[test]
    fn the_first_shield_of_a_path_is_the_one_that_judging_each_in_turn_finds() {
        let sight = sight();
        for (path, pattern) in [
            ("/w/a", Some("/w/a")),
            ("/w/a/b/c", Some("/w/a")),
            ("/w/a/.env", Some("/w/**/.env*")),
            ("/w/x/y/.env.local", Some("/w/**/.env*")),
            ("/w/c/1/key", Some("/w/c/*/key")),
            ("/w/c/1/keys", None),
            ("/w/d/e", Some("/w/d/")),
            ("/w/ab", None),
            ("/w", None),
            ("/", None),
        ] {
            let found = sight.shield(Path::new(path)).map(|shield| shield.pattern.as_str());
            assert_eq!(found, pattern, "{path}");
            let in_turn = match judge(&sight.shields, Path::new(path)) {
                Name::Shielded(shield) => Some(shield.pattern.as_str()),
                Name::Free | Name::Above(_) => None,
            };
            assert_eq!(found, in_turn, "{path}");
        }
    }
}
