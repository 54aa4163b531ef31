//! `clawjail profile explain`: what would be enforced here, decided as a run decides it.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::answer;
use super::super::run::TierWord;
use super::reach::{self, Asking, Question};
use crate::host::Tier;
use crate::jail::deciding;
use crate::plan::Plan;
use crate::plan::explain::{self, Explained, aligned, on_the_host};
use crate::plan::sight::normal;
use crate::policy::egress::rule::Protocol;
use crate::wire::privsep::{RunRequest, Terminal};

/// Print the plan that would be enforced here, with the reason of every grant.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail profile explain untrusted
  clawjail profile explain offline --workspace ~/work/project -- cargo build
  clawjail profile explain untrusted --tier bare --json | jq .plan.promises
  clawjail profile explain web --host api.example.org --port 443
  clawjail profile explain web --host api.example.org --method POST --path /repos/x

Nothing is started. Exit code: 0; 126 when a run would be refused, or the host is denied; 125 when clawjail failed.")]
pub struct Explain {
    /// The profile.
    #[arg(value_name = "PROFILE")]
    profile: String,
    /// The directory that the command would work in; the current one if not given.
    #[arg(long, short, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Take this tier instead of the best there is.
    #[arg(long, value_name = "TIER")]
    tier: Option<TierWord>,
    /// Only whether this host, a name or an address, could be reached, and by which rule.
    #[arg(long, value_name = "HOST", conflicts_with_all = ["workspace", "tier", "command"])]
    host: Option<String>,
    /// On this port.
    #[arg(long, value_name = "PORT", default_value_t = 443, requires = "host", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Over UDP instead of TCP.
    #[arg(long, requires = "host")]
    udp: bool,
    /// Only whether a request by this method could be sent there.
    #[arg(long, value_name = "METHOD", requires = "host", conflicts_with = "udp")]
    method: Option<String>,
    /// For this path.
    #[arg(long, value_name = "PATH", requires = "host", conflicts_with = "udp")]
    path: Option<String>,
    /// Which is to become a websocket.
    #[arg(long, requires = "host", conflicts_with = "udp")]
    websocket: bool,
    /// The same as data.
    #[arg(long)]
    json: bool,
    /// A command: which program it would be.
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
}

/// A command as it would be executed.
#[derive(Debug, Serialize)]
struct Command {
    argv: Vec<String>,
    /// The program's path inside the jail; null when there is none.
    program: Option<PathBuf>,
    /// The same file on the host.
    on_the_host: Option<PathBuf>,
}

#[derive(Serialize)]
struct Answer<'a> {
    command: Option<Command>,
    #[serde(flatten)]
    explained: Explained<'a>,
}

/// Explains it.
pub fn run(explain: &Explain) -> ExitCode {
    if let Some(host) = &explain.host {
        let protocol = if explain.udp { Protocol::Udp } else { Protocol::Tcp };
        let Explain { profile, port, json, method, path, websocket, .. } = explain;
        let asked = method.is_some() || path.is_some() || *websocket;
        let request = asked.then(|| Asking {
            method: method.as_deref().unwrap_or("GET"),
            path: path.as_deref().unwrap_or("/"),
            websocket: *websocket,
        });
        return reach::run(&Question { profile, host, port: *port, protocol, request, json: *json });
    }
    let request = match request(explain) {
        Ok(request) => request,
        Err(error) => return answer::fail(&format!("cannot find the current directory: {error}")),
    };
    let plan = match deciding::foresee(&request) {
        Ok(plan) => plan,
        Err(reason) => return answer::refuse_start(&reason),
    };
    let command = (!explain.command.is_empty()).then(|| resolve(&plan, &explain.command));
    if explain.json {
        return answer::give(&answer::json(&Answer { command, explained: explain::data(&plan) }));
    }
    let command = command.map(|command| text(&command)).unwrap_or_default();
    answer::give(&(explain::text(&plan) + &command))
}

fn request(explain: &Explain) -> std::io::Result<RunRequest> {
    let here = std::env::current_dir()?;
    let workspace = explain.workspace.as_ref().map_or(here.clone(), |workspace| here.join(workspace));
    Ok(RunRequest {
        profile: explain.profile.clone(),
        tier: explain.tier.map(Tier::from),
        argv: explain.command.iter().map(|argument| argument.as_bytes().to_vec()).collect(),
        set: Vec::new(),
        pass: Vec::new(),
        inherited: Vec::new(),
        workspace: workspace.into_os_string().into_vec(),
        cwd: None,
        terminal: Terminal::None,
        timeout_ms: None,
        narrow: Default::default(),
        mounts: Vec::new(),
        agent: None,
    })
}

fn text(command: &Command) -> String {
    let program = match (&command.program, &command.on_the_host) {
        (Some(inside), Some(host)) if inside != host => format!("{} = {}", inside.display(), host.display()),
        (Some(inside), _) => inside.display().to_string(),
        (None, _) => "not found in the jail, or not executable there".to_owned(),
    };
    let rows = [vec!["arguments".to_owned(), command.argv.join(" ")], vec!["program".to_owned(), program]];
    format!("\ncommand\n{}", aligned(&rows))
}

/// Finds the program as the run's first process would, but by way of the plan instead of from inside.
fn resolve(plan: &Plan, command: &[OsString]) -> Command {
    let name = Path::new(command.first().map_or_else(Default::default, OsString::as_os_str));
    let found = candidates(plan, name).into_iter().find_map(|inside| {
        let (host, rights) = on_the_host(plan, &inside)?;
        (rights.execute && is_program(&host)).then_some((inside, host))
    });
    let (program, on_the_host) = found.unzip();
    let argv = command.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    Command { argv, program, on_the_host }
}

fn candidates(plan: &Plan, name: &Path) -> Vec<PathBuf> {
    if name.as_os_str().as_bytes().contains(&b'/') {
        return vec![normal(&plan.cwd.join(name))];
    }
    let search = plan.environment.get("PATH").map_or("/usr/local/bin:/usr/bin:/bin", String::as_str);
    search.split(':').map(|directory| Path::new(directory).join(name)).collect()
}

fn is_program(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|facts| facts.is_file() && facts.permissions().mode() & 0o111 != 0)
}
