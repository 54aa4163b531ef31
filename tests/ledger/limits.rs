//! Disks that are full, and files that cannot grow.

use std::io::{ErrorKind, Write};
use std::process::{Command, Output};

use clawjail::ledger::claim::Claim;
use clawjail::ledger::config::WhenFull;
use clawjail::ledger::writer::MayRun;

use super::*;

/// Where the small filesystem is, for the half of a test that runs on it.
const SMALL: &str = "CLAWJAIL_TEST_SMALL_DISK";

/// Runs this very test again: with the words before it, and knowing where it is to work.
fn again(test: &str, script: &str) -> Option<Output> {
    let top = tempfile::Builder::new().prefix("clawjail-small").tempdir().expect("a directory");
    let path = top.path().canonicalize().expect("it is there");
    let program = std::env::current_exe().expect("this program");
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(&path).arg(program).args(["--exact", test, "--nocapture"]);
    command.env(SMALL, &path).output().ok()
}

/// On a filesystem of one mebibyte, which goes away with the process.
fn on_a_small_disk(test: &str) {
    let mount = "mount -t tmpfs -o size=1m,mode=700 tmpfs \"$1\" || exit 99; shift; exec \"$@\"";
    let user = if nix::unistd::geteuid().is_root() { "" } else { "--map-root-user" };
    let script = format!("exec unshare {user} --mount sh -c '{}' sh \"$@\"", mount.replace('\'', "'\\''"));
    match again(test, &script) {
        Some(output) if output.status.success() => {}
        Some(output)
            if matches!(output.status.code(), Some(1 | 99 | 127)) && !output.stderr.starts_with(b"\nthread") =>
        {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(!said.contains("panicked"), "{said}");
            // Past the harness, which would swallow it.
            let _ = std::io::stderr()
                .write_all(format!("SKIPPED {test}: no small filesystem can be made here: {said}\n").as_bytes());
            assert!(std::env::var_os("CI").is_none_or(|value| value != "true"), "{said}");
        }
        output => panic!("{output:?}"),
    }
}

fn small_disk() -> Option<PathBuf> {
    std::env::var_os(SMALL).map(PathBuf::from)
}

/// Takes all the space that is left.
fn fill_up(top: &Path) {
    let mut file = fs::File::create(top.join("junk")).expect("own directory");
    while file.write_all(&[b'x'; 512]).is_ok() {}
    file.flush().expect("nothing is buffered");
}

fn make_room(top: &Path) {
    fs::remove_file(top.join("junk")).expect("own file");
}

fn settings(top: &Path, when_full: WhenFull) -> Settings {
    Settings { when_full, ..Settings::own(&top.join("ledger")) }
}

fn assert_sound(settings: &Settings, lost: u64) {
    let directory = Directory::read(&settings.path).expect("it is there");
    let report = verify(&directory, Anchors::default(), Duration::ZERO).expect("it can be read");
    assert_eq!((report.sound(), report.lost), (Sound::Yes, lost), "{report:?}");
}

#[test]
fn a_run_that_was_let_begin_can_be_recorded_though_the_disk_is_full_by_then() {
    let Some(top) = small_disk() else {
        return on_a_small_disk("limits::a_run_that_was_let_begin_can_be_recorded_though_the_disk_is_full_by_then");
    };
    let settings = settings(&top, WhenFull::Refuse);
    let mut ledger = Ledger::open(settings.clone(), Duration::ZERO).expect("there is room");
    let rooms: Vec<MayRun> = (0..4).map(|_| ledger.may_run()).collect();
    assert!(rooms.iter().all(|may| matches!(may, MayRun::Yes(_))));
    fill_up(&top);
    for _ in 0..4 {
        let mut long = verdict("x");
        long.argv = vec!["x".repeat(4000); 10];
        ledger.append(&mut long).expect("its room was kept");
    }
    // No more than was kept: the next one is refused before it runs.
    let refused = (0..20).map(|_| ledger.may_run()).find(|may| matches!(may, MayRun::No(_)));
    let Some(MayRun::No(why)) = refused else { panic!("twenty runs would be let begin on a full disk") };
    assert!(why.is_full(), "{why:?}");
    drop(rooms);
    make_room(&top);
    assert!(matches!(ledger.may_run(), MayRun::Yes(_)));
    drop(ledger);
    assert_sound(&settings, 0);
}

