//! Who is compared: the same command bare, under bubblewrap, and under clawjail.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where programs are looked for, by everybody alike.
pub const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// One way to run a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// As it is.
    Bare,
    /// As it is, under one Landlock rule and a filter of one instruction; single calls only.
    Floor,
    /// Debian's bubblewrap: read-only system, private /tmp, own /proc and /dev, new pid, net, ipc and uts namespaces.
    Bubblewrap,
    /// This crate, everything on, probe included.
    Clawjail,
}

/// All of them, in the order of the table's columns.
pub const ALL: [Contender; 4] = [Contender::Bare, Contender::Floor, Contender::Bubblewrap, Contender::Clawjail];

/// What all contenders share.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The workspace; also the directory that commands start in.
    pub workspace: PathBuf,
    /// The clawjail binary.
    pub clawjail: PathBuf,
    /// bubblewrap, where it is installed.
    pub bubblewrap: Option<PathBuf>,
}

impl Ground {
    /// A command line that runs `argv` in the workspace, or nothing where the contender is missing.
    pub fn command(&self, contender: Contender, profile: &str, argv: &[&str]) -> Option<Command> {
        let mut command = match contender {
            Contender::Bare => Command::new(argv.first()?),
            Contender::Floor => return None,
            Contender::Bubblewrap => self.bubblewrap_command()?,
            Contender::Clawjail => {
                let mut command = Command::new(&self.clawjail);
                command.args(["run", "--profile", profile, "--workspace"]).arg(&self.workspace).arg("--");
                command
            }
        };
        let skip = usize::from(contender == Contender::Bare);
        command.args(argv.iter().skip(skip)).env_clear().env("PATH", PATH).stdin(Stdio::null());
        if contender == Contender::Bare {
            // The others have a /tmp in memory, and compilers write there.
            command.env("TMPDIR", "/dev/shm");
        }
        Some(command)
    }

    fn bubblewrap_command(&self) -> Option<Command> {
        let mut command = Command::new(self.bubblewrap.as_ref()?);
        command.args(["--ro-bind", "/usr", "/usr"]);
        for name in ["bin", "sbin", "lib", "lib32", "lib64"] {
            let path = Path::new("/").join(name);
            if path.is_symlink() {
                command.args(["--symlink", &format!("usr/{name}"), &format!("/{name}")]);
            } else if path.is_dir() {
                command.arg("--ro-bind").arg(&path).arg(&path);
            }
        }
        for path in ["/etc/alternatives", "/etc/ssl", "/etc/passwd", "/etc/ld.so.cache"] {
            command.args(["--ro-bind-try", path, path]);
        }
        command
            .args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--bind"])
            .arg(&self.workspace)
            .arg("/workspace");
        command.args([
            "--chdir",
            "/workspace",
            "--unshare-pid",
            "--unshare-net",
            "--unshare-ipc",
            "--unshare-uts",
            "--die-with-parent",
        ]);
        Some(command)
    }
}

/// A program by its name, in [`PATH`].
pub fn find(name: &str) -> Option<PathBuf> {
    PATH.split(':').map(|directory| Path::new(directory).join(name)).find(|path| path.is_file())
}
