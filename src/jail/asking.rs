//! What a command asks the broker: read out of its memory, once, into our own.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, open};
use nix::sys::stat::{Mode, fstat};

use super::asker::Asker;
use crate::sys::resolving::open_resolved;
use crate::sys::seccomp::Notification;

/// One question, with all that it points to.
#[derive(Debug)]
pub enum Asked {
    /// open(2) or openat(2) to create or change a file, or creat(2).
    Open {
        /// The name.
        at: Place,
        /// As open(2) has them.
        flags: i32,
        /// Permission bits, before the mask.
        mode: u32,
    },
    /// The same by the number of a descriptor that the process has: `/dev/stderr`, `/proc/self/fd/3`.
    Reopen {
        /// What the descriptor holds, by `O_PATH`.
        held: OwnedFd,
        /// Whether the process can change it already.
        writable: bool,
        /// As open(2) has them.
        flags: i32,
    },
    /// open(2) or openat(2) with `O_TMPFILE`.
    Unnamed {
        /// Where the file is to be kept.
        directory: OwnedFd,
        /// As open(2) has them.
        flags: i32,
        /// Permission bits, before the mask.
        mode: u32,
    },
    /// truncate(2).
    Truncate {
        /// The name.
        at: Place,
        /// To how many bytes.
        length: i64,
    },
    /// mkdir(2), mkdirat(2).
    Mkdir {
        /// The name.
        at: Place,
        /// Permission bits, before the mask.
        mode: u32,
    },
    /// mknod(2), mknodat(2).
    Mknod {
        /// The name.
        at: Place,
        /// Kind and permission bits, before the mask.
        mode: u32,
    },
    /// unlink(2), unlinkat(2), rmdir(2).
    Remove {
        /// The name.
        at: Place,
        /// Whether it has to be a directory; otherwise it must not be one.
        directory: bool,
    },
    /// chmod(2), fchmodat(2), fchmodat2(2).
    Mode {
        /// The name.
        at: Place,
        /// Permission bits.
        mode: u32,
        /// Whether a link is followed.
        follow: bool,
    },
    /// fchmod(2).
    ModeOf {
        /// What the descriptor holds, by `O_PATH`.
        held: OwnedFd,
        /// Permission bits.
        mode: u32,
    },
    /// symlink(2), symlinkat(2).
    Symlink {
        /// The name.
        at: Place,
        /// What it is to point to.
        target: OsString,
    },
    /// link(2), linkat(2).
    Link {
        /// The name that is there.
        from: Place,
        /// The one to be made.
        to: Place,
    },
    /// rename(2), renameat(2), renameat2(2).
    Rename {
        /// The name that is there.
        from: Place,
        /// The one that it is to have.
        to: Place,
        /// As renameat2(2) has them.
        flags: u32,
    },
}

/// Why a question was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The directory of a name was not there. It may be by now: whoever leaves such a call to the kernel has it denied by Landlock, as
    /// what it never was told.
    NoDirectory,
    /// It is none of ours, or cannot be read.
    NotOurs,
}

/// A name in a directory: the directory held open, the name as it was written.
#[derive(Debug)]
pub struct Place {
    /// The directory.
    pub parent: OwnedFd,
    /// The kernel's path of that directory.
    pub path: PathBuf,
    /// The last component: never empty, `.`, `..`, or with a slash.
    pub name: OsString,
}

impl Place {
    /// The path of the name itself.
    pub fn whole(&self) -> PathBuf {
        self.path.join(&self.name)
    }

    /// Whether the directory is still where it was when its path was asked for.
    pub fn has_stayed(&self) -> bool {
        path_of(&self.parent).is_some_and(|now| now == self.path)
    }
}

