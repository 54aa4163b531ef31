//! One name, judged and made.
//!
//! What is made is looked at again before the command hears of it: another jail on the same workspace could have moved a
//! directory between the judgement and the making. Then it is taken back.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, RenameFlags, openat, readlinkat, renameat2};
use nix::sys::stat::{FchmodatFlags, Mode, SFlag, fstatat, mkdirat, mknodat, umask};
use nix::unistd::{LinkatFlags, UnlinkatFlags, linkat, symlinkat, unlinkat};

use super::asking::{Asked, Asker, Place, resolve};
use crate::confine::shields::{self, Shielded};
use crate::plan::Shield;
use crate::plan::paths::lies_at_or_below;
use crate::plan::shield::{Name, judge};

/// As many links as the kernel follows in one path; path_resolution(7).
const MOST_LINKS: usize = 40;

/// What names are judged by.
pub struct Judge {
    /// Trees in which commands cannot make names themselves.
    pub trees: Vec<PathBuf>,
    /// Trees in which commands may change files at all.
    pub writable: Vec<PathBuf>,
    /// What is shielded in them.
    pub shields: Vec<Shield>,
    /// What exists of that under whatever name, where nothing is mounted over it (bare tier).
    pub located: Vec<Shielded>,
    /// Whether commands cannot write existing files there either, unless granted one by one (bare tier).
    pub opens_existing: bool,
}

/// What to tell the asking process.
pub enum Answer {
    /// Make the call after all: the kernel judges it.
    Continue,
    /// It is done.
    Done,
    /// It is done, and this is the descriptor, with these flags (`O_CLOEXEC` or 0).
    Opened(OwnedFd, i32),
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
enum Kind {
    Directory,
    Other,
}

/// Judges and makes.
pub fn answer(judge: &Judge, asker: &Asker<'_>, asked: &Asked) -> Answer {
    match asked {
        Asked::Create { at, flags, mode } => create(judge, asker, at, *flags, *mode, 0),
        Asked::Mkdir { at, mode } => make(judge, at, "mkdir", Kind::Directory, || {
            with_umask(asker, || mkdirat(&at.parent, at.name.as_os_str(), plain(*mode)))
        }),
        Asked::Mknod { at, mode } => {
            let kind = SFlag::from_bits_truncate(*mode) & SFlag::S_IFMT;
            make(judge, at, "create", Kind::Other, || {
                with_umask(asker, || mknodat(&at.parent, at.name.as_os_str(), kind, plain(*mode), 0))
            })
        }
        Asked::Remove { at, directory } => remove(judge, at, *directory),
        Asked::Mode { at, mode, follow } => set_mode(judge, at, *mode, *follow, 0),
        Asked::Symlink { at, target } => {
            make(judge, at, "symlink", Kind::Other, || symlinkat(target.as_os_str(), &at.parent, at.name.as_os_str()))
        }
        Asked::Link { from, to } => {
            if let Some(denied) = judge.shielded(&from.whole(), "link") {
                return denied;
            }
            make(judge, to, "link", Kind::Other, || {
                linkat(&from.parent, from.name.as_os_str(), &to.parent, to.name.as_os_str(), LinkatFlags::empty())
            })
        }
        Asked::Rename { from, to, flags } => rename(judge, from, to, *flags),
    }
}

impl Judge {
    fn concerns(&self, place: &Place) -> bool {
        lies_in(&self.trees, &place.whole())
    }

    /// A denial, if `path` is or lies in something that exists and is shielded under another name.
    fn is_located(&self, path: &Path, action: &'static str) -> Option<Answer> {
        let found = self.located.iter().find(|shielded| lies_at_or_below(path, &shielded.path))?;
        Some(Answer::Denied { path: path.to_path_buf(), action, pattern: found.path.to_string_lossy().into_owned() })
    }

    /// A denial, if `path` itself is shielded.
    fn shielded(&self, path: &Path, action: &'static str) -> Option<Answer> {
        if let Some(denied) = self.is_located(path, action) {
            return Some(denied);
        }
        match judge(&self.shields, path) {
            Name::Shielded(shield) => Some(denied(path, action, shield)),
            Name::Free | Name::Above(_) => None,
        }
    }

