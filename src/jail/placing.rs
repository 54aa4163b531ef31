//! What is done at a place, for whoever makes names and whoever opens files.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{Mode, SFlag, fstatat, umask};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::asker::Asker;
use super::asking::{Place, resolve};
use super::judging::{Answer, Kind};

/// As many links as the kernel follows in one path; path_resolution(7).
pub const MOST_LINKS: usize = 40;

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

/// The directory was moved while we made something in it: as if the name had not been there to make.
pub fn take_back(at: &Place, kind: Kind) -> Answer {
    let flag = if kind == Kind::Directory { UnlinkatFlags::RemoveDir } else { UnlinkatFlags::NoRemoveDir };
    let _ = unlinkat(&at.parent, at.name.as_os_str(), flag);
    Answer::Errno(Errno::ENOENT)
}

/// The path of an open file by its number.
pub fn by_descriptor(file: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(file)))
}
