//! `clawjail run`: one command in a jail of its own.

use std::ffi::{OsStr, OsString};
use std::io::{IsTerminal, Write, stderr, stdin, stdout};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::answer;
use super::client;
use super::report::{self, Sink};
use super::through::{self, Beyond, Went};
use crate::host::Tier;
use crate::jail::chain;
use crate::jail::mandate::Mandate;
use crate::ledger::claim::Claim;
use crate::ledger::config::Settings;
use crate::profile::narrow::Narrow;
use crate::profile::recording::Recording;
use crate::profile::units::Span;
use crate::supervise::launch::Launcher;
use crate::sys::terminal;
use crate::verdict::{Asked, Caller, Output, Reason, Seen, Verdict};
use crate::wire::privsep::{RunRequest, Terminal};

/// Run a command in a jail of its own.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail run -- npm test                          the current directory, nothing else, no network
  clawjail run --profile readonly -- grep -r TODO   the same, but nothing can be changed
  clawjail run --timeout 30s --verdict v.json -- ./build.sh
  clawjail run --env CI=1 --pass LANG -- make
  clawjail run --ledger ./runs -- make && clawjail log --ledger ./runs

Exit code: the command's own; 128+n when signal n ended it; 124 out of time; 125 clawjail failed;
126 refused, or the command cannot be executed; 127 command not found.")]
pub struct Run {
    /// The profile: what the command may do; `untrusted` if not given, or the agent's.
    #[arg(long, short, value_name = "NAME")]
    pub profile: Option<String>,
    /// The directory that the command works in; the current one if not given.
    #[arg(long, short, value_name = "DIR")]
    pub workspace: Option<PathBuf>,
    /// Where in the workspace the command starts.
    #[arg(long, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// Set an environment variable.
    #[arg(long, short, value_name = "NAME=VALUE")]
    pub env: Vec<OsString>,
    /// Pass an environment variable on.
    #[arg(long, value_name = "NAME")]
    pub pass: Vec<OsString>,
    /// End the run after this long, such as `30s`; it can only shorten the profile's limit.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    pub timeout: Option<Span>,
    /// Give the command a terminal of its own.
    #[arg(long, conflicts_with = "no_tty")]
    pub tty: bool,
    /// Give the command no terminal, even if there is one outside.
    #[arg(long)]
    pub no_tty: bool,
    /// Write the verdict as JSON to a file, to stdout (`-`) or to an open descriptor (`fd:N`).
    #[arg(long, value_name = "FILE|-|fd:N")]
    pub verdict: Option<String>,
    /// Add the verdict to the ledger in this directory, which is made if need be. Without room for it, nothing is run.
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// Say what we have to say as one line of JSON, the verdict, on stderr.
    #[arg(long)]
    pub json: bool,
    /// Say nothing of our own on stderr.
    #[arg(long, short)]
    pub quiet: bool,
    /// Record at least so much of what the command does, in the verdict.
    #[arg(long, value_name = "LEVEL", value_parser = parse_recording)]
    pub record: Option<Recording>,
    /// Take this tier instead of the best there is.
    #[arg(long, value_name = "TIER")]
    pub tier: Option<TierWord>,
    /// Look for profiles and policies in this directory first, which must be yours as ~/.config/clawjail must: `DIR/profiles/NAME.toml`.
    #[arg(long, value_name = "DIR", requires = "direct")]
    pub profiles: Option<PathBuf>,
    /// Make the jail ourselves, even if there is a service.
    #[arg(long, conflicts_with_all = ["socket", "agent"])]
    pub direct: bool,
    /// Ask the service at this socket, and nobody else.
    #[arg(long, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// For this agent of the service's configuration, which has a profile and a workspace.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// What this run belongs to; it is recorded.
    #[arg(long, value_name = "WORD")]
    pub session: Option<String>,
    /// In this jail of the service, which `clawjail jail open` has opened and which stays.
    #[arg(long, value_name = "ID", conflicts_with_all = ["direct", "profile", "workspace", "tier", "agent"])]
    pub jail: Option<String>,
    /// Have the service run it on its own: print the run's id, for `clawjail attach`, `ps` and `kill`, and end.
    #[arg(long, conflicts_with_all = ["direct", "ledger", "verdict", "json"])]
    pub detach: bool,
    /// Say who makes the jail.
    #[arg(long, short)]
    pub verbose: bool,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    pub command: Vec<OsString>,
}

