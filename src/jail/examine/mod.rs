//! Every mechanism tried for real, each in a throw-away child: what `clawjail doctor` reports.
//!
//! Nothing is concluded from a version number: a filter is installed, a ruleset restricts, a namespace is entered, a group
//! gets a limit and a member. Tries what a run would do, by the same functions. Must not decide what a profile needs.

use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};
use serde::{Serialize, Serializer};

use super::channel::{Arrived, Channel};
use crate::confine::identity::map_into_user_namespace;
use crate::confine::{Failed, Ids};
use crate::host::{Controllers, Tier};
use crate::sys::process::{self, Fork, namespaces};
use crate::wire::privsep::Failure;

mod bounds;
mod filters;
mod remedy;
mod spaces;

/// One mechanism as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// Its name, as plans and verdicts use it.
    pub mechanism: &'static str,
    /// The tier it was tried in; none when it is the same in all of them.
    pub tier: Option<Tier>,
    /// What was found, or why it does not work.
    #[serde(flatten, serialize_with = "as_keys")]
    pub result: Result<String, Fault>,
}

/// Why a mechanism does not work.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The name of the step.
    pub step: String,
    /// The step that the kernel refused, and its answer.
    pub cause: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// `works` with what was found or why not: keys that a script can rely on.
fn as_keys<S: Serializer>(result: &Result<String, Fault>, serializer: S) -> Result<S::Ok, S::Error> {
    match result {
        Ok(detail) => serde_json::json!({ "works": true, "detail": detail }).serialize(serializer),
        Err(fault) => {
            serde_json::json!({ "works": false, "cause": fault.cause, "remedy": fault.remedy }).serialize(serializer)
        }
    }
}

/// Where a trial is made.
#[derive(Clone, Copy)]
enum Place {
    /// In a child like us: the answer holds for all tiers.
    Here,
    /// In the first process of such a jail.
    Jail(Tier),
}

/// What a trial may know.
struct Setting<'a> {
    own: Ids,
    controllers: &'a Controllers,
}

/// What was found, in a few words.
type Trial = fn(&Setting<'_>) -> Result<String, Failed>;

/// Tried in every tier alike.
const EVERYWHERE: [(&str, Trial); 7] = [
    ("landlock", filters::landlock),
    ("seccomp filter", filters::seccomp),
    ("seccomp notification", filters::notification),
    ("control groups", bounds::control_groups),
    ("resource limits", bounds::resource_limits),
    ("session keyring", bounds::session_keyring),
    ("terminals", bounds::terminals),
];

/// Tried where a jail has namespaces.
const IN_NAMESPACES: [(&str, Trial); 8] = [
    ("private root", spaces::private_root),
    ("private terminals", spaces::private_terminals),
    ("pid namespace", spaces::processes),
    ("network namespace", spaces::network),
    ("egress gate", spaces::gate),
    ("ipc namespace", spaces::ipc),
    ("uts namespace", spaces::host_name),
    ("cgroup namespace", spaces::groups),
];

/// Tries everything.
pub fn examine(own: Ids, controllers: &Controllers) -> Vec<Found> {
    let setting = Setting { own, controllers };
    let mut found: Vec<Found> = EVERYWHERE.iter().map(|trial| attempt(*trial, Place::Here, &setting)).collect();
    for (tier, basis) in
        [(Tier::Root, ("privilege", privilege as Trial)), (Tier::User, ("user namespace", spaces::user))]
    {
        // Privilege is ours or not; a user namespace is entered with the child.
        let place = if tier == Tier::Root { Place::Here } else { Place::Jail(tier) };
        let basis = Found { tier: Some(tier), ..attempt(basis, place, &setting) };
        let stands = basis.result.is_ok();
        found.push(basis);
        if stands {
            found.extend(IN_NAMESPACES.iter().map(|trial| attempt(*trial, Place::Jail(tier), &setting)));
        }
        if stands && tier == Tier::Root {
            let translation = attempt(("owner translation", spaces::owner_translation), Place::Here, &setting);
            found.push(Found { tier: Some(tier), ..translation });
        }
    }
    found
}

fn privilege(_: &Setting<'_>) -> Result<String, Failed> {
    let failed = |what: &str| Failed { step: "privilege", errno: Errno::EPERM, what: Some(what.to_owned()) };
    if !geteuid().is_root() {
        return Err(failed("not started as root"));
    }
    match caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_ADMIN) {
        Ok(true) => Ok("root with CAP_SYS_ADMIN".into()),
        _ => Err(failed("root without CAP_SYS_ADMIN, as in a container")),
    }
}