    /// A denial, if `path` may not become a `kind`.
    fn forbids(&self, path: &Path, action: &'static str, kind: Kind) -> Option<Answer> {
        if let Some(denied) = self.is_located(path, action) {
            return Some(denied);
        }
        match judge(&self.shields, path) {
            Name::Shielded(shield) => Some(denied(path, action, shield)),
            // A file or link above something protected would stand in for the directory that holds it.
            Name::Above(below) if kind == Kind::Other => below.first().map(|(shield, _)| denied(path, action, shield)),
            Name::Above(_) | Name::Free => None,
        }
    }
}

fn denied(path: &Path, action: &'static str, shield: &Shield) -> Answer {
    Answer::Denied { path: path.to_path_buf(), action, pattern: shield.pattern.clone() }
}

/// Set-id and sticky bits are not the command's to give: files outlive the jail.
fn plain(mode: u32) -> Mode {
    Mode::from_bits_truncate(mode & 0o777)
}

fn with_umask<T>(asker: &Asker<'_>, make: impl FnOnce() -> T) -> T {
    // One thread, so the mask is ours alone between these two calls.
    let before = umask(asker.umask());
    let made = make();
    umask(before);
    made
}

fn kind_at(place: &Place) -> Result<SFlag, Errno> {
    let stat = fstatat(&place.parent, place.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW)?;
    Ok(SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT)
}

fn make(
    judge: &Judge,
    at: &Place,
    action: &'static str,
    kind: Kind,
    make: impl FnOnce() -> Result<(), Errno>,
) -> Answer {
    // What is there already gets the kernel's own answer.
    if !judge.concerns(at) || kind_at(at).is_ok() {
        return Answer::Continue;
    }
    if let Some(denied) = judge.forbids(&at.whole(), action, kind) {
        return denied;
    }
    match make() {
        Err(errno) => Answer::Errno(errno),
        Ok(()) if at.has_stayed() => Answer::Done,
        Ok(()) => take_back(at, kind),
    }
}

/// The directory was moved while we made something in it: as if the name had not been there to make.
fn take_back(at: &Place, kind: Kind) -> Answer {
    let flag = if kind == Kind::Directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
    let _ = unlinkat(&at.parent, at.name.as_os_str(), flag);
    Answer::Errno(Errno::ENOENT)
}

fn create(judge: &Judge, asker: &Asker<'_>, at: &Place, flags: i32, mode: u32, followed: usize) -> Answer {
    let wanted = OFlag::from_bits_truncate(flags);
    if !judge.concerns(at) || wanted.intersects(OFlag::O_PATH | OFlag::O_DIRECTORY) {
        return Answer::Continue;
    }
    match kind_at(at) {
        Err(Errno::ENOENT) => {}
        Ok(SFlag::S_IFLNK) if !wanted.intersects(OFlag::O_EXCL | OFlag::O_NOFOLLOW) && followed < MOST_LINKS => {
            return match readlinkat(&at.parent, at.name.as_os_str()).ok().and_then(|target| follow(at, &target)) {
                Some(target) => create(judge, asker, &target, flags, mode, followed + 1),
                None => Answer::Continue,
            };
        }
        Ok(SFlag::S_IFREG) if judge.opens_existing && judge.shielded(&at.whole(), "open").is_none() => {
            return open_existing(at, wanted);
        }
        Ok(_) | Err(_) => return Answer::Continue,
    }
    if let Some(denied) = judge.forbids(&at.whole(), "create", Kind::Other) {
        return denied;
    }
    // Exclusive, so that it is certainly a new regular file that we open: no link, and no pipe that would make us wait.
    let ours = (wanted | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOCTTY) & !OFlag::O_TRUNC;
    match with_umask(asker, || openat(&at.parent, at.name.as_os_str(), ours, plain(mode))) {
        Err(Errno::EEXIST) => Answer::Continue,
        Err(errno) => Answer::Errno(errno),
        Ok(_) if !at.has_stayed() => take_back(at, Kind::Other),
        Ok(file) => Answer::Opened(file, flags & libc::O_CLOEXEC),
    }
}

fn follow(at: &Place, target: &OsString) -> Option<Place> {
    let base = at.parent.as_fd().try_clone_to_owned().ok()?;
    let absolute = Path::new(target).is_absolute();
    resolve((!absolute).then_some(&base), target)
}

/// A file that is there and free: opened by us, since the command's second domain grants writing by single files only.
fn open_existing(at: &Place, wanted: OFlag) -> Answer {
    if wanted.contains(OFlag::O_EXCL) {
        return Answer::Errno(Errno::EEXIST);
    }
    let cloexec = wanted.bits() & libc::O_CLOEXEC;
    let ours = (wanted | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) & !OFlag::O_CREAT;
    match openat(&at.parent, at.name.as_os_str(), ours, Mode::empty()) {
        Ok(file) if at.has_stayed() => {
            let before = wanted & !(OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_TRUNC | OFlag::O_CLOEXEC);
            let _ = nix::fcntl::fcntl(&file, nix::fcntl::FcntlArg::F_SETFL(before));
            Answer::Opened(file, cloexec)
        }
        Ok(_) => Answer::Errno(Errno::ENOENT),
        Err(errno) => Answer::Errno(errno),
    }
}

fn remove(judge: &Judge, at: &Place, directory: bool) -> Answer {
    if !judge.concerns(at) || kind_at(at).is_err() {
        return Answer::Continue;
    }
    if let Some(denied) = judge.shielded(&at.whole(), "remove") {
        return denied;
    }
    let flag = if directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
    match unlinkat(&at.parent, at.name.as_os_str(), flag) {
        Ok(()) => Answer::Done,
        Err(errno) => Answer::Errno(errno),
    }
}

/// Never answered `Continue`: where this is asked (bare tier) nothing else stands between a command and the modes of the
/// caller's other files.
fn set_mode(judge: &Judge, at: &Place, mode: u32, follow_link: bool, followed: usize) -> Answer {
    if !lies_in(&judge.writable, &at.whole()) {
        return Answer::Errno(Errno::EACCES);
    }
    if let Some(denied) = judge.shielded(&at.whole(), "chmod") {
        return denied;
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
    if mode & 0o6000 != 0 || !at.has_stayed() {
        return Answer::Errno(Errno::EPERM);
    }
    // By the descriptor that was judged; a link behind it is not followed.
    match nix::sys::stat::fchmodat(AT_FDCWD, by_descriptor(&file).as_path(), plain(mode), FchmodatFlags::FollowSymlink)
    {
        Ok(()) => Answer::Done,
        Err(errno) => Answer::Errno(errno),
    }
}

fn by_descriptor(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))
}

