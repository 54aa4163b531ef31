//! As many runs as go, by one caller and by many at once.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use serde_json::json;

use super::client::Client;
use super::ground::Ground;
use super::table;

const TIME: Duration = Duration::from_secs(5);
const CALLERS: [usize; 3] = [1, 8, 64];

/// One row for each number of connections.
pub fn print() {
    let ground = Ground::new();
    println!("\n{:<34}{:>11}{:>11}{:>11}  wanted", "", "runs/s", "p50", "p99");
    let rates: Vec<f64> = CALLERS.into_iter().map(|callers| row(&ground, callers)).collect();
    let best = rates.iter().copied().fold(0.0, f64::max);
    let share = rates.last().copied().unwrap_or_default() / best;
    let word = if share >= 0.8 { "met" } else { "NOT MET" };
    println!("{:<34}{share:>11.2}{:>24}>= 0.80: {word}", "64 callers, of the best", "");
}

fn row(ground: &Ground, callers: usize) -> f64 {
    let begin = Barrier::new(callers + 1);
    let mut params = Client::command();
    (params["profile"], params["workspace"]) = (json!("untrusted"), json!(ground.workspace));
    let (times, took) = std::thread::scope(|scope| {
        let one = || {
            let mut client = Client::connect(&ground.socket);
            client.run(&params);
            begin.wait();
            let until = Instant::now() + TIME;
            let mut times = Vec::new();
            while Instant::now() < until {
                times.push(client.run(&params));
            }
            times
        };
        let running: Vec<_> = (0..callers).map(|_| scope.spawn(one)).collect();
        begin.wait();
        let began = Instant::now();
        let times: Vec<Duration> =
            running.into_iter().flat_map(|running| running.join().expect("a client ran")).collect();
        (times, began.elapsed())
    });
    let rate = times.len() as f64 / took.as_secs_f64();
    let name = format!("one-shot `true`, {callers} at once");
    let [p50, p99] = [50, 99].map(|share| table::time(table::share(&times, share).as_secs_f64()));
    println!("{name:<34}{rate:>11.0}{p50}{p99}");
    rate
}
