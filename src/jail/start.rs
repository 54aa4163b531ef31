//! From a request to a running command, as a list.
//!
//! Each step may refuse (we say no) or fail (our fault); either way nothing was executed, and dropping what was made so
//! far takes it away again.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;

use super::ahead::{Ahead, Setting};
use super::channel::Channel;
use super::init::HeadStart;
use super::opening::Jail;
use super::stdio::{self, Given};
use super::trees::Trees;
use super::watch::{Over, Running};
use super::workspace::{self, Workspace};
use super::{environment, survey};
use crate::confine::{Failed, Ids};
use crate::host::{HostFacts, IdmappedMounts, Tier};
use crate::plan::compile::{Refused, TierPolicies, compile, own_set};
use crate::plan::digest::digest;
use crate::plan::filter::{self, Otherwise};
use crate::plan::request::{Caller, Request};
use crate::plan::{self, built_in};
use crate::plan::{Identity, Plan, Shield, View};
use crate::policy::library::Library;
use crate::policy::syscalls::{SyscallPolicy, merge};
use crate::profile::Profile;
use crate::profile::load::Sources;
use crate::profile::promise::Promise;
use crate::profile::resolve::resolve;
use crate::wire::privsep::{
    Command, Failure, Filters, Finding, FromInit, FromLauncher, Keeps, Orders, Run, RunRequest, Started, Work,
};

/// Why there is no run.
#[derive(Debug)]
pub enum NotStarted {
    /// We said no.
    Refused(Refused),
    /// A step of ours did not work.
    Failed(Failed),
    /// A step in the jail did not work.
    ByInit(Failure),
    /// It had ended before it was said to run.
    Ended(Box<Started>, Box<Over>),
}

impl From<Refused> for NotStarted {
    fn from(refused: Refused) -> NotStarted {
        NotStarted::Refused(refused)
    }
}

impl From<Failed> for NotStarted {
    fn from(failed: Failed) -> NotStarted {
        NotStarted::Failed(failed)
    }
}

/// Starts a run and tells the supervisor so.
pub fn start(
    supervisor: &Channel,
    request: &RunRequest,
    descriptors: Vec<OwnedFd>,
    ahead: Ahead,
) -> Result<Running, NotStarted> {
    let began = Instant::now();
    let given = Given::new(descriptors)?;
    refuse_malformed(request)?;
    let (_, Raised { jail, prepared, private }) = raise(request, ahead, Keeps::OneRun)?;
    let command = make_command(request, &prepared.plan, &private)?;
    let stdio = stdio::choose(&given, request.terminal, &prepared.plan, jail.birth.tier)?;
    let membership = await_membership(&jail)?;
    jail.start(ONLY, command, &stdio.for_init())?;
    let running = Running { jail, deadline: prepared.plan.limits.wall_ms, began };
    await_running(supervisor, running, prepared, membership, &stdio)
}

/// The number of a jail's only run.
const ONLY: Run = 0;

/// A jail whose init builds and confines itself.
pub struct Raised {
    /// The jail.
    pub jail: Jail,
    /// What it is made by.
    pub prepared: Prepared,
    /// Where its private places are, in the bare tier.
    pub private: String,
}

/// Makes the jail for `request`, and does not wait until it stands.
pub fn raise(request: &RunRequest, ahead: Ahead, keeps: Keeps) -> Result<(Setting, Raised), NotStarted> {
    ahead.setting.mandate.admit(&request.profile)?;
    let tier = choose_tier(request.tier, &ahead.setting)?;
    ahead.setting.admit_tier(tier)?;
    let (setting, jail) = ahead.into_jail(tier)?;
    let (mut jail, prepared) = settle(request, &setting, jail)?;
    setting.mandate.hold_on()?;
    let private = match tier {
        Tier::Bare => jail.make_private(&prepared.workspace.directory.path)?.to_string_lossy().into_owned(),
        Tier::Root | Tier::User => String::new(),
    };
    order(&jail, &prepared, &private, keeps)?;
    // From here on init builds the view, and all this happens beside it.
    jail.group.apply(&prepared.plan.limits)?;
    jail.confine(make_filters(&prepared)?)?;
    Ok((setting, Raised { jail, prepared, private }))
}

