//! Whether what shields name stands open in a jail that stays, or that was made ahead: what appeared in the workspace since,
//! and what was written anew. In a view it is shielded then and there; in the bare tier, where Landlock's rules are for
//! ever, the jail has to be made anew.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;

use nix::errno::Errno;

use super::ahead::Setting;
use super::deciding::Prepared;
use super::not_started::NotStarted;
use super::raised::{Found, Raised};
use super::workspace::{self, Workspace};
use crate::confine::late::{self, View};
use crate::confine::shields::{Names, Shielded};
use crate::confine::{Failed, Ids, shields};
use crate::plan::refused::Refused;
use crate::plan::{Effect, Plan, Shield};
use crate::sys::process::{self, Fork, How};

/// What exists now, as the caller sees it on the host, by its names inside.
pub fn find(prepared: &Prepared, setting: &Setting) -> Result<Found, NotStarted> {
    let (plan, workspace) = (&prepared.plan, &prepared.workspace);
    let Some(inside) = &plan.workspace else { return Ok(Found::new()) };
    let found = locate(plan, workspace, inside, setting)?;
    let host = &workspace.directory.path;
    let by_its_name = |one: Shielded| match one.path.strip_prefix(host) {
        Ok(below) => Shielded { path: inside.join(below), ..one },
        Err(_) => one,
    };
    Ok(found.into_iter().map(by_its_name).collect())
}

fn locate(plan: &Plan, workspace: &Workspace, inside: &Path, setting: &Setting) -> Result<Vec<Shielded>, NotStarted> {
    let host = &workspace.directory.path;
    let on_host = |shield: &Shield| Shield { pattern: on_host(&shield.pattern, inside, host), ..shield.clone() };
    let caller = Ids { uid: setting.caller.uid, gid: setting.caller.gid };
    let found = workspace::as_caller(caller, setting.own, || {
        // Most of what shields name is not there, and costs nothing more to know.
        let names = Names::of(workspace.descriptor.as_fd(), Path::new("."));
        let possible = plan.shields.iter().filter(|shield| !names.certainly_lack(&shield.pattern, inside));
        Ok(shields::locate_these(&possible.map(on_host).collect::<Vec<_>>(), Some(host)))
    });
    // Acting as the caller took back that we end with our launcher.
    setting.mandate.hold_on()?;
    Ok(found.map_err(Failed::at("locate"))??)
}

fn on_host(pattern: &str, inside: &Path, host: &Path) -> String {
    let below = Path::new(pattern).strip_prefix(inside);
    let path = below.map_or_else(|_| OsString::from(pattern), |below| host.join(below).into_os_string());
    path.to_string_lossy().into_owned()
}

/// What of it stands open in the jail.
pub fn standing_open(raised: &Raised, setting: &Setting) -> Result<Vec<Shielded>, NotStarted> {
    let Raised { jail, prepared, found: before, .. } = raised;
    let now = find(prepared, setting)?.into_iter();
    let Some(view) = &jail.view else { return Ok(now.filter(|one| !before.contains(one)).collect()) };
    let workspace = prepared.plan.workspace.as_deref();
    // What is vetted stays open, for the broker.
    let shielded = now.filter(|one| one.effect != Effect::Vet);
    let judge = |one: Shielded| view.shows(&one.path, workspace).map(|open| open.then_some(one));
    let open = shielded.map(judge).collect::<Result<Vec<_>, _>>().map_err(Failed::at("look_out"))?;
    Ok(open.into_iter().flatten().collect())
}

/// Shields it, or says why it cannot be.
pub fn shield_again(raised: &Raised, setting: &Setting) -> Result<(), NotStarted> {
    let open = standing_open(raised, setting)?;
    let Some(first) = open.first() else { return Ok(()) };
    let Some(view) = &raised.jail.view else { return Err(outdated(&first.path).into()) };
    shield_in(view, &open, raised.prepared.plan.workspace.as_deref())?;
    match standing_open(raised, setting)?.first() {
        None => Ok(()),
        Some(one) => Err(Failed::on("shield_again", &one.path)(Errno::EAGAIN).into()),
    }
}

fn outdated(path: &Path) -> Refused {
    Refused {
        code: "jail_outdated",
        message: format!("`{}` has appeared since this jail was opened, and the profile shields it", path.display()),
        remedy: Some("close the jail and open it again".into()),
    }
}

/// In a process of its own, which ends with that: it is in the jail's mount namespace then.
fn shield_in(view: &View, open: &[Shielded], workspace: Option<&Path>) -> Result<(), Failed> {
    let failed = Failed::at("shield_again");
    match process::fork().map_err(&failed)? {
        Fork::Child => {
            let shielded = view.enter(open.len()).and_then(|covers| {
                open.iter().zip(covers).try_for_each(|(one, cover)| late::shield(one, cover, workspace))
            });
            process::leave(shielded.err().map_or(0, |failed| failed.errno as i32))
        }
        Fork::Parent(pid) => match process::wait_for(pid).map_err(&failed)?.how {
            How::Exited(0) => Ok(()),
            How::Exited(errno) => Err(failed(Errno::from_raw(errno))),
            How::Signalled(_) => Err(failed(Errno::EIO)),
        },
    }
}
