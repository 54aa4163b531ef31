//! The first process of a jail.
//!
//! Born from the launcher in new namespaces, it builds the view, confines itself for good, has a throw-away child probe
//! the confinement, and then only starts runs, reaps what they leave and makes names for them. Everything it starts wears
//! what it wears. It dies with the launcher, and its pid namespace with it.
//!
//! ```text
//!   born --Orders--> built --confined--> probed --Start--> running --command ends--> Ended --gone launcher--> dead
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::channel::{Arrived, Channel};
use super::runs::Runs;
use super::{descendants, failure, probe};
use crate::confine::limits::Counted;
use crate::confine::mounts::Opener;
use crate::confine::shields::Shielded;
use crate::confine::{Failed, Ids, capabilities, identity, landlock, limits, mounts, network, seccomp, shields};
use crate::host::Tier;
use crate::plan::Identity;
use crate::sys::process::{self, namespaces};
use crate::wire::privsep::{FromInit, Orders, ToInit};

/// The Landlock ABI from which a domain's signals stay in it.
const SCOPES_SIGNALS: u32 = 6;

/// What init is told at birth, before there is a plan.
#[derive(Clone, Copy, Debug)]
pub struct Birth {
    /// The tier of its jail.
    pub tier: Tier,
    /// The launcher's own uid and gid.
    pub launcher: Ids,
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
    be_born(birth)?;
    let Some((orders, trees)) = await_orders(launcher)? else { return Ok(()) };
    let shielded = build(&orders, trees, birth)?;
    confine(&orders)?;
    let findings = probe::run(&orders, &shielded)?;
    let sound = findings.iter().all(|finding| finding.held);
    launcher.send(&FromInit::Ready(findings), &[]).map_err(Failed::at("send_ready"))?;
    if !sound {
        // The launcher refuses the run; nothing is ever started here.
        return Ok(());
    }
    let scoped = birth.tier == Tier::Bare && orders.plan.landlock.abi >= SCOPES_SIGNALS;
    let served = Runs::new(launcher, *orders, shielded).serve();
    if scoped {
        // A signal to everybody reaches this jail alone: not because `confine` says so, but because the probe, whose findings
        // were all sound or we would not be here, could not signal the launcher. Never before that, or it reaches the host.
        descendants::end_my_domain();
    }
    served
}

/// Everything that needs no plan, so that it happens while the launcher makes one.
fn be_born(birth: Birth) -> Result<(), Failed> {
    let failed = Failed::at("be_born");
    process::set_name(c"clawjail-init").map_err(&failed)?;
    if !birth.tier.has_namespaces() {
        process::become_subreaper().map_err(&failed)?;
        return Ok(());
    }
    process::set_parent_death_signal(Signal::SIGKILL).map_err(&failed)?;
    if birth.tier == Tier::User {
        identity::map_into_user_namespace(birth.launcher)?;
    }
    let own = namespaces::NETWORK | namespaces::IPC | namespaces::UTS | namespaces::CGROUP;
    process::unshare(own).map_err(Failed::at("unshare"))?;
    nix::unistd::sethostname("clawjail").map_err(Failed::at("sethostname"))?;
    network::bring_up_loopback()
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

fn build(orders: &Orders, trees: Vec<OwnedFd>, birth: Birth) -> Result<Vec<Shielded>, Failed> {
    join_groups(&orders.join)?;
    if !birth.tier.has_namespaces() {
        return shields::locate(&orders.plan.shields, orders.plan.workspace.as_deref());
    }
    let ids = Ids { uid: orders.uid, gid: orders.gid };
    let opener = Opener { caller: Ids { uid: orders.caller.0, gid: orders.caller.1 }, own: birth.launcher };
    let trees: BTreeMap<PathBuf, OwnedFd> = orders.trees.iter().map(PathBuf::from).zip(trees).collect();
    let root = mounts::begin()?;
    mounts::fill(&root, &orders.plan.view, &trees, ids, opener)?;
    if let Some(workspace) = &orders.plan.workspace {
        mounts::must_be(&root, workspace, orders.judged)?;
    }
    let shielded = shields::raise(&root, &orders.plan.shields, orders.plan.workspace.as_deref())?;
    mounts::enter(root)?;
    Ok(shielded)
}

fn join_groups(files: &[String]) -> Result<(), Failed> {
    for file in files {
        // `0` means the writer; one thread, so `tasks` moves all of us without the wait that `cgroup.procs` costs.
        fs::write(file, "0").map_err(|error| Failed::on("join_groups", file)(identity::errno_of(&error)))?;
    }
    Ok(())
}

/// The order is the content: each step removes what the steps before it needed.
fn confine(orders: &Orders) -> Result<(), Failed> {
    let plan = &orders.plan;
    let failed = Failed::at("confine");
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
    landlock::restrict(plan)?;
    seccomp::install(&orders.filter)
}

/// Replaces init's own stdin, stdout and stderr, so that it holds nothing of the caller's open.
pub fn let_go_of_stdio() -> Result<(), Failed> {
    let failed = Failed::at("let_go_of_stdio");
    let null = fs::File::options()
        .read(true)
        .write(true)
        .open("/dev/null")
        .map_err(|error| failed(identity::errno_of(&error)))?;
    for number in 0..3 {
        process::place(null.as_fd(), number).map_err(&failed)?;
    }
    Ok(())
}
