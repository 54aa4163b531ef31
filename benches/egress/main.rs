//! `cargo bench --bench egress`: the same client going out by itself, through a jail's gate, and through a peer's.
//!
//! Words after `--` choose rows, of which all take some minutes: `bulk`, `requests`, `connections`, `many`, `setup`, `peers`.
//!
//! As root, in a network and a mount namespace of its own, where a public-looking address is the server's. Nothing here passes or
//! fails: the last column says whether a number is what docs/performance.md wants, and a person judges.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot measure must say so and stop")]

use std::time::Duration;

mod bulk;
mod ground;
mod load;
mod peers;
mod server;
mod setup;
mod tls;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if load::serve(&words) {
        return;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can make a network to measure in");
        return;
    }
    let wanted = |word: &str| words.is_empty() || words.iter().any(|wanted| wanted == word);
    let ground = ground::Ground::new();
    println!("{:<44}{:>13}{:>13}{:>10}  wanted", "", "direct", "clawjail", "");
    bulk::print(&ground, wanted);
    if wanted("setup") {
        setup::print(&ground);
    }
    if wanted("peers") {
        peers::print(&ground);
    }
}

/// The middle one.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().expect("something was measured")
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn met(held: bool) -> &'static str {
    if held { "met" } else { "NOT MET" }
}
