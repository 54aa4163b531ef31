//! A place for one test: a workspace that belongs to the tier's user, and room beside it that no jail sees.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::account::{self, Account};
use super::tier::Tier;

/// A directory of its own for one test. It goes away with this.
pub struct Place {
    /// For whom.
    pub tier: Tier,
    /// What no jail sees.
    pub outside: PathBuf,
    /// What the jail works in.
    pub workspace: PathBuf,
    /// A word that no other test has, to find its processes by.
    pub token: String,
}

impl Place {
    /// An empty workspace.
    pub fn new(tier: Tier) -> Place {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let token = format!("clawjailtest{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let outside = base().join(&token);
        let place = Place { tier, workspace: outside.join("workspace"), outside, token };
        place.make_directory(&place.outside);
        place.make_directory(&place.workspace);
        place
    }

    /// Whose it is.
    pub fn account(&self) -> &'static Account {
        if self.tier.as_root() { account::own() } else { account::ordinary() }
    }

    /// The workspace as the command sees it, under a profile that puts it at `/workspace`.
    pub fn inside(&self) -> PathBuf {
        if self.tier.has_namespaces() { PathBuf::from("/workspace") } else { self.workspace.clone() }
    }

    /// Puts a file into the workspace, with the directories above it.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.workspace.join(path);
        self.make_directories(path.parent().expect("a file has a parent"));
        fs::write(&path, content).expect("a test can write its own workspace");
        self.give(&path);
    }

    /// Puts a program into the workspace.
    pub fn write_program(&self, path: &str, content: &str) {
        self.write(path, content);
        fs::set_permissions(self.workspace.join(path), fs::Permissions::from_mode(0o755)).expect("own file");
    }

    /// Makes a directory in the workspace.
    pub fn mkdir(&self, path: &str) {
        self.make_directories(&self.workspace.join(path));
    }

    /// Makes a symbolic link in the workspace.
    pub fn link(&self, target: impl AsRef<Path>, path: &str) {
        let path = self.workspace.join(path);
        self.make_directories(path.parent().expect("a link has a parent"));
        symlink(target, &path).expect("a test can write its own workspace");
    }

    /// What a file in the workspace holds now; `None` if there is none.
    pub fn read(&self, path: &str) -> Option<String> {
        fs::read(self.workspace.join(path)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whether there is anything of that name in the workspace.
    pub fn holds(&self, path: &str) -> bool {
        self.workspace.join(path).symlink_metadata().is_ok()
    }

    /// A command of the tier's user, outside of any jail, in the workspace.
    pub fn host(&self, program: &str) -> Command {
        let mut command = self.command(program);
        command.current_dir(&self.workspace);
        command
    }

    /// Runs one and wants it to succeed.
    pub fn host_run<const N: usize>(&self, words: [&str; N]) -> Output {
        let output = self.host(words[0]).args(&words[1..]).output().expect("the program exists");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words:?} on the host: {} {text}", output.status);
        output
    }

    /// Makes the workspace a git repository with one commit.
    pub fn make_repository(&self) {
        self.host_run(["git", "init", "--quiet", "--initial-branch=main", "."]);
        self.host_run(["git", "config", "user.name", "Test"]);
        self.host_run(["git", "config", "user.email", "test@example.org"]);
        self.write("README", "first\n");
        self.host_run(["git", "add", "."]);
        self.host_run(["git", "commit", "--quiet", "--message", "first"]);
    }

    /// A program run as the tier's user, with a small environment.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let account = self.account();
        let mut command = Command::new(program);
        command.env_clear().env("PATH", search_path()).env("LANG", "C.UTF-8").env("TERM", "dumb");
        command.env("HOME", &account.home).env("USER", &account.name).current_dir(&self.workspace);
        if account.uid != account::own().uid {
            // Drops supplementary groups too.
            command.uid(account.uid).gid(account.gid);
        }
        command
    }

    /// Makes a profile of the tier's user, in the directory of their own home that is for it.
    pub fn write_profile(&self, name: &str, text: &str) {
        let draft = self.outside.join("draft.toml");
        fs::write(&draft, text).expect("own directory");
        let path = self.profile(name);
        let script = "mkdir -p \"$(dirname \"$2\")\" && cp \"$1\" \"$2\" && chmod 600 \"$2\"";
        let made = self.command("sh").args(["-c", script, "sh"]).arg(&draft).arg(&path).status();
        assert!(made.is_ok_and(|status| status.success()), "cannot write {}", path.display());
    }

    /// Takes it away again.
    pub fn remove_profile(&self, name: &str) {
        let _ = fs::remove_file(self.profile(name));
    }

    fn profile(&self, name: &str) -> PathBuf {
        self.account().home.join(".config/clawjail/profiles").join(format!("{name}.toml"))
    }

    fn make_directory(&self, path: &Path) {
        fs::create_dir(path).expect("a test has a directory of its own");
        self.give(path);
    }

    fn make_directories(&self, path: &Path) {
        if !path.exists() {
            self.make_directories(path.parent().expect("the workspace exists"));
            self.make_directory(path);
        }
    }

    /// Makes it the tier's user's own.
    pub fn give(&self, path: &Path) {
        let account = self.account();
        chown(path, Some(account.uid), Some(account.gid)).expect("root can give, others give to themselves");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What a test made unreadable, root reads anyway; for others the rest goes with the base.
        let _ = fs::remove_dir_all(&self.outside);
    }
}

fn search_path() -> String {
    // Tools of whoever runs the tests that others cannot reach are no use to them.
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()
}

/// The binary under test, where every user can execute it.
pub fn clawjail() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| publish(Path::new(env!("CARGO_BIN_EXE_clawjail")), "clawjail"))
}

/// Puts `program` where every user can execute it.
pub fn publish(program: &Path, name: &str) -> PathBuf {
    let copy = base().join(name);
    fs::copy(program, &copy).expect("the program can be copied");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755)).expect("own file");
    copy
}

/// Where all of one test program's places are; removed when it ends.
pub fn base() -> &'static Path {
    static BASE: OnceLock<PathBuf> = OnceLock::new();
    BASE.get_or_init(|| {
        let base = tempfile::Builder::new()
            .prefix("clawjail-tests.")
            .tempdir_in("/tmp")
            .expect("there is room in /tmp")
            .keep();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).expect("own directory");
        remove_at_exit();
        base
    })
}

#[expect(unsafe_code, reason = "the test harness has no hook for the end of all tests")]
fn remove_at_exit() {
    extern "C" fn remove() {
        let _ = fs::remove_dir_all(base());
    }
    // SAFETY: `remove` is a function of this program, takes nothing and does not unwind.
    unsafe { libc::atexit(remove) };
}
