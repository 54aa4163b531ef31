//! Landlock and seccomp: each restricts a child, and the child sees its call denied.

use std::os::fd::{AsFd, OwnedFd};

use landlock::{ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetStatus, Scope};
use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fstat, major};

use super::super::channel::{Arrived, Channel};
use super::Setting;
use crate::confine::identity::errno_of;
use crate::confine::{Failed, seccomp as step};
use crate::plan::filter::{Otherwise, Program, compile};
use crate::policy::syscalls::{Action, SyscallPolicy, SyscallRule};
use crate::sys::process::{self, Fork, How};
use crate::sys::{abi, seccomp};

/// Restricts itself to nothing, with every right of the newest ABI, and is denied the root directory.
pub fn landlock(_: &Setting<'_>) -> Result<String, Failed> {
    let newest = abi::landlock();
    if newest == 0 {
        return Err(Failed { step: "landlock", errno: Errno::EOPNOTSUPP, what: Some("no ABI".into()) });
    }
    process::refuse_new_privileges().map_err(Failed::at("no_new_privs"))?;
    let status = restrict(ABI::from(i32::try_from(newest).unwrap_or(i32::MAX)));
    let status =
        status.map_err(|error| Failed { step: "landlock", errno: Errno::last(), what: Some(error.to_string()) })?;
    let denied = open("/", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    match (status, denied) {
        (RulesetStatus::FullyEnforced, Err(Errno::EACCES)) => Ok(format!("abi {newest}")),
        (_, denied) => {
            let errno = denied.err().unwrap_or(Errno::EPROTO);
            Err(Failed { step: "landlock", errno, what: Some("restricted, and an open was not denied".into()) })
        }
    }
}

fn restrict(abi: ABI) -> Result<RulesetStatus, landlock::RulesetError> {
    let mut ruleset =
        Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(AccessFs::from_all(abi))?;
    if abi >= ABI::V4 {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi))?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi))?;
    }
    Ok(ruleset.create()?.restrict_self()?.ruleset)
}

/// Installs a filter that denies one harmless call, and makes that call.
pub fn seccomp(_: &Setting<'_>) -> Result<String, Failed> {
    process::refuse_new_privileges().map_err(Failed::at("no_new_privs"))?;
    step::install(&filter("sched_yield", Action::Deny)?)?;
    match nix::sched::sched_yield() {
        Err(Errno::EPERM) => Ok("installed, and a call was denied".into()),
        _ => Err(Failed {
            step: "seccomp",
            errno: Errno::EPROTO,
            what: Some("installed, and a call was not denied".into()),
        }),
    }
}

fn filter(call: &str, action: Action) -> Result<Program, Failed> {
    let rule = SyscallRule { call: call.to_owned(), action, when: Vec::new(), why: String::new() };
    let compiled = compile(&SyscallPolicy { rules: vec![rule] }, Otherwise::Allow);
    compiled.map_err(|error| Failed { step: "compile", errno: Errno::EINVAL, what: Some(error.to_string()) })
}

/// Has a child ask for a file in memory and gives it /dev/null instead, in one step with the answer.
pub fn notification(_: &Setting<'_>) -> Result<String, Failed> {
    let failed = Failed::at("seccomp_notification");
    let asks = filter("memfd_create", Action::Notify)?;
    let null =
        open("/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty()).map_err(Failed::on("open", "/dev/null"))?;
    let (mine, childs) = Channel::pair().map_err(&failed)?;
    match process::fork().map_err(&failed)? {
        Fork::Child => {
            drop(mine);
            process::leave(ask(&asks, childs).map_or_else(|failed| failed.errno as i32, |()| 0))
        }
        Fork::Parent(pid) => {
            drop(childs);
            let answered = answer(&mine, &null);
            match (process::wait_for(pid).map_err(&failed)?.how, answered) {
                (How::Exited(0), Ok(())) => Ok("asked, and answered with a descriptor".into()),
                // The asking side knows better why there was nothing to answer.
                (How::Exited(errno), _) if errno != 0 => Err(failed(Errno::from_raw(errno))),
                (_, answered) => answered.and(Err(failed(Errno::EPROTO))),
            }
        }
    }
}

fn ask(asks: &Program, answerer: Channel) -> Result<(), Failed> {
    let failed = Failed::at("ask");
    process::refuse_new_privileges().map_err(&failed)?;
    let listener = step::install_with_listener(asks)?;
    answerer.send(&(), &[listener.as_fd()]).map_err(&failed)?;
    // The answerer's copy is then the only one: if it goes away, so does the question.
    drop((listener, answerer));
    let given = memfd_create(c"clawjail-doctor", MFdFlags::MFD_CLOEXEC).map_err(&failed)?;
    let device = fstat(&given).map_err(&failed)?.st_rdev;
    // Memory devices are major 1; a real memfd is none.
    if major(device) == 1 { Ok(()) } else { Err(failed(Errno::EPROTO)) }
}

fn answer(asker: &Channel, with: &OwnedFd) -> Result<(), Failed> {
    let failed = |error: std::io::Error| Failed::at("answer")(errno_of(&error));
    let Arrived::Message((), descriptors) = asker.receive().map_err(Failed::at("hear_listener"))? else {
        return Err(Failed::at("hear_listener")(Errno::EPIPE));
    };
    let Some(listener) = descriptors.first() else { return Err(Failed::at("hear_listener")(Errno::EPROTO)) };
    let notification = seccomp::receive(listener.as_fd()).map_err(failed)?;
    seccomp::send_descriptor(listener.as_fd(), notification.id, with.as_fd(), libc::O_CLOEXEC).map_err(failed)
}
