//! Hiding and protecting what exists, in tiers with a view: something empty over what is hidden, a read-only mount over
//! what is protected. Names that do not exist yet are the broker's (`jail::broker`).

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::{Dir, Type};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, openat};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::Failed;
use super::mounts::{self, Root};
use crate::plan::paths::{is_glob, lies_at_or_below};
use crate::plan::{Effect, Shield};
use crate::sys::{listing, mounts as sys_mounts};

/// How many names a walk may look at before it gives up: a run whose secrets cannot all be found does not start.
const MOST_NAMES: usize = 4_000_000;

/// Something that was covered or frozen, for the probe to try.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shielded {
    /// Where, inside the jail.
    pub path: PathBuf,
    /// Which of the two.
    pub effect: Effect,
}

/// A file by identity: device and inode.
type Identity = (u64, u64);

/// Covers and freezes everything in the view that a shield names, and every further hard link of such a file.
pub fn raise(root: &Root, shields: &[Shield], workspace: Option<&Path>) -> Result<Vec<Shielded>, Failed> {
    let mut raising = Raising { root, workspace, linked: BTreeSet::new(), raised: Vec::new(), vetted: BTreeSet::new() };
    let names = workspace.map(|workspace| (Names::of(mounts::top(root), mounts::relative(workspace)), workspace));
    for shield in shields {
        if names.as_ref().is_some_and(|(names, workspace)| names.certainly_lack(&shield.pattern, workspace)) {
            continue;
        }
        let failed = Failed::on("shields", &shield.pattern);
        for path in find_shielded(mounts::top(root), shield).map_err(&failed)? {
            match shield.effect {
                Effect::Hide | Effect::Protect => raising.raise(&path, shield.effect, Links::Follow),
                Effect::Vet => raising.remember(&path),
            }
            .map_err(&failed)?;
        }
    }
    raising.raise_aliases().map_err(Failed::at("shields"))?;
    Ok(raising.raised)
}

/// The names in a workspace's top directory: most shields are about names that it does not have.
pub struct Names {
    /// `None` when it cannot be listed; then nothing is certain.
    names: Option<BTreeSet<OsString>>,
}

impl Names {
    /// Those in the directory `name` of `parent`.
    pub fn of(parent: BorrowedFd<'_>, name: &Path) -> Names {
        let mut names = BTreeSet::new();
        let listed = open_directory(parent, name.as_os_str()).and_then(|directory| {
            listing::each_name(directory.as_fd(), |name| {
                names.insert(name);
            })
        });
        Names { names: listed.is_ok().then_some(names) }
    }

    /// Whether nothing that `pattern` names, in a workspace that is at `workspace`, can be there.
    pub fn certainly_lack(&self, pattern: &str, workspace: &Path) -> bool {
        let below = pattern.as_bytes().strip_prefix(workspace.as_os_str().as_bytes());
        let (Some(names), Some([b'/', below @ ..])) = (&self.names, below) else { return false };
        match below.split(|byte| *byte == b'/').next() {
            None | Some(b"" | b"." | b".." | b"**") => false,
            Some(first) if !is_glob(first) => !names.contains(OsStr::from_bytes(first)),
            Some(first) => !names.iter().any(|name| fast_glob::glob_match(first, name.as_bytes())),
        }
    }
}

/// What exists on the host of what shields name, its targets and further hard links included: for the bare tier, where
/// Landlock must grant around it.
pub fn locate(shields: &[Shield], workspace: Option<&Path>) -> Result<Vec<Shielded>, Failed> {
    let Some(at) = workspace else { return locate_these(shields, workspace) };
    let names = Names::of(AT_FDCWD, at);
    let possible = shields.iter().filter(|shield| !names.certainly_lack(&shield.pattern, at)).cloned();
    locate_these(&possible.collect::<Vec<_>>(), workspace)
}

