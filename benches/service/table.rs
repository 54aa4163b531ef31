//! Rows of times: bare, clawjail, how many times as much, and what was wanted.

use std::time::Duration;

/// What docs/service.md wants of clawjail's times, as multiples of the bare ones.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    /// Of the median.
    pub p50: f64,
    /// Of the slowest of a hundred; not judged if none.
    pub p99: Option<f64>,
}

/// The head of the table.
pub fn head() {
    println!(
        "{:<34}{:>11}{:>11}{:>11}{:>11}{:>7}{:>7}  wanted",
        "", "bare p50", "p99", "clawjail", "p99", "p50/", "p99/"
    );
}

/// One row.
pub fn row(name: &str, bare: &[Duration], ours: &[Duration], wanted: Wanted) {
    let [bare50, bare99, ours50, ours99] =
        [share(bare, 50), share(bare, 99), share(ours, 50), share(ours, 99)].map(|time| time.as_secs_f64());
    let (p50, p99) = (ours50 / bare50, ours99 / bare99);
    println!(
        "{name:<34}{}{}{}{}{p50:>7.2}{p99:>7.2}  {}{}",
        time(bare50),
        time(bare99),
        time(ours50),
        time(ours99),
        judge("p50", p50, wanted.p50),
        wanted.p99.map_or(String::new(), |most| format!(", {}", judge("p99", p99, most))),
    );
}

fn judge(name: &str, ratio: f64, most: f64) -> String {
    format!("{name} <= {most:.2} of bare: {}", if ratio <= most { "met" } else { "NOT MET" })
}

/// The time that so many of a hundred do not exceed.
pub fn share(times: &[Duration], of_hundred: usize) -> Duration {
    let mut times = times.to_vec();
    times.sort();
    times.get((times.len() * of_hundred / 100).min(times.len().saturating_sub(1))).copied().expect("it was measured")
}

/// Seconds, as people read them.
pub fn time(seconds: f64) -> String {
    let text = if seconds < 1e-3 { format!("{:.1} us", seconds * 1e6) } else { format!("{:.2} ms", seconds * 1e3) };
    format!("{text:>11}")
}
