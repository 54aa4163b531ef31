//! Directories beside the workspace, which a request names and a command can read.
//!
//! Pure. They are what a workspace is (the caller's own, opened and judged in the same way) with less: they can be read alone,
//! and only under a profile that shows a workspace. What the profile hides is hidden in them too.

use std::path::{Component, Path, PathBuf};

use super::paths::{Paths, lies_at_or_below};
use super::refused::Refused;
use super::request::{MountedDirectory, Request};
use super::{Effect, HostPath, Missing, Rights, Shield, shield};
use crate::host::HostFacts;
use crate::profile::{Profile, WorkspaceAccess};

/// Directories at the top of a jail that are its own, or the host's.
const TAKEN: [&str; 17] = [
    "bin", "boot", "dev", "etc", "home", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin", "sys",
    "tmp", "usr", "var",
];

/// Refuses what cannot be shown, or not there.
pub fn refuse_unusable(profile: &Profile, request: &Request, host: &HostFacts, paths: &Paths) -> Result<(), Refused> {
    let Some(first) = request.mounts.first() else { return Ok(()) };
    if !host.tier.has_namespaces() {
        let message =
            format!("`{}` cannot be shown at `{}`: tier `bare` mounts nothing", shown(&first.path), shown(&first.at));
        return Err(refused("mounts_not_supported", message));
    }
    if profile.workspace.access == WorkspaceAccess::None {
        let message = format!("profile `{}` shows no workspace, and nothing beside one", profile.name);
        return Err(refused("mounts_not_granted", message));
    }
    for (index, mount) in request.mounts.iter().enumerate() {
        if let Some(grant) = shield::hiding(profile, paths, &mount.path) {
            let message =
                format!("`{}` lies in `{}`, which profile `{}` hides", shown(&mount.path), grant.path, profile.name);
            return Err(refused("workspace_hidden", message));
        }
        let others = request.mounts.iter().take(index);
        if let Some(why) = unusable(profile, mount, others, paths) {
            let message = format!("`{}` cannot be shown at `{}`: {why}", shown(&mount.path), shown(&mount.at));
            return Err(refused("mount_unusable", message));
        }
    }
    Ok(())
}

fn unusable<'a>(
    profile: &Profile,
    mount: &MountedDirectory,
    mut others: impl Iterator<Item = &'a MountedDirectory>,
    paths: &Paths,
) -> Option<&'static str> {
    let at = mount.at.as_path();
    let mut names = at.components().skip(1);
    let normal = at.is_absolute() && names.all(|name| matches!(name, Component::Normal(_)));
    let first = at.components().nth(1).and_then(|name| name.as_os_str().to_str());
    let Some(first) = first.filter(|_| normal && at.as_os_str() == at.components().collect::<PathBuf>().as_os_str())
    else {
        return Some("that is no absolute path without `.`, `..` and doubled slashes");
    };
    let overlap = |other: &Path| lies_at_or_below(at, other) || lies_at_or_below(other, at);
    if others.any(|other| overlap(&other.at)) {
        return Some("another directory is shown there");
    }
    match &paths.workspace {
        Some(workspace) if at != workspace && lies_at_or_below(at, workspace) => return None,
        Some(workspace) if overlap(workspace) => return Some("the workspace is there"),
        _ => {}
    }
    let files = &profile.filesystem;
    let mut granted = [&files.read, &files.write, &files.execute].into_iter().flatten();
    if TAKEN.contains(&first) || granted.any(|grant| paths.expand(&grant.path).is_some_and(|path| overlap(&path))) {
        return Some("something else is there");
    }
    None
}

/// What of the view they are.
pub fn entries(profile: &Profile, request: &Request) -> impl Iterator<Item = (PathBuf, HostPath)> {
    let execute = profile.filesystem.execute.iter().any(|grant| grant.path == "@workspace");
    let rights = Rights { execute, ..Rights::READ };
    request.mounts.iter().map(move |mount| {
        let entry = HostPath {
            source: mount.path.clone(),
            rights,
            owner: Some(mount.owner),
            missing: Missing::Fail,
            why: "asked for beside the workspace".into(),
            from: "request".into(),
        };
        (mount.at.clone(), entry)
    })
}

/// What the profile hides is hidden in them as it is in the workspace. Nothing in them can be written anyway.
pub fn add_shields(profile: &Profile, request: &Request, paths: &Paths, shields: &mut Vec<Shield>) {
    for mount in &request.mounts {
        let hidden = profile.filesystem.hide.iter().filter_map(|grant| {
            let pattern = if grant.path.starts_with('/') || grant.path.starts_with("~/") {
                let host = paths.expand(&grant.path)?;
                mount.at.join(host.strip_prefix(&mount.path).ok().filter(|rest| !rest.as_os_str().is_empty())?)
            } else {
                mount.at.join(&grant.path)
            };
            let (why, from) = (grant.why.clone(), grant.from.clone());
            Some(Shield { pattern: pattern.to_string_lossy().into_owned(), effect: Effect::Hide, why, from })
        });
        shields.extend(hidden);
    }
    shields.sort();
    shields.dedup();
}

fn shown(path: &Path) -> String {
    crate::policy::names::shown(&path.to_string_lossy())
}

fn refused(code: &'static str, message: String) -> Refused {
    Refused { code, message, remedy: None }
}
