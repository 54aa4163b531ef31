//! Room for records of runs that are still going: blocks of the disk that nobody else can take.
//!
//! Owns how space is asked for and counted. A run that cannot be accounted for must not begin, so its room is taken first.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::fstatvfs;

use super::line::LONGEST;

/// Asked for at once, so that not every run asks.
const CHUNK: u64 = 1 << 20;

/// Room for one record. It is given back when this goes away, which is to be after the record was written.
#[derive(Debug)]
#[must_use]
pub struct Room {
    taken: Arc<AtomicU64>,
}

/// How much room is taken.
#[derive(Clone, Debug, Default)]
pub struct Rooms {
    taken: Arc<AtomicU64>,
}

impl Rooms {
    /// Takes one more.
    pub fn take(&self) -> Room {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Room { taken: self.taken.clone() }
    }

    /// How many bytes must be there: for those that are taken, one more, and what the ledger may have to say itself.
    pub fn bytes(&self) -> u64 {
        (self.taken.load(Ordering::Relaxed) + 2).saturating_mul(LONGEST as u64)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Makes the filesystem keep `bytes` after `from` for this file; says up to where it does. The length stays as it is.
pub fn keep(file: &File, from: u64, bytes: u64) -> io::Result<u64> {
    match keep_just(file, from, bytes.saturating_add(CHUNK)) {
        Ok(()) => Ok(from.saturating_add(bytes).saturating_add(CHUNK)),
        Err(_) => keep_just(file, from, bytes).map(|()| from.saturating_add(bytes)),
    }
}

/// The same, and not a chunk more.
pub fn keep_just(file: &File, from: u64, bytes: u64) -> io::Result<()> {
    let signed = |number: u64| i64::try_from(number).map_err(|_| io::Error::from(ErrorKind::FileTooLarge));
    match fallocate(file.as_fd(), FallocateFlags::FALLOC_FL_KEEP_SIZE, signed(from)?, signed(bytes)?) {
        Ok(()) => Ok(()),
        Err(Errno::EOPNOTSUPP | Errno::ENOSYS) => is_free(file, bytes),
        Err(Errno::EINTR) => keep_just(file, from, bytes),
        Err(errno) => Err(errno.into()),
    }
}

/// The best that can be had where blocks cannot be kept: there is space now.
fn is_free(file: &File, bytes: u64) -> io::Result<()> {
    let facts = fstatvfs(file)?;
    let free = facts.blocks_available().saturating_mul(facts.fragment_size());
    if free >= bytes { Ok(()) } else { Err(ErrorKind::StorageFull.into()) }
}

/// Gives back what was kept after the end of the file.
pub fn trim(file: &File, length: u64) {
    // Asked first, for a change of the file that changes nothing would have to be synced too. Blocks are of 512 bytes.
    let kept = file.metadata().is_ok_and(|facts| facts.blocks().saturating_mul(512) > length + LONGEST as u64);
    if kept {
        // A filesystem may refuse (append-only files); what it keeps then is in nobody's way.
        let _ = file.set_len(length);
    }
}
