//! One run after the other, by a client that stays connected to a service that has run before.

use std::time::Duration;

use serde_json::json;

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

/// The rows: a jail of its own for each run, and one jail for all of them; each beside bare ones of the same minute.
pub fn print() {
    let ground = Ground::new();
    let mut client = Client::connect(&ground.socket);
    let opened = client.call("jail.open", &json!({ "profile": "untrusted", "workspace": ground.workspace }));
    let (mut alone, mut inside) = (Client::command(), Client::command());
    (alone["profile"], alone["workspace"]) = (json!("untrusted"), json!(ground.workspace));
    inside["jail"] = opened["jail"].clone();
    let [mut bare, mut one_shot, mut in_jail] = [const { Vec::new() }; 3];
    for run in 0..RUNS + COLD {
        let once = |times: &mut Vec<Duration>, run_one: &mut dyn FnMut() -> Duration| {
            std::thread::sleep(REST);
            let time = run_one();
            if run >= COLD {
                times.push(time);
            }
        };
        once(&mut bare, &mut bare::once);
        once(&mut one_shot, &mut || client.run(&alone));
        once(&mut in_jail, &mut || client.run(&inside));
    }
    table::head();
    table::row("warm one-shot `true`", &bare, &one_shot, Wanted { p50: 1.35, p99: Some(3.0) });
    table::row("`true` in an open jail", &bare, &in_jail, Wanted { p50: 1.25, p99: None });
}
