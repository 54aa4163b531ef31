//! The directory of a ledger and its files: names, owners, modes, and how each is opened.
//!
//! Owns what a path has to be like before we write there. Must not know what lines say.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, renameat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, UnlinkatFlags, fchown, geteuid, unlinkat};

use super::error::LedgerError;
use super::room;
use crate::sys::resolving::open_resolved;

/// The file that its writer holds locked.
const LOCK: &str = "lock";

/// What a service runs and has not recorded yet.
const UNDER_WAY: &str = "under-way";

/// The name of a file until its first line is on disk.
const NEXT: &str = ".next";

/// Who may read what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Mode of the files, such as 0640.
    pub mode: u32,
    /// Their group; ours if none is given.
    pub group: Option<u32>,
}

/// An open ledger directory.
#[derive(Debug)]
pub struct Directory {
    descriptor: OwnedFd,
    path: PathBuf,
}

impl Directory {
    /// Opens it for reading, wherever it is.
    pub fn read(path: &Path) -> Result<Directory, LedgerError> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let descriptor = nix::fcntl::open(path, flags, Mode::empty()).map_err(LedgerError::system("open", path))?;
        Ok(Directory { descriptor, path: path.to_owned() })
    }

    /// Opens it for writing, or makes it. No link is followed on the way, and nobody else may be able to rename what is in
    /// it.
    pub fn write(path: &Path, access: Access) -> Result<Directory, LedgerError> {
        let opened = match open_without_links(path) {
            Err(Errno::ENOENT) => make(path, access)?,
            opened => opened.map_err(LedgerError::system("open", path))?,
        };
        let facts = fstat(&opened).map_err(LedgerError::system("open", path))?;
        let hint = Some("a ledger lies in a directory that only its writer can change");
        check_owner(&facts).map_err(|what| LedgerError::unfit(path, what, hint))?;
        Ok(Directory { descriptor: opened, path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the file is that has this number.
    pub fn path_of(&self, number: u64) -> PathBuf {
        self.path.join(name(number))
    }

    /// The numbers of its files, ascending.
    pub fn numbers(&self) -> Result<Vec<u64>, LedgerError> {
        let error = || LedgerError::system("list", &self.path);
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let mut listing = Dir::openat(&self.descriptor, ".", flags, Mode::empty()).map_err(error())?;
        let mut numbers = Vec::new();
        for entry in listing.iter() {
            let entry = entry.map_err(error())?;
            numbers.extend(entry.file_name().to_str().ok().and_then(number_of));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Opens a file for reading.
    pub fn open(&self, number: u64) -> Result<File, LedgerError> {
        // Without O_NONBLOCK a pipe of that name would hold us up.
        self.open_file(number, OFlag::O_RDONLY | OFlag::O_NONBLOCK)
    }

    /// Opens a file for adding to it.
    pub fn open_to_append(&self, number: u64) -> Result<File, LedgerError> {
        let file = self.open_file(number, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_NONBLOCK)?;
        let path = self.path_of(number);
        let facts = fstat(&file).map_err(LedgerError::system("open", &path))?;
        check_owner(&facts).map_err(|what| LedgerError::unfit(&path, what, None))?;
        Ok(file)
    }

    fn open_file(&self, number: u64, flags: OFlag) -> Result<File, LedgerError> {
        let path = self.path_of(number);
        let flags = flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        let opened = openat(&self.descriptor, name(number).as_str(), flags, Mode::empty());
        let file = File::from(opened.map_err(LedgerError::system("open", &path))?);
        let facts = file.metadata().map_err(LedgerError::system("open", &path))?;
        if facts.mode() & SFlag::S_IFMT.bits() == SFlag::S_IFREG.bits() {
            Ok(file)
        } else {
            Err(LedgerError::unfit(&path, "not a regular file", None))
        }
    }

    /// Makes a file that begins with `line`, with `room` kept after it; says up to where it is. It has its name only when the
    /// line is on disk, so no crash leaves one without.
    pub fn begin(&self, number: u64, line: &[u8], room: u64, access: Access) -> Result<(File, u64), LedgerError> {
        let path = self.path_of(number);
        self.make_next(line, room, access)
            .inspect_err(|_| {
                // It would hold space that is missing already.
                let _ = self.remove(NEXT);
            })
            .and_then(|made| self.name_next(number).map(|()| made))
            .map_err(LedgerError::system("begin a file of", path))
    }

    fn make_next(&self, line: &[u8], room: u64, access: Access) -> io::Result<(File, u64)> {
        self.remove(NEXT)?;
        let flags = OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
        let mut file = File::from(openat(&self.descriptor, NEXT, flags, Mode::from_bits_truncate(0o600))?);
        give(&file, access)?;
        file.write_all(line)?;
        let kept = if room > 0 { room::keep(&file, line.len() as u64, room)? } else { 0 };
        file.sync_all()?;
        Ok((file, kept))
    }

    fn name_next(&self, number: u64) -> io::Result<()> {
        let name = name(number);
        // The name is free: numbers are given out under the lock.
        renameat(&self.descriptor, NEXT, &self.descriptor, name.as_str())?;
        // A name that power takes away would take the records after it along, unnoticed.
        self.sync().inspect_err(|_| {
            let _ = self.remove(&name);
        })
    }

    /// A file without a name, which nothing is left of when it is closed.
    pub fn unnamed(&self) -> Result<File, LedgerError> {
        let flags = OFlag::O_WRONLY | OFlag::O_TMPFILE | OFlag::O_CLOEXEC;
        let made = openat(&self.descriptor, ".", flags, Mode::from_bits_truncate(0o600));
        Ok(File::from(made.map_err(LedgerError::system("keep room in", &self.path))?))
    }

    /// Opens the file for what is under way, or makes it, and says where it is. For its writer alone.
    pub fn open_under_way(&self) -> Result<(File, PathBuf), LedgerError> {
        let path = self.path.join(UNDER_WAY);
        let flags =
            OFlag::O_RDWR | OFlag::O_APPEND | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let opened = openat(&self.descriptor, UNDER_WAY, flags, Mode::from_bits_truncate(0o600));
        let file = File::from(opened.map_err(LedgerError::system("open", &path))?);
        let facts = fstat(&file).map_err(LedgerError::system("open", &path))?;
        check_owner(&facts).map_err(|what| LedgerError::unfit(&path, what, None))?;
        Ok((file, path))
    }

    /// Becomes its writer, waiting for up to `patience`.
    pub fn lock(&self, patience: Duration) -> Result<File, LedgerError> {
        let path = self.path.join(LOCK);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        // Readers must not be able to open it: whoever can open a file can hold a lock on it.
        let opened = openat(&self.descriptor, LOCK, flags, Mode::from_bits_truncate(0o600));
        let file = File::from(opened.map_err(LedgerError::system("lock", &path))?);
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(file),
                Err(std::fs::TryLockError::WouldBlock) if begun.elapsed() < patience => {
                    std::thread::sleep(Duration::from_millis(2));
                }
                Err(std::fs::TryLockError::WouldBlock) => return Err(LedgerError::Busy { path: self.path.clone() }),
                Err(std::fs::TryLockError::Error(error)) => return Err(LedgerError::system("lock", &path)(error)),
            }
        }
    }

    fn sync(&self) -> io::Result<()> {
        // Not every filesystem can sync a directory; those that cannot say EINVAL.
        match nix::unistd::fsync(&self.descriptor) {
            Err(Errno::EINVAL) => Ok(()),
            synced => Ok(synced?),
        }
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.descriptor, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// The name of the file with this number.
pub fn name(number: u64) -> String {
    format!("{number:08}.jsonl")
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".jsonl")?;
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())??;
    // One spelling only: `1.jsonl` is a file of somebody else's.
    (self::name(number) == name).then_some(number)
}

fn open_without_links(path: &Path) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    open_resolved(AT_FDCWD, path, how)
}

/// Makes the last part of the path; the rest has to be there.
fn make(path: &Path, access: Access) -> Result<OwnedFd, LedgerError> {
    let parent = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let error = || LedgerError::system("make", path);
    let name = path.file_name().ok_or_else(|| LedgerError::unfit(path, "not a name that can be made", None))?;
    let above = open_without_links(parent).map_err(error())?;
    let made = mkdirat(&above, name, Mode::from_bits_truncate(0o700));
    let opened = || open_without_links(path).map_err(error());
    match made {
        // Another writer was faster; its directory will be judged like any other.
        Err(Errno::EEXIST) => return opened(),
        made => made.map_err(error())?,
    }
    let made = opened()?;
    // Whoever may read the files may list them.
    let search = (access.mode & 0o444) >> 2;
    let mode = (access.mode & 0o755) | search | 0o700;
    give(&made, Access { mode, ..access }).map_err(error())?;
    Ok(made)
}

fn give(file: &impl std::os::fd::AsFd, access: Access) -> Result<(), Errno> {
    if let Some(group) = access.group {
        fchown(file, None, Some(Gid::from_raw(group)))?;
    }
    // After the owner: changing that takes bits away. By descriptor, so that no umask counts.
    fchmod(file, Mode::from_bits_truncate(access.mode))
}

fn check_owner(facts: &FileStat) -> Result<(), String> {
    let own = geteuid().as_raw();
    if facts.st_uid != 0 && facts.st_uid != own {
        return Err(format!("it belongs to uid {}, not to root or uid {own}", facts.st_uid));
    }
    if facts.st_mode & 0o022 != 0 {
        return Err(format!("others can write it (mode {:04o})", facts.st_mode & 0o7777));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_one_name_and_no_other_name_is_taken_for_one() {
        for number in [1, 42, 99_999_999, 100_000_000, u64::MAX] {
            assert_eq!(number_of(&name(number)), Some(number));
        }
        for other in ["1.jsonl", "00000001.json", ".next", "+0000001.jsonl", "00000001.jsonl.gz", "000000001.jsonl"] {
            assert_eq!(number_of(other), None, "{other}");
        }
    }
}
