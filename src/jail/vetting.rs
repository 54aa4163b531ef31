//! What a name would mean to git, which runs on the host later what a repository's settings and hooks say.
//!
//! A directory is a repository to git by the names in it, at any depth, and every name in the workspace is made by the broker. So
//! is every descriptor that can change a file there. That leaves four things to hold, and this module holds them:
//!
//! * A file of settings gets its name only by a rename, when nobody has it open for writing and what it holds is harmless beside
//!   what it replaces (`policy::git`). From then on nobody is given it for writing.
//! * A directory becomes a repository (`.git`, or one with `objects` and `refs`) only when settings in it are harmless and its hooks are
//!   samples.
//! * In the `hooks` of a repository only names with a dot are made: git runs none of those.
//! * A file that says where the repository is (`.git`, `commondir`) is given out only when nothing in the workspace that could be one
//!   has settings that run something.
//!
//! Names are compared in any case, since some filesystems do not tell `CONFIG` from `config`.

use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat, fstatat};

use super::asking::Place;
use super::judging::{Answer, Judge};
use super::placing::kind_at;
use crate::confine::shields::walk;
use crate::plan::shield::{Name, judge};
use crate::policy::git::syntax::MOST_BYTES;
use crate::policy::git::{self, Flaw, WorkTree};
use crate::sys::lease::Unwritten;

/// How many names the search for repositories may look at.
const MOST_NAMES: usize = 4_000_000;

/// Files of settings.
const SETTINGS: [&str; 2] = ["config", "config.worktree"];

/// What makes a directory a repository, by name alone: what `HEAD` and others hold can change at any time.
const HALVES: [&str; 2] = ["objects", "refs"];

/// How a name comes about.
#[derive(Clone, Copy)]
pub enum Coming<'a> {
    /// An empty directory.
    Directory,
    /// An empty file, open for writing.
    File,
    /// A link of either kind, or a node.
    Link,
    /// What had this name before.
    Moved(&'a Place, SFlag),
    /// What had this name before, which gets the other one.
    Exchanged,
}

/// A file that nobody changes, and what it is: device and inode.
type Still = (Unwritten, (u64, u64));

/// Files that nobody can change while this lives.
#[derive(Default)]
pub struct Held(Vec<Still>);

impl Held {
    /// Whether what has the name now is what was looked at, where anything was.
    pub fn is_at(&self, at: &Place) -> bool {
        let [(_, identity)] = self.0.as_slice() else { return true };
        let now = fstatat(&at.parent, at.name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW);
        !SETTINGS.iter().any(|name| is(&at.name, name)) || now.is_ok_and(|stat| (stat.st_dev, stat.st_ino) == *identity)
    }
}

/// What a name is to git.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Settings,
    Indirection,
    Repository,
    Half,
    Hooks,
    Hook,
    Other,
}

fn is(name: &OsStr, other: &str) -> bool {
    name.as_bytes().eq_ignore_ascii_case(other.as_bytes())
}

fn part(at: &Place) -> Part {
    let name = at.name.as_os_str();
    let any = |names: &[&str]| names.iter().any(|other| is(name, other));
    if any(&SETTINGS) {
        Part::Settings
    } else if any(&["commondir"]) {
        Part::Indirection
    } else if any(&[".git"]) {
        Part::Repository
    } else if any(&HALVES) {
        Part::Half
    } else if any(&["hooks"]) {
        Part::Hooks
    } else if !name.as_bytes().contains(&b'.') && at.path.file_name().is_some_and(|above| is(above, "hooks")) {
        Part::Hook
    } else {
        Part::Other
    }
}

/// Whether the name is none of those that git knows.
pub fn means_nothing(at: &Place) -> bool {
    part(at) == Part::Other
}

/// Whether the name may come about so. What was looked at stays as it is while the answer lives.
pub fn may_come(judge: &Judge, at: &Place, coming: Coming<'_>) -> Result<Held, Answer> {
    if !judge.vets {
        return Ok(Held::default());
    }
    match part(at) {
        Part::Other => Ok(Held::default()),
        Part::Settings => settings_may_come(judge, at, coming),
        Part::Indirection => match coming {
            Coming::Directory => Ok(Held::default()),
            Coming::File | Coming::Moved(..) => leads_to_nothing_unsafe(judge, at, coming),
            Coming::Link | Coming::Exchanged => Err(no(at, coming, "a link to another repository")),
        },
        Part::Repository => repository_may_come(judge, at, coming),
        Part::Half => half_may_come(at),
        Part::Hooks => hooks_may_come(judge, at, coming),
        Part::Hook => match coming {
            Coming::Directory | Coming::Moved(_, SFlag::S_IFDIR) => Ok(Held::default()),
            _ if !holds_hooks(judge, at)? => Ok(Held::default()),
            _ => Err(no(at, coming, "hooks of a repository")),
        },
    }
}