/// As [`locate`], of shields whose names may well be there.
pub fn locate_these(shields: &[Shield], workspace: Option<&Path>) -> Result<Vec<Shielded>, Failed> {
    if shields.is_empty() {
        return Ok(Vec::new());
    }
    let top = openat(AT_FDCWD, "/", OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(Failed::at("locate"))?;
    let mut located = BTreeSet::new();
    let mut linked = BTreeSet::new();
    let mut vetted = BTreeSet::new();
    for shield in shields {
        let failed = Failed::on("locate", &shield.pattern);
        for path in find_shielded(top.as_fd(), shield).map_err(&failed)? {
            if shield.effect == Effect::Vet {
                remember_vetted(&path, &mut linked, &mut vetted).map_err(&failed)?;
                continue;
            }
            let mut found = locate_one(&path, shield.effect, workspace, &mut linked).map_err(&failed)?;
            located.append(&mut found);
        }
    }
    if let (false, Some(workspace)) = (linked.is_empty(), workspace) {
        let found = find_aliases(top.as_fd(), workspace, &linked).map_err(Failed::on("locate", workspace))?;
        let found = found.into_iter().filter(|(path, _)| !vetted.contains(path));
        located.extend(found.map(|(path, effect)| Shielded { path, effect }));
    }
    located.extend(vetted.into_iter().map(|path| Shielded { path, effect: Effect::Vet }));
    Ok(located.into_iter().collect())
}

/// As `Raising::remember`, where nothing is mounted.
fn remember_vetted(
    path: &Path,
    linked: &mut BTreeSet<(Identity, Effect)>,
    vetted: &mut BTreeSet<PathBuf>,
) -> Result<(), Errno> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let Ok(target) = openat(AT_FDCWD, path, flags, Mode::empty()) else { return Ok(()) };
    if mounts::kind_of(target.as_fd())? == SFlag::S_IFREG {
        remember_links(target.as_fd(), Effect::Protect, linked)?;
        vetted.insert(path.to_path_buf());
    }
    Ok(())
}

/// What exists of what `shield` names. What the broker keeps at any depth is not looked for: it is found when it is touched.
fn find_shielded(top: BorrowedFd<'_>, shield: &Shield) -> Result<Vec<PathBuf>, Errno> {
    let any_depth = shield.pattern.contains("**");
    if shield.effect == Effect::Vet && any_depth { Ok(Vec::new()) } else { find(top, Path::new(&shield.pattern)) }
}

/// `path` itself, what it leads to in the workspace, and what links directly in it lead to.
fn locate_one(
    path: &Path,
    effect: Effect,
    workspace: Option<&Path>,
    linked: &mut BTreeSet<(Identity, Effect)>,
) -> Result<BTreeSet<Shielded>, Errno> {
    let of_workspace = |path: &Path| workspace.is_some_and(|workspace| lies_at_or_below(path, workspace));
    let one = |path: PathBuf| Shielded { path, effect };
    let mut located = BTreeSet::new();
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {
            let stand_in = path.ancestors().find(|above| of_workspace(above) && above.is_file());
            located.extend(stand_in.map(|file| Shielded { path: file.to_path_buf(), effect: Effect::Protect }));
            return Ok(located);
        }
        Err(_) => return Ok(located),
    };
    located.insert(one(path.to_path_buf()));
    if of_workspace(path) && !of_workspace(&real) {
        return Ok(located);
    }
    let target = openat(AT_FDCWD, &real, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())?;
    if is_file_or_directory(target.as_fd())? {
        remember_links(target.as_fd(), effect, linked)?;
        let led_to = links_in(target.as_fd())?.into_iter().filter_map(|name| real.join(name).canonicalize().ok());
        located.extend(led_to.filter(|path| of_workspace(path)).map(one));
        located.insert(one(real));
    }
    Ok(located)
}

/// Shields being raised in one view.
struct Raising<'a> {
    root: &'a Root,
    workspace: Option<&'a Path>,
    linked: BTreeSet<(Identity, Effect)>,
    raised: Vec<Shielded>,
    /// What the broker keeps by its name, so that no mount stands in its way.
    vetted: BTreeSet<PathBuf>,
}

/// Whether what links in a shielded directory lead to is shielded too: once, so that no circle of links is followed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    Follow,
    Leave,
}

