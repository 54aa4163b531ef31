//! What somebody does to a ledger who can write its files, and what is found.

use super::*;

/// Three files, some lines each.
fn ledger() -> (Place, Head) {
    let place = Place::with_files_of(1500);
    let head = place.fill(5);
    assert_eq!(place.numbers(), [1, 2, 3]);
    place.assert_sound();
    (place, head)
}

fn assert_found(place: &Place, what: &str) -> Report {
    let report = place.verify();
    assert_eq!(report.sound(), Sound::No, "{what}: {report:?}");
    report
}

fn swap_lines(place: &Place, number: u64, lines: Vec<String>) {
    place.write(number, lines.join("\n") + "\n");
}

#[test]
fn any_changed_byte_of_any_file_is_found() {
    let (place, _) = ledger();
    for number in place.numbers() {
        let bytes = place.bytes(number);
        for at in 0..bytes.len() {
            // Every bit over the positions, and a newline where there was none and the other way round.
            let newline = if bytes[at] == b'\n' { b' ' } else { b'\n' };
            for changed in [bytes[at] ^ (1 << (at % 8)), newline] {
                let mut copy = bytes.clone();
                copy[at] = changed;
                place.write(number, &copy);
                assert_found(&place, &format!("byte {at} of file {number} as {changed}"));
            }
        }
        place.write(number, &bytes);
    }
    place.assert_sound();
}

#[test]
fn the_place_of_a_change_is_named() {
    let (place, _) = ledger();
    let mut lines = place.lines(2);
    lines[1] = lines[1].replace("run-", "RUN-");
    swap_lines(&place, 2, lines);
    let report = assert_found(&place, "a changed word");
    assert_eq!(report.breaks.count, 1, "{report:?}");
    let said = report.breaks.first[0].to_string();
    assert!(said.starts_with("00000002.jsonl:2: the line does not have the digest"), "{said}");
}

#[test]
fn a_line_that_was_changed_and_sealed_anew_breaks_the_link_after_it() {
    let (place, _) = ledger();
    let mut lines = place.lines(1);
    let object = lines[1].split(",\"digest\":").next().expect("a part").replace("run-0", "run-x") + "}";
    lines[1] = clawjail::ledger::line::seal(&object).expect("an object");
    swap_lines(&place, 1, lines);
    let said = assert_found(&place, "a line sealed anew").breaks.first[0].to_string();
    assert!(said.starts_with("00000001.jsonl:3: the line does not name the hash of the line before"), "{said}");
}

#[test]
fn a_line_that_is_removed_doubled_or_moved_is_found() {
    let (place, _) = ledger();
    let lines = place.lines(2);
    let count = lines.len();
    for at in 0..count - 1 {
        let mut removed = lines.clone();
        removed.remove(at);
        swap_lines(&place, 2, removed);
        assert_found(&place, &format!("line {at} removed"));
        let mut doubled = lines.clone();
        doubled.insert(at, lines[at].clone());
        swap_lines(&place, 2, doubled);
        assert_found(&place, &format!("line {at} doubled"));
        let mut swapped = lines.clone();
        swapped.swap(at, at + 1);
        swap_lines(&place, 2, swapped);
        assert_found(&place, &format!("line {at} moved"));
    }
    swap_lines(&place, 2, lines[..count - 1].to_vec());
    assert_found(&place, "the last line of a file that is not the last");
    swap_lines(&place, 2, lines);
    place.assert_sound();
}

#[test]
fn a_file_that_is_removed_is_found_and_the_newest_one_only_by_a_head_that_was_kept() {
    let (place, head) = ledger();
    for (number, found) in [(1, true), (2, true), (3, false)] {
        let copy = place.copy();
        fs::remove_file(copy.file(number)).expect("own file");
        assert_eq!(copy.verify().sound() == Sound::No, found, "file {number}");
        let expect = Some(head);
        assert_eq!(copy.verify_by(Anchors { expect, from: None }).sound(), Sound::No, "file {number}");
    }
    assert_eq!(place.verify_by(Anchors { expect: Some(head), from: None }).sound(), Sound::Yes);
    let empty = Place::new();
    fs::create_dir(empty.path()).expect("own directory");
    assert_found(&empty, "no file at all");
}

#[test]
fn a_ledger_that_was_written_anew_is_found_by_a_head_that_was_kept() {
    let (place, head) = ledger();
    let other = ledger().0;
    assert_eq!(other.verify().sound(), Sound::Yes);
    let report = other.verify_by(Anchors { expect: Some(head), from: None });
    assert_eq!(report.sound(), Sound::No, "{report:?}");
    // A line in the middle anchors everything before it.
    let line = place.lines(1).pop().expect("a line");
    let middle = clawjail::ledger::line::unseal(line.as_bytes()).expect("a sound line");
    let expect = Some(Head { seq: middle.seq, hash: middle.hash });
    assert_eq!(place.verify_by(Anchors { expect, from: None }).sound(), Sound::Yes);
    assert_eq!(other.verify_by(Anchors { expect, from: None }).sound(), Sound::No);
}

#[test]
fn older_files_may_be_moved_away_where_their_head_was_kept() {
    let (place, _) = ledger();
    let last = place.lines(1).pop().expect("a line");
    let links = clawjail::ledger::line::unseal(last.as_bytes()).expect("a sound line");
    fs::remove_file(place.file(1)).expect("own file");
    assert_found(&place, "without saying so");
    let from = Some(Head { seq: links.seq, hash: links.hash });
    assert_eq!(place.verify_by(Anchors { expect: None, from }).sound(), Sound::Yes);
    let wrong = Some(Head { seq: links.seq, hash: links.previous });
    assert_eq!(place.verify_by(Anchors { expect: None, from: wrong }).sound(), Sound::No);
}

#[test]
fn a_file_cut_short_is_torn_at_the_newest_end_and_tampered_with_anywhere_else() {
    let (place, head) = ledger();
    for number in place.numbers() {
        let bytes = place.bytes(number);
        for length in 0..bytes.len() {
            place.write(number, &bytes[..length]);
            let expected = match (number, length.checked_sub(1).map(|last| bytes[last])) {
                (3, Some(b'\n')) => Sound::Yes,
                (3, _) => Sound::Torn,
                _ => Sound::No,
            };
            assert_eq!(place.verify().sound(), expected, "file {number} cut to {length}");
            if length % 50 == 0 {
                let anchored = place.verify_by(Anchors { expect: Some(head), from: None });
                assert_eq!(anchored.sound(), Sound::No, "file {number} cut to {length}");
            }
        }
        place.write(number, &bytes);
    }
    place.assert_sound();
}

#[test]
fn a_writer_does_not_go_on_after_an_end_that_no_crash_leaves() {
    let (place, _) = ledger();
    let bytes = place.bytes(3);
    let mut altered = bytes.clone();
    let at = bytes.len() - 200;
    altered[at] ^= 1;
    let mut stray = bytes.clone();
    *stray.last_mut().expect("a newline") = b'x';
    for wrong in [altered, stray, [&bytes[..], b"{}\n"].concat()] {
        place.write(3, wrong);
        let refused = place.try_writer().expect_err("it was altered");
        assert!(matches!(refused, LedgerError::Altered { .. }), "{refused}");
        assert!(refused.hint().is_some_and(|hint| hint.contains("ledger verify")));
    }
    place.write(3, bytes);
    assert_eq!(place.writer().head().seq, place.verify().head.seq);
}
