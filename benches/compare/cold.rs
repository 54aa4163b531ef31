//! A whole run of `true`, from spawn to exit, in each tier.
//!
//! The loop runs in a process of its own, as root or (started once through `setpriv`) as an ordinary user, so that every
//! contender is spawned in the same way and nothing but the contender is timed.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::contenders::{ALL, Contender, Ground, find};
use super::ground::Prepared;
use super::table::{Row, Unit, Wanted};
use super::{median, nanoseconds};

const WORD: &str = "--cold";
const RUNS: usize = 200;
/// The kernel takes network namespaces down after whoever had one has ended. Without this rest it would do so in the time of
/// the next contender, whoever that is.
const REST: Duration = Duration::from_millis(4);

/// The rows of both tiers.
pub fn rows(prepared: &Prepared) -> Vec<Row> {
    let mut rows = Vec::new();
    if prepared.is_root() {
        rows.push(row("cold `true`, root tier", &prepared.root, Command::new(&prepared.bench)));
    }
    match as_user(prepared) {
        Some(command) => rows.push(row("cold `true`, user tier", &prepared.user, command)),
        None => println!("no row for the user tier: `setpriv` is not installed"),
    }
    rows
}

/// This program, as an ordinary user.
fn as_user(prepared: &Prepared) -> Option<Command> {
    if !prepared.is_root() {
        return Some(Command::new(&prepared.bench));
    }
    let mut command = Command::new(find("setpriv")?);
    let (uid, gid) = (prepared.ordinary.0.to_string(), prepared.ordinary.1.to_string());
    command.args(["--reuid", &uid, "--regid", &gid, "--clear-groups", "--"]).arg(&prepared.bench);
    Some(command)
}

fn row(name: &'static str, ground: &Ground, mut loop_command: Command) -> Row {
    loop_command.arg(WORD).arg(&ground.workspace).arg(&ground.clawjail);
    let output =
        loop_command.args(&ground.bubblewrap).stderr(Stdio::inherit()).output().expect("the bench can start itself");
    assert!(output.status.success(), "{name}: the loop failed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut values = text.split_ascii_whitespace().map(|word| word.parse().ok());
    let mut next = || values.next().flatten();
    Row { name, unit: Unit::Time, values: [next(), next(), next(), next()], wanted: Wanted::AtMostOfBubblewrap(0.7) }
}

/// The loop, if the words say so: prints the medians, or `-` for who is missing.
pub fn serve(words: &[String]) -> bool {
    let [WORD, workspace, clawjail, rest @ ..] = &*words.iter().map(String::as_str).collect::<Vec<_>>() else {
        return false;
    };
    std::env::set_current_dir(workspace).expect("the bench made the workspace for this user");
    let bubblewrap = rest.first().map(PathBuf::from);
    let ground = Ground { workspace: workspace.into(), clawjail: clawjail.into(), bubblewrap };
    let mut times = [const { Vec::new() }; 4];
    for run in 0..RUNS + 5 {
        for (contender, times) in ALL.into_iter().zip(&mut times) {
            let Some(command) = ground.command(contender, "untrusted", &["true"]) else { continue };
            let time = time(command, contender);
            // The first few find cold caches.
            if run >= 5 {
                times.push(time);
            }
        }
    }
    for times in times {
        println!("{}", median(times).map_or("-".to_owned(), |time| time.to_string()));
    }
    true
}

fn time(mut command: Command, contender: Contender) -> f64 {
    command.stdout(Stdio::null());
    std::thread::sleep(REST);
    let begin = Instant::now();
    let status = command.status();
    let time = nanoseconds(begin.elapsed());
    assert!(status.is_ok_and(|status| status.success()), "{contender:?} cannot run `true` here");
    time
}
