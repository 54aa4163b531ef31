//! What the supervisor of a service gives up before it reads a byte of anybody's.
//!
//! The order is the content, as in `jail::init`: each step takes away what those before it needed.

use std::path::PathBuf;

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use super::config::Config;
use crate::confine::{Failed, Ids, capabilities, identity, landlock, seccomp};
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

/// Compiles the filter and the rules.
pub fn prepare() -> Result<Prepared, Failed> {
    let unusable = |what: String| Failed { step: "supervisor_filter", errno: Errno::EINVAL, what: Some(what) };
    // Built in: what a directory of the host says about jails is not about us.
    let policy = own_set("supervisor", &Sources::default().library()).map_err(|refused| unusable(refused.message))?;
    let filter = filter::compile(&policy, Otherwise::Deny).map_err(|error| unusable(error.to_string()))?;
    // Where ids get their randomness from: a static binary opens these instead of asking the kernel.
    let rules = ["/dev/random", "/dev/urandom"].map(|path| (PathBuf::from(path), Rights::READ));
    let landlock = Landlock { abi: abi::landlock(), rules: rules.into(), deny_tcp: true };
    Ok(Prepared { filter, landlock })
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
    process::refuse_new_privileges().map_err(&failed)?;
    if prepared.landlock.abi > 0 {
        landlock::restrict_ours(&prepared.landlock)?;
    }
    seccomp::install(&prepared.filter)
}
