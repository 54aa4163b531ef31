//! A host's network with an internet behind it, made of network namespaces: nothing of it leaves this machine.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::support::account::own;
use super::support::jail::{Jail, Ran};
use super::support::patience;
use super::support::place::{Place, base};

/// Names of that internet, as its name server knows them.
const TABLE: &str = r#"{
  "good.example": ["93.184.216.34", "2a0c:2::34"],
  "other.example": ["93.184.216.35"],
  "a.wild.example": ["93.184.216.34"], "bad.wild.example": ["93.184.216.34"],
  "private.example": ["10.1.2.3"], "loop.example": ["127.0.0.1", "::1"], "meta.example": ["169.254.169.254"],
  "shared.example": ["100.64.0.9"], "own.example": ["45.90.0.1", "2a0c:1::1"], "mapped.example": ["::ffff:127.0.0.1"],
  "alias.example": ["cname evil.example"], "evil.example": ["151.101.0.1"],
  "rebind.example": [["93.184.216.34"], ["127.0.0.1"]]
}"#;

/// Makes an authority that this host trusts, and the certificate of the internet's servers.
const AUTHORITY: &str = r#"set -e
new() { openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes "$@"; }
new -x509 -days 30 -subj /CN=internet -keyout ca.key -out ca.pem
new -subj /CN=server -keyout key.pem -out request.pem
echo "subjectAltName=DNS:good.example,DNS:*.wild.example,DNS:other.example" > names
openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 30 -extfile names -out cert.pem
mkdir -p etc/ssl/certs
cat ca.pem >> etc/ssl/certs/ca-certificates.crt
"#;

/// What most tests run under.
const WEB: &str = r#"
summary = "Test."
extends = "untrusted"
[egress]
allow = [
  "good.example", "good.example:22", "good.example:7000", "good.example:9000", "*.wild.example", "pinned.example",
  "private.example:*", "loop.example:*", "meta.example:*", "shared.example:*", "own.example:*", "mapped.example:*",
  "alias.example:*", "rebind.example:*", "45.90.0.2:7000", "10.1.2.3:9000", "gone.example",
]
deny = ["bad.wild.example", "evil.example"]
hosts = { "known.wild.example" = "93.184.216.35", "turned.wild.example" = ["127.0.0.1", "10.1.2.3"] }
[limits]
open_files = 4096
"#;

/// As much as can be written: what is denied under this is denied whatever a profile says.
const EVERYTHING: &str = r#"
summary = "Test."
extends = "untrusted"
[egress]
allow = ["0.0.0.0/0:*", "[::/0]:*"]
"#;

/// All of it. It ends with this process, whose end of a pipe it waits for.
pub struct World {
    directory: PathBuf,
    process: u32,
    // Closed by the end of the tests.
    _lab: Child,
}

/// The one of these tests; `None` for all but root.
pub fn world() -> Option<&'static World> {
    static WORLD: OnceLock<Option<World>> = OnceLock::new();
    WORLD.get_or_init(|| (own().uid == 0).then(World::make)).as_ref()
}

impl World {
    fn make() -> World {
        let directory = base().join("world");
        fs::create_dir(&directory).expect("own directory");
        run(Command::new("cp").args(["--archive", "/etc"]).arg(directory.join("etc")));
        let etc = directory.join("etc");
        let _ = fs::remove_file(etc.join("resolv.conf"));
        fs::write(etc.join("resolv.conf"), "nameserver 45.90.0.2\n").expect("own file");
        fs::write(etc.join("hosts"), "127.0.0.1 localhost\n93.184.216.35 pinned.example\n").expect("own file");
        for (name, text) in [
            ("table.json", TABLE),
            ("world.py", include_str!("world.py")),
            ("second.mjs", include_str!("second.mjs")),
            ("lab.sh", include_str!("lab.sh")),
        ] {
            fs::write(directory.join(name), text).expect("own file");
        }
        run(Command::new("sh").arg("-c").arg(AUTHORITY).current_dir(&directory).stderr(Stdio::null()));
        let mut lab = Command::new("unshare");
        lab.args(["--net", "--mount", "--propagation", "private", "sh"]).arg(directory.join("lab.sh")).arg(&directory);
        lab.args(["sh", "-c", "echo $$ > \"$0\"; exec cat"]).arg(directory.join("world"));
        let lab = lab.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("unshare is there");
        let process = wait_for(|| fs::read_to_string(directory.join("world")).ok()?.trim().parse().ok());
        let world = World { directory, process, _lab: lab };
        world.profile("web", WEB);
        world.profile("everything", EVERYTHING);
        world
    }

