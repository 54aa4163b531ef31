//! What the bench makes before it measures: a service of its own, and workspaces.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// No limit of the service is to be measured.
const LIMITS: &str = "[limits]\nruns = 256\nruns_per_caller = 256\nwaiting_per_caller = 4096\nruns_per_minute = \"unlimited\"\n\
                      jails = 4096\njails_per_caller = 4096\nconnections_per_caller = 1024\n";

/// A service, stopped and removed when dropped.
pub struct Ground {
    /// Its socket.
    pub socket: PathBuf,
    /// A workspace of ours.
    pub workspace: PathBuf,
    guard: Child,
    _directory: TempDir,
}

impl Ground {
    /// Starts one.
    pub fn new() -> Ground {
        let directory =
            tempfile::Builder::new().prefix("clawjail-bench.").tempdir().expect("the temporary directory is writable");
        let top = directory.path().canonicalize().expect("it was just made");
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).expect("it is ours");
        let (socket, workspace, config) = (top.join("socket"), top.join("work"), top.join("clawjail.toml"));
        fs::create_dir(&workspace).expect("the directory is ours");
        let user = if nix::unistd::geteuid().is_root() { "user = \"daemon\"\n" } else { "" };
        let text = format!("{user}socket = \"{}\"\n{LIMITS}", socket.display());
        fs::write(&config, text).expect("the directory is ours");
        fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("it is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawjail"));
        command.arg("serve").arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
        let mut guard = command.spawn().expect("the binary can be executed");
        await_socket(&socket, &mut guard);
        Ground { socket, workspace, guard, _directory: directory }
    }
}

impl Ground {
    /// The guard and all below it.
    pub fn processes(&self) -> Vec<i32> {
        let mut all = vec![i32::try_from(self.guard.id()).expect("the kernel's pids are no larger")];
        let mut next = 0;
        while let Some(pid) = all.get(next).copied() {
            let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
            all.extend(children.split_ascii_whitespace().filter_map(|word| word.parse::<i32>().ok()));
            next += 1;
        }
        all
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let pid = i32::try_from(self.guard.id()).expect("the kernel's pids are no larger");
        // One that ended by itself has said why.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.guard.wait();
    }
}

fn await_socket(socket: &Path, guard: &mut Child) {
    let began = Instant::now();
    while UnixStream::connect(socket).is_err() {
        assert!(matches!(guard.try_wait(), Ok(None)), "the service ended");
        assert!(began.elapsed() < Duration::from_secs(20), "the service does not listen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A few lines above the tables.
pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let who = if nix::unistd::geteuid().is_root() { "root" } else { "an ordinary user" };
    format!(
        "kernel      Linux {}, {cpus} processors\nservice     of {who}, clawjail {}, profile of the build: bench\nload        {}\n",
        read("/proc/sys/kernel/osrelease"),
        env!("CARGO_PKG_VERSION"),
        read("/proc/loadavg"),
    )
}
