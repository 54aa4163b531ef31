//! Finding and opening the texts of profiles and policies.
//!
//! Owns the order of search, the check of owners and modes, and the built-in profiles; the one module of the pure side
//! that opens files. Must not look at the environment, the clock or processes: which directories count, and whom to trust
//! with each, is told by the caller. Never looks into a workspace.

use std::fs::{File, read_dir};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};

use super::error::ProfileError;
use crate::policy::document::{Authority, Document};
use crate::policy::library::{Library, OpenCause, OpenError, SetKind, Shelf};
use crate::policy::names::{check, nearest};

/// Where the texts of this host are.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// Directories like `/etc/clawjail`, with `profiles/` and `policies/` below; the first that has a name wins.
    pub dirs: Vec<ConfigDir>,
    /// The caller's home on the host, for which `~/` and `{home}` stand. Resolving leaves both as they are.
    pub home: Option<PathBuf>,
    /// Whether it is known that no directory has a text that would be used in the place of a built-in one.
    pub built_in_stands: bool,
}

/// A directory of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigDir {
    /// Where it is.
    pub path: PathBuf,
    /// Who may own what is in it.
    pub trust: Trust,
}

/// Who may own a text, and the directories above it up to the configuration directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// Root alone.
    Root,
    /// Root or this user, who is the caller.
    Caller(u32),
}

impl Trust {
    fn authority(self) -> Authority {
        match self {
            Trust::Root => Authority::Root,
            Trust::Caller(_) => Authority::Caller,
        }
    }

    fn check(self, facts: &FileStat) -> Result<(), OpenCause> {
        let (owned, expected) = match self {
            Trust::Root => (facts.st_uid == 0, "root".to_owned()),
            Trust::Caller(uid) => (facts.st_uid == 0 || facts.st_uid == uid, format!("root or uid {uid}")),
        };
        if !owned {
            return Err(OpenCause::Owner { uid: facts.st_uid, expected });
        }
        if facts.st_mode & 0o002 != 0 {
            return Err(OpenCause::Writable { by: "everybody" });
        }
        if facts.st_mode & 0o020 != 0 {
            return Err(OpenCause::Writable { by: "its group" });
        }
        Ok(())
    }
}

macro_rules! embedded {
    ($($name:literal),+ $(,)?) => { &[$(($name, include_str!(concat!("../../profiles/", $name, ".toml")))),+] };
}

const BUILT_IN: &[(&str, &str)] =
    embedded!("base", "offline", "openclaw", "readonly", "skill-test", "trusted", "untrusted");

impl Sources {
    /// `/etc/clawjail`, which only root may own.
    pub fn of_root() -> Self {
        Self { dirs: vec![ConfigDir { path: PathBuf::from("/etc/clawjail"), trust: Trust::Root }], ..Self::default() }
    }

    /// The same, then the caller's own `~/.config/clawjail`: for a caller who runs us with no more power than theirs.
    pub fn of_caller(home: &Path, uid: u32) -> Self {
        let mut sources = Self::of_root();
        sources.dirs.push(ConfigDir { path: home.join(".config/clawjail"), trust: Trust::Caller(uid) });
        sources.home = Some(home.to_owned());
        sources
    }

    /// Without the directories that do not exist, and with a look at what is in the others: nothing has to be looked for in them
    /// again and again.
    pub fn present(mut self) -> Self {
        // Any other answer than "not there" keeps it, and is an error when it is opened.
        self.dirs.retain(
            |dir| !matches!(dir.path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound),
        );
        // One that cannot be looked into is an error when something is wanted of it.
        self.built_in_stands = self.dirs.iter().all(|dir| replaces_nothing(dir).unwrap_or(false));
        self
    }

    /// The sets of these directories and the built-in ones.
    pub fn library(&self) -> Library {
        Library::with(self.clone())
    }

