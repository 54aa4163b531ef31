//! Files that a command opens to change them.
//!
//! Where the broker keeps files by their names, the command's second Landlock domain lets it change none by its path. So init
//! opens them, once it has looked at the name, and gives the descriptor away. What is none of ours is the kernel's to answer.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, FcntlArg, OFlag, fcntl, openat, readlinkat};
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::ftruncate;

use super::asker::Asker;
use super::asking::{Place, path_of, resolve};
use super::judging::{Answer, Judge, Kind, lies_in};
use super::placing::{MOST_LINKS, by_descriptor, follow, kind_at, plain, take_back, with_umask};
use super::vetting::{self, Coming};

/// Opens what has the name, or makes it.
pub fn open(judge: &Judge, asker: &Asker<'_>, at: &Place, flags: i32, mode: u32, followed: usize) -> Answer {
    let wanted = OFlag::from_bits_retain(flags);
    if !judge.concerns(at) || wanted.intersects(OFlag::O_PATH | OFlag::O_DIRECTORY) {
        return Answer::Continue;
    }
    match kind_at(at) {
        Err(Errno::ENOENT) if wanted.contains(OFlag::O_CREAT) => create(judge, asker, at, wanted, mode),
        Ok(SFlag::S_IFLNK) if !wanted.intersects(OFlag::O_EXCL | OFlag::O_NOFOLLOW) && followed < MOST_LINKS => {
            match readlinkat(&at.parent, at.name.as_os_str()).ok().and_then(|target| follow(at, &target)) {
                Some(target) => open(judge, asker, &target, flags, mode, followed + 1),
                None => Answer::Continue,
            }
        }
        Ok(SFlag::S_IFREG) if judge.opens_existing && judge.shielded(&at.whole(), "write").is_none() => {
            open_existing(judge, at, wanted)
        }
        Ok(SFlag::S_IFREG) if judge.vets => vetting::may_be_written(judge, at).err().unwrap_or(Answer::Continue),
        Ok(SFlag::S_IFIFO) if judge.opens_existing && judge.shielded(&at.whole(), "write").is_none() => {
            open_pipe(at, wanted)
        }
        Ok(_) | Err(_) => Answer::Continue,
    }
}

fn create(judge: &Judge, asker: &Asker<'_>, at: &Place, wanted: OFlag, mode: u32) -> Answer {
    if let Some(denied) = judge.forbids(&at.whole(), "create", Kind::Other) {
        return denied;
    }
    if let Err(denied) = vetting::may_come(judge, at, Coming::File) {
        return denied;
    }
    // Exclusive, so that it is certainly a new regular file that we open: no link, and no pipe that would make us wait.
    let ours = (wanted | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_NOCTTY) & !OFlag::O_TRUNC;
    match with_umask(asker, || openat(&at.parent, at.name.as_os_str(), ours, plain(mode))) {
        Err(Errno::EEXIST) => Answer::Continue,
        Err(errno) => Answer::Errno(errno),
        Ok(_) if !at.has_stayed() => take_back(at, Kind::Other),
        Ok(file) => match vetting::may_come(judge, at, Coming::File) {
            Ok(_) => Answer::Opened(file, wanted.bits() & libc::O_CLOEXEC),
            // Another jail made the directory a repository meanwhile.
            Err(denied) => {
                let _ = take_back(at, Kind::Other);
                denied
            }
        },
    }
}

/// A file that is there and free.
fn open_existing(judge: &Judge, at: &Place, wanted: OFlag) -> Answer {
    if wanted.contains(OFlag::O_EXCL | OFlag::O_CREAT) {
        return Answer::Errno(Errno::EEXIST);
    }
    if let Err(denied) = vetting::may_be_written(judge, at) {
        return denied;
    }
    match openat(&at.parent, at.name.as_os_str(), at_once(wanted) | OFlag::O_NOFOLLOW, Mode::empty()) {
        Err(errno) => Answer::Errno(errno),
        Ok(file) if vetting::means_nothing(at) && path_of(&file).is_some_and(|path| path == at.whole()) => {
            hand_over(file, wanted)
        }
        Ok(_) if !at.has_stayed() => Answer::Errno(Errno::ENOENT),
        Ok(file) => give(judge, file, wanted),
    }
}

/// Flags by which init opens what the command wants, without waiting for anybody.
fn at_once(wanted: OFlag) -> OFlag {
    (wanted | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY) & !(OFlag::O_CREAT | OFlag::O_EXCL)
}

/// Gives the descriptor away, unless the file has got another name meanwhile, under which it would not have been opened.
fn give(judge: &Judge, file: OwnedFd, wanted: OFlag) -> Answer {
    if judge.vets && !may_be_written_by_any_name(judge, &file) {
        return Answer::Errno(Errno::ENOENT);
    }
    hand_over(file, wanted)
}

/// Init's own flags go, the command's stay.
fn hand_over(file: OwnedFd, wanted: OFlag) -> Answer {
    if !wanted.contains(OFlag::O_NONBLOCK) {
        let before = wanted & !(OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_TRUNC | OFlag::O_CLOEXEC);
        let _ = fcntl(&file, FcntlArg::F_SETFL(before));
    }
    Answer::Opened(file, wanted.bits() & libc::O_CLOEXEC)
}

