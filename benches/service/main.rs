//! `cargo bench --bench service`: what a run costs a client that stays connected, beside spawning the same without any of it.
//!
//! Bare is `posix_spawn` and `waitpid` of `/bin/true` by this small process. Everything is interleaved, so that what else the
//! machine does hits both alike. Nothing here passes or fails: the last column says whether a ratio is what docs/service.md
//! wants, and a person judges. `cargo bench --bench service -- warm` prints some rows only: warm, node, sustained,
//! asleep.

#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a bench that cannot measure must say so and stop")]

mod asleep;
mod bare;
mod client;
mod ground;
mod node;
mod sustained;
mod table;
mod warm;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let wanted = |word: &str| words.is_empty() || words.iter().any(|wanted| wanted == word);
    println!("{}", ground::describe());
    if wanted("warm") {
        warm::print();
    }
    if wanted("node") {
        node::print();
    }
    if wanted("sustained") {
        sustained::print();
    }
    if wanted("asleep") {
        asleep::print();
    }
}