/// A tier by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TierWord {
    /// All namespaces, a throw-away uid.
    Root,
    /// The same inside a user namespace.
    User,
    /// Landlock, seccomp and resource limits alone.
    Bare,
}

impl From<TierWord> for Tier {
    fn from(word: TierWord) -> Tier {
        match word {
            TierWord::Root => Tier::Root,
            TierWord::User => Tier::User,
            TierWord::Bare => Tier::Bare,
        }
    }
}

fn parse_span(text: &str) -> Result<Span, String> {
    text.parse::<Span>().map_err(|error| error.to_string())
}

fn parse_recording(text: &str) -> Result<Recording, String> {
    let all = [Recording::Off, Recording::Commands, Recording::Full];
    all.into_iter()
        .find(|recording| recording.word() == text)
        .ok_or_else(|| "expected off, commands or full".to_owned())
}

/// Words that say which tier it is to be, or that it is not ours to make.
const NOT_AHEAD: [&[u8]; 6] = [b"--tier", b"--socket", b"--agent", b"--jail", b"--detach", b"--profiles"];

/// Forks the launcher if what follows is a run in the best tier, and nobody else is there to make the jail: it works while
/// the arguments are read.
pub fn launch_ahead(mut arguments: impl Iterator<Item = OsString>) -> Option<std::io::Result<Launcher>> {
    let says = |argument: OsString| NOT_AHEAD.iter().any(|word| argument.as_bytes().starts_with(word));
    let begins = arguments.nth(1)? == "run" && !arguments.any(says) && !client::is_there();
    begins.then(|| Launcher::fork(None, &Mandate::Own))
}

/// Runs it.
pub fn run(run: &Run, launcher: Option<std::io::Result<Launcher>>) -> ExitCode {
    if run.detach {
        return detach(run);
    }
    let sink = match Sink::open(run.verdict.as_deref(), run.json, run.quiet) {
        Ok(sink) => sink,
        Err(message) => return report::fail_early(&message),
    };
    // Before anything runs: what cannot be recorded is not begun.
    let claim = match run.ledger.as_deref().map(|path| Claim::stake(Settings::own(path))).transpose() {
        Ok(claim) => claim,
        Err(error) => return answer::refuse(&chain(&error), error.hint()),
    };
    let asked = asked(run);
    let (mut verdict, known, launcher) = match request(run) {
        Ok(request) => {
            let (verdict, launcher) = judge(run, asked, &request, launcher);
            (verdict, request.secrets(), launcher)
        }
        Err(message) => {
            let reason = Reason { code: "refused.request_invalid".into(), message, remedy: None };
            (unserved(asked, reason), Vec::new(), None)
        }
    };
    // The command's own bytes come first.
    let flushed = stdout().flush().and_then(|()| stderr().flush());
    if sink.records() || claim.is_some() {
        verdict.redact(&known);
    }
    // The verdict was made while it ended what the command left.
    let gone = launcher.map_or(Ok(()), Launcher::finish);
    let recorded = claim.map_or(Ok(()), |claim| claim.redeem(&mut verdict));
    let code = report::finish(&sink, &verdict, flushed, gone);
    recorded.map_or_else(|error| answer::fail(&chain(&error)), |()| code)
}

fn detach(run: &Run) -> ExitCode {
    let request = match request(run) {
        Ok(request) => request,
        Err(message) => return answer::refuse(&message, None),
    };
    match through::detach(&request, &beyond(run), run.socket.as_deref()) {
        Ok(id) => answer::give(&format!("{id}\n")),
        Err(problem) => answer::problem(&problem),
    }
}

fn beyond(run: &Run) -> Beyond {
    Beyond { agent: run.agent.clone(), session: run.session.clone(), jail: run.jail.clone() }
}

