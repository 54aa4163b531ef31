//! The shape of the house, held by search: who may import whom, where `unsafe` may be, how long a file may get.

#![expect(clippy::expect_used, reason = "a test may stop where it stands")]

use std::fs;
use std::path::{Path, PathBuf};

/// Imports go down this ladder, never up. ARCHITECTURE.md draws it.
const LADDER: &str = "host < policy < profile < plan < verdict < wire < sys < confine < jail < egress < supervise < \
                      ledger < daemon < openclaw < cli < main";

fn ladder() -> Vec<&'static str> {
    LADDER.split(" < ").collect()
}

/// The first rung that may touch the kernel, the environment and the clock.
const FIRST_IMPURE: &str = "sys";

/// What a pure module may not name.
const IMPURE: [&str; 8] = [
    "crate::sys",
    "std::process",
    "std::env",
    "std::net",
    "tokio",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread",
];

/// What opens files; of the pure modules `profile::load` alone may name it.
const FILES: [&str; 2] = ["std::fs", "nix::fcntl"];

/// The hard stop; 400 is what good looks like.
const LONGEST_FILE: usize = 600;

/// One line of code, comments left out.
struct Line {
    file: PathBuf,
    number: usize,
    code: String,
}

impl Line {
    fn offence(&self, what: &str) -> String {
        format!("{}:{}: {what}: {}", self.file.display(), self.number, self.code.trim())
    }
}

#[test]
fn imports_go_down_the_ladder() {
    let offences = lines("src").iter().flat_map(upward_imports).collect::<Vec<_>>();
    assert!(offences.is_empty(), "the ladder is {LADDER}\n{}", offences.join("\n"));
}

#[test]
fn every_module_stands_on_the_ladder() {
    let lib = fs::read_to_string("src/lib.rs").expect("the crate root");
    let modules = lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let strangers: Vec<&str> = modules.filter(|module| !ladder().contains(module)).collect();
    assert!(strangers.is_empty(), "give these a place in LADDER: {strangers:?}");
}

#[test]
fn the_pure_side_names_neither_kernel_nor_environment_nor_clock() {
    let lines = lines("src");
    let pure = lines.iter().filter(|line| rung(&line.file).is_some() && rung(&line.file) < position(FIRST_IMPURE));
    let offences = pure.flat_map(|line| {
        // Unit tests in files of their own may read the policies that they are about.
        let loads = line.file == Path::new("src/profile/load.rs") || line.file.to_string_lossy().ends_with("tests.rs");
        let files = FILES.iter().filter(move |_| !loads);
        let named = IMPURE.iter().chain(files).filter(|name| line.code.contains(**name));
        named.map(|name| line.offence(&format!("a pure module names `{name}`")))
    });
    let offences: Vec<String> = offences.collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn system_calls_know_nothing_of_ours() {
    let lines = lines("src/sys");
    let offences: Vec<String> = lines
        .iter()
        .filter(|line| line.code.contains("crate::") && !line.code.contains("crate::sys"))
        .map(|line| line.offence("sys names another module"))
        .collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn unsafe_stays_in_sys() {
    let words = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern", "expect(unsafe_code", "allow(unsafe_code"];
    let lines = lines("src");
    let outside = lines.iter().filter(|line| !line.file.starts_with("src/sys"));
    let offences: Vec<String> = outside
        .filter(|line| words.iter().any(|word| line.code.contains(word)))
        .map(|line| line.offence("unsafe"))
        .collect();
    assert!(offences.is_empty(), "{}", offences.join("\n"));
}

#[test]
fn no_file_is_too_long_to_read() {
    let long: Vec<String> = ["src", "tests"]
        .into_iter()
        .flat_map(files)
        .map(|file| (fs::read_to_string(&file).expect("a source").lines().count(), file))
        .filter(|(length, _)| *length > LONGEST_FILE)
        .map(|(length, file)| format!("{}: {length} lines, the hard stop is {LONGEST_FILE}", file.display()))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
}

#[test]
fn a_test_is_named_by_a_sentence() {
    // Spelled in two parts, so that this line is not found.
    let numbered = concat!("fn te", "st_");
    let named: Vec<String> = ["src", "tests", "benches"]
        .into_iter()
        .flat_map(lines)
        .filter(|line| line.code.contains(numbered))
        .map(|line| line.offence("a test is a sentence of behaviour"))
        .collect();
    assert!(named.is_empty(), "{}", named.join("\n"));
}

#[test]
fn an_upward_import_would_be_found() {
    let line = |code: &str| Line { file: "src/plan/view.rs".into(), number: 1, code: code.into() };
    for upward in [
        "use crate::jail::start;",
        "    crate::sys::abi::landlock()",
        "use crate::{host, jail};",
        "use super::super::cli;",
    ] {
        assert_eq!(upward_imports(&line(upward)).len(), 1, "{upward}");
    }
    for downward in ["use crate::profile::Grant;", "use crate::plan::Plan;", "use super::request::Request;"] {
        assert!(upward_imports(&line(downward)).is_empty(), "{downward}");
    }
}

/// Every import of the line that does not go down.
fn upward_imports(line: &Line) -> Vec<String> {
    let Some(own) = rung(&line.file) else { return Vec::new() };
    let mut offences = Vec::new();
    for rest in line.code.split("crate::").skip(1) {
        let module: String =
            rest.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect();
        match position(&module) {
            Some(theirs) if theirs <= own => {}
            Some(_) => {
                offences.push(line.offence(&format!(
                    "`{}` imports `{module}`, which stands above it",
                    ladder().get(own).unwrap_or(&"")
                )))
            }
            None => offences.push(line.offence("an import names its module: `crate::<module>`")),
        }
    }
    // `src/plan/view.rs` is two modules deep: two steps up is the crate root, past which anything could be named.
    let steps = line.code.matches("super::").count();
    if steps > 1 && steps >= line.file.components().count() - 1 {
        offences.push(line.offence("an import by way of the crate root"));
    }
    offences
}

/// Where the file's module stands; `None` for the crate root, which only lists modules.
fn rung(file: &Path) -> Option<usize> {
    let below = file.strip_prefix("src").ok()?;
    let first = below.components().next()?.as_os_str().to_str()?;
    let module = first.strip_suffix(".rs").unwrap_or(first);
    position(module)
}

fn position(module: &str) -> Option<usize> {
    ladder().iter().position(|known| *known == module)
}

fn lines(directory: &str) -> Vec<Line> {
    let mut all = Vec::new();
    for file in files(directory) {
        let text = fs::read_to_string(&file).expect("a source is text");
        let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
        all.extend(code.map(|(index, line)| Line { file: file.clone(), number: index + 1, code: line.to_owned() }));
    }
    all
}

/// Every Rust source below `directory`, sorted. Tests run in the package's root.
fn files(directory: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut left = vec![PathBuf::from(directory)];
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
