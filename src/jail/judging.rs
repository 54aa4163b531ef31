//! What names are judged by: shields, and what of them was there before.
//!
//! Pure but for looking at what is there. What a name would mean to git is `vetting`'s.

use std::cell::Cell;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::sys::stat::fstat;

use super::asking::Place;
use crate::confine::landlock::has_shields_below;
use crate::confine::shields::Shielded;
use crate::plan::paths::lies_at_or_below;
use crate::plan::shield::{Name, judge};
use crate::plan::{Effect, Plan, Shield};

/// What names are judged by.
pub struct Judge {
    /// Trees in which commands cannot make names themselves.
    pub trees: Vec<PathBuf>,
    /// Trees in which commands may change files at all.
    pub writable: Vec<PathBuf>,
    /// What is shielded in them: it may neither change nor go.
    pub shields: Vec<Shield>,
    /// The same without what `vetting` judges: it may not come either.
    pub unmade: Vec<Shield>,
    /// Settings of git among the shields.
    pub settings: Vec<Shield>,
    /// Those that were there before the run.
    pub present: Vec<PathBuf>,
    /// Hooks that the workspace's settings name, and the name, relative to any work tree.
    pub linked: Vec<(Shield, String)>,
    /// What exists of all that under whatever name, where nothing is mounted over it (bare tier).
    pub located: Vec<Shielded>,
    /// Whether commands cannot write existing files there either, unless granted one by one.
    pub opens_existing: bool,
    /// Whether names are judged by what they would mean to git.
    pub vets: bool,
    /// Whether the trees were searched, and no repository that runs something was found.
    pub searched: Cell<bool>,
}

/// What to tell the asking process.
pub enum Answer {
    /// Make the call after all: the kernel judges it.
    Continue,
    /// It is done.
    Done,
    /// It is done, and this is the descriptor, with these flags (`O_CLOEXEC` or 0).
    Opened(OwnedFd, i32),
    /// Not yet: a pipe has no reader. To be asked again.
    Later,
    /// The kernel said no to us as it would have to the process.
    Errno(Errno),
    /// A shield says no.
    Denied {
        /// The name.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// Which shield.
        pattern: String,
    },
}

/// What a name is to become.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// Anything else.
    Other,
}

impl Judge {
    /// For the shields of `plan`; `shielded` is what exists of them.
    pub fn new(plan: &Plan, shielded: Vec<Shielded>) -> Judge {
        let writable = || plan.landlock.rules.iter().filter(|(_, rights)| rights.write && !rights.devices);
        let rules = writable().filter(|(path, _)| has_shields_below(path, &plan.shields));
        let vets = plan.vets_repositories();
        let of_any_tree = |shield: &Shield| Some((shield.clone(), hooks_of_any_tree(shield)?));
        let linked: Vec<(Shield, String)> = plan.shields.iter().filter_map(of_any_tree).collect();
        let shields = plan.shields.iter().filter(|shield| hooks_of_any_tree(shield).is_none()).cloned();
        let (settings, others): (Vec<Shield>, Vec<Shield>) =
            shields.clone().partition(|shield| shield.effect == Effect::Vet);
        let (present, located): (Vec<Shielded>, Vec<Shielded>) =
            shielded.into_iter().partition(|shielded| shielded.effect == Effect::Vet);
        Judge {
            trees: rules.map(|(path, _)| path.clone()).collect(),
            writable: writable().map(|(path, _)| path.clone()).collect(),
            shields: shields.collect(),
            unmade: others.into_iter().filter(|shield| !vets || !is_hooks(shield)).collect(),
            settings,
            present: present.into_iter().map(|shielded| shielded.path).collect(),
            linked,
            located: if plan.sees_host_paths() { located } else { Vec::new() },
            opens_existing: plan.sees_host_paths() || vets,
            vets,
            searched: Cell::new(false),
        }
    }

    /// Whether the name lies where commands make none themselves.
    pub fn concerns(&self, place: &Place) -> bool {
        lies_in(&self.trees, &place.whole())
    }

    /// A denial, if `path` is or lies in something that exists and is shielded under another name.
    fn is_located(&self, path: &Path, action: &'static str) -> Option<Answer> {
        let found = self.located.iter().find(|shielded| lies_at_or_below(path, &shielded.path))?;
        Some(Answer::Denied { path: path.to_path_buf(), action, pattern: found.path.to_string_lossy().into_owned() })
    }

