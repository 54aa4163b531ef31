//! Imports run one way between files, too, and not only down the ladder: no file needs, by way of others, one that needs it.

#![expect(clippy::expect_used, reason = "a test may stop where it stands")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The one circle that is left: what a service's client may ask for, and the service whose tables that changes.
const KNOWN: [&str; 12] = [
    "daemon::attending",
    "daemon::connection",
    "daemon::files",
    "daemon::jails",
    "daemon::methods",
    "daemon::order",
    "daemon::prepared",
    "daemon::ready",
    "daemon::running",
    "daemon::service",
    "daemon::top",
    "daemon::verdicts",
];

/// Which file imports which, by the names of their modules.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_file_imports_what_imports_it() {
    let left = circles(imports());
    let known: BTreeSet<String> = KNOWN.into_iter().map(str::to_owned).collect();
    assert_eq!(left.keys().cloned().collect::<BTreeSet<_>>(), known, "{left:#?}");
}

#[test]
fn a_circle_would_be_found_and_what_only_leads_to_one_or_from_one_is_none() {
    let of = |edges: &[(&str, &str)]| {
        let mut imports = Imports::new();
        for (from, to) in edges {
            imports.entry((*to).to_owned()).or_default();
            imports.entry((*from).to_owned()).or_default().insert((*to).to_owned());
        }
        circles(imports).into_keys().collect::<Vec<_>>()
    };
    assert_eq!(of(&[("a", "b"), ("b", "c"), ("a", "c")]), [""; 0]);
    assert_eq!(of(&[("a", "b"), ("b", "c"), ("c", "b"), ("c", "d")]), ["b", "c"]);
}

#[test]
fn imports_are_read_in_every_form_that_they_have() {
    let text = "use super::{asking::Place, judging::{self, Judge}};\n// use crate::jail::start;\n\
                use crate::plan::{\n    Plan,\n    shield::Name,\n};\nfn f() { super::naming::kind(); crate::sys::abi::x() }\n\
                #[cfg(test)]\nmod tests { use crate::cli::run; }\n";
    let read: BTreeSet<String> = paths(text).into_iter().collect();
    let expected = [
        "crate::plan::Plan",
        "crate::plan::shield::Name",
        "crate::sys::abi::x",
        "super::asking::Place",
        "super::judging::Judge",
        "super::judging::self",
        "super::naming::kind",
    ];
    assert_eq!(read.into_iter().collect::<Vec<_>>(), expected);
}

/// What is left when nothing can be taken away any more that imports nothing that is left, or is imported by nothing.
fn circles(mut imports: Imports) -> Imports {
    loop {
        let imported: BTreeSet<String> = imports.values().flatten().cloned().collect();
        let is_end = |name: &String, of: &BTreeSet<String>| of.is_empty() || !imported.contains(name);
        let ends: BTreeSet<String> =
            imports.iter().filter(|(name, of)| is_end(name, of)).map(|(name, _)| name.clone()).collect();
        if ends.is_empty() {
            return imports;
        }
        imports.retain(|name, _| !ends.contains(name));
        imports.values_mut().for_each(|of| of.retain(|name| !ends.contains(name)));
    }
}

fn imports() -> Imports {
    let texts = texts(Path::new("src"), &[]);
    let of = |name: &String, text: &String| {
        let found = paths(text).into_iter().filter_map(|path| module(&texts, name, &path));
        found.filter(|other| other != name).collect()
    };
    texts.iter().map(|(name, text)| (name.clone(), of(name, text))).collect()
}

/// The files below a directory, by the names of their modules. Unit tests may import what they like.
fn texts(directory: &Path, names: &[String]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(directory).expect("a directory of ours").flatten() {
        let (path, file) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        let name = file.trim_end_matches(".rs");
        let whole = [names, &[name.to_owned()]].concat();
        if path.is_dir() {
            found.extend(texts(&path, &whole));
        } else if !name.ends_with("tests") && !["lib", "main"].contains(&name) {
            let module = if name == "mod" { names.join("::") } else { whole.join("::") };
            found.insert(module, fs::read_to_string(&path).expect("a source"));
        }
    }
    found
}

/// The paths in a file that begin with `crate` or `super`, outside of comments and unit tests.
fn paths(text: &str) -> Vec<String> {
    let code = text.split("#[cfg(test)]\nmod").next().unwrap_or_default();
    let code: String = code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
    let mut found = Vec::new();
    for start in ["crate::", "super::"] {
        for (at, _) in code.match_indices(start) {
            let before = code.get(..at).and_then(|before| before.chars().next_back());
            if !before.is_some_and(|before| before == ':' || before == '_' || before.is_alphanumeric()) {
                found.extend(tree(code.get(at..).unwrap_or_default()).0);
            }
        }
    }
    found
}

/// The paths of a tree of names, braces and all, and what follows it.
fn tree(text: &str) -> (Vec<String>, &str) {
    let end = text.find(|c: char| c != ':' && c != '_' && !c.is_alphanumeric()).unwrap_or(text.len());
    let (name, mut rest) = text.split_at(end);
    if !name.ends_with("::") || !rest.starts_with('{') {
        return (vec![name.to_owned()], rest);
    }
    let mut all = Vec::new();
    while let Some(inner) = rest.strip_prefix(['{', ',']) {
        let inner = inner.trim_start();
        if inner.starts_with('}') {
            rest = inner;
            break;
        }
        let (below, after) = tree(inner);
        all.extend(below.into_iter().map(|path| format!("{name}{path}")));
        rest = after.trim_start();
    }
    (all, rest.strip_prefix('}').unwrap_or(rest))
}

/// The file that a path in module `name` leads to.
fn module(texts: &BTreeMap<String, String>, name: &str, path: &str) -> Option<String> {
    let mut at: Vec<&str> = name.split("::").collect();
    let mut words = path.split("::").peekable();
    if words.next_if_eq(&"crate").is_some() {
        at.clear();
    }
    while words.next_if_eq(&"super").is_some() {
        at.pop();
    }
    at.extend(words);
    (1..=at.len())
        .rev()
        .map(|length| at.get(..length).unwrap_or_default().join("::"))
        .find(|one| texts.contains_key(one))
}