/// What was done, judged once more by what is there now: another jail could have done its half meanwhile.
pub fn still_unsafe(judge: &Judge, at: &Place, held: &Held) -> Option<Answer> {
    match part(at) {
        Part::Half => may_come(judge, at, Coming::Directory).err(),
        // It was an ordinary file of that name, beside what has become a repository.
        Part::Settings if held.0.is_empty() && is_settings(judge, at) && !is_directory(at) => {
            Some(no(at, Coming::Exchanged, "settings of a repository"))
        }
        _ => None,
    }
}

fn is_directory(at: &Place) -> bool {
    kind_at(at) == Ok(SFlag::S_IFDIR)
}

/// Whether a file that is there may be given out for writing.
pub fn may_be_written(judge: &Judge, at: &Place) -> Result<(), Answer> {
    if !judge.vets {
        return Ok(());
    }
    match part(at) {
        Part::Settings if is_settings(judge, at) => Err(no(at, Coming::File, "settings of a repository")),
        Part::Hook if holds_hooks(judge, at)? => Err(no(at, Coming::File, "hooks of a repository")),
        Part::Indirection | Part::Repository => leads_to_nothing_unsafe(judge, at, Coming::File).map(drop),
        _ => Ok(()),
    }
}

/// Whether the name is that of settings that git would read. `config.worktree` is nothing else anywhere.
pub fn is_settings(judge: &Judge, at: &Place) -> bool {
    part(at) == Part::Settings && (is(&at.name, "config.worktree") || is_repository(judge, at.parent.as_fd(), &at.path))
}

fn no(at: &Place, coming: Coming<'_>, pattern: &str) -> Answer {
    let action = match coming {
        Coming::Directory => "mkdir",
        Coming::File => "write",
        Coming::Link => "link",
        Coming::Moved(..) | Coming::Exchanged => "rename",
    };
    Answer::Denied { path: at.whole(), action, pattern: pattern.to_owned() }
}

/// Whether git could take the directory for a repository, by its name or by the names in it.
fn is_repository(judge: &Judge, directory: BorrowedFd<'_>, path: &Path) -> bool {
    is_named_repository(judge, path) || HALVES.iter().all(|half| has(directory, half))
}

fn is_named_repository(judging: &Judge, path: &Path) -> bool {
    path.file_name().is_some_and(|name| is(name, ".git"))
        || matches!(judge(&judging.settings, &path.join("config")), Name::Shielded(_))
}

/// Anything but a clear no is a yes.
fn has(directory: BorrowedFd<'_>, name: &str) -> bool {
    fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) != Err(Errno::ENOENT)
}

fn settings_may_come(judge: &Judge, at: &Place, coming: Coming<'_>) -> Result<Held, Answer> {
    if !is_settings(judge, at) {
        return Ok(Held::default());
    }
    let Coming::Moved(from, SFlag::S_IFREG) = coming else { return Err(no(at, coming, "settings of a repository")) };
    let old = read_settings(at.parent.as_fd(), &at.name).map_err(|why| settings(at.whole(), why))?;
    let vetted = vet(from.parent.as_fd(), &from.name, &at.path, &old.unwrap_or_default());
    match vetted.map_err(|why| settings(at.whole(), why))? {
        Some(held) => Ok(Held(vec![held])),
        None => Err(no(at, coming, "settings of a repository")),
    }
}

fn repository_may_come(judge: &Judge, at: &Place, coming: Coming<'_>) -> Result<Held, Answer> {
    match coming {
        Coming::Directory => Ok(Held::default()),
        Coming::Moved(from, SFlag::S_IFDIR) => settle(open_directory(from)?.as_fd(), &at.whole()),
        Coming::File | Coming::Moved(..) => leads_to_nothing_unsafe(judge, at, coming),
        Coming::Link | Coming::Exchanged => Err(no(at, coming, "a link to another repository")),
    }
}

