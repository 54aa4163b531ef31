//! `kill -9` of every process of a service, at random points under load: nothing survives, nothing leaks, clients are told, and
//! the service is back by itself.
//!
//! `CLAWJAIL_KILLS` says how many; docs/service.md has what a thousand came to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::record;
use crate::service::{PATIENCE, Service, comm};

/// Kills, if nobody says otherwise.
const KILLS: usize = 200;
/// What the service is told.
const CONFIG: &str =
    "[ledger]\npath = \"@OUTSIDE/ledger\"\n[limits]\nruns_per_minute = \"unlimited\"\n[jails]\nidle = \"2s\"\n";
/// How long a pair must live to be started again without a pause.
const SOUND: Duration = Duration::from_millis(1100);

/// Numbers that differ from run to run; the first is shown, so that a run can be repeated.
struct Dice(u64);

impl Dice {
    fn new() -> Dice {
        let seed = std::env::var("CLAWJAIL_SEED").ok().and_then(|seed| seed.parse().ok());
        let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.as_nanos());
        let seed = seed.unwrap_or_else(|| now() as u64);
        println!("CLAWJAIL_SEED={seed}");
        Dice(seed | 1)
    }

    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }
}

/// What came of the clients' requests.
#[derive(Default)]
struct Tally(Mutex<BTreeMap<String, usize>>);

impl Tally {
    fn count(&self, word: &str) {
        *self.0.lock().expect("nobody panics with it").entry(word.to_owned()).or_default() += 1;
    }
}

/// A connection of a client that goes on whatever happens to the service.
struct Stubborn(BufReader<UnixStream>);

impl Stubborn {
    fn connect(socket: &Path) -> Option<Stubborn> {
        let stream = UnixStream::connect(socket).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        Some(Stubborn(BufReader::new(stream)))
    }

    /// The answer, or how it failed in one word: the code of an error, or that the connection was closed.
    fn ask(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        let line = format!("{}\n", json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }));
        self.0.get_mut().write_all(line.as_bytes()).map_err(|_| "closed".to_owned())?;
        self.next(|line| line["id"] == 1)
    }

    fn next(&mut self, wanted: impl Fn(&Value) -> bool) -> Result<Value, String> {
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line) {
                Ok(0) => return Err("closed".into()),
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Err("HANGS".into()),
                Err(_) => return Err("closed".into()),
            }
            // The end of what a killed supervisor had begun to send.
            let Ok(line) = serde_json::from_str::<Value>(&line) else { return Err("closed".into()) };
            if !wanted(&line) {
                continue;
            }
            return match line["error"]["data"]["code"].as_str() {
                Some(code) => Err(code.to_owned()),
                None => Ok(line),
            };
        }
    }

    fn run(&mut self, params: &Value) -> Result<String, String> {
        let run = self.ask("run", params)?["result"]["run"].clone();
        let ended = self.next(|line| line["method"] == "run.ended" && line["params"]["run"] == run)?;
        let verdict = &ended["params"]["verdict"];
        Ok(verdict["reason"]["code"].as_str().or(verdict["outcome"].as_str()).unwrap_or("nothing").to_owned())
    }
}

/// One client under load: runs with a jail of their own and in one that stays, with output, again and again.
fn load(service: &Service, tally: &Tally, over: &AtomicBool, number: usize) {
    let alone = json!({ "argv": ["sh", "-c", "echo out; sleep 0.0$$"], "profile": "untrusted", "workspace": service.place.workspace });
    let open = json!({ "profile": "untrusted", "workspace": service.place.workspace, "until_disconnect": number == 0 });
    while !over.load(Ordering::Relaxed) {
        let Some(mut client) = Stubborn::connect(&service.socket) else { continue };
        let jail = client.ask("jail.open", &open).map(|answer| answer["result"]["jail"].clone());
        let within =
            jail.as_ref().ok().map(|jail| json!({ "jail": jail, "argv": ["sh", "-c", "sleep 0.0$$ & echo x"] }));
        for _ in 0..6 {
            let came = [Some(client.run(&alone)), within.as_ref().map(|within| client.run(within))];
            for came in came.into_iter().flatten() {
                tally.count(&came.clone().unwrap_or_else(|word| word));
                if came.is_err_and(|word| word == "closed") {
                    break;
                }
            }
        }
        if let Ok(jail) = jail {
            let _ = client.ask("jail.close", &json!({ "jail": jail }));
        }
    }
}

