//! What a gate adds to the start of a jail: a cold one, and one that was made ahead by a service.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use super::ground::{Ground, write_profiles};
use super::{median, met, millis};

#[path = "../service/bare.rs"]
#[expect(dead_code, reason = "the other bench uses the rest of it")]
mod bare;
#[path = "../service/client.rs"]
#[expect(dead_code, reason = "as above")]
mod client;

use client::Client;

const ROUNDS: usize = 120;
/// The kernel takes namespaces down after whoever had them has ended; and a pool wants time to make the next.
const REST: Duration = Duration::from_millis(4);
const REFILL: Duration = Duration::from_millis(60);

/// The rows.
pub fn print(ground: &Ground) {
    let (plain, web) = pair(REST, |profile| {
        let mut command = ground.run(profile, &["true"]);
        let begin = Instant::now();
        let status = command.stdin(Stdio::null()).status().expect("the binary can be executed");
        assert!(status.success(), "{command:?}");
        begin.elapsed()
    });
    row("cold `true`, without and with a gate", plain, web, 0.5);
    let service = Service::new(ground);
    // A jail is made ahead for a client as its last one was, so each has one of its own.
    let mut clients = BTreeMap::from(["plain", "web"].map(|profile| (profile, Client::connect(&service.socket))));
    let (plain, web) = pair(REFILL, |profile| {
        let mut params: Value = Client::command();
        (params["profile"], params["workspace"]) = (json!(profile), json!(ground.workspace));
        clients.get_mut(profile).expect("one of these").run(&params)
    });
    row("the same in a jail made ahead", plain, web, 0.0);
}

/// Medians, without and with a gate.
fn pair(rest: Duration, mut once: impl FnMut(&'static str) -> Duration) -> (f64, f64) {
    let [mut plain, mut web] = [const { Vec::new() }; 2];
    for round in 0..ROUNDS + 10 {
        for (profile, times) in [("plain", &mut plain), ("web", &mut web)] {
            std::thread::sleep(rest);
            let time = millis(once(profile));
            if round >= 10 {
                times.push(time);
            }
        }
    }
    (median(plain), median(web))
}

fn row(name: &str, plain: f64, web: f64, most: f64) {
    let added = web - plain;
    // What a clock can tell apart on a machine that does other things, too.
    let held = added <= most + 0.05;
    println!("{name:<44}{plain:>10.2} ms{web:>10.2} ms{added:>+7.2} ms  added <= {most} ms: {}", met(held));
}

/// A service with both profiles.
struct Service {
    socket: std::path::PathBuf,
    guard: Child,
}

impl Service {
    fn new(ground: &Ground) -> Service {
        let directory = ground.top.join("service");
        fs::create_dir_all(directory.join("profiles")).expect("it is ours");
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("it is ours");
        write_profiles(&directory.join("profiles"));
        let (socket, config) = (directory.join("socket"), directory.join("clawjail.toml"));
        let limits = "[limits]\nruns_per_minute = \"unlimited\"\n";
        fs::write(&config, format!("user = \"daemon\"\nsocket = \"{}\"\n{limits}", socket.display()))
            .expect("it is ours");
        let mut command = Command::new(env!("CARGO_BIN_EXE_clawjail"));
        command.arg("serve").arg("--config").arg(&config).stdin(Stdio::null()).stdout(Stdio::null());
        let mut guard = command.spawn().expect("the binary can be executed");
        await_socket(&socket, &mut guard);
        Service { socket, guard }
    }
}

fn await_socket(socket: &Path, guard: &mut Child) {
    let until = Instant::now() + Duration::from_secs(20);
    while UnixStream::connect(socket).is_err() {
        assert!(Instant::now() < until && guard.try_wait().is_ok_and(|ended| ended.is_none()), "no service");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let pid = i32::try_from(self.guard.id()).expect("the kernel's pids are no larger");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.guard.wait();
    }
}
