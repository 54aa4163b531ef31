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
use super::contacts::Memory;
use super::deciding::{self, Prepared, choose_tier, make_filters};
use super::environment;
use super::gate::{Door, Gate, Live, Trust};
use super::lookout;
use super::not_started::NotStarted;
use super::opening::Jail;
use super::raised::{Found, Private, Raised};
use super::stdio::{self, Given};
use super::watch::Running;
use super::witness::{self, Witness};
use super::workspace;
use crate::confine::{Failed, Ids};
use crate::host::Tier;
use crate::plan::digest::digest;
use crate::plan::refused::Refused;
use crate::plan::{Entry, Plan, Shield, TrustForm};
use crate::policy::syscalls::SyscallPolicy;
use crate::profile::promise::Promise;
use crate::wire::privsep::{
    Command, Finding, FromInit, FromLauncher, Keeps, Orders, Run, RunRequest, Started, UNHEARD, Work,
};

/// Starts the run in the jail that it `entered`, and tells the supervisor so. It began when it was asked for.
pub fn start(
    supervisor: &Channel,
    request: &RunRequest,
    given: &Given,
    entered: Entered,
    began: Instant,
) -> Result<Running, NotStarted> {
    let Entered { raised: Raised { jail, prepared, digest, .. }, command, membership } = entered;
    let stdio = stdio::choose(given, request.terminal, &prepared.plan, jail.birth.tier)?;
    let own = Own::of(request, &prepared.plan, &command, stdio.relayed);
    // Before anything can be denied.
    let mut audit = witness::auditing(&prepared.plan, prepared.ids.uid);
    audit.iter_mut().for_each(|audit| audit.enter(ONLY));
    jail.start(ONLY, command, &stdio.for_init())?;
    let witness = Witness::new(&prepared.plan, &jail.group);
    let running = Running { jail, deadline: own.wall_ms, began, witness, audit, ends: stdio.ends };
    let described = Described { plan: &prepared.plan, digest, membership, own };
    await_running(supervisor, running, described)
}

/// The number of a jail's only run.
const ONLY: Run = 0;

/// A jail, and what is to run in it.
pub struct Entered {
    /// The jail.
    pub raised: Raised,
    /// The command.
    pub command: Command,
    /// What was read back of its groups.
    pub membership: Vec<Finding>,
}

/// Makes a jail for `request`, and waits until it stands.
pub fn enter_new(request: &RunRequest, ahead: Ahead) -> Result<Entered, NotStarted> {
    let (_, mut raised) = raise(request, ahead, Keeps::OneRun)?;
    let command = make_command(request, &raised.prepared.plan, &raised.private)?;
    let membership = await_membership(&mut raised.jail)?;
    Ok(Entered { raised, command, membership })
}

impl Raised {
    /// The command of a request that came after the plan: its place is looked up now.
    pub fn command(&self, request: &RunRequest, setting: &Setting) -> Result<Command, NotStarted> {
        let command = make_command(request, &self.prepared.plan, &self.private)?;
        let (Some(cwd), Some(at)) = (&request.cwd, &self.prepared.plan.workspace) else { return Ok(command) };
        let Setting { caller, own, mandate, .. } = setting;
        let (host, wanted) = (&self.prepared.workspace.directory.path, workspace::path_of(cwd));
        let real = workspace::open_cwd(&wanted, host, caller, *own);
        if (Ids { uid: caller.uid, gid: caller.gid }) != *own {
            mandate.hold_on()?;
        }
        let inside: PathBuf = real?.strip_prefix(host).map(|below| at.join(below)).unwrap_or_else(|_| at.clone());
        Ok(Command { cwd: path_bytes(&inside), ..command })
    }
}

/// Makes the jail for `request`, and does not wait until it stands.
pub fn raise(request: &RunRequest, ahead: Ahead, keeps: Keeps) -> Result<(Setting, Raised), NotStarted> {
    settle(request, ahead)?.build(keeps)
}

/// What is to happen, and the jail that it is to happen to.
pub struct Settled {
    /// For whom, and on what host.
    pub setting: Setting,
    /// What it is made by.
    pub prepared: Prepared,
    live: Live,
    jail: Jail,
    memory: Memory,
}

/// Decides what is to happen.
pub fn settle(request: &RunRequest, ahead: Ahead) -> Result<Settled, NotStarted> {
    ahead.setting.mandate.admit(&request.profile)?;
    let tier = choose_tier(request.tier, &ahead.setting)?;
    ahead.setting.admit_tier(tier)?;
    let live = ahead.gate;
    let (setting, jail) = ahead.into_jail(tier)?;
    let (jail, prepared) = deciding::fit(request, &setting, jail)?;
    setting.mandate.hold_on()?;
    let memory = Memory::of(setting.own, setting.caller.uid, request.agent.as_deref());
    Ok(Settled { setting, prepared, live, jail, memory })
}

