//! Work with files, done by a process of the jail that wears what its commands wear: it can reach nothing that they could
//! not, and what they may not change, it may not either. Its answer goes to stdout.
//!
//! Runs after fork, like a command up to its `execve`.

use std::ffi::{OsStr, OsString};
use std::fs::{self, DirBuilder, File, Metadata, Permissions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{RenameFlags, renameat2};

use crate::confine::identity::errno_of;
use crate::sys::process;
use crate::wire::files::{Answer, Entry, Facts, FileJob, MOST_LISTED, MOST_READ, Part};

/// What does not work, and where.
type Done<T> = Result<T, (Errno, PathBuf)>;

/// Does `job`, tells what came of it, and ends the process.
pub fn work(job: &FileJob) -> ! {
    // The broker reads what this process asks out of its memory, which it may not while that refuses inspection.
    let answer = match process::allow_inspection() {
        Ok(()) => perform(job).unwrap_or_else(|(errno, path)| refuse(errno, &path)),
        Err(errno) => refuse(errno, Path::new("/proc/self")),
    };
    let told = postcard::to_stdvec(&answer).is_ok_and(|bytes| io::stdout().write_all(&bytes).is_ok());
    let code = match answer {
        Answer::Not { .. } => 1,
        _ if told => 0,
        _ => 2,
    };
    let _ = io::stdout().flush();
    process::leave(code)
}

fn perform(job: &FileJob) -> Done<Answer> {
    match job {
        FileJob::Stat { path, follow, look } => stat(path_of(path), *follow, *look),
        FileJob::Read { path, offset, length } => read(path_of(path), *offset, *length).map(Answer::Read),
        FileJob::Write { path, mode, look } => {
            write(path_of(path), *mode)?;
            look_again(path_of(path), *look)
        }
        FileJob::Create { path, mode, look } => {
            create(path_of(path), *mode)?;
            look_again(path_of(path), *look)
        }
        FileJob::Mkdir { path, parents, mode } => make_directory(path_of(path), *parents, *mode),
        FileJob::Remove { path, recursive } => remove(path_of(path), *recursive),
        FileJob::Rename { from, to, replace } => rename(path_of(from), path_of(to), *replace),
        FileJob::List { path, after } => list(path_of(path), after.as_deref()),
    }
}

fn path_of(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn at<'a>(path: &'a Path) -> impl Fn(io::Error) -> (Errno, PathBuf) + 'a {
    move |error| (errno_of(&error), path.to_path_buf())
}

/// Says where it did not work, and by which link one got there: the usual reason why what is there cannot be reached.
fn refuse(errno: Errno, path: &Path) -> Answer {
    let shown = path.display();
    let what = match fs::read_link(path) {
        Ok(target) => format!("`{shown}`, a link to `{}`", target.display()),
        Err(_) => format!("`{shown}`"),
    };
    Answer::Not { errno: errno as i32, what }
}

fn kind(facts: &Metadata) -> String {
    let kind = facts.file_type();
    let word = match (kind.is_file(), kind.is_dir(), kind.is_symlink()) {
        (true, ..) => "file",
        (_, true, _) => "directory",
        (_, _, true) => "link",
        _ => "other",
    };
    word.to_owned()
}

/// What a file is now that it was written, where that is asked for. Whatever became of it since, it was written.
fn look_again(path: &Path, look: Option<u64>) -> Done<Answer> {
    let Some(look) = look else { return Ok(Answer::Done) };
    stat(path, true, Some(look)).or(Ok(Answer::Done))
}

fn stat(path: &Path, follow: bool, look: Option<u64>) -> Done<Answer> {
    let facts = if follow { fs::metadata(path) } else { fs::symlink_metadata(path) }.map_err(at(path))?;
    let target = facts.file_type().is_symlink().then(|| fs::read_link(path).ok()).flatten();
    // What may not be read can still be there, and that was the question.
    let seen = look.filter(|_| facts.is_file()).and_then(|length| read(path, 0, length).ok());
    let facts = Facts {
        kind: kind(&facts),
        size: facts.size(),
        mode: facts.mode() & 0o7777,
        modified_ms: facts.mtime().saturating_mul(1000).saturating_add(facts.mtime_nsec() / 1_000_000),
        target: target.map(|target| target.into_os_string().into_vec()),
    };
    Ok(Answer::Facts(facts, seen))
}

/// Opens what is surely a regular file: a pipe would make us wait for its other end, and a device may do anything.
fn open_regular(path: &Path) -> Done<File> {
    let mut options = File::options();
    options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let file = options.open(path).map_err(at(path))?;
    let facts = file.metadata().map_err(at(path))?;
    match (facts.is_file(), facts.is_dir()) {
        (true, _) => Ok(file),
        (_, true) => Err((Errno::EISDIR, path.to_path_buf())),
        _ => Err((Errno::EINVAL, path.to_path_buf())),
    }
}