/// Through a service if there is one that grants it, or by a launcher of our own, which is then still to be waited for.
fn judge(
    run: &Run,
    asked: Asked,
    request: &RunRequest,
    ahead: Option<std::io::Result<Launcher>>,
) -> (Verdict, Option<Launcher>) {
    // One that was forked ahead is because there is no service.
    if !run.direct && ahead.is_none() {
        match through::run(request, &beyond(run), run.socket.as_deref()) {
            Went::Judged(verdict) => {
                say_way(run, "run by the service");
                return (*verdict, None);
            }
            Went::Wrong(reason) => return (unserved(asked, reason), None),
            Went::Elsewhere(why) if run.agent.is_some() || run.jail.is_some() => {
                let remedy =
                    Some("agents and open jails are a service's; start one, or name its `--socket`".to_owned());
                let reason = Reason { code: "refused.no_service".into(), message: why, remedy };
                return (unserved(asked, reason), None);
            }
            Went::Elsewhere(why) => say_way(run, &format!("run directly: {why}")),
        }
    } else {
        say_way(run, if run.direct { "run directly, as asked" } else { "run directly: there is no service" });
    }
    let mandate = run.profiles.clone().map_or(Mandate::Own, Mandate::OwnAnd);
    let launcher = ahead.unwrap_or_else(|| Launcher::fork(run.tier.map(Tier::from), &mandate));
    let (seen, output) = match &launcher {
        Ok(launcher) => launcher.run(request).unwrap_or_else(|error| not_supervised(&error)),
        Err(error) => not_supervised(error),
    };
    (Verdict::new(asked, &seen, output), launcher.ok())
}

/// Says who makes the jail, to those who want to know.
fn say_way(run: &Run, way: &str) {
    if run.verbose && !run.quiet {
        report::say(way);
    }
}

fn unserved(asked: Asked, reason: Reason) -> Verdict {
    let seen = if reason.code.starts_with("failed.") { Seen::Failed(reason, None) } else { Seen::Refused(reason) };
    Verdict::new(asked, &seen, Output::default())
}

fn not_supervised(error: &std::io::Error) -> (Seen, Output) {
    let message = format!("cannot supervise the run: {error}");
    (Seen::Failed(Reason { code: "failed.supervise".into(), message, remedy: None }, None), Output::default())
}

fn asked(run: &Run) -> Asked {
    Asked {
        id: uuid::Uuid::now_v7().to_string(),
        time: jiff::Timestamp::now().to_string(),
        caller: Caller { uid: nix::unistd::getuid().as_raw(), gid: nix::unistd::getgid().as_raw() },
        agent: run.agent.clone(),
        session: run.session.clone(),
        profile: profile(run),
        argv: run.command.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
    }
}

fn request(run: &Run) -> Result<RunRequest, String> {
    let here = std::env::current_dir().map_err(|error| format!("cannot find the current directory: {error}"))?;
    let workspace = run.workspace.as_ref().map_or(here.clone(), |workspace| here.join(workspace));
    Ok(RunRequest {
        profile: profile(run),
        tier: run.tier.map(Tier::from),
        argv: run.command.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
        set: run.env.iter().map(|entry| split(entry)).collect::<Result<_, _>>()?,
        pass: run.pass.iter().map(|name| name.as_bytes().to_vec()).collect(),
        inherited: std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())).collect(),
        // An agent or a jail has one, unless another is named.
        workspace: if (run.agent.is_some() || run.jail.is_some()) && run.workspace.is_none() {
            Vec::new()
        } else {
            workspace.into_os_string().into_vec()
        },
        cwd: run.cwd.as_ref().map(|cwd| here.join(cwd).into_os_string().into_vec()),
        terminal: choose_terminal(run),
        timeout_ms: run.timeout.map(|span| span.0),
        narrow: Narrow { record: run.record, ..Narrow::default() },
        mounts: Vec::new(),
        agent: run.agent.clone(),
    })
}

/// The profile's name; none where an agent has one.
fn profile(run: &Run) -> String {
    let default = if run.agent.is_some() || run.jail.is_some() { "" } else { "untrusted" };
    run.profile.clone().unwrap_or_else(|| default.to_owned())
}

fn split(entry: &OsStr) -> Result<(Vec<u8>, Vec<u8>), String> {
    let bytes = entry.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=');
    let shown = entry.to_string_lossy();
    let at = at
        .filter(|at| *at > 0)
        .ok_or_else(|| format!("--env `{shown}` is not NAME=VALUE; to pass one on, use --pass"))?;
    let (name, value) = bytes.split_at(at);
    Ok((name.to_vec(), value.get(1..).unwrap_or_default().to_vec()))
}

fn choose_terminal(run: &Run) -> Terminal {
    // One that goes on without us does not have ours.
    let outside = stdin().is_terminal() && stdout().is_terminal() && !run.detach;
    if run.no_tty || !(run.tty || outside) {
        return Terminal::None;
    }
    let size = terminal::size(stdin().as_fd()).unwrap_or(terminal::Size { rows: 24, columns: 80 });
    Terminal::Own { rows: size.rows, columns: size.columns, stderr: stderr().is_terminal() || !outside }
}