/// Kills one process of this service and nobody else: the handle is of whoever was seen there.
#[expect(unsafe_code, reason = "two system calls that no crate of ours wraps")]
fn kill_exactly(service: &Service, victim: Pid) {
    // SAFETY: integers only.
    let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, victim.as_raw(), 0) };
    if handle < 0 {
        return;
    }
    // SAFETY: the kernel has just made it for us.
    let handle = unsafe { OwnedFd::from_raw_fd(handle as i32) };
    if service.processes().contains(&victim) {
        // SAFETY: integers, and no information with the signal.
        unsafe { libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), libc::SIGKILL, 0, 0) };
    }
}

/// The processes of a service by what they are.
fn of_kind(service: &Service, kind: &str) -> Vec<Pid> {
    let pair: Vec<Pid> = service.children();
    let all = service.processes();
    let is = |pid: &Pid| match kind {
        "supervisor" => comm(*pid) == "clawjail-super",
        "recorder" => comm(*pid) == "clawjail-record",
        "launcher" => comm(*pid) == "clawjail-launch" && pair.contains(pid),
        "keeper" => comm(*pid) == "clawjail-launch" && !pair.contains(pid),
        _ => comm(*pid) == "clawjail-init",
    };
    all.into_iter().filter(is).collect()
}

fn await_service(service: &Service) {
    let run = json!({ "argv": ["true"], "profile": "untrusted", "workspace": service.place.workspace });
    let began = Instant::now();
    loop {
        let came =
            Stubborn::connect(&service.socket).ok_or("not there".to_owned()).and_then(|mut client| client.run(&run));
        if came.as_deref() == Ok("exited") {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "the service is not back: {came:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Processes that were seen, and when each was born: a pid can be somebody else's by now.
type Seen = BTreeMap<Pid, Option<String>>;

fn see(seen: &mut Seen, processes: impl IntoIterator<Item = Pid>) {
    seen.extend(processes.into_iter().map(|pid| (pid, born(pid))));
}

/// When a process was born, in the kernel's words; proc_pid_stat(5).
fn born(pid: Pid) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19).map(str::to_owned)
}

/// Groups, private places and mounts that bear the pid of somebody in `seen`, and were not there `before`.
fn remains(seen: &Seen, before: &BTreeSet<String>) -> Vec<String> {
    let is_ours = |name: &String| {
        let mut after = name.split("clawjail.").skip(1);
        after.any(|rest| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().is_ok_and(|pid| seen.contains_key(&Pid::from_raw(pid)))
        })
    };
    places().into_iter().filter(|place| is_ours(place) && !before.contains(place)).collect()
}

/// All groups, private places and mounts of this machine.
fn places() -> BTreeSet<String> {
    let mut found = Vec::new();
    let mut directories = vec![Path::new("/sys/fs/cgroup").to_path_buf()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(entry.path());
            }
        }
        found.push(directory.to_string_lossy().into_owned());
    }
    found.extend(
        fs::read_dir(std::env::temp_dir())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path().display().to_string()),
    );
    found.extend(fs::read_to_string("/proc/self/mountinfo").unwrap_or_default().lines().map(str::to_owned));
    found.into_iter().collect()
}

fn is_there((pid, was_born): (&Pid, &Option<String>)) -> bool {
    kill(*pid, None).is_ok() && comm(*pid).starts_with("clawjail") && born(*pid) == *was_born
}

