//! What power cuts and kills leave, and how it goes on.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

/// So many times the writer is killed.
const KILLS: u64 = 100;

#[test]
fn after_a_cut_anywhere_in_the_last_line_nothing_before_it_is_lost_and_the_chain_says_what_was() {
    let before = Place::new();
    before.fill(3);
    let (bytes, last) = (before.bytes(1), before.lines(1).pop().expect("a line").len() + 1);
    for length in bytes.len() - last..bytes.len() {
        let place = before.copy();
        place.write(1, &bytes[..length]);
        place.fill(1);
        let torn = length > bytes.len() - last;
        assert_eq!(place.numbers(), if torn { vec![1, 2] } else { vec![1] }, "{length}");
        assert_eq!(place.words(), ["run-0", "run-1", "run-0"], "{length}");
        let report = place.verify();
        assert_eq!((report.sound(), report.torn.len()), (Sound::Yes, usize::from(torn)), "{length}: {report:?}");
        // What is torn stays where it is, byte for byte.
        assert!(place.bytes(1).starts_with(&bytes[..length]));
    }
}

#[test]
fn a_torn_end_that_is_named_can_no_more_be_changed_than_a_line() {
    let place = Place::new();
    place.fill(2);
    let bytes = place.bytes(1);
    let torn = &bytes[..bytes.len() - 100];
    place.write(1, torn);
    place.fill(1);
    place.assert_sound();
    let changed = |bytes: &[u8]| {
        place.write(1, bytes);
        place.verify().sound()
    };
    assert_eq!(changed(&torn[..torn.len() - 1]), Sound::No);
    assert_eq!(changed(&[torn, b"x"].concat()), Sound::No);
    assert_eq!(changed(&bytes), Sound::No);
    let mut flipped = torn.to_vec();
    *flipped.last_mut().expect("a byte") ^= 1;
    assert_eq!(changed(&flipped), Sound::No);
    assert_eq!(changed(torn), Sound::Yes);
}

#[test]
fn files_that_lost_even_their_first_line_are_named_too() {
    let place = Place::with_files_of(1);
    place.fill(3);
    let lines = place.lines(3);
    place.write(4, "");
    place.write(3, &lines[0].as_bytes()[..20]);
    place.write(2, [place.bytes(2), b"\0\0\0\0".to_vec()].concat());
    // File 2 is not the last any more, and file 3 does not name its end: only a writer that starts over can.
    let report = place.verify();
    assert_eq!((report.sound(), report.unnamed.len()), (Sound::Torn, 3), "{report:?}");
    place.fill(1);
    let report = place.verify();
    assert_eq!((report.sound(), report.torn.len()), (Sound::Yes, 3), "{report:?}");
    assert_eq!(place.words(), ["run-0", "run-0"]);
}

#[test]
fn what_a_crash_left_of_a_file_that_was_being_made_is_in_nobodys_way() {
    let place = Place::with_files_of(1);
    place.fill(1);
    fs::write(place.path().join(".next"), "{\"event\":\"file_be").expect("own directory");
    place.fill(1);
    place.assert_sound();
    assert!(!place.path().join(".next").exists());
}

#[test]
fn a_writer_that_is_killed_a_hundred_times_loses_nothing_that_it_had_acknowledged() {
    let place = Place::with_files_of(100_000);
    let mut acknowledged = 0;
    for kill in 0..KILLS {
        let mut writer = start_writer(place.path());
        let mut lines = BufReader::new(writer.stdout.take().expect("asked for")).lines();
        // Some are killed at once, some in the middle of the work.
        let most = 1 + (kill * 37) % 25;
        let mut last = None;
        while let Some(Ok(line)) = lines.next() {
            last = line.parse::<u64>().ok().or(last);
            if last.is_some_and(|seq| seq > acknowledged + most) {
                break;
            }
        }
        writer.kill().expect("our own child");
        let ended = writer.wait().expect("our own child");
        assert!(ended.code().is_none(), "the writer ended by itself: {ended}");
        acknowledged = lines.map_while(Result::ok).filter_map(|line| line.parse().ok()).chain(last).max().unwrap_or(0);
        let report = place.verify();
        assert_ne!(report.sound(), Sound::No, "kill {kill}: {report:?}");
        assert!(report.head.seq >= acknowledged, "kill {kill}: {acknowledged} was acknowledged, {report:?}");
    }
    place.fill(1);
    let report = place.verify();
    assert_eq!(report.sound(), Sound::Yes, "{report:?}");
    assert_eq!(report.verdicts, place.words().len() as u64);
    assert!(report.files > 2 && report.verdicts > KILLS, "{report:?}");
}

/// This test program again, as a writer that goes on until it is killed.
fn start_writer(path: &Path) -> std::process::Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "crashes::a_writer_in_a_process_of_its_own", "--nocapture"]);
    command.env(WRITER, path).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().expect("this program can be executed")
}

/// Where the writer is to write.
const WRITER: &str = "CLAWJAIL_TEST_WRITER";

#[test]
fn a_writer_in_a_process_of_its_own() {
    // The other half of the test above; by itself it has nothing to do.
    let Some(path) = std::env::var_os(WRITER) else { return };
    let mut settings = Settings::own(Path::new(&path));
    settings.rotate_size = 100_000;
    settings.fsync = clawjail::ledger::config::Fsync::Never;
    let mut ledger = Ledger::open(settings, Duration::from_secs(5)).expect("a ledger that can be written");
    for number in 0_u64.. {
        let mut verdict = verdict("killed");
        // Some are longer than a page, which a signal can tear.
        verdict.argv = vec!["x".repeat(usize::try_from(number % 7 * 900).expect("small")); 2];
        ledger.append(&mut verdict).expect("room for it");
        println!("{}", verdict.seq.expect("it has a place"));
        std::io::stdout().flush().expect("somebody reads");
    }
}
