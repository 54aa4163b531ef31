//! Every known escape, tried in the real binary, in every tier that this machine allows.
//!
//! A case is a way out that was found in a sandbox like ours. Each is tried by a hostile program inside the jail, which
//! says what the kernel answered, and each has a control: the same action where it is allowed. So a case can fail by an
//! escape, and by proving nothing.
//!
//! `cargo test --test escapes -- A1 bare` tries one case in one tier. As an ordinary user the tiers that need root are
//! skipped, loudly; run it as root for all of them.

#![expect(unsafe_code, reason = "the hostile program makes system calls raw")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop where it cannot go on"
)]

#[path = "../support/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest of it")]
mod support;

mod attack;
mod attack_landlock;
mod attack_names;
mod attack_processes;
mod attack_settings;
mod attack_sockets;
mod client;
mod hosts;
mod trial;

mod a_links;
mod a_names;
mod a_places;
mod a_repositories;
mod a_settings;
mod a_views;
mod b_broker;
mod b_calls;
mod b_sockets;
mod d_decisions;
mod d_texts;
mod e_floods;
mod e_resources;
mod f_containers;
mod f_hosts;
mod g_launcher;
mod g_privileges;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, RwLock};

use support::tier::{self, Tier};
use trial::{End, Trial};

/// One way out.
pub struct Case {
    /// Its id in the list of known escapes.
    pub id: &'static str,
    /// What must hold.
    pub says: &'static str,
    /// Tries it.
    pub run: fn(&mut Trial),
    /// Tiers in which it is known not to hold yet, and why.
    pub gaps: &'static [(Tier, &'static str)],
}

/// A case that must hold everywhere.
pub const fn case(id: &'static str, says: &'static str, run: fn(&mut Trial)) -> Case {
    Case { id, says, run, gaps: &[] }
}

/// What is in the list of known escapes and has no case here, and why: so that nothing is left out in silence.
const ELSEWHERE: [(&str, &str); 9] = [
    ("A18 A19", "belong to copy-on-write workspaces, which are refused until there are any (A16)"),
    ("B6", "belongs to the egress gate: it connects by what it judged, never by memory of the command"),
    ("B8", "is how every case judges: by what the kernel returned to the hostile program, never by our own log"),
    ("C1 to C21, C23, C24", "belong to the egress gate: tests/egress, for what it has by now"),
    ("D1 D3", "do not apply: no rule of ours looks at a command's words or at the name of a program"),
    ("D2", "belongs to the daemon: nothing is approved before it runs yet"),
    ("D13", "is in tests/run/verdicts.rs and tests/ledger: a record holds neither a secret nor a digest of one"),
    ("G10", "is in tests/daemon as far as it was tried: who is behind the socket; floods and odd frames are not"),
    ("B10 F8 on other kernels", "belong to tests/kernels: here a filter or a mount stands for them"),
];

/// At once; more would only wait for processors.
const THREADS: usize = 2;

/// Cases that take so much of their user's share that others would fail beside them.
const ALONE: [&str; 3] = ["E1", "E1u", "A10g"];

/// What happened, over all cases and tiers.
#[derive(Default)]
struct Tally {
    tried: usize,
    contained: usize,
    escaped: usize,
    gaps: usize,
    skipped: usize,
}

