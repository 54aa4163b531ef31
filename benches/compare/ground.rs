//! What the bench makes before it measures: workspaces, and copies of the binaries that everybody can reach.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::contenders::{Ground, find};
use super::helper::DEEP_FILE;

/// Nobody: an ordinary user that every machine has.
const NOBODY: (u32, u32) = (65534, 65534);
const GIT_FILES: usize = 5000;
const C_FILES: usize = 60;

/// The ground that all rows stand on. Removed when dropped.
pub struct Prepared {
    /// This program, where everybody can execute it.
    pub bench: PathBuf,
    /// For whoever runs the bench.
    pub root: Ground,
    /// For the ordinary user.
    pub user: Ground,
    /// Uid and gid of that.
    pub ordinary: (u32, u32),
    _directory: TempDir,
}

impl Prepared {
    /// Whether there is a root tier to measure.
    pub fn is_root(&self) -> bool {
        nix::unistd::geteuid().is_root()
    }
}

/// Makes it all.
pub fn prepare() -> Prepared {
    let directory =
        tempfile::Builder::new().prefix("clawjail-bench.").tempdir().expect("the temporary directory is writable");
    let top = directory.path().canonicalize().expect("it was just made");
    fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).expect("it is ours");
    let bench = copy(&std::env::current_exe().expect("/proc is mounted"), &top.join("compare"));
    let clawjail = copy(Path::new(env!("CARGO_BIN_EXE_clawjail")), &top.join("clawjail"));
    let bubblewrap = find("bwrap");
    let ground = |name: &str| {
        let workspace = top.join(name);
        fs::create_dir(&workspace).expect("the directory is ours");
        Ground { workspace, clawjail: clawjail.clone(), bubblewrap: bubblewrap.clone() }
    };
    let (root, user) = (ground("work"), ground("others"));
    fill(&root.workspace, &bench);
    let ordinary = if nix::unistd::geteuid().is_root() {
        NOBODY
    } else {
        (nix::unistd::getuid().as_raw(), nix::unistd::getgid().as_raw())
    };
    chown(&user.workspace, Some(ordinary.0), Some(ordinary.1)).expect("root may, and others change nothing");
    std::env::set_current_dir(&root.workspace).expect("it was just made");
    Prepared { bench, root, user, ordinary, _directory: directory }
}

fn copy(from: &Path, to: &Path) -> PathBuf {
    fs::copy(from, to).unwrap_or_else(|error| panic!("cannot copy {}: {error}", from.display()));
    fs::set_permissions(to, fs::Permissions::from_mode(0o755)).expect("the copy is ours");
    to.to_path_buf()
}

fn fill(workspace: &Path, bench: &Path) {
    copy(bench, &workspace.join("helper"));
    let deep = workspace.join(DEEP_FILE);
    fs::create_dir_all(deep.parent().expect("it has three")).expect("the directory is ours");
    fs::write(deep, "content").expect("the directory is ours");
    fill_make(&workspace.join("c"));
    if find("git").is_some() {
        fill_git(&workspace.join("tree"));
    }
}

fn fill_make(directory: &Path) {
    fs::create_dir(directory).expect("the directory is ours");
    for number in 0..C_FILES {
        let text =
            format!("#include <stdio.h>\nint f{number}(int n) {{ return n > 0 ? printf(\"%d\", n) : {number}; }}\n");
        fs::write(directory.join(format!("f{number}.c")), text).expect("the directory is ours");
    }
    fs::write(directory.join("main.c"), "int main(void) { return 0; }\n").expect("the directory is ours");
    let rules = "program: $(patsubst %.c,%.o,$(wildcard *.c))\n\t$(CC) -o $@ $^\n";
    fs::write(directory.join("Makefile"), rules).expect("the directory is ours");
}

fn fill_git(directory: &Path) {
    for number in 0..GIT_FILES {
        let folder = directory.join(format!("d{}", number / 50));
        fs::create_dir_all(&folder).expect("the directory is ours");
        fs::write(folder.join(format!("f{number}")), format!("{number}\n")).expect("the directory is ours");
    }
    let identity = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"];
    for words in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "all"]] {
        let status = Command::new("git").arg("-C").arg(directory).args(identity).args(words).status();
        assert!(status.is_ok_and(|status| status.success()), "git {} failed", words.join(" "));
    }
}
