//! Asking, while somebody writes and while nobody does.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use clawjail::ledger::follow::Follower;
use clawjail::verdict::Outcome;
use jiff::{SignedDuration, Timestamp};

use super::*;

#[test]
fn verdicts_come_newest_first_over_all_files() {
    let place = Place::with_files_of(2500);
    place.fill(30);
    assert!(place.numbers().len() > 5);
    let expected: Vec<String> = (0..30).rev().map(|number| format!("run-{number}")).collect();
    assert_eq!(place.words(), expected);
}

#[test]
fn each_question_is_answered_by_those_that_fit_it_and_no_others() {
    let place = Place::with_files_of(2500);
    let mut ledger = place.writer();
    let old = Timestamp::now() - SignedDuration::from_hours(2);
    let mut all = [verdict("refused"), denied("denied"), denied("plain"), denied("old")];
    all[2].denials.clear();
    (all[2].agent, all[2].caller.uid, all[2].profile) = (None, 7, "trusted".into());
    (all[3].time, all[3].denials) = (old.to_string(), Vec::new());
    for one in &mut all {
        ledger.append(one).expect("room for it");
    }
    let hour_ago = Some(Timestamp::now() - SignedDuration::from_hours(1));
    let ask = |filter: Filter| place.ask(&filter);
    assert_eq!(ask(Filter { denied: true, ..Filter::default() }), ["denied", "refused"]);
    assert_eq!(ask(Filter { outcome: Some(Outcome::Refused), ..Filter::default() }), ["refused"]);
    assert_eq!(ask(Filter { caller: Some(7), ..Filter::default() }), ["plain"]);
    assert_eq!(ask(Filter { profile: Some("trusted".into()), ..Filter::default() }), ["plain"]);
    assert_eq!(ask(Filter { agent: Some("coder".into()), ..Filter::default() }), ["old", "denied", "refused"]);
    assert_eq!(ask(Filter { since: hour_ago, ..Filter::default() }), ["plain", "denied", "refused"]);
    assert_eq!(ask(Filter { until: hour_ago, ..Filter::default() }), ["old"]);
    assert_eq!(ask(Filter { id: Some(all[1].id.clone()), ..Filter::default() }), ["denied"]);
    assert_eq!(ask(Filter { id: Some("ffffffff".into()), ..Filter::default() }), [""; 0]);
}

#[test]
fn files_from_before_the_asked_time_are_not_opened() {
    let mut place = Place::new();
    place.settings.rotate_every = 20;
    let mut ledger = place.writer();
    for word in ["old", "less old"] {
        std::thread::sleep(Duration::from_millis(50));
        ledger.append(&mut verdict(word)).expect("room for it");
    }
    std::thread::sleep(Duration::from_millis(50));
    // The first file ended when the second was begun, which was before this.
    let since = Timestamp::now();
    for word in ["new", "newer"] {
        std::thread::sleep(Duration::from_millis(50));
        ledger.append(&mut verdict(word)).expect("room for it");
    }
    // An answer that needed this file would fail.
    fs::remove_file(place.file(1)).expect("own file");
    fs::create_dir(place.file(1)).expect("own directory");
    assert_eq!(place.ask(&Filter { since: Some(since), ..Filter::default() }), ["newer", "new"]);
    let all = query::newest_first(&place.directory(), &Filter::default(), |_| ControlFlow::Continue(()));
    assert!(all.is_err());
}

#[test]
fn what_is_no_verdict_is_counted_and_the_rest_is_answered() {
    let place = Place::new();
    place.fill(2);
    let mut lines = place.lines(1);
    lines[1] = "{\"seq\":2,".to_owned();
    place.write(1, lines.join("\n") + "\nnot JSON\n");
    let mut words = Vec::new();
    let unreadable = query::newest_first(&place.directory(), &Filter::default(), |found| {
        words.push(found.verdict.argv[0].clone());
        ControlFlow::Continue(())
    });
    assert_eq!((words, unreadable.expect("it can be read")), (vec!["run-1".to_owned()], 2));
}

#[test]
fn readers_see_whole_lines_and_a_sound_chain_while_it_is_written() {
    let place = Place::with_files_of(20_000);
    place.fill(1);
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut looks, mut last) = (0, 0);
            while !over.load(Ordering::Relaxed) {
                place.assert_sound();
                let count = place.words().len();
                assert!(count >= last, "{count} after {last}");
                (looks, last) = (looks + 1, count);
            }
            looks
        });
        let mut ledger = place.writer();
        for _ in 0..600 {
            ledger.append(&mut verdict("x")).expect("room for it");
        }
        over.store(true, Ordering::Relaxed);
        assert!(reader.join().expect("it found nothing wrong") > 2);
    });
    assert_eq!(place.words().len(), 601);
}

#[test]
fn a_follower_sees_every_verdict_once_and_in_order_over_files_and_torn_ends() {
    let place = Place::with_files_of(4000);
    place.fill(3);
    let (ready, is_ready) = mpsc::channel();
    std::thread::scope(|scope| {
        let seen = scope.spawn(|| {
            let directory = place.directory();
            let mut follower = Follower::at_end(&directory).expect("it can be followed");
            ready.send(()).expect("somebody waits");
            let mut words = Vec::new();
            let followed = follower.follow(|line| {
                words.extend(serde_json::from_slice::<Verdict>(line).map(|verdict| verdict.argv[0].clone()));
                if words.len() < 40 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
            followed.map(|()| words).expect("it can be followed")
        });
        is_ready.recv().expect("it begins");
        place.fill(20);
        let newest = *place.numbers().last().expect("a file");
        place.write(newest, [&place.bytes(newest)[..], b"{\"torn"].concat());
        place.fill(20);
        let twice: Vec<String> = (0..20).chain(0..20).map(|number| format!("run-{number}")).collect();
        assert_eq!(seen.join().expect("it ends"), twice);
    });
    place.assert_sound();
}