impl Asker<'_> {
    /// The directory that a relative path begins at, as the process has it.
    fn directory(&self, descriptor: i32) -> Result<OwnedFd, Unread> {
        let link = match descriptor {
            libc::AT_FDCWD => format!("/proc/{}/cwd", self.pid),
            number => format!("/proc/{}/fd/{number}", self.pid),
        };
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        open(link.as_str(), flags, Mode::empty()).map_err(|_| Unread::NotOurs)
    }

    /// A path as it was written, and what it begins at.
    fn written(&self, descriptor: u64, address: u64) -> Result<(OsString, Option<OwnedFd>), Unread> {
        let written = self.text(address).ok_or(Unread::NotOurs)?;
        let absolute = written.as_bytes().first() == Some(&b'/');
        // The kernel reads an int; what is above it in the register counts for nothing.
        let base = if absolute { None } else { Some(self.directory(descriptor as i32)?) };
        Ok((written, base))
    }

    fn place(&self, descriptor: u64, address: u64) -> Result<Place, Unread> {
        let (written, base) = self.written(descriptor, address)?;
        resolve(base.as_ref(), &written)
    }
}

/// Splits a path into its directory, opened, and its last name, which has to be a plain one.
pub fn resolve(base: Option<&OwnedFd>, written: &OsStr) -> Result<Place, Unread> {
    let bytes = written.as_bytes();
    let (directory, name) = match bytes.iter().rposition(|byte| *byte == b'/') {
        Some(at) => bytes.split_at_checked(at + 1).ok_or(Unread::NotOurs)?,
        None => (b".".as_slice(), bytes),
    };
    if matches!(name, b"" | b"." | b"..") {
        return Err(Unread::NotOurs);
    }
    let parent = open_directory(base, OsStr::from_bytes(directory))?;
    let path = path_of(&parent).ok_or(Unread::NotOurs)?;
    // /proc/self and /proc/thread-self lead elsewhere for us than for the process.
    if path.starts_with("/proc") {
        return Err(Unread::NotOurs);
    }
    Ok(Place { parent, path, name: OsStr::from_bytes(name).to_owned() })
}

/// The number in a path by which a process names its own descriptor, as libc does where a call takes none.
fn own_descriptor(written: &OsStr) -> Option<i32> {
    let prefixes = ["/proc/self/fd/", "/proc/thread-self/fd/", "/dev/fd/"];
    let written = match written.to_str()? {
        "/dev/stdin" => return Some(0),
        "/dev/stdout" => return Some(1),
        "/dev/stderr" => return Some(2),
        written => written,
    };
    prefixes.iter().find_map(|prefix| written.strip_prefix(prefix))?.parse().ok().filter(|number| *number >= 0)
}

/// A directory by the name that it has where it is, when `.` or `..` led to it.
fn itself(base: Option<&OwnedFd>, written: &OsStr) -> Result<Place, Unread> {
    let directory = open_directory(base, written)?;
    let whole = path_of(&directory).ok_or(Unread::NotOurs)?;
    let parent = open_directory(Some(&directory), OsStr::new(".."))?;
    let (path, name) = whole.parent().zip(whole.file_name()).ok_or(Unread::NotOurs)?;
    Ok(Place { parent, path: path.to_path_buf(), name: name.to_owned() })
}

fn open_directory(base: Option<&OwnedFd>, directory: &OsStr) -> Result<OwnedFd, Unread> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    // Magic links would be ours, not the asking process's: /proc/self is another process for us.
    let how = OpenHow::new().flags(flags).resolve(ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let opened = match base {
        Some(base) => open_resolved(base, directory, how),
        None => open_resolved(AT_FDCWD, directory, how),
    };
    opened.map_err(|errno| match errno {
        Errno::ENOENT if !leads_to_proc(base, directory) => Unread::NoDirectory,
        _ => Unread::NotOurs,
    })
}

/// Whether a path leads to where a process finds what is its own, and we find what is ours.
fn leads_to_proc(base: Option<&OwnedFd>, directory: &OsStr) -> bool {
    let own = |path: &Path| path.starts_with("/proc") || path.starts_with("/dev");
    own(Path::new(directory)) || base.is_some_and(|base| path_of(base).is_none_or(|path| own(&path)))
}

/// The kernel's path of what is open.
pub fn path_of(directory: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd())).ok()
}

/// Whether the call sets a mode, which Landlock does not judge.
pub fn sets_mode(number: i32) -> bool {
    #[cfg(target_arch = "x86_64")]
    if i64::from(number) == libc::SYS_chmod {
        return true;
    }
    matches!(i64::from(number), libc::SYS_fchmod | libc::SYS_fchmodat | libc::SYS_fchmodat2)
}

