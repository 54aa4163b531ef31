//! `clawjail learn`: a profile from what a command does.
//!
//! ```text
//!   copy of the workspace -> run with much in view, all of it recorded -> what was used -> the least profile -> run under it
//! ```
//!
//! The command sees the system and the toolchains, no home, no secret; it changes a private copy of the workspace, which is thrown
//! away. What it did not get although it asked stays a comment in the profile, for a person to decide.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use super::report::say;
use super::run::TierWord;
use super::{answer, profile};
use crate::jail::accounts;
use crate::profile::diff::compare;
use crate::profile::lint::Which;
use crate::profile::resolve::resolve_draft;
use crate::verdict::{Outcome, Verdict};
use crate::wire::text::printable;

mod collapse;
mod copy;
mod draft;
mod origins;
mod trying;
mod watched;

use copy::Scratch;
use draft::{Access, Learned};
use trying::Trial;

/// Write the least profile under which a command does what it does, from watching it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail learn --out tests.toml -- npm test            watches, writes tests.toml, and runs it again under that
  clawjail learn --out tests.toml -- npm run build       another example: widens tests.toml, and shows by what
  clawjail learn --net --out fetch.toml -- npm ci        lets it reach the public hosts that it asks for
  clawjail learn -- pytest -q                            prints the profile

The command runs in a private copy of the workspace, which is thrown away: nothing outside is changed. It sees the system, the
toolchains and what --show names, and no secrets. Whatever it asked for and did not get is a comment in the profile.

Exit code: 0 when the command did the same under the profile; 1 when it did not; 125 when clawjail failed; 126 refused.")]
pub struct Learn {
    /// The profile to start from: its environment, system calls and shields stay.
    #[arg(long, short, value_name = "BASE", default_value = "offline")]
    profile: String,
    /// Where to write the profile. One that is there is widened.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The directory that the command works in; the current one if not given.
    #[arg(long, short, value_name = "DIR")]
    workspace: Option<PathBuf>,
    /// Let it see this path of the host, too.
    #[arg(long, value_name = "PATH")]
    show: Vec<String>,
    /// Let it reach the public hosts that it asks for. It is run again for each that it asks for after another.
    #[arg(long)]
    net: bool,
    /// Learn also from a command that fails.
    #[arg(long)]
    any_exit: bool,
    /// Take this tier instead of the best there is.
    #[arg(long, value_name = "TIER")]
    tier: Option<TierWord>,
    /// The command and its arguments.
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<std::ffi::OsString>,
}

/// Runs that find new hosts.
const MOST_ROUNDS: usize = 8;
/// Runs under the new profile.
const MOST_PROOFS: usize = 4;

/// Why nothing was learned; said already.
type Stopped = ExitCode;

/// Learns.
pub fn run(learn: &Learn) -> ExitCode {
    match all(learn) {
        Ok(code) | Err(code) => code,
    }
}

