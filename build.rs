//! Resolves the built-in profiles, so that a run need not; `src/plan/built_in.rs` says why.
//!
//! The code that does it is the program's own: the pure modules, compiled for the machine that builds.
#![expect(dead_code, unused_imports, reason = "parts of the program, of which only resolving is used here")]
#![expect(clippy::expect_used, reason = "a build that cannot resolve its own profiles must not go on")]

use std::env;
use std::fs;
use std::path::PathBuf;

#[path = "src/policy/mod.rs"]
mod policy;
#[path = "src/profile/mod.rs"]
mod profile;

const BUILT_IN: [&str; 6] = ["base", "offline", "readonly", "skill-test", "trusted", "untrusted"];

fn main() {
    for changed in ["build.rs", "profiles", "policies", "src/policy", "src/profile"] {
        println!("cargo::rerun-if-changed={changed}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let sources = profile::load::Sources::default();
    let library = policy::library::Library::built_in();
    for name in BUILT_IN {
        let resolved = profile::resolve::resolve(name, &sources, &library);
        let resolved = resolved.expect("the texts of this very tree can be resolved");
        let bytes = postcard::to_stdvec(&resolved).expect("a profile holds nothing that postcard cannot");
        fs::write(out.join(format!("{name}.profile")), bytes).expect("OUT_DIR can be written");
    }
}
