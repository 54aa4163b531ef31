//! Mounts that only the launcher can make: of paths whose owner the command stands for (root tier).
//!
//! A detached copy of the tree, idmapped so that the owner on disk is the command's uid inside; init attaches it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::errno::Errno;

use super::idmap::Translation;
use super::workspace::Workspace;
use crate::confine::mounts::{Opener, attributes, open_host};
use crate::confine::{Failed, Ids};
use crate::host::{IdmappedMounts, Tier};
use crate::plan::request::Caller;
use crate::plan::{Entry, Owner, Plan, Rights};
use crate::profile::{Profile, WorkspaceAccess};
use crate::sys::mounts::{self, Depth};

/// The trees of one jail, and the translations they share.
pub struct Trees {
    ids: Ids,
    maps: Vec<(Owner, Translation)>,
    workspace: Option<OwnedFd>,
    listed: Vec<(PathBuf, OwnedFd)>,
}

impl Trees {
    /// For a command that is `ids`.
    pub fn new(ids: Ids) -> Trees {
        Trees { ids, maps: Vec::new(), workspace: None, listed: Vec::new() }
    }

    /// Makes the workspace's tree. Says whether it can be idmapped at all; without, nothing is mounted.
    pub fn add_workspace(&mut self, workspace: &Workspace, profile: &Profile) -> Result<IdmappedMounts, Failed> {
        if profile.workspace.access == WorkspaceAccess::None {
            return Ok(IdmappedMounts::Work);
        }
        let tree = mounts::clone_tree(workspace.descriptor.as_fd(), Depth::Recursive)
            .map_err(Failed::on("clone_workspace", &workspace.directory.path))?;
        let map = match self.map(workspace.directory.owner) {
            Err(Failed { errno: Errno::ENOSPC, .. }) => return Ok(IdmappedMounts::NoUserNamespace),
            map => map?,
        };
        // What the mount allows is set when the plan is known; translating first shows whether it works.
        match mounts::translate_owners(tree.as_fd(), 0, map) {
            Ok(()) => {
                self.workspace = Some(tree);
                Ok(IdmappedMounts::Work)
            }
            // This filesystem cannot, this user namespace may not, or this kernel has no such call (before Linux 5.12).
            Err(Errno::EINVAL | Errno::EPERM | Errno::ENOSYS) => Ok(IdmappedMounts::NotOfThisFilesystem),
            Err(errno) => Err(Failed::on("idmap_workspace", &workspace.directory.path)(errno)),
        }
    }

    /// Makes the trees of every further path that the plan shows under the command's own uid.
    pub fn add_owned(&mut self, plan: &Plan, caller: &Caller, own: Ids) -> Result<(), Failed> {
        if plan.tier != Tier::Root {
            return Ok(());
        }
        let opener = Opener { caller: Ids { uid: caller.uid, gid: caller.gid }, own };
        for (path, entry) in &plan.view.entries {
            let Entry::Host(host) = entry else { continue };
            let Some(owner) = host.owner else { continue };
            if Some(path) == plan.workspace.as_ref() {
                if let Some(tree) = self.workspace.take() {
                    self.finish(path.clone(), tree, host.rights)?;
                }
                continue;
            }
            // A link, or nothing: init deals with both.
            let Ok(source) = open_host(host, opener) else { continue };
            let Ok(tree) = mounts::clone_tree(source.as_fd(), Depth::Recursive) else { continue };
            let map = self.map(owner)?;
            if mounts::translate_owners(tree.as_fd(), 0, map).is_ok() {
                self.finish(path.clone(), tree, host.rights)?;
            }
        }
        Ok(())
    }

    fn finish(&mut self, path: PathBuf, tree: OwnedFd, rights: Rights) -> Result<(), Failed> {
        mounts::add_attributes(tree.as_fd(), attributes(rights), Depth::Recursive)
            .map_err(Failed::on("add_tree", &path))?;
        self.listed.push((path, tree));
        Ok(())
    }

    fn map(&mut self, owner: Owner) -> Result<BorrowedFd<'_>, Failed> {
        let found = self.maps.iter().position(|(known, _)| *known == owner);
        let index = match found {
            Some(index) => index,
            None => {
                self.maps.push((owner, Translation::new(owner, self.ids)?));
                self.maps.len() - 1
            }
        };
        self.maps.get(index).map(|(_, map)| map.as_fd()).ok_or_else(|| Failed::at("map")(Errno::EINVAL))
    }

    /// Paths in the view and the trees for them, in the same order.
    pub fn listed(&self) -> (Vec<String>, Vec<BorrowedFd<'_>>) {
        self.listed.iter().map(|(path, tree)| (path.to_string_lossy().into_owned(), tree.as_fd())).unzip()
    }
}
