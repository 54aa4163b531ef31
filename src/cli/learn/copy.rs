//! A private copy of a workspace, for a run whose changes nobody wants.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

/// More is not copied.
const MOST_BYTES: u64 = 16 << 30;
/// Deeper trees are none.
const DEEPEST: usize = 200;

/// A directory that goes away with this, with all that is in it.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes it, for us alone.
    pub fn new() -> io::Result<Scratch> {
        let name = format!("clawjail-learn.{}", uuid::Uuid::now_v7().simple());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Scratch { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A directory in it, for us alone.
    pub fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

/// Removes a tree of our own. What a command made unreadable for itself, we make readable again first.
pub fn remove(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path).or_else(|_| {
        open_up(path, 0);
        fs::remove_dir_all(path)
    })
}

fn open_up(path: &Path, depth: usize) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if depth < DEEPEST && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            open_up(&entry.path(), depth + 1);
        }
    }
}

/// Copies `from`, a directory, to `to`, which is not there yet: names, contents, modes, owners as far as we may, and times, by which
/// build tools go. Sockets, pipes and devices are left out.
pub fn copy(from: &Path, to: &Path) -> io::Result<()> {
    let mut left = MOST_BYTES;
    copy_directory(from, to, &mut left, 0)
}

fn copy_directory(from: &Path, to: &Path, left: &mut u64, depth: usize) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other(format!("`{}` lies too deep", from.display())));
    }
    let about = fs::metadata(from)?;
    DirBuilder::new().mode(0o700).create(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() {
            copy_directory(&source, &target, left, depth + 1)?;
        } else if kind.is_symlink() {
            let about = entry.metadata()?;
            symlink(fs::read_link(&source)?, &target)?;
            own(&target, &about)?;
        } else if kind.is_file() {
            copy_file(&source, &target, &entry.metadata()?, left)?;
        }
    }
    own(to, &about)?;
    fs::set_permissions(to, about.permissions())?;
    keep_times(to, &about)
}

fn copy_file(from: &Path, to: &Path, about: &Metadata, left: &mut u64) -> io::Result<()> {
    *left = left.checked_sub(about.len()).ok_or_else(|| io::Error::other("it holds more than 16 GiB"))?;
    // By reference where the filesystem can.
    fs::copy(from, to)?;
    own(to, about)?;
    fs::set_permissions(to, about.permissions())?;
    keep_times(to, about)
}

fn own(path: &Path, about: &Metadata) -> io::Result<()> {
    match lchown(path, Some(about.uid()), Some(about.gid())) {
        // A group that we are not in: the file is ours then, as a checkout would make it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        owned => owned,
    }
}

fn keep_times(path: &Path, about: &Metadata) -> io::Result<()> {
    let [read, changed] = [(about.atime(), about.atime_nsec()), (about.mtime(), about.mtime_nsec())]
        .map(|(seconds, nanoseconds)| TimeSpec::new(seconds, nanoseconds));
    utimensat(AT_FDCWD, path, &read, &changed, UtimensatFlags::NoFollowSymlink).map_err(io::Error::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_copy_has_the_names_contents_modes_times_and_links_and_goes_away() {
        let source = tempfile::TempDir::new().expect("a directory");
        let file = source.path().join("a/b");
        fs::create_dir(source.path().join("a")).expect("own directory");
        fs::write(&file, "content").expect("own file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o751)).expect("own file");
        symlink("/nowhere", source.path().join("link")).expect("own directory");
        let scratch = Scratch::new().expect("a directory");
        let copied = scratch.path().join("copy");
        copy(source.path(), &copied).expect("a copy");
        let (one, other) = (fs::metadata(&file).expect("it"), fs::metadata(copied.join("a/b")).expect("its copy"));
        assert_eq!(
            (one.mode(), one.mtime(), one.mtime_nsec(), one.uid()),
            (other.mode(), other.mtime(), other.mtime_nsec(), other.uid())
        );
        assert_eq!(fs::read_link(copied.join("link")).expect("a link"), Path::new("/nowhere"));
        // Another file: a change of one is none of the other.
        fs::write(copied.join("a/b"), "changed").expect("own file");
        assert_eq!(fs::read_to_string(&file).expect("own file"), "content");
        let path = scratch.path().to_owned();
        fs::set_permissions(copied.join("a"), fs::Permissions::from_mode(0o000)).expect("own directory");
        drop(scratch);
        assert!(!path.exists());
    }
}
