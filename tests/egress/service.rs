//! A service in the world of these tests, and what gates do behind one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::in_each_tier;
use super::process::gate_below;
use super::support::place::{Place, clawjail};
use super::support::tier::Tier;
use super::world::{World, wait_for};

/// A service with one profile. It ends with this.
pub struct Service {
    /// Where it listens.
    pub socket: PathBuf,
    process: Child,
}

impl Service {
    /// Starts it. Its directory is its own: a service wants every profile beside its configuration to be sound, and other tests have
    /// some that are not.
    pub fn start(world: &World, place: &Place, (name, profile): (&str, &str)) -> Service {
        let own = place.outside.join("service");
        fs::create_dir_all(own.join("profiles")).expect("own directory");
        let write = |name: &str, text: &str| {
            fs::write(own.join(name), text).expect("own file");
            fs::set_permissions(own.join(name), fs::Permissions::from_mode(0o644)).expect("own file");
        };
        let socket = own.join("socket");
        let ledger = format!("[ledger]\npath = \"{}\"\n", own.join("ledger").display());
        write("clawjail.toml", &format!("user = \"daemon\"\nsocket = \"{}\"\n{ledger}", socket.display()));
        write(&format!("profiles/{name}.toml"), profile);
        let mut command = Command::new(clawjail());
        command.arg("serve").arg("--config").arg(own.join("clawjail.toml"));
        let log = fs::File::create(own.join("log")).expect("own file");
        let mut outer = world.enter(place, &command);
        let process = outer.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("nsenter is there");
        let service = Service { socket, process };
        wait_for(|| UnixStream::connect(&service.socket).ok());
        service
    }

    /// Its supervisor.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(i32::try_from(self.pid()).unwrap_or(0)), Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

/// A process that a run left behind knocks when nobody runs anything: its gate begins, and the next run finds both.
#[test]
fn a_gate_of_a_jail_that_stays_begins_between_its_runs() {
    in_each_tier(|world, place| {
        if place.tier != Tier::Root {
            return;
        }
        let profile = "summary = \"Test.\"\nextends = \"untrusted\"\n[egress]\nallow = [\"good.example:7000\"]\n";
        let service = Service::start(world, place, ("kept", profile));
        let clawjail = |words: &[&str]| {
            let (verb, rest) = words.split_first().expect("a word");
            let mut command = Command::new(clawjail());
            command.arg(verb).args(rest.iter().take_while(|word| **word != "--"));
            command.arg("--socket").arg(&service.socket).args(rest.iter().skip_while(|word| **word != "--"));
            let output = world.enter(place, &command).output().expect("nsenter is there");
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{words:?}: {error}");
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        };
        let opened = clawjail(&["jail", "open", "--profile", "kept"]);
        let jail = opened.split_ascii_whitespace().next().expect("its id").to_owned();
        let waiting = "(while [ ! -e knock ]; do sleep 0.01; done; head -c5 < /dev/tcp/good.example/7000 > heard) \
                       < /dev/null > /dev/null 2>&1 & echo begun";
        assert_eq!(clawjail(&["run", "--jail", &jail, "--", "bash", "-c", waiting]), "begun");
        assert_eq!(gate_below(service.pid()), None);
        place.write("knock", "");
        wait_for(|| place.holds("heard").then_some(()));
        wait_for(|| gate_below(service.pid()));
        assert_eq!(clawjail(&["run", "--jail", &jail, "--", "cat", "heard"]), "hello");
    });
}
