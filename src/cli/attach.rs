//! `clawjail attach`: the output of a run that goes on by itself, and what is typed to it.
//!
//! Output is read here; a thread with a connection of its own passes on what is typed, so that a command which reads slowly
//! holds up nothing but that.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use nix::sys::socket::{Shutdown, shutdown};
use serde_json::Value;

use super::answer;
use super::client::{Client, Message, Problem};
use super::report;
use super::typing::{self, Typing};
use crate::supervise::outer::Raw;
use crate::verdict::Verdict;
use crate::wire::reply::Listed;
use crate::wire::request::RunAttach;
use crate::wire::text::decode;

/// Show a run's output so far, as far as the service kept it, and from now on until it ends. The exit code is the run's.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  run=$(clawjail run --detach -- npm test)
  clawjail attach $run
  run=$(clawjail run --detach --tty -- python3)
  clawjail attach $run                         and type; ctrl-p ctrl-q leaves, and the run goes on")]
pub struct Attach {
    /// The run, as `clawjail ps` calls it.
    #[arg(value_name = "RUN")]
    run: String,
    /// Pass our input on, even if it is no terminal.
    #[arg(long, short, conflicts_with = "no_stdin")]
    stdin: bool,
    /// Pass no input on, even if the run has a terminal.
    #[arg(long)]
    no_stdin: bool,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// How it ended.
enum Over {
    /// With the run.
    Run(Box<Verdict>, io::Result<()>),
    /// By the keys for it; the run goes on.
    Left,
}

/// Shows it.
pub fn run(attach: &Attach) -> ExitCode {
    match show(attach) {
        Ok(Over::Run(verdict, flushed)) => report::end(&verdict, flushed),
        Ok(Over::Left) => {
            report::say("left; the run goes on");
            ExitCode::SUCCESS
        }
        Err(problem) => answer::problem(&problem),
    }
}

fn show(attach: &Attach) -> Result<Over, Problem> {
    let mut client = Client::find(attach.socket.as_deref())?;
    let path = client.path.clone();
    let gone = |error: io::Error| Problem::Gone(path.clone(), error);
    let listed = client.call("run.attach", &RunAttach { run: attach.run.clone() })?;
    let listed: Listed = serde_json::from_value(listed).map_err(|error| gone(error.into()))?;
    let ours = io::stdin().is_terminal();
    let is_terminal = listed.input.as_deref() == Some("terminal");
    let types = listed.input.is_some() && !attach.no_stdin && (attach.stdin || (is_terminal && ours));
    let raw = if types && is_terminal { Raw::enter().map_err(|errno| gone(errno.into()))? } else { None };
    let left = Arc::new(AtomicBool::new(false));
    if types {
        let typing = Typing { client: Client::connect(&path)?, run: attach.run.clone(), keys: raw.is_some() };
        let (socket, left) = (client.try_clone().map_err(&gone)?, left.clone());
        let leave = move || {
            left.store(true, Ordering::Relaxed);
            // What is waited for there ends now.
            let _ = shutdown(socket.as_raw_fd(), Shutdown::Both);
        };
        typing::start(typing, leave).map_err(&gone)?;
    }
    let over = follow(&mut client);
    drop(raw);
    match over {
        Err(_) if left.load(Ordering::Relaxed) => Ok(Over::Left),
        over => over,
    }
}

fn follow(client: &mut Client) -> Result<Over, Problem> {
    let mut written = Ok(());
    loop {
        let Message::Notification(method, mut params) = client.wait()? else { continue };
        match method.as_str() {
            "run.output" if written.is_ok() => written = write(&params),
            "run.ended" => {
                let verdict = params.get_mut("verdict").map(Value::take).unwrap_or_default();
                let verdict = serde_json::from_value(verdict);
                let verdict = verdict.map_err(|error| Problem::Gone(client.path.clone(), error.into()))?;
                return Ok(Over::Run(Box::new(verdict), written.and_then(|()| io::stdout().flush())));
            }
            _ => {}
        }
    }
}

fn write(params: &Value) -> io::Result<()> {
    let member = |name: &str| params.get(name).and_then(Value::as_str);
    let bytes = match (member("data"), member("base64").and_then(decode)) {
        (Some(text), _) => text.as_bytes().to_vec(),
        (None, decoded) => decoded.unwrap_or_default(),
    };
    if member("stream") == Some("stderr") {
        return io::stderr().write_all(&bytes);
    }
    let mut stdout = io::stdout();
    stdout.write_all(&bytes).and_then(|()| stdout.flush())
}
