//! A file of a ledger that holds anything: verified, asked, gone on with.
//!
//! What must hold: nobody stumbles; and a writer that goes on after it leaves a ledger that is no worse than before.
#![no_main]

use std::fs;
use std::ops::ControlFlow;
use std::time::Duration;

use clawjail::ledger::config::{Fsync, Settings};
use clawjail::ledger::files::Directory;
use clawjail::ledger::line;
use clawjail::ledger::query::{self, Filter};
use clawjail::ledger::verify::{Anchors, Sound, verify};
use clawjail::ledger::writer::Ledger;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for line in bytes.split(|byte| *byte == b'\n') {
        let _ = line::unseal(line);
        let _ = Filter::default().see(line);
    }
    let top = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let mut settings = Settings::own(&top.path().join("ledger"));
    settings.fsync = Fsync::Never;
    fs::create_dir(&settings.path).expect("own directory");
    fs::set_permissions(&settings.path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("own directory");
    fs::write(settings.path.join("00000001.jsonl"), bytes).expect("own directory");
    fs::set_permissions(
        settings.path.join("00000001.jsonl"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .expect("own file");
    let directory = Directory::read(&settings.path).expect("it is there");
    let judge = || verify(&directory, Anchors::default(), Duration::ZERO).expect("it can be read").sound();
    let before = judge();
    let _ = query::newest_first(&directory, &Filter::default(), |_| ControlFlow::Continue(()));
    if Ledger::open(settings, Duration::ZERO).is_ok() && before != Sound::No {
        assert_eq!(judge(), Sound::Yes);
    }
});
