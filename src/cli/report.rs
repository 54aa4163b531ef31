//! What a person sees at the end: our own lines, the verdict, the exit code.

use std::fs::File;
use std::io::{self, Write};
use std::process::ExitCode;

use super::denied;
use crate::supervise::watch;
use crate::sys::process;
use crate::verdict::{Outcome, Verdict};
use crate::wire::privsep::Failure;
use crate::wire::text::printable;

/// Exit codes that are ours; a command can exit with the same, which the verdict tells apart.
pub mod code {
    /// Out of time.
    pub const TIMED_OUT: u8 = 124;
    /// Our own fault.
    pub const FAILED: u8 = 125;
    /// We said no, or the command cannot be executed.
    pub const REFUSED: u8 = 126;
    /// The command was not found.
    pub const NOT_FOUND: u8 = 127;
}

/// The reason of a command that is not there.
const NOT_FOUND: &str = "not_executed.ENOENT";

/// Where the verdict and our own lines go.
#[derive(Debug)]
pub struct Sink {
    verdict: Option<Destination>,
    lines: Lines,
}

#[derive(Debug)]
enum Destination {
    Stdout,
    File(File, String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lines {
    Text,
    Json,
    None,
}

impl Sink {
    /// Opens the destination before anything runs, so that a verdict cannot turn out to have nowhere to go.
    pub fn open(verdict: Option<&str>, json: bool, quiet: bool) -> Result<Sink, String> {
        let lines = match (json, quiet) {
            (true, _) => Lines::Json,
            (_, true) => Lines::None,
            _ => Lines::Text,
        };
        let verdict = match verdict {
            None => None,
            Some("-") => Some(Destination::Stdout),
            Some(text) => Some(open_destination(text)?),
        };
        Ok(Sink { verdict, lines })
    }

    /// Whether the verdict goes anywhere as a whole.
    pub fn records(&self) -> bool {
        self.verdict.is_some() || self.lines == Lines::Json
    }
}

fn open_destination(text: &str) -> Result<Destination, String> {
    let opened = match text.strip_prefix("fd:") {
        Some(number) => {
            let number: i32 =
                number.parse().map_err(|_| format!("--verdict `{text}`: `{number}` is no descriptor number"))?;
            // By way of /proc, so that a number that is not open is an error and ours is a copy.
            File::options().write(true).open(format!("/proc/self/fd/{number}"))
        }
        None => File::options().write(true).create(true).truncate(true).open(text),
    };
    opened
        .map(|file| Destination::File(file, text.to_owned()))
        .map_err(|error| format!("cannot write the verdict to `{text}`: {error}"))
}

/// The command line could not be understood, or asked for help.
pub fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Whoever closes the pipe has read enough.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let parts = text.split("\n\n").map(|part| part.split_whitespace().collect::<Vec<_>>().join(" "));
    let parts: Vec<String> = parts.collect();
    let first = parts.first().map_or("", String::as_str);
    say(&format!("refused: {}", first.strip_prefix("error: ").unwrap_or(first)));
    let hint = match parts.iter().find_map(|part| part.strip_prefix("tip: ")) {
        Some(tip) => tip.to_owned(),
        None => format!("see `{} --help`", misused(&parts)),
    };
    say(&format!("hint: {hint}"));
    ExitCode::from(code::REFUSED)
}

/// The subcommand that a usage line is of, as it is written: all of it before its arguments.
fn misused(parts: &[String]) -> String {
    let usage = parts.iter().find_map(|part| part.strip_prefix("Usage: ")).unwrap_or("clawjail");
    let words = usage.split(' ').take_while(|word| !word.starts_with(['[', '<', '-']));
    words.collect::<Vec<_>>().join(" ")
}

/// Something was wrong before there was a request.
pub fn fail_early(message: &str) -> ExitCode {
    say(&format!("refused: {message}"));
    ExitCode::from(code::REFUSED)
}

/// Makes one line and our own exit code of what a library gives up on, such as a host without a descriptor to spare. Holds
/// for the processes that are forked later, too: they end, and everything below them does.
pub fn give_up_in_one_line() {
    std::panic::set_hook(Box::new(|panic| {
        let what = panic.payload_as_str().unwrap_or("it gave up without a word").replace('\n', " ");
        say(&format!("failed: {what}"));
        // Not by way of `exit`: another thread may hold what that waits for.
        process::leave(code::FAILED.into())
    }));
}

/// The end of a run that was only looked at.
pub fn end(verdict: &Verdict, flushed: io::Result<()>) -> ExitCode {
    finish(&Sink { verdict: None, lines: Lines::Text }, verdict, flushed, Ok(()))
}

/// Says what there is to say and gives the exit code.
pub fn finish(sink: &Sink, verdict: &Verdict, flushed: io::Result<()>, gone: Result<(), Failure>) -> ExitCode {
    match sink.lines {
        Lines::Text => lines(verdict).iter().for_each(|line| say(line)),
        Lines::Json => {
            let _ = writeln!(io::stderr(), "{}", json(verdict));
        }
        Lines::None => {}
    }
    if let Err(error) = flushed {
        say(&format!("failed: cannot write the command's output: {error}"));
        return ExitCode::from(code::FAILED);
    }
    if let Err((place, error)) = write_verdict(sink, verdict) {
        say(&format!("failed: cannot write the verdict to `{place}`: {error}"));
        return ExitCode::from(code::FAILED);
    }
    // Of a run that never began there was only a reason to say.
    if let (Err(failure), Some(_)) = (gone, &verdict.plan) {
        say(&format!("failed: the command has ended, but not all of its jail: {}", watch::what_failed(&failure)));
        return ExitCode::from(code::FAILED);
    }
    ExitCode::from(exit_code(verdict))
}

fn write_verdict(sink: &Sink, verdict: &Verdict) -> Result<(), (String, io::Error)> {
    let line = format!("{}\n", json(verdict));
    match &sink.verdict {
        None => Ok(()),
        Some(Destination::Stdout) => io::stdout().write_all(line.as_bytes()).map_err(|error| ("-".to_owned(), error)),
        Some(Destination::File(file, name)) => {
            let mut file = file;
            file.write_all(line.as_bytes()).map_err(|error| (name.clone(), error))
        }
    }
}

#[expect(clippy::expect_used, reason = "strings, numbers and lists: serde_json refuses none of them")]
fn json(verdict: &Verdict) -> String {
    serde_json::to_string(verdict).expect("a verdict holds nothing that JSON cannot")
}

/// One line of our own on stderr.
pub fn say(line: &str) {
    // As one write, so that others who write there do not come in between. Nobody may listen; what happened is in the exit code too.
    let _ = io::stderr().write_all(format!("clawjail: {line}\n").as_bytes());
}

fn lines(verdict: &Verdict) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(reason) = &verdict.reason {
        let message = printable(&reason.message);
        lines.push(match verdict.outcome {
            Outcome::Refused => format!("refused: {message}"),
            Outcome::NotExecuted => message,
            _ => format!("failed: {message}"),
        });
        lines.extend(reason.remedy.as_ref().map(|remedy| format!("hint: {}", printable(remedy))));
    }
    let wall = verdict.resources.wall_us / 1000;
    match verdict.outcome {
        Outcome::TimedOut => lines
            .push(format!("ended: out of time after {wall} ms (limit `wall` of `{}`, or --timeout)", verdict.profile)),
        Outcome::OutOfMemory => lines.push(format!("ended: out of memory (limit `memory` of `{}`)", verdict.profile)),
        _ => {}
    }
    if verdict.output.truncated {
        lines.push(format!(
            "denied: output over the limit `output` of `{}` was thrown away ({} bytes in all)",
            verdict.profile, verdict.output.bytes
        ));
    }
    lines.extend(denied::lines(verdict));
    lines.extend(first_contacts(verdict));
    lines
}

/// Hosts that the agent reached for the first time, where its profile wants to be told.
fn first_contacts(verdict: &Verdict) -> impl Iterator<Item = String> {
    let first = verdict.activity.connections.iter().filter(|connection| connection.first_contact);
    first.take(5).map(|connection| {
        let host = connection.name.as_ref().or(connection.address.as_ref()).map_or("", String::as_str);
        format!("first contact: `{}:{}`", printable(host), connection.port)
    })
}

fn exit_code(verdict: &Verdict) -> u8 {
    let not_found = verdict.reason.as_ref().is_some_and(|reason| reason.code == NOT_FOUND);
    match verdict.outcome {
        Outcome::NotExecuted if not_found => code::NOT_FOUND,
        Outcome::Refused | Outcome::NotExecuted => code::REFUSED,
        Outcome::Failed => code::FAILED,
        Outcome::TimedOut => code::TIMED_OUT,
        _ => match (verdict.exit_code, verdict.signal) {
            (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(code::FAILED),
            (None, Some(signal)) => u8::try_from(128 + signal).unwrap_or(code::FAILED),
            (None, None) => code::FAILED,
        },
    }
}