impl Settled {
    /// Has init build it, beside which the rest is made.
    pub fn build(self, keeps: Keeps) -> Result<(Setting, Raised), NotStarted> {
        let Settled { setting, prepared, live, mut jail, memory } = self;
        let found = match (jail.birth.tier, keeps) {
            (Tier::Bare, Keeps::ManyRuns | Keeps::NextRun) => lookout::find(&prepared, &setting)?,
            _ => Found::new(),
        };
        let private = match jail.birth.tier {
            Tier::Bare => jail.make_private(&prepared.workspace.directory.path)?.to_string_lossy().into_owned(),
            Tier::Root | Tier::User => String::new(),
        };
        let door = match jail.birth.tier {
            Tier::Bare if prepared.plan.has_gate() => Some(Door::open()?),
            _ => None,
        };
        let (gate_url, port) = (door.as_ref().map(Door::url).unwrap_or_default(), door.as_ref().map(|door| door.port));
        let init = jail.init;
        let make_gate = || Gate::new(live, &prepared.plan.egress, (setting.own, init), memory, door);
        if prepared.plan.egress.end_tls() {
            // The view, or what stands for it, holds whom to trust, which the gate says.
            let gate = make_gate()?;
            let trust = gate.trust()?;
            jail.give_trust(&trust)?;
            order(&jail, &prepared, &private, keeps, (port, trust))?;
            jail.gate = Some(gate);
        } else {
            order(&jail, &prepared, &private, keeps, (port, Trust::default()))?;
            // From here on init builds the view, and all this happens beside it.
            if prepared.plan.has_gate() {
                jail.gate = Some(make_gate()?);
            }
        }
        jail.group.apply(&prepared.plan.limits)?;
        jail.confine(make_filters(&prepared)?)?;
        let digest = digest(&prepared.plan);
        let mark = jail.gate.as_ref().and_then(Gate::mark).map(str::to_owned);
        let private = Private { places: private, gate: gate_url, mark };
        Ok((setting, Raised { jail, prepared, private, digest, found }))
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

/// The command as init is told it.
pub fn make_command(request: &RunRequest, plan: &Plan, private: &Private) -> Result<Command, Refused> {
    let cwd = plan.cwd.to_string_lossy().replace("{private}", &private.places);
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
        egress: plan.egress.clone(),
        syscalls: SyscallPolicy::default(),
        limits: plan.limits.clone(),
        recording: plan.recording,
        asks: plan.asks,
        watched: plan.watched.clone(),
        environment: BTreeMap::new(),
        pass: Vec::new(),
        workspace: plan.workspace.clone(),
        cwd: plan.cwd.clone(),
        promises: BTreeMap::new(),
    }
}

fn order(
    jail: &Jail,
    prepared: &Prepared,
    private: &str,
    keeps: Keeps,
    (gate, trust): (Option<u16>, Trust),
) -> Result<(), Failed> {
    let mut plan = for_init(prepared);
    for entry in plan.view.entries.values_mut() {
        if let Entry::Trust { form, content } = entry {
            *content = match form {
                TrustForm::Pem => trust.pem.clone(),
                TrustForm::Jks => trust.jks.clone(),
            };
        }
    }
    if plan.tier == Tier::Bare {
        let place = |path: PathBuf| PathBuf::from(path.to_string_lossy().replace("{private}", private));
        plan.landlock.rules = plan.landlock.rules.into_iter().map(|(path, rights)| (place(path), rights)).collect();
        for shield in &mut plan.watched {
            shield.pattern = shield.pattern.replace("{private}", private);
        }
    }
    let (paths, trees) = prepared.trees.listed();
    let orders = Orders {
        plan,
        uid: prepared.ids.uid,
        gid: prepared.ids.gid,
        trees: paths,
        judged: judged(prepared),
        outsider: nix::unistd::getpid().as_raw(),
        keeps,
        gate,
    };
    jail.order(orders, &trees)
}

/// What must be mounted where, if anything is.
fn judged(prepared: &Prepared) -> Vec<(String, (u64, u64))> {
    let place = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let workspace = prepared.plan.workspace.iter().map(|at| (place(at), prepared.workspace.identity));
    workspace.chain(prepared.mounts.iter().map(|(at, judged)| (place(at), judged.identity))).collect()
}

/// Waits until init has joined its groups and the gate has its sockets, in whatever order these come; what came of trying to get
/// past these.
fn await_standing(jail: &mut Jail) -> Result<Vec<Finding>, NotStarted> {
    let (mut joins, mut leads, mut findings) = (true, jail.leads_to_gate(), Vec::new());
    while joins || leads {
        match jail.hear()? {
            (FromInit::Joined, descriptors) if joins => {
                jail.keep_view(descriptors)?;
                joins = false;
            }
            (FromInit::Gateway(tried), sockets) if leads => {
                findings.extend(tried);
                jail.open_gate(sockets)?;
                leads = false;
            }
            (FromInit::Failed(failure), _) => return Err(NotStarted::ByInit(failure)),
            _ => return Err(Failed::at("await_membership")(Errno::EPROTO).into()),
        }
    }
    Ok(findings)
}

/// Waits until the jail stands, and reads back whether init is in its groups and what limits they have: from inside nobody could
/// tell.
pub fn await_membership(jail: &mut Jail) -> Result<Vec<Finding>, NotStarted> {
    let of_network = await_standing(jail)?;
    let finding = |tried: String, held: bool| {
        let errno = if held { Errno::ENOENT as i32 } else { 0 };
        Finding { promise: Promise::Limits, tried, errno, held }
    };
    let limits =
        jail.group.read_back().iter().map(|(file, held)| finding(format!("find `{file}` above its limit"), *held));
    let held = jail.group.holds(jail.init.as_raw());
    let membership = held.map(|held| finding("find init outside its control groups".into(), held));
    let findings: Vec<Finding> = limits.chain(membership).chain(of_network).collect();
    // Last: until here it has made itself ready beside us.
    jail.await_gate()?;
    refuse_unsound(&findings)?;
    Ok(findings)
}

/// What is known of a run before it starts.
struct Described<'a> {
    plan: &'a Plan,
    digest: String,
    membership: Vec<Finding>,
    own: Own,
}

