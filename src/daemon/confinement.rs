//! What supervisor and recorder of a service give up before they read a byte of anybody's.
//!
//! The order is the content, as in `jail::init`: each step takes away what those before it needed.

use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Gid, Pid, getppid, setgroups};

use super::config::Config;
use crate::confine::{Failed, Ids, capabilities, identity, landlock, seccomp};
use crate::ledger::config::Settings;
use crate::plan::compile::own_set;
use crate::plan::filter::{self, Otherwise, Program};
use crate::plan::{Landlock, Rights};
use crate::profile::load::Sources;
use crate::sys::{abi, process};

/// What has to be made while files can still be read.
pub struct Prepared {
    filter: Program,
    landlock: Landlock,
}

/// Compiles the supervisor's filter and rules.
pub fn prepare() -> Result<Prepared, Failed> {
    prepare_for("supervisor", Vec::new())
}

fn prepare_for(set: &str, rules: Vec<(PathBuf, Rights)>) -> Result<Prepared, Failed> {
    let unusable = |what: String| Failed { step: "own_filter", errno: Errno::EINVAL, what: Some(what) };
    // Built in: what a directory of the host says about jails is not about us.
    let policy = own_set(set, &Sources::default().library()).map_err(|refused| unusable(refused.message))?;
    let filter = filter::compile(&policy, Otherwise::Deny).map_err(|error| unusable(error.to_string()))?;
    // Where ids get their randomness from: a static binary opens these instead of asking the kernel.
    let random = ["/dev/random", "/dev/urandom"].map(|path| (PathBuf::from(path), Rights::READ));
    let rules = random.into_iter().chain(rules).collect();
    Ok(Prepared { filter, landlock: Landlock { abi: abi::landlock(), rules, deny_tcp: true } })
}

/// Confines this process for good. `guard` is the process that made it.
pub fn confine(prepared: &Prepared, config: &Config, own: Ids, guard: Pid) -> Result<(), Failed> {
    let failed = Failed::at("confine_supervisor");
    if own.uid == 0 {
        capabilities::empty_bounding_set()?;
        let Some((uid, gid)) = config.becomes else { return Err(failed(Errno::EPERM)) };
        identity::become_ids(Ids { uid, gid })?;
    }
    capabilities::drop_all()?;
    process::refuse_inspection().map_err(&failed)?;
    // After the ids, whose change clears it.
    process::set_parent_death_signal(Signal::SIGKILL).map_err(&failed)?;
    if getppid() != guard {
        return Err(failed(Errno::ESRCH));
    }
    shut(prepared)
}

/// Confines the recorder for good: files of the ledger's directory, of the one for OCSF events, and no others. It stays who
/// it is, for the files are its own, and has no capability.
pub fn confine_recorder(settings: &Settings, own: Ids) -> Result<(), Failed> {
    let failed = Failed::at("confine_recorder");
    let events = settings.ocsf.as_deref().and_then(std::path::Path::parent);
    let directories = [Some(settings.path.as_path()), events].into_iter().flatten();
    let prepared = prepare_for("recorder", directories.map(|path| (path.to_owned(), Rights::WRITE)).collect())?;
    if own.uid == 0 {
        capabilities::empty_bounding_set()?;
        // Whoever is in a group can give own files to it, without a capability for that.
        let groups: Vec<Gid> = settings.access.group.map(Gid::from_raw).into_iter().collect();
        setgroups(&groups).map_err(&failed)?;
    }
    capabilities::drop_all()?;
    process::refuse_inspection().map_err(&failed)?;
    shut(&prepared)
}

fn shut(prepared: &Prepared) -> Result<(), Failed> {
    process::refuse_new_privileges().map_err(Failed::at("shut"))?;
    if prepared.landlock.abi > 0 {
        landlock::restrict_ours(&prepared.landlock)?;
    }
    seccomp::install(&prepared.filter)
}