/// What is known before the jail is told anything.
pub struct Prepared {
    /// The plan.
    pub plan: Plan,
    // What of the view is left to do after the head start.
    remainder: View,
    ids: Ids,
    library: Library,
    trees: Trees,
    /// Held open until the jail stands: what was judged is what is mounted.
    pub workspace: Workspace,
}

/// What is decided for one request on this host. `explain` shows it, a run enforces it.
struct Decided {
    plan: Plan,
    trees: Trees,
    library: Library,
    workspace: Workspace,
}

/// Decides as a run would, for somebody who wants to know and runs nothing.
pub fn foresee(request: &RunRequest) -> Result<Plan, NotStarted> {
    let setting = Setting::of_this_process();
    let tier = choose_tier(request.tier, &setting)?;
    let ids = choose_ids(tier, setting.own, nix::unistd::getpid().as_raw());
    decide(request, &setting, tier, ids).map(|decided| decided.plan)
}

/// What is to happen, and the jail for it: the one that was begun, unless the plan does not fit its head start.
fn settle(request: &RunRequest, setting: &Setting, jail: Jail) -> Result<(Jail, Prepared), NotStarted> {
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
    let Decided { plan, trees, library, workspace } = decide(request, setting, tier, ids)?;
    let ids = match plan.identity {
        Identity::Caller(owner) => Ids { uid: owner.uid, gid: owner.gid },
        Identity::ThrowAway { .. } | Identity::Mapped(_) => ids,
    };
    Ok(Prepared { remainder: plan.view.clone(), plan, ids, library, trees, workspace })
}

fn decide(request: &RunRequest, setting: &Setting, tier: Tier, ids: Ids) -> Result<Decided, NotStarted> {
    let Setting { mandate, caller, own, controllers, .. } = setting;
    let sources = mandate.sources(*own, caller);
    let library = sources.library();
    let profile = match mandate.known(&request.profile)? {
        Some(profile) => profile,
        None => load_profile(&request.profile, &sources, &library)?,
    };
    let cwd = request.cwd.as_deref().map(workspace::path_of);
    let workspace = workspace::open(&workspace::path_of(&request.workspace), cwd.as_deref(), caller, *own)?;
    let mut trees = Trees::new(ids);
    let idmapped = match tier {
        Tier::Root => trees.add_workspace(&workspace, &profile)?,
        Tier::User | Tier::Bare => IdmappedMounts::Work,
    };
    let facts = survey::facts(tier, controllers.clone(), idmapped);
    let plan = make_plan(&profile, request, caller, &workspace, &facts, &library)?;
    trees.add_owned(&plan, caller, *own)?;
    Ok(Decided { plan, trees, library, workspace })
}

/// Whose profiles and policies count: root's own, and those of a caller who runs us with no more power than theirs.
pub fn sources(own: Ids, caller: &Caller) -> Sources {
    let sources = if own.uid == 0 { Sources::of_root() } else { Sources::of_caller(&caller.home, caller.uid) };
    sources.present()
}