    /// The text of profile `name`. Nothing that is vouched for by less than `authority` is found.
    pub fn profile(&self, name: &str, authority: Authority) -> Result<Document, ProfileError> {
        check(name).map_err(ProfileError::Name)?;
        let found = self.search(&["profiles"], name, authority);
        let found = found.map_err(|error| ProfileError::Open { name: name.to_owned(), error })?;
        let built_in =
            || BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| Document::built_in(name, text));
        found.or_else(built_in).ok_or_else(|| ProfileError::Unknown {
            name: name.to_owned(),
            suggestion: self.nearest_profile(name, authority),
        })
    }

    /// The known profile that `name` may mean.
    pub fn nearest_profile(&self, name: &str, authority: Authority) -> Option<String> {
        nearest(name, self.profile_names(authority).iter().map(String::as_str))
    }

    /// The names of all profiles, sorted.
    pub fn profile_names(&self, authority: Authority) -> Vec<String> {
        let mut names = self.names_below("profiles", authority);
        names.extend(BUILT_IN.iter().map(|(name, _)| (*name).to_owned()));
        names.sort();
        names.dedup();
        names
    }

    fn trusted_dirs(&self, authority: Authority) -> impl Iterator<Item = &ConfigDir> {
        self.dirs.iter().filter(move |dir| dir.trust.authority() >= authority)
    }

    fn search(&self, below: &[&str], name: &str, authority: Authority) -> Result<Option<Document>, OpenError> {
        for dir in self.trusted_dirs(authority) {
            if let Some(document) = open_below(dir, below, name)? {
                return Ok(Some(document));
            }
        }
        Ok(None)
    }

    /// Names of files, for lists and suggestions only: whether one may be used is decided when it is opened.
    fn names_below(&self, below: &str, authority: Authority) -> Vec<String> {
        let mut names = Vec::new();
        for dir in self.trusted_dirs(authority) {
            for entry in read_dir(dir.path.join(below)).into_iter().flatten().flatten() {
                let file = entry.file_name();
                let stem = file.to_str().and_then(|file| file.strip_suffix(".toml"));
                names.extend(stem.filter(|stem| check(stem).is_ok()).map(str::to_owned));
            }
        }
        names
    }
}

impl Shelf for Sources {
    fn find(&self, kind: SetKind, name: &str, authority: Authority) -> Result<Option<Document>, OpenError> {
        self.search(&["policies", kind.directory()], name, authority)
    }

    fn names(&self, kind: SetKind, authority: Authority) -> Vec<String> {
        self.names_below(&format!("policies/{}", kind.directory()), authority)
    }

    fn replaces_nothing(&self) -> bool {
        self.dirs.is_empty() || self.built_in_stands
    }
}

/// The largest text.
const LARGEST: usize = 256 * 1024;

/// Opens `<dir>/<below...>/<name>.toml` step by step. A step that is not there means that the text is not; any other
/// failure is an error, for a text that cannot be read must not give way to a weaker one.
fn open_below(dir: &ConfigDir, below: &[&str], name: &str) -> Result<Option<Document>, OpenError> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let text = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut path = dir.path.clone();
    let Some(mut current) = step(open(&path, directory, Mode::empty()), &path, dir.trust)? else {
        return Ok(None);
    };
    for part in below {
        path.push(part);
        let next = openat(&current, *part, directory, Mode::empty());
        let Some(opened) = step(next, &path, dir.trust)? else {
            return Ok(None);
        };
        current = opened;
    }
    let file = format!("{name}.toml");
    path.push(&file);
    let opened = openat(&current, file.as_str(), text, Mode::empty());
    let Some(opened) = step(opened, &path, dir.trust)? else {
        return Ok(None);
    };
    let read = refuse_hard_links(&opened).and_then(|()| read_text(opened));
    let text = read.map_err(|cause| OpenError { path: path.clone(), cause })?;
    Ok(Some(Document { source: path.display().to_string(), text: text.into(), authority: dir.trust.authority() }))
}

/// Whether `dir` has no profile of a built-in one's name, and no set at all.
fn replaces_nothing(dir: &ConfigDir) -> Result<bool, OpenError> {
    let profiles = names_in(dir, &["profiles"])?;
    if BUILT_IN.iter().any(|(name, _)| profiles.iter().any(|file| file.strip_suffix(".toml") == Some(name))) {
        return Ok(false);
    }
    if names_in(dir, &["policies"])?.is_empty() {
        return Ok(true);
    }
    let kinds = [SetKind::Paths, SetKind::Syscalls, SetKind::Egress];
    let sets = kinds.map(|kind| names_in(dir, &["policies", kind.directory()]));
    Ok(sets.into_iter().collect::<Result<Vec<_>, _>>()?.iter().all(Vec::is_empty))
}