    /// A denial, if `path` itself is shielded.
    pub fn shielded(&self, path: &Path, action: &'static str) -> Option<Answer> {
        if let Some(denied) = self.is_located(path, action) {
            return Some(denied);
        }
        match judge(&self.shields, path) {
            Name::Shielded(shield) => Some(denied(path, action, shield)),
            Name::Free | Name::Above(_) => None,
        }
    }

    /// A denial, if `path` may not become a `kind`.
    pub fn forbids(&self, path: &Path, action: &'static str, kind: Kind) -> Option<Answer> {
        if let Some(denied) = self.is_located(path, action) {
            return Some(denied);
        }
        if let Some(shield) = linked_hook(self, path) {
            return Some(denied(path, action, shield));
        }
        match judge(&self.shields, path) {
            Name::Shielded(_) => match judge(&self.unmade, path) {
                Name::Shielded(shield) => Some(denied(path, action, shield)),
                // What is left to `vetting`.
                Name::Above(_) | Name::Free => None,
            },
            // A file or link above something protected would stand in for the directory that holds it.
            Name::Above(below) if kind == Kind::Other => below.first().map(|(shield, _)| denied(path, action, shield)),
            Name::Above(_) | Name::Free => None,
        }
    }

    /// Whether `path` is that of settings that came in this run, which are its own to remove.
    pub fn is_own(&self, path: &Path) -> bool {
        matches!(judge(&self.settings, path), Name::Shielded(_)) && !self.present.iter().any(|there| there == path)
    }

    /// A denial, if `file` at `path` may not get this mode. git tries on settings whether modes are kept: it turns the owner's right
    /// to execute them around, and back.
    pub fn keeps_mode(&self, path: &Path, file: &OwnedFd, mode: u32) -> Option<Answer> {
        let denied = self.shielded(path, "chmod")?;
        let turns_around = || fstat(file).is_ok_and(|stat| (stat.st_mode ^ mode) & 0o7777 == 0o100);
        let settings = matches!(judge(&self.settings, path), Name::Shielded(_));
        let allowed = self.is_own(path) || settings && turns_around();
        (!allowed).then_some(denied)
    }

    /// A denial, if what is at `path` may not leave it, itself or for what it holds.
    pub fn keeps(&self, path: &Path, action: &'static str) -> Option<Answer> {
        if let Some(denied) = self.shielded(path, action) {
            return Some(denied);
        }
        match judge(&self.shields, path) {
            Name::Above(below) => below.first().map(|(shield, _)| denied(path, action, shield)),
            Name::Shielded(_) | Name::Free => None,
        }
    }
}

/// A denial of `action` at `path`, by `shield`.
pub fn denied(path: &Path, action: &'static str, shield: &Shield) -> Answer {
    Answer::Denied { path: path.to_path_buf(), action, pattern: shield.pattern.clone() }
}

/// The shield, if `path` lies among the hooks of a work tree whose repository is elsewhere: there git takes the workspace's settings.
fn linked_hook<'a>(judge: &'a Judge, path: &Path) -> Option<&'a Shield> {
    let in_linked_tree = |hooks: &String| {
        path.ancestors().any(|above| {
            let tree =
                above.as_os_str().as_bytes().strip_suffix(hooks.as_bytes()).and_then(|tree| tree.strip_suffix(b"/"));
            tree.map(|tree| Path::new(OsStr::from_bytes(tree)).join(".git"))
                .is_some_and(|git| git.symlink_metadata().is_ok_and(|about| !about.is_dir()))
        })
    };
    judge.linked.iter().find(|(_, hooks)| in_linked_tree(hooks)).map(|(shield, _)| shield)
}

/// The hooks that a shield protects in any work tree, relative to it.
fn hooks_of_any_tree(shield: &Shield) -> Option<String> {
    let (_, hooks) = shield.pattern.split_once("/**/").filter(|_| shield.effect == Effect::Vet)?;
    Some(hooks.to_owned())
}

/// Whether names below a shield are judged here rather than denied: hooks that git makes itself are samples.
fn is_hooks(shield: &Shield) -> bool {
    let mut names = shield.pattern.rsplit('/');
    names.next() == Some("hooks") && names.any(|name| name == ".git")
}

/// Whether `path` lies in one of `trees`.
pub fn lies_in(trees: &[PathBuf], path: &Path) -> bool {
    trees.iter().any(|tree| lies_at_or_below(path, tree))
}