fn attempt((mechanism, trial): (&'static str, Trial), place: Place, setting: &Setting<'_>) -> Found {
    let result = in_child(trial, place, setting);
    let tier = match place {
        Place::Here => None,
        Place::Jail(tier) => Some(tier),
    };
    let result = result.map_err(|failure| Fault {
        cause: cause(&failure),
        remedy: remedy::remedy(mechanism, &failure),
        step: failure.step,
    });
    Found { mechanism, tier, result }
}

fn cause(failure: &Failure) -> String {
    let errno = Errno::from_raw(failure.errno);
    let what = failure.what.as_ref().map(|what| format!(" ({what})")).unwrap_or_default();
    format!("step `{}`{what}: {} ({errno:?})", failure.step, errno.desc())
}

/// How long one trial may take.
const PATIENCE_MS: u16 = 10_000;

/// Has a child of its own make the trial, so that whatever it does to itself ends with it.
fn in_child(trial: Trial, place: Place, setting: &Setting<'_>) -> Result<String, Failure> {
    forked(trial, place, setting).map_err(super::failure)?
}

fn forked(trial: Trial, place: Place, setting: &Setting<'_>) -> Result<Result<String, Failure>, Failed> {
    let (mine, childs) = Channel::pair().map_err(Failed::at("pair"))?;
    let flags = match place {
        Place::Here | Place::Jail(Tier::Bare) => 0,
        Place::Jail(Tier::Root) => namespaces::MOUNT | namespaces::PID,
        Place::Jail(Tier::User) => namespaces::MOUNT | namespaces::PID | namespaces::USER,
    };
    match process::fork_into(flags, None).map_err(Failed::at("clone3"))? {
        Fork::Child => {
            drop(mine);
            let result = enter(place, setting).and_then(|()| trial(setting)).map_err(super::failure);
            process::leave(i32::from(childs.send(&result, &[]).is_err()))
        }
        Fork::Parent(pid) => {
            drop(childs);
            let heard = hear(&mine, pid);
            process::wait_for(pid).map_err(Failed::at("wait"))?;
            heard
        }
    }
}

fn enter(place: Place, setting: &Setting<'_>) -> Result<(), Failed> {
    process::set_parent_death_signal(Signal::SIGKILL).map_err(Failed::at("set_parent_death_signal"))?;
    match place {
        Place::Jail(Tier::User) => map_into_user_namespace(setting.own),
        _ => Ok(()),
    }
}

fn hear(child: &Channel, pid: Pid) -> Result<Result<String, Failure>, Failed> {
    let mut watched = [PollFd::new(child.as_fd(), PollFlags::POLLIN)];
    if poll(&mut watched, PollTimeout::from(PATIENCE_MS)) != Ok(1) {
        // It hangs in the kernel or was stopped; it has ended by itself if this finds nobody.
        let _ = kill(pid, Signal::SIGKILL);
        return Err(Failed { step: "wait", errno: Errno::ETIMEDOUT, what: Some("the trial hung".into()) });
    }
    match child.receive().map_err(Failed::at("hear"))? {
        Arrived::Message(result, _) => Ok(result),
        Arrived::Gone => {
            Err(Failed { step: "hear", errno: Errno::EPIPE, what: Some("the trial's process was killed".into()) })
        }
    }
}
