//! `clawjail top`: what jails use, again and again.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Args;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answer;
use super::client::{Client, Problem};
use crate::jail::accounts;
use crate::plan::explain::aligned;
use crate::profile::units::Span;
use crate::wire::reply::Used;

/// What a terminal is told before each table: to the top left, and everything from there on is erased.
const CLEAR: &str = "\x1b[H\x1b[2J";
/// Between the two looks of which one table is made, where there was none before.
const FIRST_LOOK: Duration = Duration::from_millis(200);

/// Show what the jails of a service use: your own, or all of them for an admin.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail top
  clawjail top --once
  clawjail top --json | jq '.[] | select(.memory > 1000000000).jail'

Denials are those of runs that have ended. Ctrl-C ends it.")]
pub struct Top {
    /// Show one table and end.
    #[arg(long)]
    once: bool,
    /// One look, as data.
    #[arg(long)]
    json: bool,
    /// The time between two tables.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_span)]
    interval: Span,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn parse_span(text: &str) -> Result<Span, String> {
    text.parse::<Span>().map_err(|error| error.to_string())
}

/// Processor time by jail or run, and when that was.
struct Look {
    at: Instant,
    used: Vec<Used>,
}

/// Shows it.
pub fn run(top: &Top) -> ExitCode {
    let shown = Client::find(top.socket.as_deref()).and_then(|mut client| {
        if top.json {
            return look(&mut client).map(|look| answer::give(&answer::json(&look.used)));
        }
        show(top, &mut client)
    });
    shown.unwrap_or_else(|problem| answer::problem(&problem))
}

fn show(top: &Top, client: &mut Client) -> Result<ExitCode, Problem> {
    let interval = Duration::from_millis(top.interval.0).max(FIRST_LOOK);
    let clear = if io::stdout().is_terminal() && !top.once { CLEAR } else { "" };
    let mut before = look(client)?;
    std::thread::sleep(FIRST_LOOK);
    loop {
        let now = look(client)?;
        let text = format!("{clear}{}", table(&before, &now));
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
            Err(error) => return Ok(answer::fail(&format!("cannot write the answer: {error}"))),
            Ok(()) if top.once => return Ok(ExitCode::SUCCESS),
            Ok(()) => {}
        }
        before = now;
        std::thread::sleep(interval);
    }
}

fn look(client: &mut Client) -> Result<Look, Problem> {
    let mut answered = client.call("top", &json!({}))?;
    let used = answered.get_mut("jails").map(Value::take).unwrap_or_default();
    let used = serde_json::from_value(used).map_err(|error| Problem::Gone(client.path.clone(), error.into()))?;
    Ok(Look { at: Instant::now(), used })
}

fn name(used: &Used) -> String {
    used.jail.clone().or_else(|| used.run.clone()).unwrap_or_default()
}

/// The busiest first.
fn table(before: &Look, now: &Look) -> String {
    let earlier: BTreeMap<String, u64> =
        before.used.iter().filter_map(|used| Some((name(used), used.processor_us?))).collect();
    let elapsed = now.at.duration_since(before.at).as_micros().max(1);
    let share = |used: &Used| -> Option<u128> {
        let spent = used.processor_us?.saturating_sub(*earlier.get(&name(used))?);
        Some(u128::from(spent) * 1000 / elapsed)
    };
    let mut all: Vec<(Option<u128>, &Used)> = now.used.iter().map(|used| (share(used), used)).collect();
    all.sort_by_key(|(share, used)| (std::cmp::Reverse(*share), used.time.clone()));
    let sum = |of: fn(&Used) -> Option<u64>| now.used.iter().filter_map(of).sum::<u64>();
    let head = format!(
        "{} jails, {} processes, {} of memory\n\n",
        now.used.len(),
        sum(|used| used.processes),
        bytes(sum(|used| used.memory))
    );
    let names =
        ["jail", "user", "agent", "profile", "cpu %", "cpu", "memory", "processes", "runs", "denied", "age", "command"];
    let rows = all.into_iter().map(|(share, used)| row(share, used));
    head + &aligned(&[names.map(str::to_owned).to_vec()].into_iter().chain(rows).collect::<Vec<_>>())
}

fn row(share: Option<u128>, used: &Used) -> Vec<String> {
    let none = || "-".to_owned();
    let plain = |text: &str, most| text.chars().take(most).flat_map(char::escape_debug).collect::<String>();
    let age = used.time.parse::<Timestamp>().ok().map(|time| Timestamp::now().duration_since(time).as_secs());
    vec![
        name(used),
        accounts::caller(used.uid, 0).name,
        used.agent.as_deref().map_or_else(none, |agent| plain(agent, 20)),
        plain(&used.profile, 20),
        share.map_or_else(none, |tenths| format!("{}.{}", tenths / 10, tenths % 10)),
        used.processor_us.map_or_else(none, |spent| format!("{}.{:02}s", spent / 1_000_000, spent / 10_000 % 100)),
        used.memory.map_or_else(none, bytes),
        used.processes.map_or_else(none, |count| count.to_string()),
        used.runs.to_string(),
        used.denials.to_string(),
        age.map_or_else(none, |age| format!("{age}s")),
        plain(&used.argv.join(" "), 60),
    ]
}

fn bytes(count: u64) -> String {
    match count {
        0..1_048_576 => format!("{}K", count / 1024),
        1_048_576..1_073_741_824 => format!("{}.{}M", count >> 20, (count >> 10) % 1024 * 10 / 1024),
        _ => format!("{}.{}G", count >> 30, (count >> 20) % 1024 * 10 / 1024),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_shown_in_the_unit_that_a_person_reads() {
        let cases = [(0, "0K"), (2048, "2K"), (1_572_864, "1.5M"), (3 << 30, "3.0G")];
        for (count, text) in cases {
            assert_eq!(bytes(count), text);
        }
    }
}
