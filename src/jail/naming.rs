//! One name, judged and made.
//!
//! What is made is looked at again before the command hears of it: another jail on the same workspace could have moved a
//! directory between the judgement and the making. Then it is taken back.

use std::cell::Cell;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, readlinkat, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fstat, fstatat, mkdirat, mknodat, umask};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::asker::Asker;
use super::asking::{Asked, Place, path_of, resolve};
use super::vetting::{self, Coming};
use super::writing;
use crate::confine::landlock::has_shields_below;
use crate::confine::shields::{self, Shielded};
use crate::plan::paths::lies_at_or_below;
use crate::plan::shield::{Name, judge};
use crate::plan::{Effect, Plan, Shield};

/// As many links as the kernel follows in one path; path_resolution(7).
pub const MOST_LINKS: usize = 40;

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

/// Judges and makes.
pub fn answer(judge: &Judge, asker: &Asker<'_>, asked: &Asked) -> Answer {
    match asked {
        Asked::Open { at, flags, mode } => writing::open(judge, asker, at, *flags, *mode, 0),
        Asked::Reopen { held, writable, flags } => writing::reopen(judge, held, *writable, *flags),
        Asked::Unnamed { directory, flags, mode } => writing::open_unnamed(judge, asker, directory, *flags, *mode),
        Asked::Truncate { at, length } => writing::truncate(judge, at, *length, 0),
        Asked::Mkdir { at, mode } => make(judge, at, "mkdir", Coming::Directory, || {
            with_umask(asker, || mkdirat(&at.parent, at.name.as_os_str(), plain(*mode)))
        }),
        Asked::Mknod { at, mode } => {
            let kind = SFlag::from_bits_truncate(*mode) & SFlag::S_IFMT;
            make(judge, at, "create", Coming::Link, || {
                with_umask(asker, || mknodat(&at.parent, at.name.as_os_str(), kind, plain(*mode), 0))
            })
        }
        Asked::Remove { at, directory } => remove(judge, at, *directory),
        Asked::Mode { at, mode, follow } => set_mode(judge, at, *mode, *follow, 0),
        Asked::ModeOf { held, mode } => set_mode_of(judge, held, *mode),
        Asked::Symlink { at, target } => {
            make(judge, at, "symlink", Coming::Link, || symlinkat(target.as_os_str(), &at.parent, at.name.as_os_str()))
        }
        Asked::Link { from, to } => {
            if let Some(denied) = judge.shielded(&from.whole(), "link") {
                return denied;
            }
            // By another name it could be opened.
            if let Err(denied) = vetting::may_be_written(judge, from) {
                return denied;
            }
            make(judge, to, "link", Coming::Link, || {
                linkat(&from.parent, from.name.as_os_str(), &to.parent, to.name.as_os_str(), LinkatFlags::empty())
            })
        }
        Asked::Rename { from, to, flags } => rename(judge, from, to, *flags),
    }
}

