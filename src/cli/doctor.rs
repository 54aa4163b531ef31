//! `clawjail doctor`: what this host can do, tried for real, and what that means for the profiles.

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::answer;
use crate::host::{HostFacts, IdmappedMounts, Tier};
use crate::jail::examine::{Found, examine};
use crate::jail::{accounts, deciding, mandate, remains, survey};
use crate::plan::Owner;
use crate::plan::compile::{TierPolicies, compile};
use crate::plan::explain::aligned;
use crate::plan::refused::Refused;
use crate::plan::request::{Caller, Request, WorkspaceDirectory};
use crate::profile::listing;
use crate::profile::load::Sources;

/// Try every mechanism for real, and say what works, what does not and what to do about it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail doctor
  sudo clawjail doctor                              what root could have
  clawjail doctor --json | jq .kept                 whether `untrusted` can be kept, for scripts

Exit code: 0 when `untrusted` can be kept in the best tier, 1 when it cannot.")]
pub struct Doctor {
    /// The same as data.
    #[arg(long)]
    json: bool,
}

/// The profile that a host must be able to keep.
const MEASURE: &str = "untrusted";
const TIERS: [Tier; 3] = [Tier::Root, Tier::User, Tier::Bare];

/// Tried everywhere, but needed in no tier: plans say what rests on them, and who needs them is refused by compile.
const CHOSEN_BY_PLANS: [&str; 6] =
    ["landlock", "seccomp notification", "control groups", "owner translation", "terminals", "egress gate"];

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether `untrusted` can be kept in the best tier.
    kept: bool,
    /// That tier.
    best_tier: Tier,
    /// By profile and tier. A tier that cannot be had is left out.
    profiles: BTreeMap<String, BTreeMap<Tier, Keeping>>,
    /// Every trial.
    mechanisms: Vec<Found>,
}

/// How a profile can be kept.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Keeping {
    /// Every promise in full.
    Full,
    /// All but these promises, each with what is missing.
    Partial(BTreeMap<&'static str, String>),
    /// Not at all: the line that a run would be refused with.
    Refused(String),
}

/// Examines and reports.
pub fn run(doctor: &Doctor) -> ExitCode {
    remains::sweep();
    let own = accounts::own_ids();
    let controllers = survey::controllers();
    let mechanisms = examine(own, &controllers);
    let best_tier = survey::best_tier(own);
    let caller = accounts::this_caller();
    let sources = mandate::sources(own, &caller);
    let idmapped = match find(&mechanisms, "owner translation", Tier::Root).map(|found| &found.result) {
        Some(Ok(_)) => IdmappedMounts::Work,
        Some(Err(fault)) if fault.step == "idmap" => IdmappedMounts::NoUserNamespace,
        Some(Err(_)) | None => IdmappedMounts::NotOfThisFilesystem,
    };
    let mut profiles: BTreeMap<String, BTreeMap<Tier, Keeping>> = BTreeMap::new();
    for tier in TIERS.into_iter().filter(|tier| can_be_had(&mechanisms, *tier)) {
        // A run finds out only when a command first asks; here it has been tried.
        let seccomp_notify = works(&mechanisms, "seccomp notification", tier);
        let facts = HostFacts { seccomp_notify, ..survey::facts(tier, controllers.clone(), idmapped) };
        for listed in listing::list(&sources) {
            let keeping = match broken(&mechanisms, tier) {
                Some(mechanism) => Keeping::Refused(format!("`{mechanism}` does not work in tier `{}`", tier.word())),
                None => keep(&listed.name, &sources, &caller, &facts, works(&mechanisms, "egress gate", tier)),
            };
            profiles.entry(listed.name).or_default().insert(tier, keeping);
        }
    }
    let measure = profiles.get(MEASURE).and_then(|tiers| tiers.get(&best_tier));
    let kept = matches!(measure, Some(Keeping::Full | Keeping::Partial(_)));
    let report = Report { kept, best_tier, profiles, mechanisms };
    let text = if doctor.json { answer::json(&report) } else { text(&report) };
    answer::give_with(&text, ExitCode::from(u8::from(!kept)))
}

fn can_be_had(mechanisms: &[Found], tier: Tier) -> bool {
    match tier {
        Tier::Root => works(mechanisms, "privilege", tier),
        Tier::User => works(mechanisms, "user namespace", tier),
        Tier::Bare => true,
    }
}

fn works(mechanisms: &[Found], mechanism: &str, tier: Tier) -> bool {
    find(mechanisms, mechanism, tier).is_some_and(|found| found.result.is_ok())
}

fn find<'a>(mechanisms: &'a [Found], mechanism: &str, tier: Tier) -> Option<&'a Found> {
    mechanisms.iter().find(|found| found.mechanism == mechanism && found.tier.is_none_or(|tried| tried == tier))
}

/// The first mechanism that every jail of the tier needs and that does not work.
fn broken(mechanisms: &[Found], tier: Tier) -> Option<&'static str> {
    let here = mechanisms.iter().filter(|found| found.tier.is_none_or(|tried| tried == tier));
    let mut needed = here.filter(|found| !CHOSEN_BY_PLANS.contains(&found.mechanism));
    needed.find(|found| found.result.is_err()).map(|found| found.mechanism)
}