fn read(path: &Path, offset: u64, length: u64) -> Done<Part> {
    let mut file = open_regular(path)?;
    file.seek(SeekFrom::Start(offset)).map_err(at(path))?;
    let mut bytes = Vec::new();
    // One more shows whether there is more.
    let wanted = length.min(MOST_READ);
    (&mut file).take(wanted + 1).read_to_end(&mut bytes).map_err(at(path))?;
    let end = bytes.len() as u64 <= wanted;
    bytes.truncate(usize::try_from(wanted).unwrap_or(usize::MAX));
    let size = file.metadata().map_err(at(path))?.size();
    Ok(Part { bytes, size, end })
}

/// Beside the file, under a name of its own, then in its place: nobody ever sees half of it.
fn write(path: &Path, mode: Option<u32>) -> Done<()> {
    // Through links: what they lead to is written, and they stay.
    let real = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == ErrorKind::NotFound && path.symlink_metadata().is_err() => path.to_path_buf(),
        Err(error) => return Err(at(path)(error)),
    };
    let kept = match real.symlink_metadata() {
        Ok(facts) if facts.is_file() => Some(facts.mode() & 0o777),
        Ok(facts) if facts.is_dir() => return Err((Errno::EISDIR, real)),
        Ok(_) => return Err((Errno::EINVAL, real)),
        Err(_) => None,
    };
    if kept.is_some() {
        // One that may not be written is not replaced either.
        File::options().write(true).open(&real).map_err(at(&real))?;
    }
    let beside = beside(&real)?;
    let written = fill(&beside, mode.map(|mode| mode & 0o777).or(kept));
    let placed = written.and_then(|()| fs::rename(&beside, &real).map_err(at(&real)));
    if placed.is_err() {
        // Not there, or ours.
        let _ = fs::remove_file(&beside);
    }
    placed
}

/// A name in the same directory that nobody has.
fn beside(path: &Path) -> Done<PathBuf> {
    let name = path.file_name().ok_or_else(|| (Errno::EINVAL, path.to_path_buf()))?;
    let mut random = [0; 8];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random)).map_err(at(path))?;
    let mut own = OsString::from(".clawjail-");
    own.push(format!("{:016x}", u64::from_ne_bytes(random)));
    // Part of the name, so that whoever finds it after a power cut knows what it is of; names have at most 255 bytes.
    own.push(".");
    own.push(OsStr::from_bytes(name.as_bytes().get(..200).unwrap_or(name.as_bytes())));
    Ok(path.with_file_name(own))
}

fn create(path: &Path, mode: Option<u32>) -> Done<()> {
    let filled = fill(path, mode.map(|mode| mode & 0o777));
    // With any other error it was there before, or was never made.
    if let Err((Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG | Errno::EIO, _)) = &filled {
        drop(fs::remove_file(path));
    }
    filled
}

/// Makes `path`, which must not be there, with what comes on stdin.
fn fill(path: &Path, mode: Option<u32>) -> Done<()> {
    let mut options = File::options();
    options.write(true).create_new(true).mode(0o666);
    let mut file = options.open(path).map_err(at(path))?;
    let mut input = io::stdin().lock();
    io::copy(&mut input, &mut file).map_err(at(path))?;
    match mode {
        Some(mode) => file.set_permissions(Permissions::from_mode(mode)).map_err(at(path)),
        None => Ok(()),
    }
}

fn make_directory(path: &Path, parents: bool, mode: Option<u32>) -> Done<Answer> {
    let made = DirBuilder::new().recursive(parents).mode(mode.unwrap_or(0o777) & 0o777).create(path);
    made.map_err(at(path))?;
    Ok(Answer::Done)
}

fn remove(path: &Path, recursive: bool) -> Done<Answer> {
    let facts = path.symlink_metadata().map_err(at(path))?;
    let removed = match (facts.is_dir(), recursive) {
        (false, _) => fs::remove_file(path),
        (true, false) => fs::remove_dir(path),
        // Never through a link.
        (true, true) => fs::remove_dir_all(path),
    };
    removed.map_err(at(path))?;
    Ok(Answer::Done)
}

fn rename(from: &Path, to: &Path, replace: bool) -> Done<Answer> {
    let here = nix::fcntl::AT_FDCWD;
    let flags = if replace { RenameFlags::empty() } else { RenameFlags::RENAME_NOREPLACE };
    let renamed = renameat2(here, from, here, to, flags);
    renamed.map_err(|errno| {
        // Which of the two it was about, the kernel does not say.
        let is_from = from.symlink_metadata().is_err();
        (errno, if is_from { from } else { to }.to_path_buf())
    })?;
    Ok(Answer::Done)
}

fn list(path: &Path, after: Option<&[u8]>) -> Done<Answer> {
    let mut entries = Vec::new();
    for entry in fs::read_dir(path).map_err(at(path))? {
        let entry = entry.map_err(at(path))?;
        let name = entry.file_name().into_vec();
        if after.is_some_and(|after| name.as_slice() <= after) {
            continue;
        }
        // One that is gone again, or may not be looked at, is listed as something.
        let (kind, size) =
            entry.metadata().map_or_else(|_| ("other".to_owned(), 0), |facts| (kind(&facts), facts.size()));
        entries.push(Entry { name, kind, size });
    }
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    let more = entries.len() > MOST_LISTED;
    entries.truncate(MOST_LISTED);
    Ok(Answer::Listed { entries, more })
}
