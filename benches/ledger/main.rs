//! `cargo bench --bench ledger [-- DIR]`: what a record costs, by policy of syncing, and what reading costs.
//!
//! A record is a typical verdict of a run with eight promises. Nothing here passes or fails; docs/ledger.md has what one
//! machine printed.

#![expect(clippy::expect_used, reason = "a bench that cannot measure must say so and stop")]

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clawjail::ledger::claim::Claim;
use clawjail::ledger::config::{Fsync, Settings};
use clawjail::ledger::files::Directory;
use clawjail::ledger::query::{self, Filter};
use clawjail::ledger::verify::{self, Anchors};
use clawjail::ledger::writer::{Ledger, MayRun};
use clawjail::profile::typed::Exact;
use clawjail::profile::units::Span;
use clawjail::verdict::{Asked, Caller, Kept, Level, Outcome, Output, Probe, Reason, Seen, Verdict};

fn main() {
    let given = std::env::args().skip(1).find(|word| word != "--bench").map(PathBuf::from);
    let top = given.unwrap_or_else(std::env::temp_dir).canonicalize().expect("a directory");
    let place = tempfile::Builder::new().prefix("clawjail-bench").tempdir_in(&top).expect("a directory");
    println!("ledger in {}, record of {} bytes", top.display(), length(place.path()));
    println!("{:<34}{:>12}{:>12}{:>12}", "", "p50", "p99", "a second");
    for (name, fsync, count) in [
        ("append, fsync = never", Fsync::Never, 20_000),
        ("append, fsync = interval 1s", Fsync::Interval(Exact(Span(1000))), 20_000),
        ("append, fsync = always", Fsync::Always, 2_000),
    ] {
        let settings = Settings { fsync, ..Settings::own(&place.path().join(name.replace(' ', "-"))) };
        let mut ledger = Ledger::open(settings, Duration::ZERO).expect("room");
        print(name, times(count, || ledger.append(&mut record()).expect("room")));
        if fsync == Fsync::Never {
            let asked = || match ledger.may_run() {
                MayRun::Yes(room) => drop(room),
                MayRun::Unrecorded(error) | MayRun::No(error) => panic_with(error),
            };
            print("asking whether a run may begin", times(count, asked));
        }
    }
    let own = Settings::own(&place.path().join("own"));
    let claimed = || Claim::stake(own.clone()).and_then(|claim| claim.redeem(&mut record())).expect("room");
    print("`run --ledger`: stake and redeem", times(500, claimed));
    let many = place.path().join("append,-fsync-=-never");
    read(&many);
}

/// A whole ledger of 20,000 verdicts.
fn read(path: &Path) {
    let directory = Directory::read(path).expect("it was written");
    let every = |filter: &Filter| {
        let begun = Instant::now();
        query::newest_first(&directory, filter, |found| {
            black_box(found.verdict.seq);
            ControlFlow::Continue(())
        })
        .expect("it can be read");
        begun.elapsed()
    };
    println!("every verdict of 20,000, newest first: {:?}", every(&Filter::default()));
    println!("one by its id among them: {:?}", every(&Filter { id: Some("no such".into()), ..Filter::default() }));
    let begun = Instant::now();
    let report = verify::verify(&directory, Anchors::default(), verify::PATIENCE).expect("it can be read");
    println!("verifying all of it ({} lines): {:?}", report.lines, begun.elapsed());
}

fn times(count: usize, mut act: impl FnMut()) -> Vec<Duration> {
    let one = || {
        let begun = Instant::now();
        act();
        begun.elapsed()
    };
    std::iter::repeat_with(one).take(count).collect()
}

fn print(name: &str, mut times: Vec<Duration>) {
    let total: Duration = times.iter().sum();
    let rate = times.len() as f64 / total.as_secs_f64();
    times.sort();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default().as_nanos() as f64 / 1e3;
    println!("{name:<34}{:>9.1} us{:>9.1} us{rate:>12.0}", at(50), at(99));
}

fn length(top: &Path) -> u64 {
    let mut ledger = Ledger::open(Settings::own(&top.join("one")), Duration::ZERO).expect("room");
    let size = || std::fs::metadata(top.join("one/00000001.jsonl")).expect("it is there").len();
    let before = size();
    ledger.append(&mut record()).expect("room");
    size() - before
}

#[expect(clippy::panic, reason = "a bench that cannot measure must say so and stop")]
fn panic_with(error: clawjail::ledger::error::LedgerError) {
    panic!("{error}");
}

fn record() -> Verdict {
    let asked = Asked {
        id: uuid::Uuid::now_v7().to_string(),
        time: jiff::Timestamp::now().to_string(),
        caller: Caller { uid: 1000, gid: 1000 },
        agent: Some("coder".into()),
        session: Some("a session".into()),
        profile: "untrusted".into(),
        argv: ["npm", "test", "--", "--reporter=dot"].map(|word| word.as_bytes().to_vec()).into(),
    };
    let reason = Reason { code: "refused.test".into(), message: String::new(), remedy: None };
    let mut verdict = Verdict::new(asked, &Seen::Refused(reason), Output::default());
    let probe = Probe { tried: "open a path of the host".into(), got: "ENOENT".into() };
    let promise = Kept {
        promise: "filesystem".into(),
        mechanisms: vec!["mount namespace with a view of its own".into(), "with landlock abi 6".into()],
        missing: None,
        probed: true,
        probes: vec![probe.clone(), probe],
    };
    (verdict.outcome, verdict.exit_code, verdict.reason) = (Outcome::Exited, Some(0), None);
    (verdict.enforcement.level, verdict.enforcement.promises) = (Level::Full, vec![promise; 8]);
    verdict
}