impl Judge {
    /// For the shields of `plan`; `shielded` is what exists of them.
    pub fn new(plan: &Plan, shielded: Vec<Shielded>) -> Judge {
        let writable = || plan.landlock.rules.iter().filter(|(_, rights)| rights.write && !rights.devices);
        let rules = writable().filter(|(path, _)| has_shields_below(path, &plan.shields));
        let vets = plan.vets_repositories();
        let of_any_tree = |shield: &Shield| Some((shield.clone(), vetting::hooks_of_any_tree(shield)?));
        let linked: Vec<(Shield, String)> = plan.shields.iter().filter_map(of_any_tree).collect();
        let shields = plan.shields.iter().filter(|shield| vetting::hooks_of_any_tree(shield).is_none()).cloned();
        let (settings, others): (Vec<Shield>, Vec<Shield>) =
            shields.clone().partition(|shield| shield.effect == Effect::Vet);
        let (present, located): (Vec<Shielded>, Vec<Shielded>) =
            shielded.into_iter().partition(|shielded| shielded.effect == Effect::Vet);
        Judge {
            trees: rules.map(|(path, _)| path.clone()).collect(),
            writable: writable().map(|(path, _)| path.clone()).collect(),
            shields: shields.collect(),
            unmade: others.into_iter().filter(|shield| !vets || !vetting::is_hooks(shield)).collect(),
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
        if let Some(shield) = vetting::linked_hook(self, path) {
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
    fn is_own(&self, path: &Path) -> bool {
        matches!(judge(&self.settings, path), Name::Shielded(_)) && !self.present.iter().any(|there| there == path)
    }

    /// A denial, if `file` at `path` may not get this mode. git tries on settings whether modes are kept: it turns the owner's right
    /// to execute them around, and back.
    fn keeps_mode(&self, path: &Path, file: &OwnedFd, mode: u32) -> Option<Answer> {
        let denied = self.shielded(path, "chmod")?;
        let turns_around = || fstat(file).is_ok_and(|stat| (stat.st_mode ^ mode) & 0o7777 == 0o100);
        let settings = matches!(judge(&self.settings, path), Name::Shielded(_));
        let allowed = self.is_own(path) || settings && turns_around();
        (!allowed).then_some(denied)
    }

    /// A denial, if what is at `path` may not leave it, itself or for what it holds.
    fn keeps(&self, path: &Path, action: &'static str) -> Option<Answer> {
        if let Some(denied) = self.shielded(path, action) {
            return Some(denied);
        }
        match judge(&self.shields, path) {
            Name::Above(below) => below.first().map(|(shield, _)| denied(path, action, shield)),
            Name::Shielded(_) | Name::Free => None,
        }
    }
}

fn denied(path: &Path, action: &'static str, shield: &Shield) -> Answer {
    Answer::Denied { path: path.to_path_buf(), action, pattern: shield.pattern.clone() }
}

/// What `target`, a link at `at`, leads to.
pub fn follow(at: &Place, target: &OsString) -> Option<Place> {
    let base = at.parent.as_fd().try_clone_to_owned().ok()?;
    let absolute = Path::new(target).is_absolute();
    resolve((!absolute).then_some(&base), target).ok()
}

/// Set-id and sticky bits are not the command's to give: files outlive the jail.
pub fn plain(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o777)
}

/// Makes something with the mask of the process that asks.
pub fn with_umask<T>(asker: &Asker<'_>, make: impl FnOnce() -> T) -> T {
    // One thread, so the mask is ours alone between these two calls.
    let before = umask(asker.umask());
    let made = make();
    umask(before);
    made
}

/// What has the name, without following it.
pub fn kind_at(place: &Place) -> Result<SFlag, Errno> {
    let stat = fstatat(&place.parent, place.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT)
}

fn make(
    judge: &Judge,
    at: &Place,
    action: &'static str,
    coming: Coming<'_>,
    make: impl FnOnce() -> Result<(), Errno>,
) -> Answer {
    // What is there already gets the kernel's own answer.
    if !judge.concerns(at) || kind_at(at).is_ok() {
        return Answer::Continue;
    }
    let kind = if matches!(coming, Coming::Directory) { Kind::Directory } else { Kind::Other };
    if let Some(denied) = judge.forbids(&at.whole(), action, kind) {
        return denied;
    }
    let held = match vetting::may_come(judge, at, coming) {
        Ok(held) => held,
        Err(denied) => return denied,
    };
    let made = make();
    // Settings that were looked at stay as they were until the name is made.
    drop(held);
    match made {
        Err(errno) => Answer::Errno(errno),
        Ok(()) if at.has_stayed() => match vetting::may_come(judge, at, coming) {
            Ok(_) => Answer::Done,
            // Another jail made the other half meanwhile.
            Err(denied) => {
                let _ = take_back(at, kind);
                denied
            }
        },
        Ok(()) => take_back(at, kind),
    }
}

/// The directory was moved while we made something in it: as if the name had not been there to make.
pub fn take_back(at: &Place, kind: Kind) -> Answer {
    let flag = if kind == Kind::Directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
    let _ = unlinkat(&at.parent, at.name.as_os_str(), flag);
    Answer::Errno(Errno::ENOENT)
}

fn remove(judge: &Judge, at: &Place, directory: bool) -> Answer {
    if !judge.concerns(at) || kind_at(at).is_err() {
        return Answer::Continue;
    }
    if let Some(denied) = judge.shielded(&at.whole(), "remove").filter(|_| !judge.is_own(&at.whole())) {
        return denied;
    }
    let flag = if directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
    match unlinkat(&at.parent, at.name.as_os_str(), flag) {
        Ok(()) => Answer::Done,
        Err(errno) => Answer::Errno(errno),
    }
}

/// Never answered `Continue`: where this is asked nothing else stands between a command and the modes of what is shielded,
/// and in the bare tier of the caller's other files.
fn set_mode(judge: &Judge, at: &Place, mode: u32, follow_link: bool, followed: usize) -> Answer {
    if !lies_in(&judge.writable, &at.whole()) {
        return Answer::Errno(Errno::EACCES);
    }
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let opened = openat(&at.parent, at.name.as_os_str(), flags, Mode::empty());
    let file = match opened {
        Err(errno) => return Answer::Errno(errno),
        Ok(file) => file,
    };
    if kind_at(at) == Ok(SFlag::S_IFLNK) && follow_link && followed < MOST_LINKS {
        let target = readlinkat(&at.parent, at.name.as_os_str()).ok().and_then(|target| follow(at, &target));
        return target
            .map_or(Answer::Errno(Errno::EACCES), |target| set_mode(judge, &target, mode, true, followed + 1));
    }
    if !at.has_stayed() {
        return Answer::Errno(Errno::EPERM);
    }
    judge.keeps_mode(&at.whole(), &file, mode).unwrap_or_else(|| change_mode(&file, mode))
}

/// As `set_mode`, of what the process has open, under the name that the kernel knows it by.
fn set_mode_of(judge: &Judge, held: &OwnedFd, mode: u32) -> Answer {
    let Ok(about) = fstat(held) else { return Answer::Errno(Errno::EACCES) };
    let kind = SFlag::from_bits_truncate(about.st_mode) & SFlag::S_IFMT;
    // Pipes, terminals, memory and removed files have no name that could be shielded.
    if about.st_nlink > 0 && matches!(kind, SFlag::S_IFREG | SFlag::S_IFDIR) {
        let Some(path) = path_of(held) else { return Answer::Errno(Errno::EACCES) };
        if !lies_in(&judge.writable, &path) {
            return Answer::Errno(Errno::EACCES);
        }
        if let Some(denied) = judge.keeps_mode(&path, held, mode) {
            return denied;
        }
    }
    change_mode(held, mode)
}

/// By the descriptor that was judged; a link behind it is not followed.
fn change_mode(file: &OwnedFd, mode: u32) -> Answer {
    if mode & 0o6000 != 0 {
        return Answer::Errno(Errno::EPERM);
    }
    match nix::sys::stat::fchmodat(AT_FDCWD, by_descriptor(file).as_path(), plain(mode), FchmodatFlags::FollowSymlink) {
        Ok(()) => Answer::Done,
        Err(errno) => Answer::Errno(errno),
    }
}

/// The path of an open file by its number.
pub fn by_descriptor(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))
}