/// The names in `<dir>/<below...>`, none if it is not there. Each step is checked as if something were read there.
fn names_in(dir: &ConfigDir, below: &[&str]) -> Result<Vec<String>, OpenError> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut path = dir.path.clone();
    let Some(mut current) = step(open(&path, flags, Mode::empty()), &path, dir.trust)? else { return Ok(Vec::new()) };
    for part in below {
        path.push(part);
        let Some(opened) = step(openat(&current, *part, flags, Mode::empty()), &path, dir.trust)? else {
            return Ok(Vec::new());
        };
        current = opened;
    }
    let error = |errno: Errno| OpenError { path: path.clone(), cause: OpenCause::System(errno.into()) };
    let listing = Dir::from_fd(current).map_err(error)?;
    let names = listing.into_iter().map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<Result<Vec<_>, _>>().map_err(error)?;
    Ok(names.into_iter().filter(|name| name != "." && name != "..").collect())
}

/// Checks one opened step: absent, acceptable, or refused. The check is made on the descriptor, so that what was checked
/// is what is read.
fn step(opened: Result<OwnedFd, Errno>, path: &Path, trust: Trust) -> Result<Option<OwnedFd>, OpenError> {
    let error = |cause| OpenError { path: path.to_owned(), cause };
    let descriptor = match opened {
        Ok(descriptor) => descriptor,
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::ELOOP) => return Err(error(OpenCause::Link)),
        Err(Errno::ENOTDIR) => return Err(error(OpenCause::NotADirectory)),
        Err(errno) => return Err(error(OpenCause::System(errno.into()))),
    };
    let facts = fstat(&descriptor).map_err(|errno| error(OpenCause::System(errno.into())))?;
    trust.check(&facts).map_err(error)?;
    Ok(Some(descriptor))
}

/// Of a file with more than one name, the directories that were checked do not say who could have put it there.
fn refuse_hard_links(descriptor: &OwnedFd) -> Result<(), OpenCause> {
    let facts = fstat(descriptor).map_err(|errno| OpenCause::System(errno.into()))?;
    let is_file = SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG;
    if is_file && facts.st_nlink > 1 { Err(OpenCause::HardLinks { names: facts.st_nlink.to_string() }) } else { Ok(()) }
}

fn read_text(descriptor: OwnedFd) -> Result<String, OpenCause> {
    let facts = fstat(&descriptor).map_err(|errno| OpenCause::System(errno.into()))?;
    if SFlag::from_bits_truncate(facts.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
        return Err(OpenCause::NotAFile);
    }
    let mut bytes = Vec::with_capacity(usize::try_from(facts.st_size).unwrap_or(0).min(LARGEST) + 1);
    File::from(descriptor).take(LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(OpenCause::System)?;
    if bytes.len() > LARGEST {
        return Err(OpenCause::TooLarge);
    }
    String::from_utf8(bytes).map_err(|_| OpenCause::Encoding)
}

/// Reads the text at `path`, if there is one. It and its directory must belong to whom we trust, and nobody else may write them.
pub fn read_trusted(path: &Path, trust: Trust) -> Result<Option<Document>, OpenError> {
    let directory = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let text = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(OpenError { path: path.to_owned(), cause: OpenCause::NotAFile });
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let Some(above) = step(open(parent, directory, Mode::empty()), parent, trust)? else { return Ok(None) };
    let Some(opened) = step(openat(&above, name, text, Mode::empty()), path, trust)? else { return Ok(None) };
    let text = read_text(opened).map_err(|cause| OpenError { path: path.to_owned(), cause })?;
    Ok(Some(Document { source: path.display().to_string(), text: text.into(), authority: trust.authority() }))
}

/// Reads a draft, wherever it is. Drafts are checked, never run, so its owner only says who would vouch for it.
pub fn read_draft(path: &Path) -> Result<Document, OpenError> {
    let error = |cause| OpenError { path: path.to_owned(), cause };
    let system = |errno: Errno| error(OpenCause::System(io::Error::from(errno)));
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let descriptor = open(path, flags, Mode::empty()).map_err(system)?;
    let facts = fstat(&descriptor).map_err(system)?;
    let authority = if facts.st_uid == 0 { Authority::Root } else { Authority::Caller };
    let text = read_text(descriptor).map_err(error)?;
    Ok(Document { source: path.display().to_string(), text: text.into(), authority })
}