fn main() -> ExitCode {
    if std::env::args_os().next().is_some_and(|name| name.as_encoded_bytes().ends_with(b"/attack")) {
        return attack::main(std::env::args_os().skip(1));
    }
    if std::env::args_os().next().is_some_and(|name| name.as_encoded_bytes().ends_with(b"/client")) {
        return client::main(std::env::args_os().skip(1));
    }
    let filters: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let (tiers, without) = tier::available();
    let mut failed = 0;
    for skipped in &without {
        println!("SKIPPED TIER {}: {}", skipped.tier.name(), skipped.why);
        failed += usize::from(tier::must_not_skip() && !skipped.expected);
    }
    let chosen: Vec<Tier> = tiers.into_iter().filter(|tier| wants(&filters, tier.name(), &tier_names())).collect();
    let cases: Vec<Case> = all().into_iter().filter(|case| wants(&filters, case.id, &ids())).collect();
    let work: Vec<(usize, Tier)> =
        chosen.iter().flat_map(|tier| (0..cases.len()).map(move |case| (case, *tier))).collect();
    let tallies = try_all(&cases, &work);
    let (mut passed, mut skipped) = (0, without.len());
    println!();
    for (ids, why) in ELSEWHERE {
        println!("{ids}: {why}");
    }
    println!();
    for tier in chosen {
        let tally = &tallies[tier as usize];
        println!(
            "{:<13} {} cases: {} contained, {} escaped, {} known gaps, {} skipped",
            tier.name(),
            tally.tried,
            tally.contained,
            tally.escaped,
            tally.gaps,
            tally.skipped
        );
        passed += tally.contained + tally.gaps;
        failed += tally.escaped;
        skipped += tally.skipped;
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn all() -> Vec<Case> {
    [
        a_links::CASES,
        a_names::CASES,
        a_places::CASES,
        a_repositories::CASES,
        a_settings::CASES,
        a_views::CASES,
        b_broker::CASES,
        b_calls::CASES,
        b_sockets::CASES,
        d_decisions::CASES,
        d_texts::CASES,
        e_floods::CASES,
        e_resources::CASES,
        f_containers::CASES,
        f_hosts::CASES,
        g_launcher::CASES,
        g_privileges::CASES,
    ]
    .into_iter()
    .flatten()
    .map(|case| Case { ..*case })
    .collect()
}

fn ids() -> Vec<&'static str> {
    all().iter().map(|case| case.id).collect()
}

fn tier_names() -> Vec<&'static str> {
    Tier::ALL.map(Tier::name).to_vec()
}

/// Whether `name` is asked for: no filter of its kind means all.
fn wants(filters: &[String], name: &str, kind: &[&str]) -> bool {
    let mut mine = filters.iter().filter(|filter| kind.contains(&filter.as_str())).peekable();
    mine.peek().is_none() || mine.any(|filter| filter == name)
}

fn try_all(cases: &[Case], work: &[(usize, Tier)]) -> [Tally; 4] {
    let next = AtomicUsize::new(0);
    let tallies = Mutex::new([const { Tally { tried: 0, contained: 0, escaped: 0, gaps: 0, skipped: 0 } }; 4]);
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some((case, tier)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    try_one(&cases[*case], *tier, &tallies);
                }
            });
        }
    });
    tallies.into_inner().expect("no thread panicked")
}

/// Held alone by cases that use up what a user's processes share (without a group, processes are counted by user).
static SHARED: RwLock<()> = RwLock::new(());

fn try_one(case: &Case, tier: Tier, tallies: &Mutex<[Tally; 4]>) {
    let uses_up = case.id == "E1";
    let _alone = uses_up.then(|| SHARED.write().expect("no thread panicked"));
    let _beside = (!uses_up).then(|| SHARED.read().expect("no thread panicked"));
    static OTHERS: RwLock<()> = RwLock::new(());
    let alone = ALONE.contains(&case.id).then(|| OTHERS.write());
    let beside = alone.is_none().then(|| OTHERS.read());
    let begun = std::time::Instant::now();
    let tried = std::panic::catch_unwind(|| {
        let mut trial = Trial::new(tier);
        (case.run)(&mut trial);
        trial.end()
    });
    let end = tried.unwrap_or_else(|_| End::Escaped(vec!["the test itself panicked".into()]));
    drop((alone, beside));
    let gap = case.gaps.iter().find(|(at, _)| *at == tier).map(|(_, why)| *why);
    let mut tallies = tallies.lock().expect("no thread panicked");
    let tally = &mut tallies[tier as usize];
    tally.tried += 1;
    let (word, lines) = match (end, gap) {
        (End::Contained, None) => {
            tally.contained += 1;
            ("contained".to_owned(), vec![])
        }
        (End::Contained, Some(why)) => {
            tally.escaped += 1;
            ("NO GAP ANY MORE".to_owned(), vec![format!("it holds now; take away the note: {why}")])
        }
        (End::Gap(why, wrong), _) | (End::Escaped(wrong), Some(why)) => {
            tally.gaps += 1;
            (format!("KNOWN GAP: {why}"), wrong)
        }
        (End::Escaped(wrong), None) => {
            tally.escaped += 1;
            ("ESCAPED".to_owned(), wrong)
        }
        (End::Skipped(why), _) => {
            tally.skipped += 1;
            (format!("SKIPPED: {why}"), vec![])
        }
    };
    let took = begun.elapsed().as_millis();
    println!("{:<13} {:<4} {} ... {word} ({took} ms)", tier.name(), case.id, case.says);
    lines.iter().for_each(|line| println!("    {line}"));
}
