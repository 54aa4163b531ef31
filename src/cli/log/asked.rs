//! What a person asks of the log.

use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use jiff::Timestamp;

use crate::profile::units::Span;
use crate::verdict::Outcome;

/// Show what was run, newest first.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail log --since 1h                      the last hour
  clawjail log --denied --agent coder          what one agent was refused or denied
  clawjail log --follow --json | jq .argv      each run as it ends
  clawjail log --ledger ./runs --limit 5       of a ledger of your own, as `clawjail run --ledger` writes it

It reads the files of the ledger where it may, and asks the service where not: that shows everything to admins and
viewers, and to operators what they asked for themselves.")]
pub struct Log {
    /// Show the newest few, then each one as it is written.
    #[arg(long, short)]
    pub follow: bool,
    /// For this agent.
    #[arg(long, value_name = "NAME")]
    pub agent: Option<String>,
    /// With this profile.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// That ended so.
    #[arg(long, value_name = "OUTCOME", value_parser = outcomes())]
    pub outcome: Option<Outcome>,
    /// Refused, or with something denied.
    #[arg(long)]
    pub denied: bool,
    /// Begun since then: so long ago (`1h`), a day (`2026-01-31`) or a time (`2026-01-31T12:00:00Z`).
    #[arg(long, value_name = "TIME")]
    pub since: Option<When>,
    /// Begun before then.
    #[arg(long, value_name = "TIME")]
    pub until: Option<When>,
    /// Asked for by this user id.
    #[arg(long, value_name = "UID")]
    pub caller: Option<u32>,
    /// At most so many; with --follow, so many to begin with (10 if not given).
    #[arg(long, short = 'n', value_name = "N")]
    pub limit: Option<u64>,
    /// Print the records as they are, one a line.
    #[arg(long)]
    pub json: bool,
    /// The directory of the ledger; the service's one if not given.
    #[arg(long, value_name = "DIR")]
    pub ledger: Option<PathBuf>,
    /// Ask the service at this socket.
    #[arg(long, value_name = "PATH", conflicts_with = "ledger")]
    pub socket: Option<PathBuf>,
}

fn outcomes() -> impl TypedValueParser<Value = Outcome> {
    let of = |word: String| Outcome::ALL.into_iter().find(|outcome| outcome.word() == word).ok_or("no outcome");
    PossibleValuesParser::new(Outcome::ALL.map(Outcome::word)).try_map(of)
}

/// A time as typed.
#[derive(Clone, Copy, Debug)]
pub struct When(pub Timestamp);

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(span) = text.parse::<Span>() {
            let past = i64::try_from(span.0).map(jiff::SignedDuration::from_millis);
            let then = past.ok().and_then(|past| Timestamp::now().checked_sub(past).ok());
            return then.map(When).ok_or_else(|| format!("`{text}` is before all time"));
        }
        let day = format!("{text}T00:00:00Z");
        let time = text.parse::<Timestamp>().or_else(|_| day.parse());
        time.map(When).map_err(|_| "expected a span such as `1h`, a day or a time with its zone".to_owned())
    }
}
