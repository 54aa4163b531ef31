//! One run after the other, by a client that stays connected to a service that has run before.

use std::time::Duration;

use serde_json::{Value, json};

use super::bare;
use super::client::Client;
use super::ground::Ground;
use super::table::{self, Wanted};

const RUNS: usize = 400;
/// The first few find cold caches.
const COLD: usize = 20;
/// The kernel takes namespaces down after whoever had them has ended. Without this rest it would do so in the time of the
/// next contender, whoever that is.
const REST: Duration = Duration::from_millis(4);
/// Long enough that the next jail has been made ahead, and the last one is gone, when the next contender begins.
const LONG_REST: Duration = Duration::from_millis(25);

const ONE_SHOT: Wanted = Wanted { p50: 1.35, p99: Some(3.0) };
const IN_JAIL: Wanted = Wanted { p50: 1.25, p99: None };

/// The rows: a jail of its own for each run, and one jail for all of them; each beside bare ones of the same minute.
pub fn print() {
    let ground = Ground::new();
    let mut client = Client::connect(&ground.socket);
    let opened = client.call("jail.open", &json!({ "profile": "untrusted", "workspace": ground.workspace }));
    let (mut alone, mut inside) = (Client::command(), Client::command());
    (alone["profile"], alone["workspace"]) = (json!("untrusted"), json!(ground.workspace));
    inside["jail"] = opened["jail"].clone();
    table::head();
    let [bare, one_shot, in_jail] = in_turns(&mut client, [None, Some(&alone), Some(&inside)], REST);
    table::row("warm one-shot `true`", &bare, &one_shot, ONE_SHOT);
    table::row("`true` in an open jail", &bare, &in_jail, IN_JAIL);
    println!("each beside bare alone, rests of 25 ms between runs, and 4 ms");
    for (name, params, wanted) in [("one-shot", &alone, ONE_SHOT), ("in an open jail", &inside, IN_JAIL)] {
        for rest in [LONG_REST, REST] {
            let [bare, ours] = in_turns(&mut client, [None, Some(params)], rest);
            table::row(&format!("{name}, rests of {} ms", rest.as_millis()), &bare, &ours, wanted);
        }
    }
}

/// Times of each contender, one run of each after the other; bare where there is nothing to ask the service with.
fn in_turns<const N: usize>(
    client: &mut Client,
    contenders: [Option<&Value>; N],
    rest: Duration,
) -> [Vec<Duration>; N] {
    let mut times = [const { Vec::new() }; N];
    for run in 0..RUNS + COLD {
        for (times, contender) in times.iter_mut().zip(contenders) {
            std::thread::sleep(rest);
            let time = contender.map_or_else(bare::once, |params| client.run(params));
            if run >= COLD {
                times.push(time);
            }
        }
    }
    times
}
