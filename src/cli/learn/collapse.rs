//! From thousands of paths to a few grants.
//!
//! Owns when files of a directory become the directory. Pure: it knows paths, not files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Entries of one directory that are named one by one; of more the directory is named.
const FEW: usize = 4;
/// The same of a directory of programs, where one more is one more power.
const FEW_PROGRAMS: usize = 12;

/// Directories that hold the things of many: never granted as a whole, however much in them was used.
const SHARED: [&str; 16] = [
    "/",
    "/etc",
    "/home",
    "/media",
    "/mnt",
    "/nix",
    "/nix/store",
    "/opt",
    "/root",
    "/srv",
    "/usr",
    "/usr/local",
    "/usr/share",
    "/var",
    "/var/lib",
    "/var/cache",
];

/// The same in a home.
const SHARED_AT_HOME: [&str; 9] =
    ["", ".cache", ".config", ".local", ".local/share", ".local/state", "Documents", "Desktop", "Downloads"];

/// A path to grant, and the files that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// A file, or a directory with all below it.
    pub path: PathBuf,
    /// How many files were used there.
    pub count: usize,
    /// One of them.
    pub example: PathBuf,
}

#[derive(Default)]
struct Node {
    used: bool,
    below: BTreeMap<PathBuf, Node>,
}

/// The fewest grants that cover `files` and no directory that is shared; `home` is the caller's.
pub fn collapse(files: &BTreeSet<PathBuf>, home: &Path) -> Vec<Grant> {
    let mut root = Node::default();
    for file in files {
        let names = file.ancestors().collect::<Vec<_>>();
        let mut at = &mut root;
        // From the root down, the root itself left out.
        for path in names.into_iter().rev().skip(1) {
            at = at.below.entry(path.to_path_buf()).or_default();
        }
        at.used = true;
    }
    grants(Path::new("/"), &root, home)
}

fn grants(path: &Path, node: &Node, home: &Path) -> Vec<Grant> {
    let mut below: Vec<Grant> = node.below.iter().flat_map(|(path, node)| grants(path, node, home)).collect();
    let shared = is_shared(path, home);
    if node.below.is_empty() || node.used && !shared {
        // A directory that was read itself was listed: what is in it counts.
        let count = below.iter().map(|grant| grant.count).sum::<usize>().max(1);
        let example = below.first().map_or_else(|| path.to_path_buf(), |grant| grant.example.clone());
        return if shared { Vec::new() } else { vec![Grant { path: path.to_path_buf(), count, example }] };
    }
    let few = if path.file_name().is_some_and(|name| name == "bin" || name == "sbin") { FEW_PROGRAMS } else { FEW };
    if below.len() > few && !shared {
        let count = below.iter().map(|grant| grant.count).sum();
        let example = below.swap_remove(0).example;
        return vec![Grant { path: path.to_path_buf(), count, example }];
    }
    below
}

fn is_shared(path: &Path, home: &Path) -> bool {
    let in_home = |below: &&str| if below.is_empty() { path == home } else { path == home.join(below) };
    SHARED.iter().any(|shared| path == Path::new(shared))
        || SHARED_AT_HOME.iter().any(in_home)
        || home.starts_with(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collapsed(files: &[&str]) -> Vec<(String, usize)> {
        let files = files.iter().map(PathBuf::from).collect();
        let grants = collapse(&files, Path::new("/home/ann"));
        grants.into_iter().map(|grant| (grant.path.display().to_string(), grant.count)).collect()
    }

    fn many(directory: &str, count: usize) -> Vec<String> {
        (0..count).map(|number| format!("{directory}/f{number}")).collect()
    }

    #[test]
    fn a_few_files_are_named_and_many_are_their_directory() {
        assert_eq!(collapsed(&["/usr/lib/a", "/usr/lib/b"]), [("/usr/lib/a".into(), 1), ("/usr/lib/b".into(), 1)]);
        let files = many("/usr/lib/x", 4000);
        assert_eq!(collapsed(&files.iter().map(String::as_str).collect::<Vec<_>>()), [("/usr/lib/x".into(), 4000)]);
    }

    #[test]
    fn directories_collapse_from_below_and_their_parents_only_when_they_have_many() {
        let mut files = Vec::new();
        for package in ["a", "b", "c", "d", "e", "f"] {
            files.extend(many(&format!("/usr/lib/python3/{package}"), 9));
        }
        files.extend(many("/usr/lib/other", 9));
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        assert_eq!(collapsed(&files), [("/usr/lib/other".into(), 9), ("/usr/lib/python3".into(), 54)]);
    }

    #[test]
    fn what_many_share_is_never_granted_as_a_whole() {
        for shared in ["/etc", "/usr/share", "/home/ann", "/home/ann/.config", "/opt", "/home"] {
            let files = many(shared, 40);
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            assert_eq!(collapsed(&files).len(), 40, "{shared}");
        }
        // It was only listed: nothing is granted.
        assert_eq!(collapsed(&["/etc"]), []);
    }

    #[test]
    fn programs_are_named_for_longer_than_files() {
        for (count, grants) in [(12, 12), (13, 1)] {
            let files = many("/usr/bin", count);
            let files: Vec<&str> = files.iter().map(String::as_str).collect();
            assert_eq!(collapsed(&files).len(), grants, "{count}");
        }
    }

    #[test]
    fn a_directory_that_was_listed_stands_for_what_is_in_it() {
        assert_eq!(collapsed(&["/srv/data", "/srv/data/a"]), [("/srv/data".into(), 1)]);
    }
}
