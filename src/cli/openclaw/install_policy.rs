//! `clawjail openclaw install-policy`: the command of OpenClaw's `security.installPolicy`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;

use crate::cli::answer;
use crate::openclaw::install;
use crate::profile::units::Span;

/// Answer OpenClaw's request to install a skill or plugin: allow, warn or block.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail openclaw install-policy < request.json

In openclaw.json, and `clawjail openclaw doctor --fix` writes this:
  security: { installPolicy: { enabled: true, targets: [\"skill\"], exec: {
    source: \"exec\", command: \"/usr/local/bin/clawjail\", args: [\"openclaw\", \"install-policy\"] } } }

The request is read from standard input, the answer is one line of JSON on standard output. What is odd, cannot be
looked at or takes too long is blocked. docs/openclaw.md lists the rules.

Exit code: 0 when there is an answer, whichever; OpenClaw blocks on any other.")]
pub struct InstallPolicy {
    /// Answer within this time. OpenClaw waits 10s when its settings say nothing else (`timeoutMs`).
    #[arg(long, value_name = "TIME", default_value = "8s")]
    within: Span,
}

/// Answers.
pub fn run(policy: &InstallPolicy) -> ExitCode {
    let answered = install::answer(std::io::stdin(), Duration::from_millis(policy.within.0));
    answer::give(&answered.line())
}
