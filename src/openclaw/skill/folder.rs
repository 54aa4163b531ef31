//! The walk: every file of a folder, by descriptor, never through a link, and never further than the bounds.
//!
//! Only what a regular file is said to be is opened, without waiting, and looked at again once it is open: a pipe that takes its
//! place is not read. A bound that is reached is a finding that blocks, so nothing can be hidden behind it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat};

use super::rules::Rules;
use super::shape::{self, Kind};
use super::{Deadline, Finding, OutOfTime, package, text};
use crate::policy::names::shown;

/// How far a walk goes.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Names in all.
    pub names: usize,
    /// Directories in each other.
    pub depth: usize,
    /// Bytes of one file.
    pub file: u64,
    /// Bytes of what is read, in all.
    pub text: u64,
    /// Findings that are kept.
    pub findings: usize,
}

/// A skill: four times what registries take.
pub const SKILL: Bounds = Bounds { names: 2048, depth: 16, file: 4 << 20, text: 16 << 20, findings: 1000 };
/// A plugin brings the packages that it needs.
pub const PLUGIN: Bounds = Bounds { names: 50_000, depth: 48, file: 8 << 20, text: 256 << 20, findings: 1000 };

/// What came of it.
#[derive(Debug, Default)]
pub struct Seen {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Files that were looked at.
    pub files: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Whether it has a SKILL.md.
    pub instructions: bool,
    /// Whether names were left out.
    pub cut: bool,
    names: usize,
}

/// Walks the folder that `top` is, or looks at the one file that it is.
pub fn look(top: &Path, rules: &Rules, bounds: Bounds, deadline: Deadline) -> Result<Seen, Stop> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let opened = nix::fcntl::open(top, OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, Mode::empty());
    let about = opened.and_then(fstat).map_err(Stop::Unreadable)?;
    let mut walk = Walk { rules, bounds, deadline, device: about.st_dev, seen: Seen::default() };
    match SFlag::from_bits_truncate(about.st_mode & libc::S_IFMT) {
        SFlag::S_IFDIR => {
            let directory = nix::fcntl::open(top, flags | OFlag::O_DIRECTORY, Mode::empty());
            walk.directory(directory.map_err(Stop::Unreadable)?, "", 0)?;
        }
        SFlag::S_IFREG => {
            let name = top.file_name().unwrap_or(OsStr::new("file")).to_string_lossy().into_owned();
            let file = nix::fcntl::open(top, flags, Mode::empty()).map_err(Stop::Unreadable)?;
            walk.content(file, &about, &name)?;
        }
        _ => return Err(Stop::NoFolder),
    }
    Ok(walk.seen)
}

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It cannot be opened.
    Unreadable(Errno),
    /// It is a link, a pipe, a device.
    NoFolder,
    /// The time was up.
    OutOfTime,
}

impl From<OutOfTime> for Stop {
    fn from(_: OutOfTime) -> Stop {
        Stop::OutOfTime
    }
}

struct Walk<'a> {
    rules: &'a Rules,
    bounds: Bounds,
    deadline: Deadline,
    device: libc::dev_t,
    seen: Seen,
}

