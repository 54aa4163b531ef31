//! What is written, and in what order.

use clawjail::ledger::line::{Hash, LONGEST};
use serde_json::Value;

use super::*;

#[test]
fn each_line_names_the_hash_of_the_one_before_over_files_too() {
    let place = Place::with_files_of(2000);
    let head = place.fill(12);
    assert!(place.numbers().len() >= 3, "{:?}", place.numbers());
    let (mut seq, mut previous) = (0, Hash::NONE);
    for number in place.numbers() {
        for (index, line) in place.lines(number).iter().enumerate() {
            let value: Value = serde_json::from_str(line).expect("JSON");
            assert_eq!(value["seq"], seq + 1);
            assert_eq!(value["previous"], previous.to_string());
            assert_eq!(value["event"] == "file_begun", index == 0, "{line}");
            (seq, previous) = (seq + 1, Hash::of(line.as_bytes()));
        }
    }
    assert_eq!(head, Head { seq, hash: previous });
    place.assert_sound();
}

#[test]
fn a_verdict_is_told_its_place_and_stands_there_as_it_was_told() {
    let place = Place::new();
    let mut told = verdict("x");
    place.writer().append(&mut told).expect("room for it");
    let line = place.lines(1).pop().expect("a line");
    let stands: Verdict = serde_json::from_str(&line).expect("a verdict");
    assert_eq!((stands.seq, &stands), (Some(2), &told));
    assert!(told.digest.is_some_and(|digest| line.ends_with(&format!(",\"digest\":\"{digest}\"}}"))));
}

#[test]
fn a_writer_goes_on_where_another_one_ended() {
    let place = Place::new();
    for _ in 0..5 {
        place.fill(2);
    }
    assert_eq!((place.numbers(), place.words().len()), (vec![1], 10));
    place.assert_sound();
}

#[test]
fn a_file_is_ended_when_it_is_long_enough_or_old_enough() {
    let long = Place::with_files_of(1);
    long.fill(3);
    assert_eq!(long.numbers(), [1, 2, 3, 4]);
    assert!(long.lines(4)[0].contains("\"because\":\"size\""), "{}", long.lines(4)[0]);
    long.assert_sound();
    let mut old = Place::new();
    old.settings.rotate_every = 50;
    let mut ledger = old.writer();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(60));
        ledger.append(&mut verdict("x")).expect("room for it");
    }
    assert_eq!(old.numbers(), [1, 2, 3, 4]);
    assert!(old.lines(2)[0].contains("\"because\":\"age\""), "{}", old.lines(2)[0]);
    old.assert_sound();
}

#[test]
fn a_verdict_that_is_too_long_is_cut_and_says_so_and_any_other_is_not() {
    let place = Place::new();
    let mut ledger = place.writer();
    let mut long = denied("x");
    long.argv = vec!["\u{e4}\"\n".repeat(4000); 300];
    long.denials = vec![long.denials[0].clone(); 5000];
    let mut short = verdict("x");
    ledger.append(&mut long).expect("it fits now");
    ledger.append(&mut short).expect("room for it");
    assert!(long.shortened && !short.shortened);
    let lines = place.lines(1);
    assert!(lines[1].len() < LONGEST, "{}", lines[1].len());
    let stands: Verdict = serde_json::from_str(&lines[1]).expect("a verdict");
    assert!(stands.argv.last().is_some_and(|last| last.ends_with("more")) && !stands.denials.is_empty());
    place.assert_sound();
}

#[test]
fn a_process_that_ends_leaves_a_whole_ledger_by_every_policy_of_syncing() {
    use clawjail::ledger::config::Fsync;
    use clawjail::profile::typed::Exact;
    use clawjail::profile::units::Span;
    for fsync in [Fsync::Always, Fsync::Interval(Exact(Span(10))), Fsync::Interval(Exact(Span(60_000))), Fsync::Never] {
        let mut place = Place::with_files_of(3000);
        place.settings.fsync = fsync;
        let begun = std::time::Instant::now();
        place.fill(20);
        assert!(begun.elapsed() < Duration::from_secs(20), "its end waited for the interval");
        assert_eq!(place.words().len(), 20, "{fsync:?}");
        place.assert_sound();
    }
}