/// With the second half the directory above becomes a repository. Whatever its name and whoever kept it so far: directories above may
/// have been moved.
fn half_may_come(at: &Place) -> Result<Held, Answer> {
    match HALVES.iter().find(|half| !is(&at.name, half)) {
        Some(other) if has(at.parent.as_fd(), other) => settle(at.parent.as_fd(), &at.path),
        _ => Ok(Held::default()),
    }
}

fn hooks_may_come(judge: &Judge, at: &Place, coming: Coming<'_>) -> Result<Held, Answer> {
    if !is_repository(judge, at.parent.as_fd(), &at.path) {
        return Ok(Held::default());
    }
    match coming {
        Coming::Directory | Coming::File => Ok(Held::default()),
        Coming::Moved(from, SFlag::S_IFDIR) if hooks_are_samples(open_directory(from)?.as_fd()) => Ok(Held::default()),
        _ => Err(no(at, coming, "hooks of a repository")),
    }
}

/// Whether the directory is the `hooks` of a repository.
fn holds_hooks(judge: &Judge, at: &Place) -> Result<bool, Answer> {
    let above = openat(&at.parent, "..", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
    let path = at.path.parent().unwrap_or(Path::new("/"));
    Ok(is_repository(judge, above.map_err(Answer::Errno)?.as_fd(), path))
}

fn open_directory(at: &Place) -> Result<OwnedFd, Answer> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(&at.parent, at.name.as_os_str(), flags, Mode::empty()).map_err(Answer::Errno)
}

/// Nothing in a directory that becomes a repository at `path` makes git run anything.
fn settle(directory: BorrowedFd<'_>, path: &Path) -> Result<Held, Answer> {
    let mut held = Held::default();
    for name in SETTINGS {
        let vetted = vet(directory, OsStr::new(name), path, b"").map_err(|why| settings(path.join(name), why))?;
        held.0.extend(vetted);
    }
    match inert_hooks(directory) {
        true => Ok(held),
        false => {
            Err(Answer::Denied { path: path.join("hooks"), action: "create", pattern: "hooks of a repository".into() })
        }
    }
}

/// Why settings are not taken.
enum Why {
    Flaw(Flaw),
    Because(&'static str),
    Errno(Errno),
}

fn settings(path: PathBuf, why: Why) -> Answer {
    match why {
        Why::Flaw(Flaw::Key(key)) => Answer::Denied { path, action: "set", pattern: key },
        Why::Flaw(Flaw::NotUnderstood(line)) => {
            Answer::Denied { path, action: "settings", pattern: format!("{line} is not understood") }
        }
        Why::Because(why) => Answer::Denied { path, action: "settings", pattern: why.to_owned() },
        Why::Errno(errno) => Answer::Errno(errno),
    }
}

/// Looks at settings that would stand in the repository `path`, and holds them. `None` when there are none, or a directory.
fn vet(directory: BorrowedFd<'_>, name: &OsStr, path: &Path, old: &[u8]) -> Result<Option<Still>, Why> {
    let Some(file) = open_settings(directory, name)? else { return Ok(None) };
    let stat = fstat(&file).map_err(Why::Errno)?;
    if stat.st_nlink != 1 {
        return Err(Why::Because("it has another name, by which it could be changed"));
    }
    // First nobody writes, and only then we read.
    let held = Unwritten::take(file).map_err(|errno| match errno {
        Errno::EAGAIN => Why::Because("it is open for writing"),
        _ => Why::Because("whether it is open for writing cannot be known on this filesystem"),
    })?;
    let new = read_all(held.file())?;
    git::judge(old, &new, work_tree(path)).map_err(Why::Flaw)?;
    Ok(Some((held, (stat.st_dev, stat.st_ino))))
}

fn open_settings(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Option<OwnedFd>, Why> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = match openat(directory, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ELOOP) => return Err(Why::Because("it is a link")),
        Err(errno) => return Err(Why::Errno(errno)),
        Ok(file) => file,
    };
    match SFlag::from_bits_truncate(fstat(&file).map_err(Why::Errno)?.st_mode) & SFlag::S_IFMT {
        SFlag::S_IFREG => Ok(Some(file)),
        // git cannot read it, so it says nothing.
        SFlag::S_IFDIR => Ok(None),
        _ => Err(Why::Because("it is no file")),
    }
}