impl Raising<'_> {
    fn raise(&mut self, path: &Path, effect: Effect, links: Links) -> Result<(), Errno> {
        // What cannot be reached by the jail's own init cannot be reached by its commands either.
        let target = match mounts::follow_inside(mounts::top(self.root), path) {
            Ok(target) => target,
            Err(Errno::ENOTDIR) => return self.raise_stand_in(path),
            Err(Errno::ENOENT | Errno::ELOOP | Errno::EACCES | Errno::ENAMETOOLONG) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        if !is_file_or_directory(target.as_fd())?
            || leads_away(mounts::top(self.root), path, target.as_fd(), self.workspace)?
        {
            return Ok(());
        }
        remember_links(target.as_fd(), effect, &mut self.linked)?;
        let within = if links == Links::Follow { links_in(target.as_fd())? } else { Vec::new() };
        shield(self.root, target.as_fd(), effect)?;
        self.raised.push(Shielded { path: path.to_path_buf(), effect });
        // A hook that is a link runs what the link leads to.
        within.iter().try_for_each(|name| self.raise(&path.join(name), effect, Links::Leave))
    }

    /// A file where a directory above `path` would be, such as the `.git` of a work tree: it says where that directory
    /// is, so it is protected in its place.
    fn raise_stand_in(&mut self, path: &Path) -> Result<(), Errno> {
        for above in path.ancestors().skip(1).take_while(|above| Some(*above) != self.workspace) {
            if let Ok(file) = mounts::open_inside(mounts::top(self.root), above) {
                if mounts::kind_of(file.as_fd())? == SFlag::S_IFREG && !self.raised.iter().any(|one| one.path == above)
                {
                    mounts::freeze(file.as_fd())?;
                    self.raised.push(Shielded { path: above.to_path_buf(), effect: Effect::Protect });
                }
                return Ok(());
            }
        }
        Ok(())
    }

    /// A file that the broker keeps has nothing mounted over it; only its further hard links have.
    fn remember(&mut self, path: &Path) -> Result<(), Errno> {
        let Ok(target) = mounts::open_inside(mounts::top(self.root), path) else { return Ok(()) };
        if mounts::kind_of(target.as_fd())? == SFlag::S_IFREG {
            remember_links(target.as_fd(), Effect::Protect, &mut self.linked)?;
            self.vetted.insert(path.to_path_buf());
            self.raised.push(Shielded { path: path.to_path_buf(), effect: Effect::Vet });
        }
        Ok(())
    }

    fn raise_aliases(&self) -> Result<(), Errno> {
        let (false, Some(workspace)) = (self.linked.is_empty(), self.workspace) else { return Ok(()) };
        let aliases = find_aliases(mounts::top(self.root), workspace, &self.linked)?;
        for (path, effect) in aliases.into_iter().filter(|(path, _)| !self.vetted.contains(path)) {
            shield(self.root, mounts::open_link_inside(mounts::top(self.root), &path)?.as_fd(), effect)?;
        }
        Ok(())
    }
}

/// Names of the links directly in `directory`; none if it is a file.
fn links_in(directory: BorrowedFd<'_>) -> Result<Vec<OsString>, Errno> {
    let mut links = Vec::new();
    let mut budget = MOST_NAMES;
    if mounts::kind_of(directory)? == SFlag::S_IFDIR {
        walk(open_directory(directory, OsStr::new("."))?, Path::new(""), &mut budget, &mut |_, name, kind, _| {
            if kind == Some(Type::Symlink) {
                links.push(name.to_owned());
            }
            false
        })?;
    }
    Ok(links)
}

/// A link that leads out of the workspace shields nothing: what it leads to is the profile's to judge, and a repository
/// could plant one to have us look through half the system.
pub fn leads_away(
    top: BorrowedFd<'_>,
    path: &Path,
    target: BorrowedFd<'_>,
    workspace: Option<&Path>,
) -> Result<bool, Errno> {
    let Some(workspace) = workspace.filter(|workspace| lies_at_or_below(path, workspace)) else { return Ok(false) };
    let own = sys_mounts::mount_id(mounts::open_inside(top, workspace)?.as_fd())?;
    if sys_mounts::mount_id(target)? == own {
        return Ok(false);
    }
    // Reached by its own name through something mounted over it is not away; only a link is.
    Ok(mounts::open_inside(top, path).is_err())
}

/// Whether it is something that can be shielded.
pub fn is_file_or_directory(target: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(matches!(mounts::kind_of(target)?, SFlag::S_IFREG | SFlag::S_IFDIR))
}

fn shield(root: &Root, target: BorrowedFd<'_>, effect: Effect) -> Result<(), Errno> {
    match effect {
        Effect::Hide => mounts::cover(root, target),
        Effect::Protect | Effect::Vet => mounts::freeze(target),
    }
}