impl Walk<'_> {
    fn tell(&mut self, rule: &str, path: &str, evidence: Option<String>) {
        if self.seen.findings.len() < self.bounds.findings {
            self.seen.findings.push(self.rules.shape(rule, &shown_path(path), None, evidence));
        }
    }

    /// Whether more names are taken.
    fn is_full(&self) -> bool {
        self.seen.names > self.bounds.names
    }

    fn directory(&mut self, directory: OwnedFd, path: &str, depth: usize) -> Result<(), OutOfTime> {
        if depth > self.bounds.depth {
            self.tell("too-deep", path, None);
            return Ok(());
        }
        let Some(names) = self.names(&directory, path)? else { return Ok(()) };
        for name in names {
            self.deadline.check()?;
            let printed = name.to_string_lossy().into_owned();
            let below = if path.is_empty() { printed.clone() } else { format!("{path}/{printed}") };
            if shape::is_odd_name(&printed) || name.as_bytes() != printed.as_bytes() {
                self.tell("odd-name", &below, None);
            }
            match fstatat(&directory, name.as_os_str(), AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(about) => self.entry(&directory, &name, &about, &below, depth)?,
                Err(errno) => self.tell("unreadable", &below, Some(errno.desc().to_owned())),
            }
        }
        Ok(())
    }

    /// The names in it, sorted; `None` once there were too many.
    fn names(&mut self, directory: &OwnedFd, path: &str) -> Result<Option<Vec<OsString>>, OutOfTime> {
        let again = openat(directory, ".", OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty());
        let mut names = Vec::new();
        let listed = again.and_then(Dir::from_fd);
        let Ok(mut listed) = listed else {
            self.tell("unreadable", path, listed.err().map(|errno| errno.desc().to_owned()));
            return Ok(None);
        };
        for entry in listed.iter() {
            let Ok(entry) = entry else {
                self.tell("unreadable", path, None);
                return Ok(None);
            };
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            self.seen.names += 1;
            if self.is_full() {
                self.seen.cut = true;
                if self.seen.names == self.bounds.names + 1 {
                    self.tell("too-many-files", path, Some(format!("more than {}", self.bounds.names)));
                }
                return Ok(None);
            }
            names.push(OsStr::from_bytes(name).to_owned());
        }
        self.deadline.check()?;
        names.sort();
        Ok(Some(names))
    }

    fn entry(
        &mut self,
        parent: &OwnedFd,
        name: &OsStr,
        about: &FileStat,
        path: &str,
        depth: usize,
    ) -> Result<(), OutOfTime> {
        let kind = SFlag::from_bits_truncate(about.st_mode & libc::S_IFMT);
        if kind == SFlag::S_IFLNK {
            self.link(parent, name, path, depth);
            return Ok(());
        }
        if about.st_dev != self.device {
            self.tell("other-filesystem", path, None);
            return Ok(());
        }
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
        match kind {
            SFlag::S_IFDIR => match openat(parent, name, flags | OFlag::O_DIRECTORY, Mode::empty()) {
                Ok(below) => self.directory(below, path, depth + 1)?,
                Err(errno) => self.tell("unreadable", path, Some(errno.desc().to_owned())),
            },
            SFlag::S_IFREG => {
                if about.st_mode & 0o6000 != 0 {
                    self.tell("set-id-file", path, Some(format!("mode {:o}", about.st_mode & 0o7777)));
                }
                match openat(parent, name, flags, Mode::empty()) {
                    Ok(file) => self.content(file, about, path)?,
                    Err(errno) => self.tell("unreadable", path, Some(errno.desc().to_owned())),
                }
            }
            _ => self.tell("special-file", path, None),
        }
        Ok(())
    }

    fn link(&mut self, parent: &OwnedFd, name: &OsStr, path: &str, depth: usize) {
        let target = readlinkat(parent, name).unwrap_or_default();
        let rule = if leaves(Path::new(&target), depth) { "link-leaves" } else { "link" };
        self.tell(rule, path, Some(shown(&target.to_string_lossy())));
    }

    fn content(&mut self, file: OwnedFd, about: &FileStat, path: &str) -> Result<(), OutOfTime> {
        let Ok(now) = fstat(file.as_fd()) else {
            self.tell("unreadable", path, None);
            return Ok(());
        };
        let same = (now.st_dev, now.st_ino, now.st_mode) == (about.st_dev, about.st_ino, about.st_mode);
        if !same {
            self.tell("changed-meanwhile", path, None);
            return Ok(());
        }
        let size = u64::try_from(now.st_size).unwrap_or(u64::MAX);
        if size > self.bounds.file {
            self.tell("oversized-file", path, Some(format!("{size} bytes")));
            return Ok(());
        }
        if self.seen.bytes.saturating_add(size) > self.bounds.text {
            self.tell("oversized-folder", path, Some(format!("more than {} bytes", self.bounds.text)));
            return Ok(());
        }
        let mut bytes = Vec::new();
        // One more than it may be: a file can grow while it is read.
        if let Err(error) = File::from(file).take(self.bounds.file + 1).read_to_end(&mut bytes) {
            self.tell("unreadable", path, Some(error.to_string()));
            return Ok(());
        }
        if bytes.len() as u64 > self.bounds.file {
            self.tell("changed-meanwhile", path, None);
            return Ok(());
        }
        self.seen.files += 1;
        self.seen.bytes += bytes.len() as u64;
        self.judge(path, &bytes)
    }

    fn judge(&mut self, path: &str, bytes: &[u8]) -> Result<(), OutOfTime> {
        let name = path.rsplit('/').next().unwrap_or(path);
        self.seen.instructions |= path.eq_ignore_ascii_case("SKILL.md");
        if shape::runs_on_its_own(path) {
            self.tell("runs-on-its-own", path, None);
        }
        if shape::is_install_script(name) {
            self.tell("install-script", path, None);
        }
        match shape::kind(path, bytes) {
            Kind::Shown => return Ok(()),
            Kind::Program => {
                self.tell("program", path, None);
                return Ok(());
            }
            Kind::Archive => {
                self.tell("archive", path, None);
                return Ok(());
            }
            Kind::Other => self.tell("not-text", path, None),
            Kind::Text => {}
        }
        let text = String::from_utf8_lossy(bytes);
        for (rule, evidence) in package::look(name, &text) {
            self.tell(rule, path, Some(evidence));
        }
        let mut found = Vec::new();
        text::look(&shown_path(path), &text, self.rules, self.deadline, &mut found)?;
        let room = self.bounds.findings.saturating_sub(self.seen.findings.len());
        self.seen.findings.extend(found.into_iter().take(room));
        Ok(())
    }
}

/// A path, fit for a line.
fn shown_path(path: &str) -> String {
    if path.is_empty() { ".".to_owned() } else { crate::policy::names::cut(path, 200) }
}

/// Whether a link at `depth` may lead out. Steps up count from where the link lies; one after a step down may go through another
/// link, and so leads anywhere.
fn leaves(target: &Path, depth: usize) -> bool {
    let mut up = 0;
    let mut down = false;
    for part in target.components() {
        match part {
            Component::RootDir | Component::Prefix(_) => return true,
            Component::CurDir => {}
            Component::ParentDir if down => return true,
            Component::ParentDir => up += 1,
            Component::Normal(_) => down = true,
        }
    }
    up > depth || target.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_that_may_lead_out_does() {
        for (target, depth) in
            [("/etc/passwd", 0), ("..", 0), ("../x", 0), ("../../x", 1), ("a/../../x", 1), ("a/..", 0), ("", 0)]
        {
            assert!(leaves(Path::new(target), depth), "{target} at {depth}");
        }
        for (target, depth) in [("x", 0), ("./x/y", 0), ("../x", 1), ("../../x", 2)] {
            assert!(!leaves(Path::new(target), depth), "{target} at {depth}");
        }
    }
}
