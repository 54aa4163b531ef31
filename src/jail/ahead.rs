//! What a launcher does before its first request: it looks at the host, and begins a jail of the kind that most requests
//! want. The supervisor still reads its arguments meanwhile, and the kernel makes namespaces beside both.

use super::accounts;
use super::gate::Live;
use super::init::{Birth, HeadStart};
use super::mandate::Mandate;
use super::opening::Jail;
use super::survey;
use crate::confine::{Failed, Ids};
use crate::host::{Controllers, Tier};
use crate::plan::refused::Refused;
use crate::plan::request::Caller;

/// For whom, and on what host.
#[derive(Clone, Debug)]
pub struct Setting {
    /// For whom.
    pub mandate: Mandate,
    /// Who asks.
    pub caller: Caller,
    /// Our own effective ids.
    pub own: Ids,
    /// The best tier that we can have.
    pub best: Tier,
    /// Where groups can be made.
    pub controllers: Controllers,
}

impl Setting {
    /// Looks at the host on behalf of whoever started this process.
    pub fn of_this_process() -> Setting {
        Setting::of(&Mandate::Own)
    }

    /// Looks at the host on behalf of whom `mandate` names.
    pub fn of(mandate: &Mandate) -> Setting {
        let own = accounts::own_ids();
        Setting {
            caller: mandate.caller(),
            mandate: mandate.clone(),
            own,
            best: survey::best_tier(own),
            controllers: survey::controllers(),
        }
    }

    /// Refuses a tier in which this caller cannot be served.
    pub fn admit_tier(&self, tier: Tier) -> Result<(), Refused> {
        self.mandate.admit_tier(tier, Ids { uid: self.caller.uid, gid: self.caller.gid }, self.own)
    }

    /// Begins a jail.
    pub fn begin(&self, tier: Tier, head_start: HeadStart) -> Result<Jail, Failed> {
        let caller = Ids { uid: self.caller.uid, gid: self.caller.gid };
        Jail::begin(Birth { tier, launcher: self.own, caller, head_start }, &self.controllers)
    }
}

/// A launcher that is ready for a request.
pub struct Ahead {
    /// For whom, and on what host.
    pub setting: Setting,
    /// What a gate does.
    pub gate: Live,
    tier: Tier,
    begun: Result<Jail, Failed>,
}

impl Ahead {
    /// Begins a jail of the tier that the request is expected to ask for, or of the best.
    pub fn begin(expected: Option<Tier>, mandate: &Mandate, gate: Live) -> Ahead {
        let setting = Setting::of(mandate);
        let tier = expected.unwrap_or(setting.best);
        let begun = setting.begin(tier, HeadStart::of(tier));
        Ahead { setting, gate, tier, begun }
    }

    /// The jail that was begun, if it is of `tier`, or one that is.
    pub fn into_jail(self, tier: Tier) -> Result<(Setting, Jail), Failed> {
        if tier == self.tier {
            return self.begun.map(|jail| (self.setting, jail));
        }
        // Its groups have the name that the next one's will have.
        drop(self.begun);
        let jail = self.setting.begin(tier, HeadStart::of(tier))?;
        Ok((self.setting, jail))
    }
}