impl Asked {
    /// The names that it is about.
    pub fn names(&self) -> Vec<PathBuf> {
        match self {
            Asked::Open { at, .. }
            | Asked::Truncate { at, .. }
            | Asked::Mkdir { at, .. }
            | Asked::Mknod { at, .. }
            | Asked::Remove { at, .. }
            | Asked::Mode { at, .. }
            | Asked::Symlink { at, .. } => vec![at.whole()],
            Asked::Link { from, to } | Asked::Rename { from, to, .. } => vec![from.whole(), to.whole()],
            // By descriptors alone.
            Asked::Reopen { .. } | Asked::Unnamed { .. } | Asked::ModeOf { .. } => Vec::new(),
        }
    }

    /// Reads a question.
    pub fn read(asker: &Asker<'_>, notification: &Notification) -> Result<Asked, Unread> {
        let here = libc::AT_FDCWD as u32 as u64;
        let [a, b, c, d, e, _] = notification.arguments;
        let mode = |word: u64| word as u32 & 0o7777;
        match i64::from(notification.number) {
            libc::SYS_openat => asker.open(a, b, c as i32, mode(d)),
            libc::SYS_truncate => Ok(Asked::Truncate { at: asker.place(here, a)?, length: b as i64 }),
            libc::SYS_mkdirat => Ok(Asked::Mkdir { at: asker.place_of_directory(a, b)?, mode: mode(c) }),
            libc::SYS_unlinkat => {
                let directory = c as i32 & libc::AT_REMOVEDIR != 0;
                Ok(Asked::Remove { at: asker.place_of_directory(a, b)?, directory })
            }
            libc::SYS_fchmod => Ok(Asked::ModeOf { held: asker.held(a as i32)?, mode: mode(b) }),
            libc::SYS_fchmodat => Ok(Asked::Mode { at: asker.place_of_any(a, b)?, mode: mode(c), follow: true }),
            libc::SYS_fchmodat2 if d as i32 & !libc::AT_SYMLINK_NOFOLLOW == 0 => {
                Ok(Asked::Mode { at: asker.place_of_any(a, b)?, mode: mode(c), follow: d == 0 })
            }
            libc::SYS_mknodat => Ok(Asked::Mknod { at: asker.place(a, b)?, mode: c as u32 }),
            libc::SYS_symlinkat => {
                Ok(Asked::Symlink { target: asker.text(a).ok_or(Unread::NotOurs)?, at: asker.place(b, c)? })
            }
            libc::SYS_linkat if e == 0 => Ok(Asked::Link { from: asker.place(a, b)?, to: asker.place(c, d)? }),
            libc::SYS_renameat2 => asker.rename(a, b, c, d, e as u32),
            #[cfg(target_arch = "x86_64")]
            number => Self::read_old(asker, number, [a, b, c, d], here),
            #[cfg(not(target_arch = "x86_64"))]
            _ => Err(Unread::NotOurs),
        }
    }

    /// Calls that newer architectures do not have.
    #[cfg(target_arch = "x86_64")]
    fn read_old(asker: &Asker<'_>, number: i64, [a, b, c, d]: [u64; 4], here: u64) -> Result<Asked, Unread> {
        let mode = |word: u64| word as u32 & 0o7777;
        match number {
            libc::SYS_open => asker.open(here, a, b as i32, mode(c)),
            libc::SYS_creat => {
                let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
                asker.open(here, a, flags, mode(b))
            }
            libc::SYS_mkdir => Ok(Asked::Mkdir { at: asker.place_of_directory(here, a)?, mode: mode(b) }),
            libc::SYS_unlink => Ok(Asked::Remove { at: asker.place_of_directory(here, a)?, directory: false }),
            libc::SYS_rmdir => Ok(Asked::Remove { at: asker.place_of_directory(here, a)?, directory: true }),
            libc::SYS_chmod => Ok(Asked::Mode { at: asker.place_of_any(here, a)?, mode: mode(b), follow: true }),
            libc::SYS_mknod => Ok(Asked::Mknod { at: asker.place(here, a)?, mode: b as u32 }),
            libc::SYS_symlink => {
                Ok(Asked::Symlink { target: asker.text(a).ok_or(Unread::NotOurs)?, at: asker.place(here, b)? })
            }
            libc::SYS_link => Ok(Asked::Link { from: asker.place(here, a)?, to: asker.place(here, b)? }),
            libc::SYS_rename => asker.rename(here, a, here, b, 0),
            libc::SYS_renameat => asker.rename(a, b, c, d, 0),
            _ => Err(Unread::NotOurs),
        }
    }
}

