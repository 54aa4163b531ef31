//! One name, judged and made.
//!
//! What is made is looked at again before the command hears of it: another jail on the same workspace could have moved a
//! directory between the judgement and the making. Then it is taken back.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, readlinkat, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fstat, fstatat, mkdirat, mknodat};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::asker::Asker;
use super::asking::{Asked, Place, path_of};
use super::judging::{Answer, Judge, Kind, denied, lies_in};
use super::placing::{MOST_LINKS, by_descriptor, follow, kind_at, plain, take_back, with_umask};
use super::vetting::{self, Coming};
use super::writing;
use crate::confine::shields;
use crate::plan::shield::Name;

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
