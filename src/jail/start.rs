//! From a request to a running command, as a list.
//!
//! Each step may refuse (we say no) or fail (our fault); either way nothing was executed, and dropping what was made so
//! far takes it away again.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;

use super::channel::{Arrived, Channel};
use super::opening::Jail;
use super::stdio::{self, Given};
use super::trees::Trees;
use super::watch::Running;
use super::workspace::{self, Workspace};
use super::{accounts, environment, survey};
use crate::confine::{Failed, Ids};
use crate::host::{Controllers, HostFacts, Tier};
use crate::plan::built_in;
use crate::plan::compile::{Refused, TierPolicies, compile, own_set};
use crate::plan::digest::digest;
use crate::plan::filter::{self, Otherwise, Program};
use crate::plan::request::{Caller, Request};
use crate::plan::{Identity, Plan, Shield};
use crate::policy::library::Library;
use crate::policy::syscalls::merge;
use crate::profile::Profile;
use crate::profile::load::Sources;
use crate::profile::promise::Promise;
use crate::profile::resolve::resolve;
use crate::wire::privsep::{
    Command, Ended, Failure, Finding, FromInit, FromLauncher, Orders, RunRequest, Started, ToInit,
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
    /// The command could not be executed, and that is the whole of the run.
    Ended(Box<Ended>),
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
pub fn start(supervisor: &Channel, request: &RunRequest, descriptors: Vec<OwnedFd>) -> Result<Running, NotStarted> {
    let began = Instant::now();
    let own = accounts::own_ids();
    let caller = accounts::this_caller();
    let given = Given::new(descriptors)?;
    let tier = choose_tier(request.tier, own)?;
    let controllers = survey::controllers();
    let mut jail = Jail::begin(tier, own, &controllers)?;
    let ids = choose_ids(tier, own, jail.init.as_raw());
    let prepared = prepare(request, Setting { caller: caller.clone(), own, ids, tier, controllers })?;
    jail.group.apply(&prepared.plan.limits)?;
    let private = if tier == Tier::Bare { jail.make_private()?.to_string_lossy().into_owned() } else { String::new() };
    let command = make_command(request, &prepared.plan, &private)?;
    let stdio = stdio::choose(&given, request.terminal, &prepared.plan, tier)?;
    order(&jail, &prepared, &caller, ids, &private)?;
    match jail.channel.send(&ToInit::Start(Box::new(command)), &stdio.for_init()) {
        // It could not build the jail and is gone; why, is the next thing we hear.
        Ok(()) | Err(Errno::EPIPE | Errno::ECONNRESET) => {}
        Err(errno) => return Err(Failed::at("send_start")(errno).into()),
    }
    let running = Running { jail, deadline: prepared.plan.limits.wall_ms, began };
    await_running(supervisor, running, prepared, &stdio)
}

/// What is known before the jail is told anything.
struct Prepared {
    plan: Plan,
    filter: Program,
    broker: Program,
    trees: Trees,
    // Held open until the jail stands: what was judged is what is mounted.
    workspace: Workspace,
}

/// What is decided for one request on this host. `explain` shows it, a run enforces it.
struct Decided {
    plan: Plan,
    trees: Trees,
    library: Library,
    workspace: Workspace,
}

/// What a request is decided on.
struct Setting {
    caller: Caller,
    own: Ids,
    // The command's.
    ids: Ids,
    tier: Tier,
    controllers: Controllers,
}

/// Decides as a run would, for somebody who wants to know and runs nothing.
pub fn foresee(request: &RunRequest) -> Result<Plan, NotStarted> {
    let own = accounts::own_ids();
    let tier = choose_tier(request.tier, own)?;
    let ids = choose_ids(tier, own, nix::unistd::getpid().as_raw());
    let setting = Setting { caller: accounts::this_caller(), own, ids, tier, controllers: survey::controllers() };
    decide(request, setting).map(|decided| decided.plan)
}

fn prepare(request: &RunRequest, setting: Setting) -> Result<Prepared, NotStarted> {
    refuse_malformed(request)?;
    let Decided { plan, trees, library, workspace } = decide(request, setting)?;
    let filter = make_filter(&plan)?;
    let broker = make_broker(&plan, &library)?;
    Ok(Prepared { plan, filter, broker, trees, workspace })
}

fn decide(request: &RunRequest, setting: Setting) -> Result<Decided, NotStarted> {
    let Setting { caller, own, ids, tier, controllers } = setting;
    let sources = sources(own, &caller);
    let library = sources.library();
    let profile = load_profile(&request.profile, &sources, &library)?;
    let cwd = request.cwd.as_deref().map(workspace::path_of);
    let workspace = workspace::open(&workspace::path_of(&request.workspace), cwd.as_deref(), &caller, own)?;
    let mut trees = Trees::new(ids);
    let idmapped = tier != Tier::Root || trees.add_workspace(&workspace, &profile)?;
    let facts = survey::facts(tier, controllers, idmapped);
    let plan = make_plan(&profile, request, &caller, &workspace, &facts, &library)?;
    trees.add_owned(&plan, &caller, own)?;
    Ok(Decided { plan, trees, library, workspace })
}

/// Whose profiles and policies count: root's own, and those of a caller who runs us with no more power than theirs.
pub fn sources(own: Ids, caller: &Caller) -> Sources {
    let sources = if own.uid == 0 { Sources::of_root() } else { Sources::of_caller(&caller.home, caller.uid) };
    sources.present()
}

/// The tier that was asked for, if it can be had, or the best.
pub fn choose_tier(asked: Option<Tier>, own: Ids) -> Result<Tier, Refused> {
    let best = survey::best_tier(own);
    let Some(asked) = asked else { return Ok(best) };
    let there = match asked {
        Tier::Bare => true,
        Tier::User => best == Tier::User || survey::user_namespaces_work(own).is_ok(),
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

fn refuse_malformed(request: &RunRequest) -> Result<(), Refused> {
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

fn make_filter(plan: &Plan) -> Result<Program, Refused> {
    filter::compile(&plan.syscalls, Otherwise::Deny).map_err(|error| policy_refused(&plan.profile, error.to_string()))
}

fn make_broker(plan: &Plan, library: &Library) -> Result<Program, Refused> {
    let mut policy = own_set("broker", library)?;
    if plan.tier == Tier::Bare {
        policy = merge(vec![policy, own_set("broker-bare", library)?]);
    }
    filter::compile(&policy, Otherwise::Allow).map_err(|error| policy_refused("broker", error.to_string()))
}

fn make_command(request: &RunRequest, plan: &Plan, private: &str) -> Result<Command, Refused> {
    let cwd = plan.cwd.to_string_lossy().replace("{private}", private);
    Ok(Command {
        argv: request.argv.clone(),
        environment: environment::make(plan, request, private)?,
        cwd: if plan.workspace.is_some() { path_bytes(&plan.cwd) } else { cwd.into_bytes() },
        terminal: request.terminal,
    })
}

fn path_bytes(path: &std::path::Path) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()).to_vec()
}

/// The plan without what init has no use for: rules that are in the filter by now, and reasons for people.
fn for_init(plan: &Plan) -> Plan {
    let lean = Plan {
        syscalls: Default::default(),
        promises: Default::default(),
        environment: Default::default(),
        ..plan.clone()
    };
    let without_reason = |shield: Shield| Shield { why: String::new(), from: String::new(), ..shield };
    Plan { shields: lean.shields.into_iter().map(without_reason).collect(), ..lean }
}

fn order(jail: &Jail, prepared: &Prepared, caller: &Caller, ids: Ids, private: &str) -> Result<(), Failed> {
    let mut plan = for_init(&prepared.plan);
    if plan.tier == Tier::Bare {
        let place = |path: PathBuf| PathBuf::from(path.to_string_lossy().replace("{private}", private));
        plan.landlock.rules = plan.landlock.rules.into_iter().map(|(path, rights)| (place(path), rights)).collect();
    }
    let ids = match plan.identity {
        Identity::Caller(owner) => Ids { uid: owner.uid, gid: owner.gid },
        Identity::ThrowAway { .. } | Identity::Mapped(_) => ids,
    };
    let (paths, trees) = prepared.trees.listed();
    let orders = Orders {
        plan,
        filter: prepared.filter.clone(),
        broker: prepared.broker.clone(),
        uid: ids.uid,
        gid: ids.gid,
        caller: (caller.uid, caller.gid),
        trees: paths,
        join: jail.group.join_files(),
        judged: prepared.workspace.identity,
        outsider: nix::unistd::getpid().as_raw(),
    };
    jail.order(orders, &trees)
}

fn await_running(
    supervisor: &Channel,
    running: Running,
    prepared: Prepared,
    stdio: &stdio::Chosen<'_>,
) -> Result<Running, NotStarted> {
    let mut findings = match hear(&running)? {
        (FromInit::Ready(findings), _) => findings,
        (FromInit::Failed(failure), _) => return Err(NotStarted::ByInit(failure)),
        _ => return Err(Failed::at("await_ready")(Errno::EPROTO).into()),
    };
    findings.extend(read_back(&running.jail));
    refuse_unsound(&findings)?;
    let started = describe(&prepared.plan, &findings, stdio.relayed);
    let (heard, master) = hear(&running)?;
    let tell = |master: &[BorrowedFd<'_>]| {
        supervisor.send(&FromLauncher::Started(Box::new(started)), master).map_err(Failed::at("send_started"))
    };
    match heard {
        FromInit::Running => {
            let master = master.first().or(stdio.master.as_ref());
            tell(&master.iter().map(AsFd::as_fd).collect::<Vec<_>>())?;
            Ok(running)
        }
        FromInit::Failed(failure) => Err(NotStarted::ByInit(failure)),
        ended @ FromInit::Ended { .. } => {
            tell(&[])?;
            Err(NotStarted::Ended(Box::new(super::watch::ended(running, ended, None)?)))
        }
        FromInit::Ready(_) => Err(Failed::at("await_running")(Errno::EPROTO).into()),
    }
}

/// Init said that it joined its groups; the groups say whether it did. From inside nobody could tell.
fn read_back(jail: &Jail) -> Option<Finding> {
    let held = jail.group.holds(jail.init.as_raw())?;
    let errno = if held { Errno::ENOENT as i32 } else { 0 };
    Some(Finding { promise: Promise::Limits, tried: "find init outside its control groups".into(), errno, held })
}

/// What the supervisor is told of a run that starts.
fn describe(plan: &Plan, findings: &[Finding], relayed: [bool; 3]) -> Started {
    let enforcement = plan.promises.iter().map(|(promise, keeping)| {
        let of_promise = findings.iter().filter(|finding| finding.promise == *promise).cloned().collect();
        (*promise, keeping.clone(), of_promise)
    });
    Started {
        plan: digest(plan),
        profile: plan.profile.clone(),
        tier: plan.tier,
        cwd: plan.cwd.to_string_lossy().into_owned(),
        enforcement: enforcement.collect(),
        output: plan.limits.output,
        wall_ms: plan.limits.wall_ms,
        relayed,
    }
}

fn hear(running: &Running) -> Result<(FromInit, Vec<OwnedFd>), Failed> {
    match running.jail.channel.receive().map_err(Failed::at("hear_init"))? {
        Arrived::Message(message, descriptors) => Ok((message, descriptors)),
        Arrived::Gone => {
            Err(Failed { step: "hear_init", errno: Errno::EPIPE, what: Some("the jail's init ended".into()) })
        }
    }
}

fn refuse_unsound(findings: &[Finding]) -> Result<(), Failed> {
    let Some(broken) = findings.iter().find(|finding| !finding.held) else { return Ok(()) };
    let got = if broken.errno == 0 { "it worked".to_owned() } else { Errno::from_raw(broken.errno).to_string() };
    Err(Failed {
        step: "probe",
        errno: Errno::EPERM,
        what: Some(format!("promise `{}` does not hold: tried to {}, {got}", broken.promise.word(), broken.tried)),
    })
}
