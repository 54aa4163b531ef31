//! What is to happen for a request: its tier, its workspace, its profile and the plan that they make, on this host.
//!
//! Nothing is done yet. `explain` shows what is decided here, and a run enforces it.

use std::path::{Path, PathBuf};

use super::ahead::Setting;
use super::init::HeadStart;
use super::not_started::NotStarted;
use super::opening::Jail;
use super::survey;
use super::trees::Trees;
use super::workspace::{self, Judged, Workspace};
use crate::confine::Ids;
use crate::host::{IdmappedMounts, Tier};
use crate::plan::compile::{TierPolicies, compile, own_set};
use crate::plan::filter::{self, Otherwise};
use crate::plan::refused::Refused;
use crate::plan::request::{MountedDirectory, Request};
use crate::plan::{self, Identity, Naming, Plan, View, built_in};
use crate::policy::library::Library;
use crate::policy::syscalls::{SyscallPolicy, merge};
use crate::profile::Profile;
use crate::profile::load::Sources;
use crate::profile::recording::Recording;
use crate::profile::resolve::resolve;
use crate::wire::privsep::{Filters, RunRequest};

/// What is known before the jail is told anything.
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    /// What of the view is left to do after the head start.
    pub remainder: View,
    /// Whom the command runs as.
    pub ids: Ids,
    /// The policies that count.
    pub library: Library,
    /// Trees that are mounted with other owners.
    pub trees: Trees,
    /// Held open until the jail stands: what was judged is what is mounted.
    pub workspace: Workspace,
    /// What is beside it, with where it is shown.
    pub mounts: Vec<(PathBuf, Judged)>,
}

impl Prepared {
    /// Lets go of what only making the jail took: it may sleep for hours, and there may be a thousand.
    pub fn keep_what_runs_take(&mut self) {
        self.library = Library::built_in();
        self.trees = Trees::new(self.ids);
        self.mounts.clear();
        self.remainder = View::default();
        self.plan.view = View::default();
        self.plan.syscalls = SyscallPolicy::default();
    }
}

/// What is decided for one request on this host. `explain` shows it, a run enforces it.
struct Decided {
    plan: Plan,
    trees: Trees,
    library: Library,
    workspace: Workspace,
    mounts: Vec<(PathBuf, Judged)>,
}

/// Decides as a run would, for somebody who wants to know and runs nothing.
pub fn foresee(request: &RunRequest) -> Result<Plan, NotStarted> {
    let setting = Setting::of_this_process();
    let tier = choose_tier(request.tier, &setting)?;
    let ids = choose_ids(tier, setting.own, nix::unistd::getpid().as_raw());
    decide(request, &setting, tier, ids).map(|decided| decided.plan)
}

/// What is to happen, and the jail for it: the one that was begun, unless the plan does not fit its head start.
pub fn fit(request: &RunRequest, setting: &Setting, jail: Jail) -> Result<(Jail, Prepared), NotStarted> {
    let tier = jail.birth.tier;
    let prepared = prepare(request, setting, &jail)?;
    if jail.birth.head_start == HeadStart::None {
        return Ok((jail, prepared));
    }
    if let Some(remainder) = plan::ahead::remainder(&prepared.plan.view) {
        return Ok((jail, Prepared { remainder, ..prepared }));
    }
    // Its groups have the name that the next one's will have.
    drop(jail);
    let jail = setting.begin(tier, HeadStart::None)?;
    // Decided anew: in the root tier the command's uid is the jail's own.
    let prepared = prepare(request, setting, &jail)?;
    Ok((jail, prepared))
}

fn prepare(request: &RunRequest, setting: &Setting, jail: &Jail) -> Result<Prepared, NotStarted> {
    let tier = jail.birth.tier;
    let ids = choose_ids(tier, setting.own, jail.init.as_raw());
    let Decided { plan, trees, library, workspace, mounts } = decide(request, setting, tier, ids)?;
    let ids = match plan.identity {
        Identity::Caller(owner) => Ids { uid: owner.uid, gid: owner.gid },
        Identity::ThrowAway { .. } | Identity::Mapped(_) => ids,
    };
    Ok(Prepared { remainder: plan.view.clone(), plan, ids, library, trees, workspace, mounts })
}

