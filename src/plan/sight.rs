//! What a plan's grants and shields say of one path: whether it may be read, written or executed, and what hides it.
//!
//! For those who explain, never for those who enforce: mounts, Landlock and the broker do that by themselves.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

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

/// The rights that a plan's `rules` grant at `path`, which is absolute and normal.
pub fn rights(rules: &BTreeMap<PathBuf, Rights>, path: &Path) -> Rights {
    let above = path.ancestors().filter_map(|ancestor| rules.get(ancestor));
    above.fold(Rights::default(), |all, rights| all.union(*rights))
}

/// Whether they grant that. What a shield takes away again is not asked for here.
pub fn grants(rules: &BTreeMap<PathBuf, Rights>, path: &Path, wish: Wish) -> bool {
    let rights = rights(rules, path);
    match wish {
        Wish::Read => rights.read,
        Wish::Write => rights.write,
        Wish::Execute => rights.execute,
    }
}

/// The hidden pattern that `path` is at or below, if any: in the jail, or where it would be on the host or in a home.
pub fn hidden<'a>(shields: &'a [Shield], path: &Path) -> Option<&'a Shield> {
    match judge(shields, path) {
        Name::Shielded(shield) => Some(shield),
        Name::Free | Name::Above(_) => None,
    }
}

/// `path` without `.`, `..` and doubled slashes, by its letters alone: links are not looked at.
pub fn normal(path: &Path) -> PathBuf {
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

#[cfg(test)]
mod tests {
    use super::normal;
    use std::path::Path;

    #[test]
    fn a_path_is_made_normal_by_its_letters() {
        for (written, is) in [("/a/./b//c", "/a/b/c"), ("/a/../../b", "/b"), ("/", "/"), ("/a/b/..", "/a")] {
            assert_eq!(normal(Path::new(written)), Path::new(is), "{written}");
        }
    }
}