    /// Puts a profile into this world's /etc/clawjail.
    pub fn profile(&self, name: &str, text: &str) {
        let profiles = self.directory.join("etc/clawjail/profiles");
        for directory in [self.directory.join("etc/clawjail"), profiles.clone()] {
            let _ = fs::create_dir(&directory);
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("own directory");
        }
        // In one go: other tests may read it, or write the same.
        let (path, beside) = (profiles.join(format!("{name}.toml")), tempfile::NamedTempFile::new_in(&self.directory));
        let mut beside = beside.expect("own directory");
        beside.write_all(text.as_bytes()).expect("own file");
        beside.as_file().set_permissions(fs::Permissions::from_mode(0o644)).expect("own file");
        beside.persist(path).expect("own directory");
    }

    /// Puts an egress set beside them.
    pub fn policy(&self, name: &str, text: &str) {
        self.profile("unused", "summary = \"Makes the directories.\"\n");
        let mut directory = self.directory.join("etc/clawjail");
        for part in ["policies", "egress"] {
            directory.push(part);
            let _ = fs::create_dir(&directory);
            fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("own directory");
        }
        fs::write(directory.join(format!("{name}.toml")), text).expect("own file");
    }

    /// A path in this world's directory.
    pub fn path(&self, below: &str) -> PathBuf {
        self.directory.join(below)
    }

    /// The same command in this world, as the user of `place`.
    pub fn enter(&self, place: &Place, inner: &Command) -> Command {
        let account = place.account();
        let mut outer = Command::new("nsenter");
        for kind in ["net", "mnt"] {
            let option = if kind == "mnt" { "mount" } else { kind };
            outer.arg(format!("--{option}=/proc/{}/ns/{kind}", self.process));
        }
        outer.args(["--", "sh", "-c", "cd \"$0\" && exec \"$@\""]).arg(&place.workspace);
        if account.uid != 0 {
            let [uid, gid] = [account.uid, account.gid].map(|id| id.to_string());
            outer.args(["setpriv", "--reuid", &uid, "--regid", &gid, "--clear-groups", "--"]);
        }
        outer.arg(inner.get_program()).args(inner.get_args()).env_clear();
        outer.envs(inner.get_envs().filter_map(|(name, value)| value.map(|value| (name, value))));
        outer
    }

    /// Starts a run with pipes.
    pub fn start(&self, place: &Place, jail: &Jail<'_>, words: &[&str]) -> Child {
        let mut command = self.enter(place, &jail.command(words));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("nsenter is there")
    }

    /// Runs a script under `profile`.
    pub fn bash(&self, place: &Place, profile: &str, script: &str) -> Ran {
        let jail = Jail::new(place).profile(profile).patient(80);
        jail.finish(self.start(place, &jail, &["bash", "-c", script]))
    }

    /// Runs a Python program under `profile`.
    pub fn python(&self, place: &Place, profile: &str, program: &str) -> Ran {
        place.write("client.py", program);
        self.bash(place, profile, "/usr/bin/python3 client.py")
    }

    /// What the internet, and the host itself, have seen so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Whether something of that kind is in the log, now or in a moment.
    pub fn saw(&self, line: &str) -> bool {
        let until = Instant::now() + patience(Duration::from_secs(2));
        while Instant::now() < until {
            if self.log().lines().any(|seen| seen.contains(line)) {
                return true;
            }
            sleep(Duration::from_millis(10));
        }
        false
    }

    /// Puts a file into this world's /etc/clawjail.
    pub fn secret(&self, name: &str, text: &str, mode: u32) -> String {
        let path = self.directory.join("etc/clawjail").join(name);
        fs::write(&path, text).expect("own file");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("own file");
        format!("/etc/clawjail/{name}")
    }

    /// Whether the internet speaks HTTP/2, too.
    pub fn has_second(&self) -> bool {
        self.directory.join("second").exists()
    }

    /// The certificate that the internet's servers are trusted by.
    pub fn certificate(&self) -> String {
        fs::read_to_string(self.directory.join("ca.pem")).expect("it was made")
    }
}

/// Runs what must succeed.
pub fn run(command: &mut Command) {
    assert!(command.status().is_ok_and(|status| status.success()), "{command:?}");
}

/// Waits until there is something, and says what was waited for when there never is.
pub fn wait_for<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + patience(Duration::from_secs(20));
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "waited in vain");
        sleep(Duration::from_millis(5));
    }
}

/// Says past the harness that something was not tried.
pub fn say_skipped(what: &str) {
    let _ = std::io::stderr().write_all(format!("SKIPPED {what}\n").as_bytes());
}

/// Whether a tool is there for everybody.
pub fn has(tool: &str) -> bool {
    let there = ["/usr/bin", "/bin", "/usr/local/bin"].iter().any(|directory| Path::new(directory).join(tool).exists());
    if !there {
        say_skipped(&format!("{tool}: not installed"));
    }
    there
}