fn rename(judge: &Judge, from: &Place, to: &Place, flags: u32) -> Answer {
    let Some(how) = RenameFlags::from_bits(flags) else { return Answer::Continue };
    if !(judge.concerns(from) || judge.concerns(to)) || how.contains(RenameFlags::RENAME_WHITEOUT) {
        return Answer::Continue;
    }
    let exchange = how.contains(RenameFlags::RENAME_EXCHANGE);
    let there = may_move(judge, from, to, exchange);
    let moved = there.and_then(|held| if exchange { may_move(judge, to, from, true).map(|_| held) } else { Ok(held) });
    let held = match moved {
        Ok(held) => held,
        Err(answer) => return answer,
    };
    let renamed = renameat2(&from.parent, from.name.as_os_str(), &to.parent, to.name.as_os_str(), how);
    match renamed {
        Err(errno) => Answer::Errno(errno),
        Ok(()) if held.is_at(to) => look_again(judge, from, to, how, &held),
        Ok(()) => take_back(to, Kind::Other),
    }
}

/// Whether what is at `from` may get the name `to`, and lose its own.
fn may_move(judge: &Judge, from: &Place, to: &Place, exchange: bool) -> Result<vetting::Held, Answer> {
    // What is not there gets the kernel's own answer.
    let found = kind_at(from).map_err(|_| Answer::Continue)?;
    let kind = if found == SFlag::S_IFDIR { Kind::Directory } else { Kind::Other };
    let (old, new) = (from.whole(), to.whole());
    if let Some(denied) = judge.keeps(&old, "rename") {
        return Err(denied);
    }
    if let Some(denied) = judge.forbids(&new, "rename", kind) {
        return Err(denied);
    }
    if let Some(denied) = brings_along(judge, from, &new) {
        return Err(denied);
    }
    vetting::may_come(judge, to, if exchange { Coming::Exchanged } else { Coming::Moved(from, found) })
}

/// A directory that holds what would be protected under its new name is not moved there.
fn brings_along(judge: &Judge, directory: &Place, new: &Path) -> Option<Answer> {
    let Name::Above(below) = crate::plan::shield::judge(&judge.unmade, new) else { return None };
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let held = openat(&directory.parent, directory.name.as_os_str(), flags, Mode::empty()).ok()?;
    below.iter().find(|(_, rest)| holds(&held, rest)).map(|(shield, _)| denied(new, "rename", shield))
}

fn holds(directory: &OwnedFd, rest: &[String]) -> bool {
    let pattern = Path::new("/").join(rest.iter().collect::<PathBuf>());
    let Ok(found) = shields::find(directory.as_fd(), &pattern) else { return true };
    found.iter().any(|path| {
        let below = path.strip_prefix("/").unwrap_or(path);
        fstatat(directory, below, AtFlags::AT_SYMLINK_NOFOLLOW).is_ok()
    })
}

/// After the move: did anything change meanwhile that would have forbidden it? Then it is moved back.
fn look_again(judge: &Judge, from: &Place, to: &Place, how: RenameFlags, held: &vetting::Held) -> Answer {
    let stayed = from.has_stayed() && to.has_stayed();
    let brought = brings_along(judge, to, &to.whole()).or_else(|| vetting::still_unsafe(judge, to, held));
    if stayed && brought.is_none() {
        return Answer::Done;
    }
    let back = if how.contains(RenameFlags::RENAME_EXCHANGE) { how } else { RenameFlags::RENAME_NOREPLACE };
    let _ = renameat2(&to.parent, to.name.as_os_str(), &from.parent, from.name.as_os_str(), back);
    brought.unwrap_or(Answer::Errno(Errno::ENOENT))
}

/// Whether `path` lies in one of `trees`.
pub fn lies_in(trees: &[PathBuf], path: &Path) -> bool {
    trees.iter().any(|tree| lies_at_or_below(path, tree))
}
