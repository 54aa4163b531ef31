//! The first process of a jail.
//!
//! Born from the launcher in new namespaces, it builds what every jail's view has while the launcher still makes the plan,
//! then the rest, confines itself for good, and from then on only starts runs, reaps what they leave and makes names for
//! them. Everything it starts wears what it wears. It dies with the launcher, and its pid namespace with it.
//!
//! ```text
//!   born --Orders--> built --Confine--> confined --Start--> running --command ends--> Ended --> dead
//! ```

use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::beside::{Beside, Then};
use super::channel::{Arrived, Channel};
use super::runs::Runs;
use super::{cgroup, descendants, failure};
use crate::confine::limits::Counted;
use crate::confine::mounts::{Opener, Root};
use crate::confine::shields::Shielded;
use crate::confine::{Failed, Ids, capabilities, identity, landlock, late, limits, mounts, seccomp, shields};
use crate::host::Tier;
use crate::plan::promise::SIGNALS;
use crate::plan::{Identity, ahead};
use crate::profile::recording::Recording;
use crate::sys::process::{self, namespaces};
use crate::sys::seccomp::Refusals;
use crate::wire::privsep::{Filters, FromInit, Orders, ToInit};

/// What init is told at birth, before there is a plan.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// The tier of its jail.
    pub tier: Tier,
    /// The launcher's own uid and gid.
    pub launcher: Ids,
    /// The uid and gid with whose rights host paths are opened.
    pub caller: Ids,
    /// What to do before there is a plan.
    pub head_start: HeadStart,
}

/// What a jail's init does while it waits for its orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadStart {
    /// Nothing: there is no view, or the plan's has little in common with others.
    None,
    /// Build [`ahead::entries`]. The plan that follows must fit it, and its view leaves these out.
    View,
}

impl HeadStart {
    /// What suits a jail of `tier` before anything else is known.
    pub fn of(tier: Tier) -> HeadStart {
        if tier.has_namespaces() { HeadStart::View } else { HeadStart::None }
    }
}

impl Birth {
    fn opener(self) -> Opener {
        Opener { caller: self.caller, own: self.launcher }
    }
}

/// Lives and dies as a jail's init. Runs in a fork of the launcher, which has one thread.
pub fn live(launcher: Channel, birth: Birth) -> ! {
    if let Err(failed) = serve(&launcher, birth) {
        // If the launcher is gone there is nobody to tell, and that is why we end.
        let _ = launcher.send(&FromInit::Failed(failure(failed)), &[]);
    }
    process::leave(0)
}

fn serve(launcher: &Channel, birth: Birth) -> Result<(), Failed> {
    let beside = be_born(launcher, birth)?;
    let namespaces = if birth.tier.has_namespaces() { late::open_namespaces()? } else { Vec::new() };
    let begun = begin_view(birth)?;
    let Some((orders, trees)) = await_orders(launcher)? else { return Ok(()) };
    beside.as_ref().map_or(Ok(()), |beside| beside.have(&then(&orders)))?;
    let shielded = build(begun, &orders, trees, birth)?;
    beside.as_ref().map_or(Ok(()), Beside::enter)?;
    let Some((filters, groups)) = await_filters(launcher)? else { return Ok(()) };
    cgroup::join(&groups).map_err(Failed::at("join_groups"))?;
    tell_joined(launcher, namespaces)?;
    confine(&orders, &filters)?;
    beside.map_or(Ok(()), Beside::end)?;
    let scoped = birth.tier == Tier::Bare && orders.plan.landlock.abi >= SIGNALS;
    let mut runs = Runs::new(launcher, *orders, *filters, shielded);
    let served = runs.serve();
    if scoped && runs.were_proven() {
        // A signal to everybody reaches this jail alone: not because `confine` says so, but because a process that wears no
        // more than we do could not signal the launcher. Never without that proof, or it reaches the host.
        descendants::end_my_domain();
    }
    served
}

/// What the jail's network is to have. The gate's sockets are made where no run descends from: with one of them a command could be
/// answered by another.
fn then(orders: &Orders) -> Then {
    if orders.plan.leads_to_gate() { Then::Gateway(Box::new(orders.plan.egress.clone())) } else { Then::Nothing }
}

/// Says so, and hands over what nobody in the jail may have: with the view's namespaces a command could mount.
fn tell_joined(launcher: &Channel, namespaces: Vec<OwnedFd>) -> Result<(), Failed> {
    let top = if namespaces.is_empty() { None } else { Some(late::open_top()?) };
    let passed: Vec<_> = top.iter().chain(&namespaces).map(AsFd::as_fd).collect();
    launcher.send(&FromInit::Joined, &passed).map_err(Failed::at("send_joined"))
}

