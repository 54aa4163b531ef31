//! An /etc/clawjail that only one command sees: in a mount namespace of its own, so that neither this host nor any other
//! test is touched. Only root can have one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::account::{self, Account};
use super::place::{Place, base};

/// Files for /etc/clawjail.
pub struct Etc {
    account: &'static Account,
    directory: PathBuf,
    outside: PathBuf,
    workspace: PathBuf,
}

impl Etc {
    /// The place's own, empty at first. `None` when the tests do not run as root.
    pub fn new(place: &Place) -> Option<Etc> {
        if account::own().uid != 0 {
            return None;
        }
        let directory = place.outside.join("etc-clawjail");
        fs::create_dir_all(&directory).expect("own directory");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("own directory");
        Some(Etc {
            account: place.account(),
            directory,
            outside: place.outside.clone(),
            workspace: place.workspace.clone(),
        })
    }

    /// Where a file of it is, outside.
    pub fn path(&self, below: &str) -> PathBuf {
        self.directory.join(below)
    }

    /// Puts a file there that root owns, with the directories above it.
    pub fn write(&self, below: &str, text: &str) {
        let path = self.path(below);
        for directory in path.parent().expect("a file has a parent").ancestors().collect::<Vec<_>>().iter().rev() {
            if directory.starts_with(&self.directory) && !directory.exists() {
                fs::create_dir(directory).expect("own directory");
                fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).expect("own directory");
            }
        }
        fs::write(&path, text).expect("own directory");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("own file");
    }

    /// The same command where it sees these files as /etc/clawjail, after `script` as root with `$D` for `outside`.
    pub fn command_after(&self, script: &str, inner: &Command) -> Command {
        let account = self.account;
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "--propagation", "private", "--", "sh", "-ec"]);
        outer.arg(format!(
            "mount --bind \"$1\" /etc; mount --bind \"$2\" /etc/clawjail; D=\"$3\"; {script}; shift 3; exec \"$@\""
        ));
        outer.arg("sh").arg(copy_of_etc()).arg(&self.directory).arg(&self.outside);
        if account.uid != 0 {
            let [uid, gid] = [account.uid, account.gid].map(|id| id.to_string());
            outer.args(["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", "--"]);
        }
        outer.arg(inner.get_program()).args(inner.get_args()).env_clear();
        outer.envs(inner.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
        outer.current_dir(inner.get_current_dir().unwrap_or(&self.workspace));
        outer
    }

    /// The same command where it sees these files as /etc/clawjail.
    pub fn command(&self, inner: &Command) -> Command {
        self.command_after(":", inner)
    }
}

/// The host's /etc with a place to mount on: nothing is made on the host itself.
fn copy_of_etc() -> &'static Path {
    static COPY: OnceLock<PathBuf> = OnceLock::new();
    COPY.get_or_init(|| {
        let copy = base().join("copy-of-etc");
        let made = Command::new("cp").args(["--archive", "/etc"]).arg(&copy).status();
        assert!(made.is_ok_and(|status| status.success()), "cannot copy /etc");
        fs::create_dir_all(copy.join("clawjail")).expect("own directory");
        copy
    })
}