#[test]
fn whatever_is_killed_nothing_is_left_and_the_service_is_back() {
    let kills = std::env::var("CLAWJAIL_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let mut service = Service::start(CONFIG);
    let already = places();
    let (tally, over, mut dice) = (Tally::default(), AtomicBool::new(false), Dice::new());
    let mut seen = Seen::new();
    let mut killed: BTreeMap<&str, usize> = BTreeMap::new();
    await_service(&service);
    let guard = Pid::from_raw(service.guard.id() as i32);
    let descriptors = || fs::read_dir(format!("/proc/{guard}/fd")).map(|entries| entries.count()).ok();
    let before = descriptors();
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (service, tally, over) = (&service, &tally, &over);
            scope.spawn(move || load(service, tally, over, number));
        }
        let mut pair_began = Instant::now();
        for round in 0..kills {
            std::thread::sleep(Duration::from_micros(dice.below(15_000) as u64));
            see(&mut seen, service.processes());
            let kinds: &[&str] = match dice.below(16) {
                0 => &["supervisor"],
                1 => &["launcher"],
                2 if round % 2 == 0 => &["supervisor", "launcher"],
                3 => &["recorder"],
                2..=6 => &["init"],
                7..=11 => &["keeper"],
                _ => &["keeper", "init"],
            };
            let of_pair = kinds.iter().any(|kind| ["supervisor", "launcher", "recorder"].contains(kind));
            if of_pair {
                std::thread::sleep(SOUND.saturating_sub(pair_began.elapsed()));
                see(&mut seen, service.processes());
            }
            for kind in kinds {
                let victims = of_kind(&service, kind);
                if let Some(victim) = victims.get(dice.below(victims.len())) {
                    see(&mut seen, [*victim]);
                    kill_exactly(&service, *victim);
                    *killed.entry(kind).or_default() += 1;
                }
            }
            if of_pair {
                await_service(&service);
                pair_began = Instant::now();
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    await_service(&service);
    see(&mut seen, service.processes());
    let after = descriptors();
    assert_eq!(service.stop(), Some(0), "{}", service.log());
    let tally = tally.0.into_inner().expect("nobody panicked with it");
    let ledger = record::verified(&service.place.outside.join("ledger"));
    println!("killed {killed:?}; requests came to {tally:?}; the ledger: {ledger}");
    let left: Vec<_> = seen.iter().filter(|one| is_there(*one)).collect();
    assert!(left.is_empty(), "processes are left: {left:?}");
    assert_eq!(remains(&seen, &already), Vec::<String>::new());
    assert_eq!(before, after, "descriptors of the guard");
    // Each client heard how it was: no silence, no word that says nothing.
    let clear = |word: &str| {
        matches!(word, "exited" | "closed" | "killed" | "signalled" | "refused.unknown_jail" | "refused.not_connected")
            || word.starts_with("failed.")
    };
    let unclear: Vec<_> = tally.keys().filter(|word| !clear(word)).collect();
    assert!(unclear.is_empty(), "{unclear:?} in {tally:?}");
    assert!(tally.get("exited").is_some_and(|count| *count > kills), "there was load: {tally:?}");
}

#[test]
fn nothing_outlives_a_guard_that_is_killed_and_the_next_service_clears_up_after_it() {
    let already = places();
    let mut service = Service::start("");
    let mut client = service.client();
    let run = json!({ "argv": ["sleep", "1000"], "profile": "untrusted", "workspace": service.place.workspace });
    client.call("run", run);
    let open = json!({ "profile": "untrusted", "workspace": service.place.workspace });
    client.call("jail.open", open);
    let mut seen = Seen::new();
    see(&mut seen, service.processes());
    assert!(seen.len() >= 6, "{seen:?}");
    // Positive control: what is looked for is there while they live.
    assert!(!nix::unistd::geteuid().is_root() || !remains(&seen, &already).is_empty());
    let restarted = service.kill_and_start_again();
    let began = Instant::now();
    while seen.iter().any(is_there) {
        assert!(began.elapsed() < PATIENCE, "processes are left");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(client.line().is_null(), "its clients hear of it");
    await_service(&restarted);
    assert_eq!(remains(&seen, &already), Vec::<String>::new());
}
