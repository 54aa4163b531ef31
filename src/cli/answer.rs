//! How the subcommands that only answer a question do so: text or JSON on stdout, our own lines on stderr, an exit code.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::client::Problem;
use super::report::{code, say};
use crate::confine::Failed;
use crate::jail::not_started::NotStarted;
use crate::plan::refused::Refused;
use crate::profile::error::ProfileError;

/// Prints the answer. Whoever closes the pipe has read enough.
pub fn give(text: &str) -> ExitCode {
    give_with(text, ExitCode::SUCCESS)
}

/// The same, and ends with `code` when it could be printed.
pub fn give_with(text: &str, code: ExitCode) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => fail(&format!("cannot write the answer: {error}")),
        _ => code,
    }
}

/// The answer as JSON that a person can read too.
#[expect(clippy::expect_used, reason = "maps with names for keys, numbers and text: serde_json refuses none of it")]
pub fn json(data: &impl Serialize) -> String {
    let text = serde_json::to_string_pretty(data).expect("what we print holds nothing that JSON cannot");
    text + "\n"
}

/// Says no.
pub fn refuse(message: &str, hint: Option<&str>) -> ExitCode {
    say(&format!("refused: {message}"));
    if let Some(hint) = hint {
        say(&format!("hint: {hint}"));
    }
    ExitCode::from(code::REFUSED)
}

/// Says no to a profile.
pub fn refuse_profile(error: &ProfileError) -> ExitCode {
    refuse(&crate::jail::chain(error), error.hint().as_deref())
}

/// Says why there would be no run.
pub fn refuse_start(reason: &NotStarted) -> ExitCode {
    match reason {
        NotStarted::Refused(Refused { message, remedy, .. }) => refuse(message, remedy.as_deref()),
        NotStarted::Failed(failed) => fail(&step(failed)),
        NotStarted::ByInit(failure) => fail(&format!("cannot confine the command at step `{}`", failure.step)),
        NotStarted::Ended(..) => fail("cannot plan: a run ended that never began"),
    }
}

fn step(failed: &Failed) -> String {
    let what = failed.what.as_ref().map(|what| format!(" (`{what}`)")).unwrap_or_default();
    format!("cannot plan at step `{}`{what}: {}", failed.step, failed.errno.desc())
}

/// Says why a service gave no answer.
pub fn problem(problem: &Problem) -> ExitCode {
    match problem {
        Problem::Gone(path, error) => {
            let code = fail(&format!("cannot use the service at `{}`: {error}", path.display()));
            if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) {
                say("hint: no service runs there: `clawjail setup` sets one up, `clawjail serve` starts one by hand");
            }
            code
        }
        Problem::Fault(fault) if fault.data.code.starts_with("failed.") => fail(&fault.message),
        Problem::Fault(fault) => refuse(&fault.message, fault.data.remedy.as_deref()),
    }
}

/// Says that something of ours did not work.
pub fn fail(message: &str) -> ExitCode {
    say(&format!("failed: {message}"));
    ExitCode::from(code::FAILED)
}