/// A file with several names has to be shielded under each; so has every such file in a shielded directory.
fn remember_links(
    target: BorrowedFd<'_>,
    effect: Effect,
    linked: &mut BTreeSet<(Identity, Effect)>,
) -> Result<(), Errno> {
    let stat = fstat(target)?;
    if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFDIR {
        if stat.st_nlink > 1 {
            linked.insert(((stat.st_dev, stat.st_ino), effect));
        }
        return Ok(());
    }
    let mut budget = MOST_NAMES;
    walk(open_directory(target, OsStr::new("."))?, Path::new(""), &mut budget, &mut |directory, name, kind, _| {
        if kind == Some(Type::File)
            && let Ok((device, inode, names)) = mounts::names_of(directory, name)
            && names > 1
        {
            linked.insert(((device, inode), effect));
        }
        true
    })
}

/// Names in the workspace of the files in `linked`.
fn find_aliases(
    top: BorrowedFd<'_>,
    workspace: &Path,
    linked: &BTreeSet<(Identity, Effect)>,
) -> Result<Vec<(PathBuf, Effect)>, Errno> {
    let mut found = Vec::new();
    let mut budget = MOST_NAMES;
    let top = open_directory(top, mounts::relative(workspace).as_os_str())?;
    walk(top, workspace, &mut budget, &mut |directory, name, kind, path| {
        if kind != Some(Type::File) {
            return true;
        }
        if let Ok((device, inode, _)) = mounts::names_of(directory, name) {
            let effects = linked.iter().filter(|(identity, _)| *identity == (device, inode)).map(|(_, effect)| *effect);
            found.extend(effects.map(|effect| (path.to_path_buf(), effect)));
        }
        true
    })?;
    Ok(found)
}

/// The paths below `top` that exist and match the absolute `pattern`. Links are not followed while walking.
pub fn find(top: BorrowedFd<'_>, pattern: &Path) -> Result<Vec<PathBuf>, Errno> {
    let components: Vec<&OsStr> = pattern.components().skip(1).map(|component| component.as_os_str()).collect();
    let glob = components.iter().position(|component| is_glob(component.as_bytes()));
    let Some(glob) = glob else { return Ok(vec![pattern.to_path_buf()]) };
    let (fixed, rest) = components.split_at(glob);
    let base: PathBuf = Path::new("/").join(fixed.iter().collect::<PathBuf>());
    let directory = match open_directory(top, mounts::relative(&base).as_os_str()) {
        Ok(directory) => directory,
        Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EACCES) => return Ok(Vec::new()),
        Err(errno) => return Err(errno),
    };
    let deep = rest.len() > 1 || rest.first().is_some_and(|component| component.as_bytes() == b"**");
    let rest: PathBuf = rest.iter().collect();
    let (mut found, mut budget) = (Vec::new(), MOST_NAMES);
    walk(directory, Path::new(""), &mut budget, &mut |_, _, _, path| {
        if fast_glob::glob_match(rest.as_os_str().as_bytes(), path.as_os_str().as_bytes()) {
            found.push(base.join(path));
        }
        deep
    })?;
    Ok(found)
}

/// Is given the directory, a name in it, its kind, and its path from where the walk began.
pub type Visit<'a> = dyn FnMut(BorrowedFd<'_>, &OsStr, Option<Type>, &Path) -> bool + 'a;

/// Visits every name below `directory`; `visit` says whether to go into a directory. `E2BIG` when the budget is used up.
pub fn walk(directory: OwnedFd, prefix: &Path, budget: &mut usize, visit: &mut Visit<'_>) -> Result<(), Errno> {
    let mut listing = Dir::from_fd(directory)?;
    let mut names: Vec<(OsString, Option<Type>)> = Vec::new();
    for entry in listing.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((OsStr::from_bytes(name).to_owned(), entry.file_type()));
        }
    }
    for (name, kind) in names {
        *budget = budget.checked_sub(1).ok_or(Errno::E2BIG)?;
        let path = prefix.join(&name);
        let descend = visit(listing.as_fd(), &name, kind, &path);
        if !descend || !matches!(kind, Some(Type::Directory) | None) {
            continue;
        }
        match open_directory(listing.as_fd(), &name) {
            Ok(child) => walk(child, &path, budget, visit)?,
            Err(Errno::ENOTDIR | Errno::ELOOP | Errno::ENOENT | Errno::EACCES) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn open_directory(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    openat(parent, name, OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty())
}