/// Whether the file, by the name that the kernel knows it by, may be written. One without a name can never get one again.
fn may_be_written_by_any_name(judge: &Judge, file: &OwnedFd) -> bool {
    let Ok(about) = fstat(file) else { return false };
    if about.st_nlink == 0 {
        return true;
    }
    let Some(at) = path_of(file).and_then(|path| resolve(None, path.as_os_str()).ok()) else { return false };
    judge.shielded(&at.whole(), "write").is_none() && vetting::may_be_written(judge, &at).is_ok()
}

/// A pipe with a name. Opening one for writing waits for a reader, and init waits for nobody.
fn open_pipe(at: &Place, wanted: OFlag) -> Answer {
    if wanted.contains(OFlag::O_EXCL | OFlag::O_CREAT) {
        return Answer::Errno(Errno::EEXIST);
    }
    match openat(&at.parent, at.name.as_os_str(), at_once(wanted) | OFlag::O_NOFOLLOW, Mode::empty()) {
        Err(Errno::ENXIO) if !wanted.contains(OFlag::O_NONBLOCK) => Answer::Later,
        Err(errno) => Answer::Errno(errno),
        Ok(pipe) => hand_over(pipe, wanted),
    }
}

/// A file that the process has open already: its standard output, by the path of its number.
pub fn reopen(judge: &Judge, held: &OwnedFd, writable: bool, flags: i32) -> Answer {
    let wanted = OFlag::from_bits_retain(flags);
    let regular =
        fstat(held).is_ok_and(|stat| SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT == SFlag::S_IFREG);
    let ours = path_of(held).is_some_and(|path| lies_in(&judge.trees, &path));
    if !regular || !(ours || writable) || !judge.opens_existing || wanted.intersects(OFlag::O_PATH | OFlag::O_DIRECTORY)
    {
        return Answer::Continue;
    }
    if wanted.contains(OFlag::O_EXCL | OFlag::O_CREAT) {
        return Answer::Errno(Errno::EEXIST);
    }
    if !writable && !may_be_written_by_any_name(judge, held) {
        return Answer::Errno(Errno::EACCES);
    }
    match openat(AT_FDCWD, by_descriptor(held).as_path(), at_once(wanted), Mode::empty()) {
        Err(errno) => Answer::Errno(errno),
        // What it can change anyway, under whatever name.
        Ok(file) if writable => hand_over(file, wanted),
        Ok(file) => give(judge, file, wanted),
    }
}

/// A file without a name, which can get none: linking it needs the command's own right to make names.
pub fn open_unnamed(judge: &Judge, asker: &Asker<'_>, directory: &OwnedFd, flags: i32, mode: u32) -> Answer {
    let wanted = OFlag::from_bits_retain(flags);
    if !path_of(directory).is_some_and(|path| lies_in(&judge.trees, &path)) {
        return Answer::Continue;
    }
    let ours = wanted | OFlag::O_CLOEXEC;
    match with_umask(asker, || openat(directory, Path::new("."), ours, plain(mode))) {
        Err(errno) => Answer::Errno(errno),
        Ok(file) => Answer::Opened(file, flags & libc::O_CLOEXEC),
    }
}

/// Shortens or lengthens a file by its path.
pub fn truncate(judge: &Judge, at: &Place, length: i64, followed: usize) -> Answer {
    if !judge.concerns(at) || !judge.opens_existing {
        return Answer::Continue;
    }
    match kind_at(at) {
        Ok(SFlag::S_IFLNK) if followed < MOST_LINKS => {
            let target = readlinkat(&at.parent, at.name.as_os_str()).ok().and_then(|target| follow(at, &target));
            target.map_or(Answer::Continue, |target| truncate(judge, &target, length, followed + 1))
        }
        Ok(SFlag::S_IFREG) if judge.shielded(&at.whole(), "write").is_none() => {
            match open_existing(judge, at, OFlag::O_WRONLY) {
                Answer::Opened(file, _) => set_length(&file, length),
                other => other,
            }
        }
        Ok(_) | Err(_) => Answer::Continue,
    }
}

fn set_length(file: &OwnedFd, length: i64) -> Answer {
    // The kernel would end init with a signal for what it ends the command for.
    let most = getrlimit(Resource::RLIMIT_FSIZE).map_or(0, |(soft, _)| soft);
    if u64::try_from(length).is_ok_and(|length| length > most) {
        return Answer::Errno(Errno::EFBIG);
    }
    match ftruncate(file.as_fd(), length) {
        Ok(()) => Answer::Done,
        Err(errno) => Answer::Errno(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_opens_what_is_there_without_waiting_and_makes_nothing() {
        let ours = at_once(OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_APPEND);
        assert!(ours.contains(OFlag::O_NONBLOCK | OFlag::O_CLOEXEC | OFlag::O_APPEND));
        assert!(!ours.intersects(OFlag::O_CREAT | OFlag::O_EXCL));
    }
}
