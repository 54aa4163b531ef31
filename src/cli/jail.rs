//! `clawjail jail`: jails that stay between runs.

use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::answer;
use super::client::{Client, Problem};
use super::run::TierWord;
use crate::host::Tier;
use crate::plan::explain::aligned;
use crate::profile::units::Span;
use crate::wire::reply;
use crate::wire::request::{JailClose, JailOpen, SessionEnd};
use crate::wire::text::Text;

/// Open a jail that stays between runs, list or close such jails.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  jail=$(clawjail jail open --profile offline)
  clawjail run --jail $jail -- sh -c 'python3 -m http.server >/dev/null 2>&1 &'
  clawjail run --jail $jail -- curl -s http://127.0.0.1:8000/
  clawjail jail close $jail")]
pub struct Jail {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with jails.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Open one, and print its id.
    #[command(after_help = "Example:\n  clawjail jail open --profile offline --idle 30m")]
    Open(Open),
    /// List those that are open.
    #[command(after_help = "Example:\n  clawjail jail list --json | jq -r .[].jail")]
    List(List),
    /// Close one, or all of a session, with all that runs in it.
    #[command(after_help = "Examples:\n  clawjail jail close 3f1c9a0b2d\n  clawjail jail close --session build-7")]
    Close(Close),
}

/// Open one.
#[derive(Debug, Args)]
pub struct Open {
    /// The profile; the caller's default if not given.
    #[arg(long, short, value_name = "NAME")]
    profile: Option<String>,
    /// The agent that it is for.
    #[arg(long, value_name = "NAME")]
    agent: Option<String>,
    /// What you call the session it is part of: `clawjail jail close --session` closes all of it.
    #[arg(long, value_name = "NAME")]
    session: Option<String>,
    /// The directory that commands work in; the current one if not given, or the agent's.
    #[arg(long, short, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Close it when nothing ran in it for so long; it can only shorten the service's limit.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    idle: Option<Span>,
    /// Close it after this long; it can only shorten the service's limit.
    #[arg(long, value_name = "TIME", value_parser = parse_span)]
    age: Option<Span>,
    /// Take this tier instead of the best there is.
    #[arg(long, value_name = "TIER")]
    tier: Option<TierWord>,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// List them.
#[derive(Debug, Args)]
pub struct List {
    /// As data.
    #[arg(long)]
    json: bool,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Close one.
#[derive(Debug, Args)]
pub struct Close {
    /// Which.
    #[arg(value_name = "ID", required_unless_present = "session")]
    jail: Option<String>,
    /// All of yours that were opened for this session; runs for it end too.
    #[arg(long, value_name = "NAME", conflicts_with = "jail")]
    session: Option<String>,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

fn parse_span(text: &str) -> Result<Span, String> {
    text.parse::<Span>().map_err(|error| error.to_string())
}

/// Does it.
pub fn run(jail: &Jail) -> ExitCode {
    let answered = match &jail.action {
        Action::Open(open) => self::open(open),
        Action::List(list) => self::list(list),
        Action::Close(close) => self::close(close).map(|_| String::new()),
    };
    match answered {
        Ok(text) => answer::give(&text),
        Err(problem) => answer::problem(&problem),
    }
}

fn open(open: &Open) -> Result<String, Problem> {
    let mut client = Client::find(open.socket.as_deref())?;
    let here = std::env::current_dir().unwrap_or_default();
    let workspace = match (&open.workspace, &open.agent) {
        (Some(workspace), _) => Some(here.join(workspace)),
        (None, Some(_)) => None,
        (None, None) => Some(here),
    };
    let params = JailOpen {
        profile: open.profile.clone(),
        agent: open.agent.clone(),
        session: open.session.clone(),
        workspace: workspace.map(|workspace| Text(workspace.as_os_str().as_bytes().to_vec())),
        idle_ms: open.idle.map(|span| span.0),
        age_ms: open.age.map(|span| span.0),
        until_disconnect: false,
        narrow: None,
        mounts: Vec::new(),
        tier: open.tier.map(|tier| Tier::from(tier).word().to_owned()),
    };
    let opened = client.call("jail.open", &params)?;
    Ok(format!("{}\n", opened.get("jail").and_then(Value::as_str).unwrap_or_default()))
}

fn close(close: &Close) -> Result<Value, Problem> {
    let mut client = Client::find(close.socket.as_deref())?;
    match (&close.session, &close.jail) {
        (Some(session), _) => client.call("session.end", &SessionEnd { session: session.clone() }),
        (None, jail) => client.call("jail.close", &JailClose { jail: jail.clone().unwrap_or_default() }),
    }
}

fn list(list: &List) -> Result<String, Problem> {
    let mut listed = Client::find(list.socket.as_deref())?.call("jail.list", &json!({}))?;
    let jails = listed.get_mut("jails").map(Value::take).unwrap_or_default();
    if list.json {
        return Ok(answer::json(&jails));
    }
    let jails: Vec<reply::Jail> = serde_json::from_value(jails).unwrap_or_default();
    let head = ["jail", "profile", "agent", "runs", "since", "workspace"].map(str::to_owned).to_vec();
    let rows = jails.into_iter().map(|jail| {
        let agent = jail.agent.unwrap_or_else(|| "-".into());
        vec![jail.jail, jail.profile, agent, jail.runs.to_string(), jail.time, jail.workspace]
    });
    Ok(aligned(&[head].into_iter().chain(rows).collect::<Vec<_>>()))
}