fn decide(request: &RunRequest, setting: &Setting, tier: Tier, ids: Ids) -> Result<Decided, NotStarted> {
    let Setting { mandate, caller, own, controllers, .. } = setting;
    let sources = mandate.sources(*own, caller);
    let library = sources.library();
    let profile = match mandate.known(&request.profile)? {
        Some(profile) => profile,
        None => load_profile(&request.profile, &sources, &library)?,
    };
    let malformed = |message| Refused { code: "request_invalid", message, remedy: None };
    let profile = request.narrow.apply(profile).map_err(malformed)?;
    let cwd = request.cwd.as_deref().map(workspace::path_of);
    let workspace = workspace::open(&workspace::path_of(&request.workspace), cwd.as_deref(), caller, *own)?;
    let judge = |(path, at): &(Vec<u8>, String)| {
        let judged = workspace::judge(&workspace::path_of(path), caller, *own)?;
        Ok((PathBuf::from(at), judged))
    };
    let mounts = request.mounts.iter().map(judge).collect::<Result<Vec<_>, Refused>>()?;
    let mut trees = Trees::new(ids);
    let idmapped = match tier {
        Tier::Root => trees.add_workspace(&workspace, &profile)?,
        Tier::User | Tier::Bare => IdmappedMounts::Work,
    };
    let facts = survey::facts(tier, controllers.clone(), idmapped);
    let request = Request {
        caller: caller.clone(),
        workspace: workspace.directory.clone(),
        mounts: mounts.iter().map(|(at, judged)| mounted(at, judged)).collect(),
        cwd: workspace.cwd.clone(),
        timeout_ms: request.timeout_ms,
    };
    let plan = compile(&profile, &request, &facts, &TierPolicies::find(facts.tier, &library)?)?;
    for below in mounts.iter().filter_map(|(at, _)| at.strip_prefix(plan.workspace.as_ref()?).ok()) {
        workspace::refuse_no_place(&workspace, below, caller, *own)?;
    }
    trees.add_owned(&plan, caller, *own)?;
    Ok(Decided { plan, trees, library, workspace, mounts })
}

/// The tier that was asked for, if it can be had, or the best.
pub fn choose_tier(asked: Option<Tier>, setting: &Setting) -> Result<Tier, Refused> {
    let best = setting.best;
    let Some(asked) = asked else { return Ok(best) };
    let there = match asked {
        Tier::Bare => true,
        Tier::User => best == Tier::User || survey::user_namespaces_work(setting.own).is_ok(),
        Tier::Root => best == Tier::Root,
    };
    if there {
        return Ok(asked);
    }
    Err(Refused {
        code: "tier_not_available",
        message: format!("tier `{}` is not available here, the best is `{}`", asked.word(), best.word()),
        remedy: Some("run `clawjail doctor` for the cause".into()),
    })
}

fn choose_ids(tier: Tier, own: Ids, init: i32) -> Ids {
    match tier {
        Tier::Root => {
            use crate::plan::compile::{FIRST_THROW_AWAY_UID, THROW_AWAY_UIDS};
            // No two living processes share a pid, so no two living jails share a uid.
            let offset = u32::try_from(init).unwrap_or(0) % THROW_AWAY_UIDS;
            Ids { uid: FIRST_THROW_AWAY_UID + offset, gid: FIRST_THROW_AWAY_UID + offset }
        }
        Tier::User | Tier::Bare => own,
    }
}

/// The profile `name`, resolved.
pub fn load_profile(name: &str, sources: &Sources, library: &Library) -> Result<Profile, Refused> {
    if let Some(profile) = built_in::profile(name, sources) {
        return Ok(profile);
    }
    resolve(name, sources, library).map_err(|error| Refused {
        code: "profile_unusable",
        message: super::chain(&error),
        remedy: error.hint(),
    })
}

fn mounted(at: &Path, judged: &Judged) -> MountedDirectory {
    MountedDirectory { path: judged.path.clone(), owner: judged.owner, at: at.to_path_buf() }
}

fn policy_refused(name: &str, error: String) -> Refused {
    Refused { code: "policy_unusable", message: format!("cannot use policy `{name}`: {error}"), remedy: None }
}

/// What init and its runs are filtered by.
pub fn make_filters(prepared: &Prepared) -> Result<Filters, Refused> {
    let Prepared { plan, library, .. } = prepared;
    let mut asked = vec!["broker"];
    let brokered = plan.naming == Naming::Brokered;
    asked.extend((brokered && plan.tier == Tier::Bare).then_some("broker-bare"));
    asked.extend(plan.vets_repositories().then_some("broker-git"));
    // The broker's own set has writes and removals only where it looks at settings of git.
    asked.extend((!brokered || !plan.vets_repositories()).then_some("observe-writes"));
    asked.extend((!plan.has_gate()).then_some("observe"));
    asked.extend((plan.recording >= Recording::Commands).then_some("observe-commands"));
    asked.extend((plan.recording >= Recording::Full).then_some("observe-full"));
    let asking = merge(asked.into_iter().map(|name| own_set(name, library)).collect::<Result<_, _>>()?);
    let compile = |policy: &SyscallPolicy, otherwise, name: &str| {
        filter::compile(policy, otherwise).map_err(|error| policy_refused(name, error.to_string()))
    };
    Ok(Filters {
        all: compile(&plan.syscalls, Otherwise::Deny, &plan.profile)?,
        brokered: compile(&asking, Otherwise::Allow, "broker")?,
    })
}
