//! `clawjail attach`: the output of a run that goes on by itself.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::answer;
use super::client::{Client, Message, Problem};
use super::report;
use crate::verdict::Verdict;
use crate::wire::request::RunAttach;
use crate::wire::text::decode;

/// Show a run's output so far, as far as the service kept it, and from now on until it ends. The exit code is the run's.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  clawjail attach 01a1fdc3-9fca-7683-9000-da8d1a7b9937")]
pub struct Attach {
    /// The run, as `clawjail ps` calls it.
    #[arg(value_name = "RUN")]
    run: String,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Shows it.
pub fn run(attach: &Attach) -> ExitCode {
    match show(attach) {
        Ok((verdict, flushed)) => report::end(&verdict, flushed),
        Err(problem) => answer::problem(&problem),
    }
}

fn show(attach: &Attach) -> Result<(Verdict, io::Result<()>), Problem> {
    let mut client = Client::find(attach.socket.as_deref())?;
    let path = client.path.clone();
    client.call("run.attach", &RunAttach { run: attach.run.clone() })?;
    let mut written = Ok(());
    loop {
        let Message::Notification(method, mut params) = client.wait()? else { continue };
        match method.as_str() {
            "run.output" if written.is_ok() => written = write(&params),
            "run.ended" => {
                let verdict = params.get_mut("verdict").map(Value::take).unwrap_or_default();
                let verdict = serde_json::from_value(verdict).map_err(|error| Problem::Gone(path, error.into()))?;
                return Ok((verdict, written.and_then(|()| io::stdout().flush())));
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
