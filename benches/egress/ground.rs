//! What the bench makes before it measures: a network, a server in it, and profiles.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use tempfile::TempDir;

/// Where the server is, in a network of its own: an address like those of the public network.
const ADDRESS: &str = "45.90.0.2";
/// Ours, on the way there.
const OURS: &str = "45.90.0.1";
/// Its name.
pub const NAME: &str = "bench.example";
/// Its port, and that on which it speaks TLS.
pub const PORT: u16 = 8000;
/// As above.
pub const PORT_OF_TLS: u16 = 8443;

/// The profile through a gate, and the same without one.
const WEB: &str = "summary = \"Bench.\"\nextends = \"untrusted\"\n[limits]\nopen_files = 4096\ncpus = \"unlimited\"\n";

/// All of it. It goes away with the bench.
pub struct Ground {
    /// A workspace, which holds the bench itself under the name `load`.
    pub workspace: PathBuf,
    /// Where configurations can be put.
    pub top: PathBuf,
    // Ends when its stdin does.
    _server: Child,
    _directory: TempDir,
}

impl Ground {
    /// Makes it. There is one thread so far.
    pub fn new() -> Ground {
        let directory = tempfile::Builder::new().prefix("clawjail-bench.").tempdir().expect("a place");
        let top = directory.path().canonicalize().expect("it was just made");
        fs::set_permissions(&top, fs::Permissions::from_mode(0o755)).expect("it is ours");
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).expect("root can");
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_PRIVATE | MsFlags::MS_REC, None::<&str>).expect("root can");
        run(Command::new("ip").args(["link", "set", "lo", "up"]));
        let etc = top.join("etc");
        run(Command::new("cp").args(["--archive", "/etc"]).arg(&etc));
        let profiles = etc.join("clawjail/profiles");
        fs::create_dir_all(&profiles).expect("it is ours");
        write_profiles(&profiles);
        let workspace = top.join("work");
        fs::create_dir(&workspace).expect("it is ours");
        let authority = super::tls::make(&workspace, NAME);
        let bundle = etc.join("ssl/certs/ca-certificates.crt");
        let trusted = fs::read_to_string(&bundle).unwrap_or_default() + &authority;
        fs::create_dir_all(etc.join("ssl/certs")).expect("it is ours");
        fs::write(&bundle, trusted).expect("it is ours");
        fs::write(etc.join("hosts"), format!("127.0.0.1 localhost\n{ADDRESS} {NAME}\n")).expect("it is ours");
        mount(Some(&etc), "/etc", None::<&str>, MsFlags::MS_BIND, None::<&str>).expect("root can");
        fs::copy(std::env::current_exe().expect("Linux knows"), workspace.join("load")).expect("it is ours");
        let server = serve(&workspace.join("load"));
        Ground { workspace, top, _server: server, _directory: directory }
    }

    /// One of the bench's own loads, direct or in a jail.
    pub fn load(&self, profile: Option<&str>, words: &[&str]) -> Command {
        let direct = || Command::new(self.workspace.join("load"));
        let mut command = profile.map_or_else(direct, |profile| self.run(profile, &["/workspace/load"]));
        command.args(["load", NAME]).args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        command
    }

    /// A command in a jail.
    pub fn run(&self, profile: &str, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawjail"));
        command.args(["run", "--direct", "--quiet", "--profile", profile, "--timeout", "60s"]).arg("--workspace");
        command.arg(&self.workspace).arg("--").args(words);
        command
    }
}

/// Puts the profiles into a directory of such.
pub fn write_profiles(directory: &Path) {
    let gate = format!("[egress]\nallow = [\"{NAME}:*\"]\nhosts = {{ \"{NAME}\" = \"{ADDRESS}\" }}\n");
    fs::write(directory.join("web.toml"), format!("{WEB}{gate}")).expect("it is ours");
    let rule = format!("[[egress.http]]\nhost = \"{NAME}:{PORT_OF_TLS}\"\nmethods = [\"*\"]\npaths = [\"/**\"]\n");
    fs::write(directory.join("requests.toml"), format!("{WEB}{gate}{rule}")).expect("it is ours");
    fs::write(directory.join("plain.toml"), WEB).expect("it is ours");
}

/// The server in a network of its own, and the way there.
fn serve(load: &Path) -> Child {
    let mut command = Command::new("unshare");
    command.arg("--net").arg(load).args(["load", "-", "server", "0"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut server = command.spawn().expect("unshare is there");
    let mut line = String::new();
    let mut said = BufReader::new(server.stdout.take().expect("asked for"));
    said.read_line(&mut line).expect("it says that it listens");
    let pid = server.id().to_string();
    let ip = |words: &[&str]| run(Command::new("ip").args(words));
    let inside = |words: &[&str]| run(Command::new("nsenter").args(["--net", "--target", &pid, "ip"]).args(words));
    ip(&["link", "add", "bench0", "type", "veth", "peer", "name", "bench1", "netns", &pid]);
    ip(&["address", "add", &format!("{OURS}/24"), "dev", "bench0"]);
    ip(&["link", "set", "bench0", "up"]);
    inside(&["address", "add", &format!("{ADDRESS}/24"), "dev", "bench1"]);
    inside(&["link", "set", "bench1", "up"]);
    server
}

fn run(command: &mut Command) {
    assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
}