impl Asker<'_> {
    fn open(&self, descriptor: u64, address: u64, flags: i32, mode: u32) -> Result<Asked, Unread> {
        let (written, base) = self.written(descriptor, address)?;
        if let Some(number) = own_descriptor(&written) {
            let held = self.held(number)?;
            let writable = self.can_write(number, &held);
            return Ok(Asked::Reopen { held, writable, flags });
        }
        if flags & libc::O_TMPFILE == libc::O_TMPFILE {
            return Ok(Asked::Unnamed { directory: open_directory(base.as_ref(), &written)?, flags, mode });
        }
        Ok(Asked::Open { at: resolve(base.as_ref(), &written)?, flags, mode })
    }

    /// What one of its descriptors holds.
    fn held(&self, number: i32) -> Result<OwnedFd, Unread> {
        let link = format!("/proc/{}/fd/{number}", self.pid);
        open(link.as_str(), OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).map_err(|_| Unread::NotOurs)
    }

    /// Whether the descriptor, which holds `held`, is open for writing; proc_pid_fdinfo(5).
    fn can_write(&self, number: i32, held: &OwnedFd) -> bool {
        let about = std::fs::read_to_string(format!("/proc/{}/fdinfo/{number}", self.pid)).unwrap_or_default();
        let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let flags = field("flags:").and_then(|octal| i32::from_str_radix(octal, 8).ok());
        // Another thread could have put something else under that number since it was opened.
        let inode = field("ino:").and_then(|number| number.parse::<u64>().ok());
        let same = fstat(held).is_ok_and(|stat| Some(stat.st_ino) == inode);
        same && flags.is_some_and(|flags| matches!(flags & libc::O_ACCMODE, libc::O_WRONLY | libc::O_RDWR))
    }

    /// A place for a directory: slashes behind the name are allowed there.
    fn place_of_directory(&self, descriptor: u64, address: u64) -> Result<Place, Unread> {
        let (written, base) = self.written(descriptor, address)?;
        resolve(base.as_ref(), trim_slashes(&written))
    }

    /// A place for what is there already, which `.` and `..` can name too.
    fn place_of_any(&self, descriptor: u64, address: u64) -> Result<Place, Unread> {
        let (written, base) = self.written(descriptor, address)?;
        let written = trim_slashes(&written);
        if let Some(number) = own_descriptor(written) {
            return self.behind(number);
        }
        match written.as_bytes().rsplit(|byte| *byte == b'/').next() {
            Some(b"." | b"..") => itself(base.as_ref(), written),
            Some(_) | None => resolve(base.as_ref(), written),
        }
    }

    /// Where that what one of its descriptors holds is now.
    fn behind(&self, descriptor: i32) -> Result<Place, Unread> {
        let whole = path_of(&self.held(descriptor)?).ok_or(Unread::NotOurs)?;
        resolve(None, whole.as_os_str())
    }

    fn rename(&self, from_at: u64, from: u64, to_at: u64, to: u64, flags: u32) -> Result<Asked, Unread> {
        let from = self.place_of_directory(from_at, from)?;
        let to = self.place_of_directory(to_at, to)?;
        Ok(Asked::Rename { from, to, flags })
    }
}

fn trim_slashes(written: &OsStr) -> &OsStr {
    let bytes = written.as_bytes();
    let end = bytes.iter().rposition(|byte| *byte != b'/').map_or(bytes.len(), |last| last + 1);
    OsStr::from_bytes(bytes.get(..end).unwrap_or(bytes))
}