fn all(learn: &Learn) -> Result<ExitCode, Stopped> {
    let old = learn.out.as_deref().map(read_old).transpose()?.flatten();
    let base = old.as_ref().map_or(learn.profile.as_str(), |old| old.base.as_str());
    let scratch = Scratch::new().map_err(|error| answer::fail(&format!("cannot make a private directory: {error}")))?;
    let trial = Trial::new(learn, base, &scratch)?;
    let seen = watch(learn, &trial)?;
    refuse_bad_end(learn, &seen)?;
    let new = watched::learn(&seen, &trial.place(&seen), base);
    let learned = match &old {
        Some(old) => old.clone().widen(new),
        None => new,
    };
    let (learned, proved) = prove(&trial, learned, &seen)?;
    tell(learn, &scratch, old.as_ref(), &learned)?;
    Ok(if proved { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn read_old(path: &Path) -> Result<Option<Learned>, Stopped> {
    let name = path.display();
    match fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(answer::fail(&format!("cannot read `{name}`: {error}"))),
        Ok(text) => Learned::parse(&text).map(Some).map_err(|error| {
            answer::refuse(&format!("cannot widen `{name}`: {error}"), Some("name another file for --out"))
        }),
    }
}

/// Runs it with much in view. With `--net` again and again, until it asks for no further host.
fn watch(learn: &Learn, trial: &Trial<'_>) -> Result<Verdict, Stopped> {
    let mut hosts: Vec<String> = Vec::new();
    for round in 1.. {
        say(&format!(
            "learning: in a copy of the workspace{}",
            if round > 1 { ", with the hosts that it asked for" } else { "" }
        ));
        let verdict = trial.permissive(&hosts)?;
        let new: Vec<String> =
            watched::wanted_hosts(&verdict).into_iter().filter(|host| !hosts.contains(host)).collect();
        if !learn.net || new.is_empty() || round >= MOST_ROUNDS {
            return Ok(verdict);
        }
        hosts.extend(new);
    }
    Err(answer::fail("cannot learn: no run came to an end"))
}

fn refuse_bad_end(learn: &Learn, seen: &Verdict) -> Result<(), Stopped> {
    let hosts = watched::wanted_hosts(seen);
    let hint = if hosts.is_empty() || learn.net {
        "`--show PATH` shows more of the host, `--any-exit` learns from a command that fails".to_owned()
    } else {
        format!("it asked for {}: `--net` lets it reach public hosts", hosts.join(", "))
    };
    match (seen.outcome, seen.exit_code) {
        (Outcome::Exited, Some(0)) => Ok(()),
        (Outcome::Exited, Some(_)) if learn.any_exit => Ok(()),
        (Outcome::Exited, Some(code)) => Err(answer::refuse(
            &format!("nothing is learned from a command that fails: it exited with {code}"),
            Some(&hint),
        )),
        (outcome, _) => Err(answer::refuse(
            &format!("nothing is learned from a run that did not end by itself: {}", outcome.word()),
            None,
        )),
    }
}

/// Runs it under what was learned, widened by what it turns out to lack. Says whether it did the same at last.
fn prove(trial: &Trial<'_>, mut learned: Learned, seen: &Verdict) -> Result<(Learned, bool), Stopped> {
    for proof in 1..=MOST_PROOFS {
        say("proving: the same under what was learned");
        let verdict = trial.under(&learned)?;
        let same = (verdict.outcome, verdict.exit_code) == (seen.outcome, seen.exit_code);
        let wider = trying::wider(&learned, &verdict, seen);
        if same && (wider == learned || proof == MOST_PROOFS) {
            say(&format!("proved: {} again, in {} ms", ended(&verdict), verdict.resources.wall_us / 1000));
            return Ok((learned, true));
        }
        let only_read = learned.access.as_ref().is_some_and(|(access, _)| *access == Access::Ro);
        learned = match (wider == learned, only_read) {
            (false, _) => wider,
            // What came and went again leaves no trace to compare.
            (true, true) => {
                let why = "it failed without: something in it comes and goes".to_owned();
                Learned { access: Some((Access::Rw, why)), ..learned }
            }
            (true, false) => {
                let why = verdict.reason.as_ref().map(|reason| format!(": {}", printable(&reason.message)));
                let (is, was) = (ended(&verdict), ended(seen));
                say(&format!("not proved: {is} instead of {was}{}", why.unwrap_or_default()));
                return Ok((learned, false));
            }
        };
    }
    say(&format!("not proved in {MOST_PROOFS} runs"));
    Ok((learned, false))
}

fn ended(verdict: &Verdict) -> String {
    verdict.exit_code.map_or_else(|| verdict.outcome.word().replace('_', " "), |code| format!("exit {code}"))
}

/// Writes or prints the profile, and says what is new in it.
fn tell(learn: &Learn, scratch: &Scratch, old: Option<&Learned>, learned: &Learned) -> Result<(), Stopped> {
    let text = learned.text(None);
    for (what, why) in &learned.asked {
        say(&format!("asked for, not granted: {} ({})", printable(what), printable(why)));
    }
    let Some(out) = &learn.out else {
        answer::give(&text);
        return Ok(());
    };
    let draft = scratch.path().join("learned.toml");
    let failed = |error: std::io::Error| answer::fail(&format!("cannot write `{}`: {error}", out.display()));
    fs::write(&draft, &text).map_err(failed)?;
    let sources = profile::sources();
    let library = sources.library();
    let new = resolve_draft(&draft, &sources, &library).map_err(|error| answer::refuse_profile(&error))?;
    let before = match old {
        Some(_) => resolve_draft(out, &sources, &library),
        None => Which::Named(&learned.base).resolve(&sources, &library),
    };
    let before = before.map_err(|error| answer::refuse_profile(&error))?;
    let name = if old.is_some() { "before" } else { learned.base.as_str() };
    answer::give(&profile::diff::text(name, "learned", &compare(&before, &new)));
    fs::write(out, &text).map_err(failed)?;
    let place = if accounts::own_ids().uid == 0 { "/etc/clawjail/profiles" } else { "~/.config/clawjail/profiles" };
    let access = learned.access.as_ref().map(|(access, _)| if *access == Access::Rw { "changes" } else { "reads" });
    say(&format!(
        "wrote {}: it {} the workspace; to use it, copy it to {place}/NAME.toml",
        out.display(),
        access.unwrap_or("reads")
    ));
    Ok(())
}