/// The tier that was asked for, if it can be had, or the best.
fn choose_tier(asked: Option<Tier>, setting: &Setting) -> Result<Tier, Refused> {
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

/// Refuses what is no command.
pub fn refuse_malformed(request: &RunRequest) -> Result<(), Refused> {
    let no = |message: &str| Err(Refused { code: "request_invalid", message: message.into(), remedy: None });
    match request.argv.first() {
        None => return no("no command was given"),
        Some(program) if program.is_empty() => return no("the command is an empty string"),
        Some(_) => {}
    }
    if request.argv.iter().any(|argument| argument.contains(&0)) {
        return no("an argument holds a NUL byte, which no program could be given");
    }
    Ok(())
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

fn make_plan(
    profile: &Profile,
    request: &RunRequest,
    caller: &Caller,
    workspace: &Workspace,
    facts: &HostFacts,
    library: &Library,
) -> Result<Plan, NotStarted> {
    let tiers = TierPolicies::find(facts.tier, library)?;
    let request = Request {
        caller: caller.clone(),
        workspace: workspace.directory.clone(),
        cwd: workspace.cwd.clone(),
        timeout_ms: request.timeout_ms,
    };
    Ok(compile(profile, &request, facts, &tiers)?)
}

fn policy_refused(name: &str, error: String) -> Refused {
    Refused { code: "policy_unusable", message: format!("cannot use policy `{name}`: {error}"), remedy: None }
}

fn make_filters(prepared: &Prepared) -> Result<Filters, Refused> {
    let Prepared { plan, library, .. } = prepared;
    let mut asking = own_set("broker", library)?;
    if plan.tier == Tier::Bare {
        asking = merge(vec![asking, own_set("broker-bare", library)?]);
    }
    if plan.vets_repositories() {
        asking = merge(vec![asking, own_set("broker-git", library)?]);
    }
    let compile = |policy: &SyscallPolicy, otherwise, name: &str| {
        filter::compile(policy, otherwise).map_err(|error| policy_refused(name, error.to_string()))
    };
    Ok(Filters {
        all: compile(&plan.syscalls, Otherwise::Deny, &plan.profile)?,
        brokered: compile(&asking, Otherwise::Allow, "broker")?,
    })
}

/// The command as init is told it.
pub fn make_command(request: &RunRequest, plan: &Plan, private: &str) -> Result<Command, Refused> {
    let cwd = plan.cwd.to_string_lossy().replace("{private}", private);
    Ok(Command {
        argv: request.argv.clone(),
        environment: environment::make(plan, request, private)?,
        cwd: if plan.workspace.is_some() { path_bytes(&plan.cwd) } else { cwd.into_bytes() },
        terminal: request.terminal,
        work: Work::Execute,
    })
}

fn path_bytes(path: &std::path::Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

/// The plan without what init has no use for: what stands already, rules that are in the filter, and reasons for people.
fn for_init(prepared: &Prepared) -> Plan {
    let plan = &prepared.plan;
    let without_reason = |shield: &Shield| Shield {
        pattern: shield.pattern.clone(),
        effect: shield.effect,
        why: String::new(),
        from: String::new(),
    };
    Plan {
        profile: plan.profile.clone(),
        sources: Vec::new(),
        tier: plan.tier,
        view: prepared.remainder.clone(),
        landlock: plan.landlock.clone(),
        shields: plan.shields.iter().map(without_reason).collect(),
        naming: plan.naming,
        identity: plan.identity,
        syscalls: SyscallPolicy::default(),
        limits: plan.limits.clone(),
        environment: BTreeMap::new(),
        pass: Vec::new(),
        workspace: plan.workspace.clone(),
        cwd: plan.cwd.clone(),
        promises: BTreeMap::new(),
    }
}

fn order(jail: &Jail, prepared: &Prepared, private: &str, keeps: Keeps) -> Result<(), Failed> {
    let mut plan = for_init(prepared);
    if plan.tier == Tier::Bare {
        let place = |path: PathBuf| PathBuf::from(path.to_string_lossy().replace("{private}", private));
        plan.landlock.rules = plan.landlock.rules.into_iter().map(|(path, rights)| (place(path), rights)).collect();
    }
    let (paths, trees) = prepared.trees.listed();
    let orders = Orders {
        plan,
        uid: prepared.ids.uid,
        gid: prepared.ids.gid,
        trees: paths,
        judged: prepared.workspace.identity,
        outsider: nix::unistd::getpid().as_raw(),
        keeps,
    };
    jail.order(orders, &trees)
}

/// Waits until init has joined its groups, and reads back whether it did and what limits they have: from inside nobody
/// could tell.
pub fn await_membership(jail: &Jail) -> Result<Vec<Finding>, NotStarted> {
    match jail.hear()? {
        (FromInit::Joined, _) => {}
        (FromInit::Failed(failure), _) => return Err(NotStarted::ByInit(failure)),
        _ => return Err(Failed::at("await_membership")(Errno::EPROTO).into()),
    }
    let finding = |tried: String, held: bool| {
        let errno = if held { Errno::ENOENT as i32 } else { 0 };
        Finding { promise: Promise::Limits, tried, errno, held }
    };
    let limits =
        jail.group.read_back().iter().map(|(file, held)| finding(format!("find `{file}` above its limit"), *held));
    let held = jail.group.holds(jail.init.as_raw());
    let membership = held.map(|held| finding("find init outside its control groups".into(), held));
    let findings: Vec<Finding> = limits.chain(membership).collect();
    refuse_unsound(&findings)?;
    Ok(findings)
}

fn await_running(
    supervisor: &Channel,
    running: Running,
    prepared: Prepared,
    membership: Vec<Finding>,
    stdio: &stdio::Chosen<'_>,
) -> Result<Running, NotStarted> {
    // Before there is something to hear.
    let digest = digest(&prepared.plan);
    let started = |findings: &[Finding]| -> Result<Box<Started>, Failed> {
        // A process that found otherwise has ended itself; this is to say why.
        refuse_unsound(findings)?;
        let findings = [findings, &membership].concat();
        Ok(Box::new(describe(&prepared.plan, digest.clone(), &findings, stdio.relayed)))
    };
    let (heard, master) = running.jail.hear()?;
    match heard {
        FromInit::Running(_, findings) => {
            let master = master.first().or(stdio.master.as_ref());
            let master: Vec<_> = master.iter().map(AsFd::as_fd).collect();
            let word = FromLauncher::Started(started(&findings)?);
            supervisor.send(&word, &master).map_err(Failed::at("send_started"))?;
            Ok(running)
        }
        FromInit::Broken(_, findings) => Err(unsound(&findings).into()),
        FromInit::Failed(failure) | FromInit::NotStarted(_, failure) => Err(NotStarted::ByInit(failure)),
        FromInit::Ended { findings: Some(ref findings), .. } => {
            let started = started(findings)?;
            Err(NotStarted::Ended(started, Box::new(super::watch::ended(running, heard, None)?)))
        }
        FromInit::Ended { .. } => Err(Failed::at("become_command")(Errno::ESRCH).into()),
        FromInit::Joined => Err(Failed::at("await_running")(Errno::EPROTO).into()),
    }
}

/// What the supervisor is told of a run that starts.
pub fn describe(plan: &Plan, digest: String, findings: &[Finding], relayed: [bool; 3]) -> Started {
    let enforcement = plan.promises.iter().map(|(promise, keeping)| {
        let of_promise = findings.iter().filter(|finding| finding.promise == *promise).cloned().collect();
        (*promise, keeping.clone(), of_promise)
    });
    Started {
        plan: digest,
        profile: plan.profile.clone(),
        tier: plan.tier,
        cwd: plan.cwd.to_string_lossy().into_owned(),
        enforcement: enforcement.collect(),
        output: plan.limits.output,
        wall_ms: plan.limits.wall_ms,
        relayed,
    }
}

/// Fails if an attempt to get out got anywhere.
pub fn refuse_unsound(findings: &[Finding]) -> Result<(), Failed> {
    if findings.iter().all(|finding| finding.held) { Ok(()) } else { Err(unsound(findings)) }
}

/// Which promise does not hold.
pub fn unsound(findings: &[Finding]) -> Failed {
    let what = findings.iter().find(|finding| !finding.held).map(|broken| {
        let got = if broken.errno == 0 { "it worked".to_owned() } else { Errno::from_raw(broken.errno).to_string() };
        format!("promise `{}` does not hold: tried to {}, {got}", broken.promise.word(), broken.tried)
    });
    Failed { step: "probe", errno: Errno::EPERM, what }
}
