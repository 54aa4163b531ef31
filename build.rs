//! Resolves the built-in profiles, so that a run need not; `src/plan/built_in.rs` says why.
//!
//! The code that does it is the program's own: the pure modules, compiled for the machine that builds.
#![expect(dead_code, unused_imports, reason = "parts of the program, of which only resolving is used here")]
#![expect(clippy::expect_used, reason = "a build that cannot resolve its own profiles must not go on")]

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

#[path = "src/policy/mod.rs"]
mod policy;
#[path = "src/profile/mod.rs"]
mod profile;

const BUILT_IN: [&str; 7] = ["base", "offline", "openclaw", "readonly", "skill-test", "trusted", "untrusted"];

/// Whose paths are shown ahead: the default profile.
const AHEAD: &str = "untrusted";

fn main() {
    for changed in ["build.rs", "profiles", "policies", "src/policy", "src/profile"] {
        println!("cargo::rerun-if-changed={changed}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let sources = profile::load::Sources::default();
    let library = policy::library::Library::built_in();
    parse_sets(&library, &out);
    for name in BUILT_IN {
        let resolved = profile::resolve::resolve(name, &sources, &library);
        let resolved = resolved.expect("the texts of this very tree can be resolved");
        let bytes = postcard::to_stdvec(&resolved).expect("a profile holds nothing that postcard cannot");
        fs::write(out.join(format!("{name}.profile")), bytes).expect("OUT_DIR can be written");
        if name == AHEAD {
            fs::write(out.join("ahead.rs"), ahead(&resolved)).expect("OUT_DIR can be written");
        }
    }
}

/// The system call sets that the program names itself, parsed.
fn parse_sets(library: &policy::library::Library, out: &Path) {
    for name in library.names(policy::library::SetKind::Syscalls, policy::document::Authority::Root) {
        let parsed = library.syscalls(&name, policy::document::Authority::Root);
        let parsed = parsed.expect("the texts of this very tree can be parsed");
        let bytes = postcard::to_stdvec(&parsed).expect("a policy holds nothing that postcard cannot");
        fs::write(out.join(format!("{name}.syscalls")), bytes).expect("OUT_DIR can be written");
    }
}

/// The host paths that `profile` shows to everybody, as a constant; `src/plan/ahead.rs` says what for.
fn ahead(profile: &profile::Profile) -> String {
    let files = &profile.filesystem;
    let absolute = |grants: &[profile::Grant]| -> BTreeSet<String> {
        grants.iter().map(|grant| grant.path.clone()).filter(|path| path.starts_with('/')).collect()
    };
    let (read, execute, write) = (absolute(&files.read), absolute(&files.execute), absolute(&files.write));
    let shown = read.union(&execute).filter(|path| !write.contains(*path));
    let lines: String = shown.map(|path| format!("    ({path:?}, {}),\n", execute.contains(path))).collect();
    format!("const GRANTED: &[(&str, bool)] = &[\n{lines}];\n")
}
