//! Opening by a path with rules for the walk. openat2(2).

use std::os::fd::{AsFd, OwnedFd};

use nix::NixPath;
use nix::errno::Errno;
use nix::fcntl::{OpenHow, openat2};

/// How often a walk is begun again. Each takes microseconds, and one is enough unless somebody renames all the time.
const MOST_TRIES: usize = 1000;

/// Opens `path`. A walk with `..` in a scope is given up by the kernel with `EAGAIN` when anything on the host was renamed or
/// mounted meanwhile, and is then begun again.
pub fn open_resolved<P: ?Sized + NixPath>(directory: impl AsFd, path: &P, how: OpenHow) -> Result<OwnedFd, Errno> {
    let open = || openat2(directory.as_fd(), path, how);
    (1..MOST_TRIES).map(|_| open()).find(|opened| !matches!(opened, Err(Errno::EAGAIN))).unwrap_or_else(open)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use nix::fcntl::{OFlag, ResolveFlag};

    use super::*;

    #[test]
    fn a_walk_is_begun_again_while_somebody_renames() {
        let top = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(top.path().join("a/b")).expect("own directory");
        fs::write(top.path().join("one"), "").expect("own directory");
        let directory = File::open(top.path()).expect("own directory");
        let how = OpenHow::new().flags(OFlag::O_PATH).resolve(ResolveFlag::RESOLVE_IN_ROOT);
        let path = "a/b/../b/../b/..";
        let over = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    for (from, to) in [("one", "other"), ("other", "one")] {
                        fs::rename(top.path().join(from), top.path().join(to)).expect("own file");
                    }
                }
            });
            let begun = Instant::now();
            let mut given_up = 0;
            // Control: the kernel does give walks up.
            while given_up < 20 && begun.elapsed() < Duration::from_secs(30) {
                given_up += usize::from(openat2(&directory, path, how).err() == Some(Errno::EAGAIN));
                let opened = open_resolved(&directory, path, how);
                assert!(opened.is_ok(), "{opened:?}");
            }
            over.store(true, Ordering::Relaxed);
            assert_eq!(given_up, 20);
        });
    }
}