#[test]
fn what_could_not_be_recorded_is_counted_when_it_can_be_again() {
    let Some(top) = small_disk() else {
        return on_a_small_disk("limits::what_could_not_be_recorded_is_counted_when_it_can_be_again");
    };
    let settings = settings(&top, WhenFull::RunAndWarn);
    let mut ledger = Ledger::open(settings.clone(), Duration::ZERO).expect("there is room");
    fill_up(&top);
    let may = ledger.may_run();
    assert!(matches!(&may, MayRun::Unrecorded(why) if why.is_full()), "{may:?}");
    let mut lost = 0;
    while lost < 3 {
        let mut verdict = verdict("x");
        if let Err(why) = ledger.append(&mut verdict) {
            assert!(why.is_full() && verdict.seq.is_none(), "{why:?}");
            lost += 1;
        }
    }
    make_room(&top);
    ledger.append(&mut verdict("after")).expect("there is room");
    drop(ledger);
    assert_sound(&settings, 3);
    let directory = Directory::read(&settings.path).expect("it is there");
    let newest = directory.numbers().expect("own directory").pop().expect("a file");
    let said = fs::read_to_string(directory.path_of(newest)).expect("own file");
    assert!(said.contains("\"count\":3") && said.contains("No space left on device"), "{said}");
}

#[test]
fn a_service_starts_on_a_full_disk_only_where_runs_may_go_unrecorded() {
    let Some(top) = small_disk() else {
        return on_a_small_disk("limits::a_service_starts_on_a_full_disk_only_where_runs_may_go_unrecorded");
    };
    fs::create_dir(top.join("ledger")).expect("own directory");
    fs::set_permissions(top.join("ledger"), std::os::unix::fs::PermissionsExt::from_mode(0o700))
        .expect("own directory");
    fs::write(top.join("ledger/lock"), "").expect("own directory");
    fill_up(&top);
    let refused = Ledger::open(settings(&top, WhenFull::Refuse), Duration::ZERO).expect_err("the disk is full");
    assert!(refused.is_full(), "{refused:?}");
    let mut ledger = Ledger::open(settings(&top, WhenFull::RunAndWarn), Duration::ZERO).expect("it is allowed");
    assert!(ledger.append(&mut verdict("lost")).is_err());
    make_room(&top);
    ledger.append(&mut verdict("x")).expect("there is room");
    drop(ledger);
    assert_sound(&settings(&top, WhenFull::Refuse), 1);
}

#[test]
fn a_claim_can_be_redeemed_on_a_full_disk_and_none_is_given_there() {
    let Some(top) = small_disk() else {
        return on_a_small_disk("limits::a_claim_can_be_redeemed_on_a_full_disk_and_none_is_given_there");
    };
    let settings = settings(&top, WhenFull::Refuse);
    let claims: Vec<Claim> = (0..3).map(|_| Claim::stake(settings.clone()).expect("there is room")).collect();
    fill_up(&top);
    let refused = Claim::stake(settings.clone()).expect_err("the disk is full");
    assert!(refused.is_full(), "{refused:?}");
    for claim in claims {
        let mut long = verdict("x");
        long.argv = vec!["x".repeat(4000); 10];
        claim.redeem(&mut long).expect("its room was kept");
    }
    assert_sound(&settings, 0);
}

#[test]
fn a_line_that_is_torn_while_it_is_written_is_named_by_the_next_file() {
    let Some(top) = small_disk() else {
        // No file longer than so many blocks of 512 or 1024 bytes; the signal would end us instead of the write.
        let script = "shift; trap '' XFSZ; ulimit -f 9; exec \"$@\"";
        let test = "limits::a_line_that_is_torn_while_it_is_written_is_named_by_the_next_file";
        let output = again(test, script).expect("there is a shell");
        assert!(output.status.success(), "{output:?}");
        return;
    };
    let settings = settings(&top, WhenFull::Refuse);
    let mut ledger = Ledger::open(settings.clone(), Duration::ZERO).expect("there is room");
    let mut failed = 0;
    for _ in 0..40 {
        match ledger.append(&mut verdict("x")) {
            Ok(()) => {}
            Err(LedgerError::System { error, .. }) => {
                assert_eq!(error.kind(), ErrorKind::FileTooLarge, "{error}");
                failed += 1;
            }
            Err(other) => panic!("{other:?}"),
        }
    }
    assert!(failed > 2, "{failed}");
    drop(ledger);
    let directory = Directory::read(&settings.path).expect("it is there");
    let report = verify(&directory, Anchors::default(), Duration::ZERO).expect("it can be read");
    // The last failure may be so recent that nothing was written since.
    assert_ne!(report.sound(), Sound::No, "{report:?}");
    assert!(report.torn.len() > 1 && report.lost >= failed - 1, "{report:?}");
    assert_eq!(report.verdicts, 40 - failed);
}