/// Compiles as a run would, for a workspace that stands for any.
fn keep(name: &str, sources: &Sources, caller: &Caller, facts: &HostFacts, gate_works: bool) -> Keeping {
    let request = Request {
        caller: caller.clone(),
        workspace: WorkspaceDirectory {
            path: "/srv/any/workspace".into(),
            owner: Owner { uid: caller.uid, gid: caller.gid },
            hooks: None,
        },
        mounts: Vec::new(),
        cwd: None,
        timeout_ms: None,
    };
    let library = sources.library();
    let plan = deciding::load_profile(name, sources, &library)
        .and_then(|profile| compile(&profile, &request, facts, &TierPolicies::find(facts.tier, &library)?));
    match plan {
        Err(Refused { message, .. }) => Keeping::Refused(message),
        Ok(plan) if plan.has_gate() && !gate_works => {
            Keeping::Refused(format!("`egress gate` does not work in tier `{}`", facts.tier.word()))
        }
        Ok(plan) => {
            let missing =
                plan.promises.iter().filter_map(|(promise, keeping)| Some((promise.word(), keeping.missing.clone()?)));
            let missing: BTreeMap<&'static str, String> = missing.collect();
            if missing.is_empty() { Keeping::Full } else { Keeping::Partial(missing) }
        }
    }
}

fn text(report: &Report) -> String {
    let mut text = headline(report);
    text.push_str(&format!("\nprofiles\n{}", aligned(&profile_rows(report))));
    text.push_str(&format!("\nmechanisms\n{}", aligned(&mechanism_rows(report))));
    let notes = notes(report);
    if !notes.is_empty() {
        text.push_str(&format!("\nwhat is missing\n{notes}"));
    }
    text
}

fn headline(report: &Report) -> String {
    let tier = report.best_tier.word();
    match report.profiles.get(MEASURE).and_then(|tiers| tiers.get(&report.best_tier)) {
        Some(Keeping::Full) => format!("`{MEASURE}` is kept here in full, in tier `{tier}`\n"),
        Some(Keeping::Partial(missing)) => {
            let missing: Vec<String> = missing.keys().map(|promise| format!("`{promise}`")).collect();
            format!("`{MEASURE}` is kept here in tier `{tier}`, with {} in part\n", missing.join(", "))
        }
        Some(Keeping::Refused(why)) => format!("`{MEASURE}` cannot be kept here: {why}\n"),
        None => format!("`{MEASURE}` cannot be kept here: there is no such profile\n"),
    }
}

fn header() -> Vec<String> {
    [""].into_iter().chain(TIERS.map(Tier::word)).map(str::to_owned).collect()
}

fn profile_rows(report: &Report) -> Vec<Vec<String>> {
    let mut rows = vec![header()];
    for (name, tiers) in &report.profiles {
        let cell = |tier| match tiers.get(&tier) {
            Some(Keeping::Full) => "full".to_owned(),
            Some(Keeping::Partial(missing)) => {
                format!("partial: {}", missing.keys().copied().collect::<Vec<_>>().join(" "))
            }
            Some(Keeping::Refused(_)) => "refused".to_owned(),
            None => "-".to_owned(),
        };
        rows.push([name.clone()].into_iter().chain(TIERS.map(cell)).collect());
    }
    rows
}

fn mechanism_rows(report: &Report) -> Vec<Vec<String>> {
    let mut rows = vec![header()];
    let mut seen = BTreeSet::new();
    for Found { mechanism, .. } in &report.mechanisms {
        if !seen.insert(mechanism) {
            continue;
        }
        let cell = |tier| match find(&report.mechanisms, mechanism, tier).map(|found| found.result.is_ok()) {
            Some(true) => "yes",
            Some(false) => "no",
            None => "-",
        };
        let tried: Vec<&Found> = report.mechanisms.iter().filter(|found| found.mechanism == *mechanism).collect();
        let detail = tried.iter().find_map(|found| found.result.as_deref().ok()).unwrap_or_default();
        let cells = [(*mechanism).to_owned()].into_iter().chain(TIERS.map(cell).map(str::to_owned));
        rows.push(cells.chain([detail.to_owned()]).collect());
    }
    rows
}

/// Every cause once, with its remedy below it.
fn notes(report: &Report) -> String {
    let mut notes = Vec::new();
    for found in &report.mechanisms {
        let Err(fault) = &found.result else { continue };
        let place = found.tier.map(|tier| format!(" in tier `{}`", tier.word())).unwrap_or_default();
        let remedy =
            fault.remedy.as_ref().map(|remedy| format!("    {}\n", remedy.replace('\n', "\n    "))).unwrap_or_default();
        notes.push(format!("  {}{place}: {}\n{remedy}", found.mechanism, fault.cause));
    }
    for (name, tiers) in &report.profiles {
        for (tier, keeping) in tiers {
            let Keeping::Refused(why) = keeping else { continue };
            notes.push(format!("  `{name}` in tier `{}`: {why}\n", tier.word()));
        }
    }
    for (tier, promise, missing) in partial(report) {
        notes.push(format!("  promise `{promise}` in tier `{}`: {missing}\n", tier.word()));
    }
    notes.concat()
}

fn partial(report: &Report) -> BTreeSet<(Tier, &'static str, &str)> {
    let keepings = report.profiles.values().flatten();
    let partly = keepings.filter_map(|(tier, keeping)| match keeping {
        Keeping::Partial(missing) => Some((tier, missing)),
        Keeping::Full | Keeping::Refused(_) => None,
    });
    partly.flat_map(|(tier, missing)| missing.iter().map(|(promise, what)| (*tier, *promise, what.as_str()))).collect()
}