fn rename(judge: &Judge, from: &Place, to: &Place, flags: u32) -> Answer {
    let Some(how) = RenameFlags::from_bits(flags) else { return Answer::Continue };
    if !(judge.concerns(from) || judge.concerns(to)) || how.contains(RenameFlags::RENAME_WHITEOUT) {
        return Answer::Continue;
    }
    let exchange = how.contains(RenameFlags::RENAME_EXCHANGE);
    let moved = may_move(judge, from, to).and_then(|()| if exchange { may_move(judge, to, from) } else { Ok(()) });
    if let Err(answer) = moved {
        return answer;
    }
    let renamed = renameat2(&from.parent, from.name.as_os_str(), &to.parent, to.name.as_os_str(), how);
    match renamed {
        Err(errno) => Answer::Errno(errno),
        Ok(()) => look_again(judge, from, to, how),
    }
}

/// Whether what is at `from` may get the name `to`, and lose its own.
fn may_move(judge: &Judge, from: &Place, to: &Place) -> Result<(), Answer> {
    // What is not there gets the kernel's own answer.
    let kind = match kind_at(from).map_err(|_| Answer::Continue)? {
        SFlag::S_IFDIR => Kind::Directory,
        _ => Kind::Other,
    };
    let (old, new) = (from.whole(), to.whole());
    if let Some(denied) = judge.forbids(&old, "rename", Kind::Other) {
        return Err(denied);
    }
    if let Some(denied) = judge.forbids(&new, "rename", kind) {
        return Err(denied);
    }
    brings_along(judge, from, &new).map_or(Ok(()), Err)
}

/// A directory that holds what would be protected under its new name is not moved there.
fn brings_along(judge: &Judge, directory: &Place, new: &Path) -> Option<Answer> {
    let Name::Above(below) = crate::plan::shield::judge(&judge.shields, new) else { return None };
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
fn look_again(judge: &Judge, from: &Place, to: &Place, how: RenameFlags) -> Answer {
    let stayed = from.has_stayed() && to.has_stayed();
    let brought = brings_along(judge, to, &to.whole());
    if stayed && brought.is_none() {
        return Answer::Done;
    }
    let back = if how.contains(RenameFlags::RENAME_EXCHANGE) { how } else { RenameFlags::RENAME_NOREPLACE };
    let _ = renameat2(&to.parent, to.name.as_os_str(), &from.parent, from.name.as_os_str(), back);
    brought.unwrap_or(Answer::Errno(Errno::ENOENT))
}

/// Whether `path` lies in one of `trees`.
fn lies_in(trees: &[PathBuf], path: &Path) -> bool {
    trees.iter().any(|tree| lies_at_or_below(path, tree))
}
