//! For whom a launcher acts, and what they may ask of it.
//!
//! Fixed when the process is made and never taken from a message: who speaks over the channel is not who decides it.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use super::accounts;
use crate::confine::{Failed, Ids};
use crate::host::Tier;
use crate::plan::refused::Refused;
use crate::plan::request::Caller;
use crate::policy::names::{did_you_mean, nearest};
use crate::profile::Profile;
use crate::profile::load::{ConfigDir, Sources, Trust};
use crate::profile::packed::Packed;
use crate::sys::{process, socket};
use crate::wire::privsep::Lifetime;

/// For whom a launcher acts.
#[derive(Clone, Debug)]
pub enum Mandate {
    /// Whoever started us, with their own power: they may ask for any profile.
    Own,
    /// The same, and the profiles and policies of this directory come first. Whoever owns it is looked at as everywhere.
    OwnAnd(PathBuf),
    /// A caller of a service.
    Granted(Box<Grant>),
}

/// What a service grants to one caller.
#[derive(Clone, Debug)]
pub struct Grant {
    /// Who, as the kernel says.
    pub caller: Caller,
    /// Where policies are looked for.
    pub sources: Sources,
    /// The profiles there are, as they were when the service read them.
    pub known: Rc<BTreeMap<String, Packed>>,
    /// Which of them may be asked for.
    pub profiles: Profiles,
    /// Whether a jail may outlive its first run.
    pub lasting: Lasting,
    /// How long it may stay then.
    pub longest: Lifetime,
    /// The connection on which they ask: nothing begins for a caller who has left.
    pub connection: Rc<OwnedFd>,
    /// The service's launcher, which the process with this mandate must not outlive.
    pub launcher: Pid,
}

/// Which profiles a caller may ask for.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Profiles {
    /// All that can be found.
    Any,
    /// These.
    Only(BTreeSet<String>),
}

/// Whether a caller may keep a jail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Lasting {
    /// For as long as it was granted.
    Allowed,
    /// Each jail ends with its run.
    Refused,
}

impl Profiles {
    /// Whether `name` is among them.
    pub fn include(&self, name: &str) -> bool {
        match self {
            Profiles::Any => true,
            Profiles::Only(names) => names.contains(name),
        }
    }
}

impl Mandate {
    /// The caller.
    pub fn caller(&self) -> Caller {
        match self {
            Mandate::Own | Mandate::OwnAnd(_) => accounts::this_caller(),
            Mandate::Granted(grant) => grant.caller.clone(),
        }
    }

    /// Where profiles are looked for.
    pub fn sources(&self, own: Ids, caller: &Caller) -> Sources {
        match self {
            Mandate::Own => sources(own, caller),
            Mandate::OwnAnd(directory) => {
                let trust = if own.uid == 0 { Trust::Root } else { Trust::Caller(caller.uid) };
                let mut sources = sources(own, caller);
                sources.dirs.insert(0, ConfigDir { path: directory.clone(), trust });
                sources
            }
            Mandate::Granted(grant) => grant.sources.clone().present(),
        }
    }

    /// The profile `name`, where they were read already.
    pub fn known(&self, name: &str) -> Result<Option<Profile>, Refused> {
        let Mandate::Granted(grant) = self else { return Ok(None) };
        if let Some(profile) = grant.known.get(name).and_then(Packed::open) {
            return Ok(Some(profile));
        }
        let meant = nearest(name, grant.known.keys().map(String::as_str));
        Err(Refused {
            code: "profile_unusable",
            message: format!("unknown profile `{name}`{}", did_you_mean(meant.as_deref())),
            remedy: None,
        })
    }

    /// Binds this process to the launcher that made it. Again after each time that it opened something with the caller's
    /// credentials: changing those clears the parent-death signal.
    pub fn hold_on(&self) -> Result<(), Failed> {
        let Mandate::Granted(grant) = self else { return Ok(()) };
        let failed = Failed::at("hold_on");
        process::set_parent_death_signal(Signal::SIGKILL).map_err(&failed)?;
        // It may have died just before.
        if getppid() == grant.launcher { Ok(()) } else { Err(failed(Errno::ESRCH)) }
    }

    /// Whether it is for one run or one jail, and not for another after it.
    pub fn is_for_one(&self) -> bool {
        matches!(self, Mandate::Granted(_))
    }

    /// Refuses a caller who has left, and a profile that is not granted.
    pub fn admit(&self, profile: &str) -> Result<(), Refused> {
        match self {
            Mandate::Own | Mandate::OwnAnd(_) => Ok(()),
            Mandate::Granted(grant) if socket::is_hung_up(grant.connection.as_fd()) => {
                Err(Refused { code: "not_connected", message: "the caller is not connected".into(), remedy: None })
            }
            Mandate::Granted(grant) if grant.profiles.include(profile) => Ok(()),
            Mandate::Granted(grant) => Err(Refused {
                code: "profile_not_granted",
                message: format!("profile `{profile}` is not granted to user `{}`", grant.caller.name),
                remedy: Some("ask for one that is, or have the operator add it to the caller's `profiles`".into()),
            }),
        }
    }

    /// How long a jail stays for which `asked` was asked.
    pub fn shorten(&self, asked: Lifetime) -> Lifetime {
        match self {
            Mandate::Own | Mandate::OwnAnd(_) => asked,
            Mandate::Granted(grant) => Lifetime {
                idle_ms: asked.idle_ms.min(grant.longest.idle_ms),
                age_ms: asked.age_ms.min(grant.longest.age_ms),
            },
        }
    }

    /// Refuses a jail that stays.
    pub fn admit_lasting(&self) -> Result<(), Refused> {
        match self {
            Mandate::Granted(grant) if grant.lasting == Lasting::Refused => Err(Refused {
                code: "jails_not_granted",
                message: format!("user `{}` may not keep a jail", grant.caller.name),
                remedy: Some("run the command without one: each run has a jail of its own".into()),
            }),
            Mandate::Own | Mandate::OwnAnd(_) | Mandate::Granted(_) => Ok(()),
        }
    }

    /// Refuses a tier in which we could not become somebody else: without our own namespaces a command has the uid that we
    /// have, and a user namespace of ours maps nobody but us.
    pub fn admit_tier(&self, tier: Tier, caller: Ids, own: Ids) -> Result<(), Refused> {
        match self {
            Mandate::Granted(grant) if tier != Tier::Root && caller != own => Err(Refused {
                code: "tier_not_for_others",
                message: format!("in tier `{}` nothing can be run for user `{}`", tier.word(), grant.caller.name),
                remedy: Some("start the service as root on the host itself, or as that user".into()),
            }),
            Mandate::Own | Mandate::OwnAnd(_) | Mandate::Granted(_) => Ok(()),
        }
    }
}

/// Whose profiles and policies count: root's own, and those of a caller who runs us with no more power than theirs.
pub fn sources(own: Ids, caller: &Caller) -> Sources {
    let sources = if own.uid == 0 { Sources::of_root() } else { Sources::of_caller(&caller.home, caller.uid) };
    sources.present()
}
