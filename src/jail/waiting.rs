//! A whole jail made ahead of the run that it is for, by a client's last request.
//!
//! It serves a request for the same profile, workspace and tier, as long as what it was made by holds: the workspace is
//! still that directory, of that owner and with its hooks in that place, and nothing has appeared there that a shield
//! names. It is used once, as any jail of one run.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::ahead::{Ahead, Setting};
use super::gate::Live;
use super::not_started::NotStarted;
use super::start::{self, Entered, Raised};
use super::workspace::{self, Workspace};
use crate::confine::{Failed, Ids, shields};
use crate::plan::{Plan, Shield};
use crate::wire::privsep::{Finding, Keeps, RunRequest};

/// What there is before a request.
pub enum Begun {
    /// A jail that was begun.
    Jail(Box<Ahead>),
    /// A jail that stands.
    Whole(Box<Waiting>),
}

impl Begun {
    /// The jail for `request`: this one if it serves it, or a new one.
    pub fn enter(self, request: &RunRequest) -> Result<Entered, NotStarted> {
        start::refuse_malformed(request)?;
        match self {
            Begun::Whole(waiting) if waiting.serves(request) => waiting.enter(request),
            other => start::enter_new(request, other.into_ahead()),
        }
    }

    /// What of it serves any request.
    pub fn into_ahead(self) -> Ahead {
        match self {
            Begun::Jail(ahead) => *ahead,
            Begun::Whole(waiting) => waiting.give_up(),
        }
    }
}

/// Such a jail.
pub struct Waiting {
    request: RunRequest,
    setting: Setting,
    // For the jail that is begun in its place, should it serve nobody.
    gate: Live,
    raised: Raised,
    membership: Vec<Finding>,
    // What existed of what shields name before they were raised.
    found: BTreeSet<PathBuf>,
}

impl Waiting {
    /// Makes it, and waits until it stands. The command, its environment and its place count for nothing.
    pub fn make(request: RunRequest, ahead: Ahead) -> Result<Waiting, NotStarted> {
        let gate = ahead.gate;
        let settled = start::settle(&request, ahead)?;
        let (plan, workspace) = (&settled.prepared.plan, &settled.prepared.workspace);
        let found = find(plan, workspace, &settled.setting)?;
        let (setting, raised) = settled.build(Keeps::NextRun)?;
        let membership = start::await_membership(&raised.jail)?;
        Ok(Waiting { request, setting, gate, raised, membership, found })
    }

    /// Whether it can be what `request` asks for.
    pub fn serves(&self, request: &RunRequest) -> bool {
        let (own, asked) = (&self.request, request);
        let same = own.profile == asked.profile && own.workspace == asked.workspace && own.tier == asked.tier;
        let same = same && own.narrow == asked.narrow && own.agent == asked.agent && own.mounts == asked.mounts;
        same && self.still_holds()
    }

    fn still_holds(&self) -> bool {
        let Setting { caller, own, .. } = &self.setting;
        let (plan, workspace) = (&self.raised.prepared.plan, &self.raised.prepared.workspace);
        let path = workspace::path_of(&self.request.workspace);
        workspace::is_still(workspace, &path, caller, *own).unwrap_or(false)
            && find(plan, workspace, &self.setting).is_ok_and(|found| found.is_subset(&self.found))
    }

    /// Gives it to a request that it serves.
    pub fn enter(self, request: &RunRequest) -> Result<Entered, NotStarted> {
        let Waiting { setting, raised, membership, .. } = self;
        // Whoever it was made for may have left.
        setting.mandate.admit(&request.profile)?;
        let command = raised.command(request, &setting)?;
        Ok(Entered { raised, command, membership })
    }

    /// What is left of it for a request that it does not serve.
    pub fn give_up(self) -> Ahead {
        let Waiting { setting, gate, raised, .. } = self;
        // Its groups have the name that the next one's will have.
        drop(raised);
        Ahead::begin(None, &setting.mandate, gate)
    }
}

/// What exists of what shields name, as the caller sees it on the host.
fn find(plan: &Plan, workspace: &Workspace, setting: &Setting) -> Result<BTreeSet<PathBuf>, NotStarted> {
    let Some(inside) = &plan.workspace else { return Ok(BTreeSet::new()) };
    let host = &workspace.directory.path;
    let on_host = |shield: &Shield| Shield { pattern: on_host(&shield.pattern, inside, host), ..shield.clone() };
    let shields: Vec<Shield> = plan.shields.iter().map(on_host).collect();
    let caller = Ids { uid: setting.caller.uid, gid: setting.caller.gid };
    let found = workspace::as_caller(caller, setting.own, || Ok(shields::locate(&shields, Some(host))));
    // Acting as the caller took back that we end with our launcher.
    setting.mandate.hold_on()?;
    let found = found.map_err(Failed::at("locate"))??;
    Ok(found.into_iter().map(|shielded| shielded.path).collect())
}

fn on_host(pattern: &str, inside: &Path, host: &Path) -> String {
    let below = Path::new(pattern).strip_prefix(inside);
    let path = below.map_or_else(|_| OsString::from(pattern), |below| host.join(below).into_os_string());
    path.to_string_lossy().into_owned()
}
