//! `cargo bench`: bare, bubblewrap and clawjail side by side, as one table of medians and ratios.
//!
//! Runs are interleaved, so that what else the machine does hits everybody alike. Nothing here passes or fails: the last
//! column says whether a ratio is what docs/performance.md wants, and a person judges. `cargo bench -- cold calls` prints
//! some rows only: cold, calls, tools, output, memory.

#![expect(clippy::expect_used, clippy::panic, reason = "a bench that cannot measure must say so and stop")]

use std::time::Duration;

mod cold;
mod contenders;
mod ground;
mod helper;
mod machine;
mod steady;
mod table;

use table::Row;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    if helper::serve(&words) || cold::serve(&words) {
        return;
    }
    let wanted = |word: &str| words.is_empty() || words.iter().any(|wanted| wanted == word);
    let prepared = ground::prepare();
    println!("{}", machine::describe(&prepared));
    let mut rows: Vec<Row> = Vec::new();
    if wanted("cold") {
        rows.extend(cold::rows(&prepared));
    }
    if wanted("calls") {
        rows.extend(steady::calls(&prepared));
    }
    if wanted("tools") {
        rows.extend(steady::tools(&prepared));
    }
    if wanted("output") {
        rows.extend(steady::output(&prepared));
    }
    if wanted("memory") {
        rows.extend(steady::memory(&prepared));
    }
    table::print(&rows);
}

/// The middle one; of an even number, the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some((low + high) / 2.0)
}

/// As nanoseconds, which is what all of this is counted in.
fn nanoseconds(time: Duration) -> f64 {
    time.as_nanos() as f64
}
