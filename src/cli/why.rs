//! `clawjail why`: why something was denied, or would be.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::profile::reach::{self, Asking, Question};
use super::run::TierWord;
use super::{answer, found};
use crate::plan::judge::Access;
use crate::policy::egress::rule::Protocol;

mod path;
mod story;

/// Say why something was denied in a run, or whether it would be.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail why 019aa5c1                                     the whole story of a run, from the ledger
  clawjail why --from v.json                                the same, from a verdict in a file
  clawjail why --profile untrusted --path ~/.ssh/id_rsa     whether it could be read, and by which rule not
  clawjail why --profile offline --path .git/hooks/x --access make
  clawjail why --profile web --host api.example.org --port 443
  clawjail why --profile web --host api.example.org --method POST --path /repos/x

With --profile nothing is started: the plan that a run would be given is asked, by the code that enforces it.
Exit code: 0; 126 when it is denied, or when a run would be refused; 125 when clawjail failed.")]
pub struct Why {
    /// The run: its verdict's id, or the beginning of it.
    #[arg(value_name = "RUN", value_parser = super::verdict::parse_id, required_unless_present_any = ["from", "profile"], conflicts_with_all = ["from", "profile"])]
    run: Option<String>,
    /// A file with a verdict, as `clawjail run --verdict` writes it.
    #[arg(long, value_name = "FILE", conflicts_with = "profile")]
    from: Option<PathBuf>,
    /// The directory of the ledger; the service's one if not given.
    #[arg(long, value_name = "DIR")]
    ledger: Option<PathBuf>,
    /// Ask the service at this socket for the verdict.
    #[arg(long, value_name = "PATH", conflicts_with = "ledger")]
    socket: Option<PathBuf>,
    /// Ask about this profile instead of a run.
    #[arg(long, short, value_name = "NAME")]
    profile: Option<String>,
    /// Whether this path could be used: as on the host, or as the command sees it. With --host, the path of a request.
    #[arg(long, value_name = "PATH", requires = "profile")]
    path: Option<PathBuf>,
    /// How the path would be used.
    #[arg(long, value_name = "ACCESS", requires = "path", conflicts_with = "host", default_value = "read")]
    access: AccessWord,
    /// Whether this host, a name or an address, could be reached.
    #[arg(long, value_name = "HOST", requires = "profile")]
    host: Option<String>,
    /// On this port.
    #[arg(long, value_name = "PORT", default_value_t = 443, requires = "host", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// Over UDP instead of TCP.
    #[arg(long, requires = "host")]
    udp: bool,
    /// Whether a request by this method could be sent there.
    #[arg(long, value_name = "METHOD", requires = "host", conflicts_with = "udp")]
    method: Option<String>,
    /// One that is to become a websocket.
    #[arg(long, requires = "host", conflicts_with = "udp")]
    websocket: bool,
    /// The directory that the command would work in; the current one if not given.
    #[arg(long, short, value_name = "DIR", requires = "path", conflicts_with = "host")]
    workspace: Option<PathBuf>,
    /// Take this tier instead of the best there is.
    #[arg(long, value_name = "TIER", requires = "path", conflicts_with = "host")]
    tier: Option<TierWord>,
    /// The answer as data.
    #[arg(long)]
    json: bool,
}

/// An access by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AccessWord {
    /// Read a file.
    Read,
    /// List a directory.
    List,
    /// Change a file.
    Write,
    /// Execute a file.
    Execute,
    /// Make a name that is not there.
    Make,
    /// Remove a name.
    Remove,
}

impl From<AccessWord> for Access {
    fn from(word: AccessWord) -> Access {
        match word {
            AccessWord::Read => Access::Read,
            AccessWord::List => Access::List,
            AccessWord::Write => Access::Write,
            AccessWord::Execute => Access::Execute,
            AccessWord::Make => Access::Make,
            AccessWord::Remove => Access::Remove,
        }
    }
}

/// Answers it.
pub fn run(why: &Why) -> ExitCode {
    match (&why.profile, &why.path, &why.host) {
        (Some(profile), _, Some(host)) => reachable(why, profile, host),
        (Some(profile), Some(path), None) => path::run(&path::Question {
            profile,
            path,
            access: why.access.into(),
            workspace: why.workspace.as_deref(),
            tier: why.tier,
            json: why.json,
        }),
        (Some(_), None, None) => answer::refuse(
            "nothing was asked about the profile",
            Some("`--path` or `--host` asks; `clawjail profile explain` shows all of it"),
        ),
        (None, ..) => {
            let wanted = found::Wanted {
                id: why.run.as_deref(),
                from: why.from.as_deref(),
                ledger: why.ledger.as_deref(),
                socket: why.socket.as_deref(),
            };
            match found::one(&wanted) {
                Ok(verdict) if why.json => answer::give(&answer::json(&verdict)),
                Ok(verdict) => answer::give(&story::text(&verdict)),
                Err(code) => code,
            }
        }
    }
}

/// Whether a host could be reached, or a request sent to it.
fn reachable(why: &Why, profile: &str, host: &str) -> ExitCode {
    let path = match why.path.as_deref().map(|path| path.to_str()) {
        Some(None) => {
            return answer::refuse("cannot use a path of a request that is not UTF-8", Some("write it as %XX"));
        }
        Some(Some(path)) => Some(path),
        None => None,
    };
    let asked = why.method.is_some() || path.is_some() || why.websocket;
    let request = asked.then(|| Asking {
        method: why.method.as_deref().unwrap_or("GET"),
        path: path.unwrap_or("/"),
        websocket: why.websocket,
    });
    if request.is_some() && why.udp {
        return answer::refuse("a request is not asked about over UDP", Some("leave out `--udp`, or `--path`"));
    }
    let protocol = if why.udp { Protocol::Udp } else { Protocol::Tcp };
    reach::run(&Question { profile, host, port: why.port, protocol, request, json: why.json })
}
