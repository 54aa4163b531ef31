//! The ledger: what a writer writes, what a crash leaves, what an intruder changes, and what is found of it.

#![expect(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "a test may stop where it stands")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clawjail::ledger::config::Settings;
use clawjail::ledger::error::LedgerError;
use clawjail::ledger::files::Directory;
use clawjail::ledger::line::Head;
use clawjail::ledger::query::{self, Filter};
use clawjail::ledger::verify::{Anchors, PATIENCE, Report, Sound, verify};
use clawjail::ledger::writer::Ledger;
use clawjail::verdict::{Asked, Caller, Denial, Output, Reason, Seen, Verdict};
use tempfile::TempDir;

mod chain;
mod cli;
mod configuration;
mod crashes;
mod limits;
mod properties;
mod readers;
mod sinks;
mod tampering;
mod writers;

/// A place for a ledger, and how to open it.
struct Place {
    _top: TempDir,
    settings: Settings,
}

impl Place {
    fn new() -> Place {
        let top = tempfile::Builder::new().prefix("clawjail-ledger").tempdir().expect("a directory");
        // Links are not followed, and /tmp may be one.
        let path = top.path().canonicalize().expect("it is there").join("ledger");
        Place { _top: top, settings: Settings::own(&path) }
    }

    /// With files that end after so many bytes.
    fn with_files_of(bytes: u64) -> Place {
        let mut place = Place::new();
        place.settings.rotate_size = bytes;
        place
    }

    fn path(&self) -> &Path {
        &self.settings.path
    }

    fn writer(&self) -> Ledger {
        // A process that another test starts holds what we have open, a lock that was just given back too, until it executes.
        Ledger::open(self.settings.clone(), Duration::from_secs(10)).expect("a ledger that can be written")
    }

    fn try_writer(&self) -> Result<Ledger, LedgerError> {
        Ledger::open(self.settings.clone(), Duration::ZERO)
    }

    /// Adds so many verdicts.
    fn fill(&self, count: u64) -> Head {
        let mut ledger = self.writer();
        for number in 0..count {
            ledger.append(&mut verdict(&format!("run-{number}"))).expect("room for it");
        }
        ledger.head()
    }

    fn file(&self, number: u64) -> PathBuf {
        self.path().join(format!("{number:08}.jsonl"))
    }

    fn bytes(&self, number: u64) -> Vec<u8> {
        fs::read(self.file(number)).expect("it is there")
    }

    fn lines(&self, number: u64) -> Vec<String> {
        String::from_utf8(self.bytes(number)).expect("text").lines().map(str::to_owned).collect()
    }

    fn write(&self, number: u64, bytes: impl AsRef<[u8]>) {
        fs::write(self.file(number), bytes).expect("own file");
    }

    fn numbers(&self) -> Vec<u64> {
        self.directory().numbers().expect("own directory")
    }

    fn directory(&self) -> Directory {
        Directory::read(self.path()).expect("it is there")
    }

    fn verify(&self) -> Report {
        self.verify_by(Anchors::default())
    }

    fn verify_by(&self, anchors: Anchors) -> Report {
        verify(&self.directory(), anchors, Duration::ZERO).expect("it can be read")
    }

    fn assert_sound(&self) {
        // Somebody may be writing.
        let report = verify(&self.directory(), Anchors::default(), PATIENCE).expect("it can be read");
        assert_eq!(report.sound(), Sound::Yes, "{report:?}");
    }

    /// The first words of all verdicts, newest first.
    fn words(&self) -> Vec<String> {
        self.ask(&Filter::default())
    }

    fn ask(&self, filter: &Filter) -> Vec<String> {
        let mut words = Vec::new();
        let unreadable = query::newest_first(&self.directory(), filter, |found| {
            words.push(found.verdict.argv[0].clone());
            std::ops::ControlFlow::Continue(())
        });
        assert_eq!(unreadable.expect("it can be read"), 0);
        words
    }

    /// A copy, to be damaged.
    fn copy(&self) -> Place {
        let other = Place::new();
        fs::create_dir(other.path()).expect("own directory");
        for number in self.numbers() {
            other.write(number, self.bytes(number));
        }
        other
    }
}

/// A refusal, which is the shortest verdict there is.
fn verdict(word: &str) -> Verdict {
    let reason = Reason { code: "refused.test".into(), message: "a test".into(), remedy: None };
    Verdict::new(asked(word), &Seen::Refused(reason), Output::default())
}

/// One with a denial.
fn denied(word: &str) -> Verdict {
    let mut verdict = verdict(word);
    verdict.outcome = clawjail::verdict::Outcome::Exited;
    verdict.exit_code = Some(1);
    verdict.reason = None;
    verdict.denials = vec![Denial {
        kind: "create".into(),
        what: "/workspace/x\ny".into(),
        mechanism: "broker".into(),
        rule: "x".into(),
        count: 2,
        remedy: "none".into(),
        ..Denial::default()
    }];
    verdict
}

fn asked(word: &str) -> Asked {
    Asked {
        id: uuid::Uuid::now_v7().to_string(),
        time: jiff::Timestamp::now().to_string(),
        caller: Caller { uid: 1000, gid: 1000 },
        agent: Some("coder".into()),
        session: None,
        profile: "untrusted".into(),
        argv: vec![word.as_bytes().to_vec(), b"a \"quoted\" word".to_vec()],
    }
}
