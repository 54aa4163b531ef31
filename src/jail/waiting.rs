//! A whole jail made ahead of the run that it is for, by a client's last request.
//!
//! It serves a request for the same profile, workspace and tier, as long as what it was made by holds: the workspace is
//! still that directory, of that owner and with its hooks in that place, and nothing stands open there that a shield names.
//! It is used once, as any jail of one run.

use super::ahead::{Ahead, Setting};
use super::gate::Live;
use super::not_started::NotStarted;
use super::raised::Raised;
use super::start::{self, Entered};
use super::{lookout, workspace};
use crate::sys::memory;
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
}

impl Waiting {
    /// Makes it, and waits until it stands. The command, its environment and its place count for nothing.
    pub fn make(request: RunRequest, ahead: Ahead) -> Result<Waiting, NotStarted> {
        let gate = ahead.gate;
        let (setting, mut raised) = start::raise(&request, ahead, Keeps::NextRun)?;
        let membership = start::await_membership(&mut raised.jail)?;
        memory::give_back_freed();
        Ok(Waiting { request, setting, gate, raised, membership })
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
        let path = workspace::path_of(&self.request.workspace);
        workspace::is_still(&self.raised.prepared.workspace, &path, caller, *own).unwrap_or(false)
            && lookout::standing_open(&self.raised, &self.setting).is_ok_and(|open| open.is_empty())
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