fn await_running(supervisor: &Channel, mut running: Running, described: Described<'_>) -> Result<Running, NotStarted> {
    let Described { plan, digest, membership, own } = described;
    let started = |findings: &[Finding]| -> Result<Box<Started>, Failed> {
        // A process that found otherwise has ended itself; this is to say why.
        refuse_unsound(findings)?;
        let findings = [findings, &membership].concat();
        Ok(Box::new(describe(plan, digest.clone(), &findings, &own)))
    };
    // From here on init may have executed the command, whether or not it could say so.
    let (heard, of_jail) = running.jail.hear().map_err(|failed| Failed { step: UNHEARD, ..failed })?;
    match heard {
        FromInit::Running(_, findings) => {
            let ends: Vec<OwnedFd> = of_jail.into_iter().chain(running.ends.drain(..)).collect();
            let ends: Vec<_> = ends.iter().map(AsFd::as_fd).collect();
            let word = FromLauncher::Started(started(&findings)?);
            supervisor.send(&word, &ends).map_err(Failed::at("send_started"))?;
            Ok(running)
        }
        FromInit::Broken(_, findings) => Err(unsound(&findings).into()),
        FromInit::Failed(failure) | FromInit::NotStarted(_, failure) => Err(NotStarted::ByInit(failure)),
        FromInit::Ended { findings: Some(ref findings), .. } => {
            let started = started(findings)?;
            Err(NotStarted::Ended(started, Box::new(super::watch::ended(running, heard, None)?)))
        }
        FromInit::Ended { .. } => Err(Failed::at("become_command")(Errno::ESRCH).into()),
        FromInit::Joined | FromInit::Gateway(_) => Err(Failed::at(UNHEARD)(Errno::EPROTO).into()),
    }
}

/// What is a run's own, and not its jail's.
#[derive(Clone, Debug)]
pub struct Own {
    /// Where it starts, inside.
    pub cwd: String,
    /// Milliseconds that it may take.
    pub wall_ms: Option<u64>,
    /// Which of stdin, stdout and stderr are relayed.
    pub relayed: [bool; 3],
}

impl Own {
    /// That of a run of `command`.
    pub fn of(request: &RunRequest, plan: &Plan, command: &Command, relayed: [bool; 3]) -> Own {
        Own {
            cwd: String::from_utf8_lossy(&command.cwd).into_owned(),
            wall_ms: [plan.limits.wall_ms, request.timeout_ms].into_iter().flatten().min(),
            relayed,
        }
    }
}

/// What the supervisor is told of a run that starts.
pub fn describe(plan: &Plan, digest: String, findings: &[Finding], own: &Own) -> Started {
    let enforcement = plan.promises.iter().map(|(promise, keeping)| {
        let of_promise = findings.iter().filter(|finding| finding.promise == *promise).cloned().collect();
        (*promise, keeping.clone(), of_promise)
    });
    Started {
        plan: digest,
        profile: plan.profile.clone(),
        tier: plan.tier,
        cwd: own.cwd.clone(),
        enforcement: enforcement.collect(),
        output: plan.limits.output,
        recording: plan.recording,
        wall_ms: own.wall_ms,
        relayed: own.relayed,
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