fn read_settings(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Vec<u8>>, Why> {
    open_settings(directory, name)?.map(|file| read_all(file.as_fd())).transpose()
}

fn read_all(file: BorrowedFd<'_>) -> Result<Vec<u8>, Why> {
    let file = std::fs::File::from(file.try_clone_to_owned().map_err(|_| Why::Errno(Errno::EMFILE))?);
    let mut text = Vec::new();
    // One byte more than the parser takes, so that it sees what is too long.
    let most = u64::try_from(MOST_BYTES + 1).unwrap_or(u64::MAX);
    file.take(most).read_to_end(&mut text).map_err(|_| Why::Errno(Errno::EIO))?;
    Ok(text)
}

/// A submodule's repository stands below the `.git` of the one that it is a part of, and says where its files are.
fn work_tree(path: &Path) -> WorkTree {
    let names: Vec<&OsStr> = path.components().map(Component::as_os_str).collect();
    match names.iter().position(|name| is(name, ".git")) {
        Some(at) if names.get(at + 1).is_some_and(|name| *name == "modules") => WorkTree::Climbing(names.len() - at),
        _ => WorkTree::Found,
    }
}

/// Hooks that are there, are a directory, and hold what git does not run.
fn inert_hooks(repository: BorrowedFd<'_>) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match openat(repository, "hooks", flags, Mode::empty()) {
        Ok(hooks) => hooks_are_samples(hooks.as_fd()),
        Err(Errno::ENOENT) => true,
        Err(_) => false,
    }
}

fn hooks_are_samples(hooks: BorrowedFd<'_>) -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(listing) = openat(hooks, ".", flags, Mode::empty()) else { return false };
    let (mut budget, mut samples) = (MOST_NAMES, true);
    let walked = walk(listing, Path::new(""), &mut budget, &mut |_, name, kind, _| {
        samples &= kind == Some(nix::dir::Type::Directory) || name.as_bytes().contains(&b'.');
        false
    });
    walked.is_ok() && samples
}

/// A file that says where a repository is can say anything at any time. So nothing in the workspace that it could lead to may run
/// anything; all that becomes a repository from then on is looked at.
fn leads_to_nothing_unsafe(judge: &Judge, at: &Place, coming: Coming<'_>) -> Result<Held, Answer> {
    if linked_hooks(judge, at) {
        return Err(no(at, coming, "hooks that the workspace's settings name"));
    }
    if !judge.searched.get() {
        for tree in &judge.trees {
            if let Some(found) = find_unsafe(tree) {
                return Err(no(at, coming, &format!("the repository `{}` runs something", found.display())));
            }
        }
        judge.searched.set(true);
    }
    Ok(Held::default())
}

/// A directory below `tree` that git would take for a repository if something led there, and that would run something. Those that
/// are called `.git` are in use already, and their settings are the host's.
fn find_unsafe(tree: &Path) -> Option<PathBuf> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let top = openat(AT_FDCWD, tree, flags, Mode::empty()).ok()?;
    let (mut budget, mut found) = (MOST_NAMES, None);
    let walked = walk(top, tree, &mut budget, &mut |directory, name, _, path| {
        if found.is_none() && is(name, "objects") && has(directory, "refs") && is_unsafe(directory) {
            found = path.parent().map(Path::to_path_buf);
        }
        found.is_none() && !is(name, ".git")
    });
    // What could not be looked at to its end is not known to be safe.
    found.or_else(|| walked.is_err().then(|| tree.to_path_buf()))
}

fn is_unsafe(repository: BorrowedFd<'_>) -> bool {
    let harmless = |name: &&str| match read_settings(repository, OsStr::new(name)) {
        Ok(text) => text.is_none_or(|text| git::judge(b"", &text, WorkTree::Found).is_ok()),
        Err(_) => false,
    };
    !SETTINGS.iter().all(harmless) || !inert_hooks(repository)
}

/// Whether there is something where the workspace's settings would have git look for hooks, were the directory a work tree.
fn linked_hooks(judge: &Judge, at: &Place) -> bool {
    judge.linked.iter().any(|(_, hooks)| at.path.join(hooks).symlink_metadata().is_ok())
}
