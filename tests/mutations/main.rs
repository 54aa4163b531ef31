//! Bytes of others, changed at random, for everything that reads some: what a fuzzer does, without one, on every toolchain.
//!
//! Each target has a second, or as many as `CLAWJAIL_FUZZ_SECONDS` says; `.ci/run` gives more. The seed is printed, and
//! `CLAWJAIL_SEED` repeats it. docs/fuzzing.md has the same targets for cargo-fuzz, which sees what the code does with them.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop where it cannot go on")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use clawjail::host::Tier;
use clawjail::profile::narrow::Narrow;
use clawjail::wire::files::FileJob;
use clawjail::wire::privsep::{Lifetime, RunRequest, Terminal, ToLauncher, Work};

mod network;
mod targets;

/// Most bytes of an input.
const MOST: usize = 16 << 10;
/// No input may take longer.
const SLOWEST: Duration = Duration::from_secs(5);

/// What parsers find interesting.
const WORDS: [&[u8]; 16] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\u0000",
    b"\n",
    b"=",
    b"null",
    b"-1",
    b"18446744073709551616",
    b"1e999",
    b"\xff",
    b"\x00",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"base64",
];

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % bound.max(1)
    }

    fn part(&mut self, length: usize) -> std::ops::Range<usize> {
        let from = self.below(length + 1);
        from..from + self.below((length - from).min(64) + 1)
    }
}

/// A seed with some changes.
fn mutate(seeds: &[Vec<u8>], dice: &mut Dice) -> Vec<u8> {
    let mut bytes = seeds.get(dice.below(seeds.len())).cloned().unwrap_or_default();
    for _ in 0..=dice.below(6) {
        let part = dice.part(bytes.len());
        match dice.below(6) {
            0 => drop(bytes.drain(part)),
            1 => {
                let copy = bytes.get(part.clone()).unwrap_or_default().to_vec();
                bytes.splice(part.start..part.start, copy);
            }
            2 => {
                let word = WORDS.get(dice.below(WORDS.len())).copied().unwrap_or_default();
                bytes.splice(part, word.iter().copied());
            }
            3 => {
                let other = seeds.get(dice.below(seeds.len())).map(Vec::as_slice).unwrap_or_default();
                let piece = other.get(dice.part(other.len())).unwrap_or_default().to_vec();
                bytes.splice(part, piece);
            }
            4 => bytes.truncate(part.start),
            _ => {
                if let Some(byte) = bytes.get_mut(part.start) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
        bytes.truncate(MOST);
    }
    bytes
}

/// Tries a target with its seeds, and with changes of them until the time is up.
fn try_all(name: &str, seeds: Vec<Vec<u8>>, target: fn(&[u8])) {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now =
        || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |now| now.as_nanos() as u64);
    let seed = number("CLAWJAIL_SEED").unwrap_or_else(now);
    let until = Instant::now() + Duration::from_secs(number("CLAWJAIL_FUZZ_SECONDS").unwrap_or(1));
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let mut dice = Dice(seed | 1);
    let mut tried = 0_usize;
    for whole in &seeds {
        target(whole);
    }
    while Instant::now() < until {
        let bytes = mutate(&seeds, &mut dice);
        let began = Instant::now();
        let sound = catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_ok() && began.elapsed() < SLOWEST;
        assert!(sound, "{name}, CLAWJAIL_SEED={seed}: {:?}: {}", began.elapsed(), bytes.escape_ascii());
        tried += 1;
    }
    println!("{name}: {tried} inputs, CLAWJAIL_SEED={seed}");
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut paths: Vec<_> = fs::read_dir(directory).expect("seeds").flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("a seed")).collect()
}

fn request(argv: &[&str]) -> Box<RunRequest> {
    Box::new(RunRequest {
        profile: "untrusted".into(),
        tier: Some(Tier::Root),
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
        set: vec![(b"A".to_vec(), b"1".to_vec())],
        workspace: b"/srv/work".to_vec(),
        cwd: Some(b"/srv/work/deep".to_vec()),
        terminal: Terminal::Own { rows: 24, columns: 80, stderr: true },
        pass: vec![b"LANG".to_vec()],
        inherited: vec![(b"LANG".to_vec(), b"C".to_vec())],
        timeout_ms: Some(1000),
        narrow: Narrow::default(),
        mounts: Vec::new(),
        agent: None,
    })
}

/// Messages of ours, and numbers that stand for others.
fn messages() -> Vec<Vec<u8>> {
    let lifetime = Lifetime { idle_ms: 1000, age_ms: u64::MAX };
    let job = FileJob::Write { path: b"a/b".to_vec(), mode: Some(0o644), look: Some(64) };
    let whole = [
        ToLauncher::Run(request(&["sh", "-c", "true"])),
        ToLauncher::Open(request(&[]), lifetime),
        ToLauncher::Enter(request(&["ls"]), Work::File(job)),
        ToLauncher::Signal(-1),
        ToLauncher::Close,
    ];
    let encoded = whole.iter().map(|message| postcard::to_stdvec(message).expect("a message of ours"));
    encoded.chain((0..24).map(|kind| [vec![kind], vec![1; 64]].concat())).collect()
}

#[test]
fn requests_of_clients_that_are_anything() {
    try_all("request", corpus("request"), targets::request);
}

#[test]
fn messages_between_our_processes_that_are_anything() {
    try_all("privsep", messages(), targets::privsep);
}

#[test]
fn configurations_that_say_anything() {
    try_all("config", corpus("config"), targets::config);
}

#[test]
fn profiles_and_policies_that_say_anything() {
    try_all("profile", corpus("profile"), targets::profile);
}

#[test]
fn verdicts_that_say_anything() {
    try_all("verdict", corpus("verdict"), targets::verdict);
}

#[test]
fn ledgers_that_hold_anything() {
    try_all("ledger", corpus("ledger"), targets::ledger);
}

#[test]
fn a_question_for_a_name_survives_changes() {
    try_all("question", corpus("question"), network::question);
}

#[test]
fn an_answer_of_a_name_server_survives_changes() {
    try_all("answer", corpus("answer"), network::answer);
}

#[test]
fn what_a_client_says_first_survives_changes() {
    try_all("client_hello", corpus("client_hello"), network::client_hello);
}

#[test]
fn requests_survive_changes() {
    try_all("requests", corpus("requests"), network::requests);
}

#[test]
fn what_a_proxy_is_asked_survives_changes() {
    try_all("asked", corpus("asked"), network::asked);
}

#[test]
fn what_the_kernel_tells_survives_changes() {
    try_all("denied", corpus("denied"), network::denied);
}

#[test]
fn a_conversation_by_http2_survives_changes() {
    try_all("http2", corpus("http2"), network::http2);
}