/// Everything that needs no plan, so that it happens while the launcher makes one.
fn be_born(launcher: &Channel, birth: Birth) -> Result<Option<Beside>, Failed> {
    let failed = Failed::at("be_born");
    process::set_name(c"clawjail-init").map_err(&failed)?;
    if !birth.tier.has_namespaces() {
        process::become_subreaper().map_err(&failed)?;
        return Ok(None);
    }
    process::set_parent_death_signal(Signal::SIGKILL).map_err(&failed)?;
    if birth.tier == Tier::User {
        identity::map_into_user_namespace(birth.launcher)?;
    }
    let beside = Beside::begin(launcher)?;
    process::unshare(namespaces::UTS | namespaces::CGROUP).map_err(Failed::at("unshare"))?;
    nix::unistd::sethostname("clawjail").map_err(Failed::at("sethostname"))?;
    Ok(Some(beside))
}

/// Orders, and the trees that came with them.
type Ordered = (Box<Orders>, Vec<OwnedFd>);

fn await_orders(launcher: &Channel) -> Result<Option<Ordered>, Failed> {
    match launcher.receive().map_err(Failed::at("await_orders"))? {
        Arrived::Message(ToInit::Orders(orders), trees) => Ok(Some((orders, trees))),
        Arrived::Message(..) => Err(Failed::at("await_orders")(Errno::EPROTO)),
        Arrived::Gone => Ok(None),
    }
}

/// The part of the view that no request changes, made while the launcher still decides the rest.
fn begin_view(birth: Birth) -> Result<Option<Root>, Failed> {
    let HeadStart::View = birth.head_start else { return Ok(None) };
    let root = mounts::begin()?;
    mounts::fill(&root, &ahead::entries(), &BTreeMap::new(), birth.launcher, birth.opener())?;
    Ok(Some(root))
}

fn build(begun: Option<Root>, orders: &Orders, trees: Vec<OwnedFd>, birth: Birth) -> Result<Vec<Shielded>, Failed> {
    if !birth.tier.has_namespaces() {
        return shields::locate(&orders.plan.shields, orders.plan.workspace.as_deref());
    }
    let ids = Ids { uid: orders.uid, gid: orders.gid };
    let trees: BTreeMap<PathBuf, OwnedFd> = orders.trees.iter().map(PathBuf::from).zip(trees).collect();
    let root = begun.map_or_else(mounts::begin, Ok)?;
    mounts::fill(&root, &orders.plan.view.entries, &trees, ids, birth.opener())?;
    for (path, identity) in &orders.judged {
        mounts::must_be(&root, Path::new(path), *identity)?;
    }
    let shielded = shields::raise(&root, &orders.plan.shields, orders.plan.workspace.as_deref())?;
    mounts::enter(root)?;
    Ok(shielded)
}

/// Filters, and the groups to join.
type Bounds = (Box<Filters>, Vec<OwnedFd>);

fn await_filters(launcher: &Channel) -> Result<Option<Bounds>, Failed> {
    match launcher.receive().map_err(Failed::at("await_filters"))? {
        Arrived::Message(ToInit::Confine(filters), groups) => Ok(Some((filters, groups))),
        Arrived::Message(..) => Err(Failed::at("await_filters")(Errno::EPROTO)),
        Arrived::Gone => Ok(None),
    }
}

/// The order is the content: each step removes what the steps before it needed.
fn confine(orders: &Orders, filters: &Filters) -> Result<(), Failed> {
    let plan = &orders.plan;
    let failed = Failed::at("confine");
    if plan.tier == Tier::Root && plan.asks {
        // Whoever is answered would take the processor from us at once, and find us in its way when it makes a process: the
        // scheduler then sends that to another processor, where nothing of it is in the cache. Nothing is lost where we may not.
        let _ = process::go_first();
    }
    identity::leave_keyring()?;
    limits::set(&plan.limits, if plan.tier.has_namespaces() { Counted::Jail } else { Counted::User })?;
    if plan.tier != Tier::Bare || capabilities::holds_any() {
        capabilities::empty_bounding_set()?;
    }
    if let Identity::ThrowAway { .. } | Identity::Caller(_) = plan.identity
        && plan.tier == Tier::Root
    {
        identity::become_ids(Ids { uid: orders.uid, gid: orders.gid })?;
    }
    capabilities::drop_all()?;
    process::refuse_inspection().map_err(&failed)?;
    if plan.tier.has_namespaces() {
        // Changing ids cleared it. If the launcher died in between, its end of the channel is closed: see `Runs::serve`.
        process::set_parent_death_signal(Signal::SIGKILL).map_err(&failed)?;
    }
    process::refuse_new_privileges().map_err(&failed)?;
    landlock::restrict(plan, orders.gate)?;
    // Each record costs the refused call and the host something.
    let recorded = plan.tier == Tier::Root && plan.recording == Recording::Full;
    seccomp::install_with(&filters.all, if recorded { Refusals::Logged } else { Refusals::Silent })
}
