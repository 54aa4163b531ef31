//! The process that asks the broker: what init knows of it, and reads out of its memory.
//!
//! It waits meanwhile, but its threads do not: what is read here counts once, and is read once.

use std::ffi::OsString;
use std::io::IoSliceMut;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use nix::sys::stat::Mode;
use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use crate::sys::seccomp::{Notification, NotificationId, confirm_waiting};

/// `PATH_MAX`, its final NUL included.
const LONGEST_PATH: usize = 4096;
/// Reads do not cross a page, so that an unmapped one behind the text is not touched.
const PAGE: usize = 4096;
/// Most texts are no longer, so no more is read at first.
const SHORT: usize = 256;

/// The process that asks.
pub struct Asker<'a> {
    listener: BorrowedFd<'a>,
    id: NotificationId,
    pub(super) pid: i32,
}

impl<'a> Asker<'a> {
    /// The process behind a notification; `None` when it has no number in our pid namespace.
    pub fn new(listener: BorrowedFd<'a>, notification: &Notification) -> Option<Asker<'a>> {
        let pid = i32::try_from(notification.pid).ok().filter(|pid| *pid > 0)?;
        Some(Asker { listener, id: notification.id, pid })
    }

    /// Whether the process still waits, so that what was read by its pid was its own.
    pub fn still_waits(&self) -> bool {
        confirm_waiting(self.listener, self.id).is_ok()
    }

    /// Its file mode creation mask; the usual one where /proc does not tell.
    pub fn umask(&self) -> Mode {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
        let mask = line.and_then(|octal| u32::from_str_radix(octal.trim(), 8).ok());
        Mode::from_bits_truncate(mask.unwrap_or(0o022))
    }

    /// Its thread's number in our pid namespace.
    pub fn pid(&self) -> u32 {
        self.pid.unsigned_abs()
    }

    /// The name that the kernel has for it.
    pub fn name(&self) -> Vec<u8> {
        let mut name = std::fs::read(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        name.truncate(name.iter().rposition(|byte| *byte != b'\n').map_or(0, |last| last + 1));
        name
    }

    /// The process above it; `None` where /proc does not tell.
    pub fn parent(&self) -> Option<u32> {
        let stat = std::fs::read(format!("/proc/{}/stat", self.pid)).ok()?;
        // Behind the name, which may hold anything: the state, then this.
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        std::str::from_utf8(stat.get(end + 1..)?).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
    }

    /// What one of its descriptors, or its directory, is called.
    pub fn path_of(&self, descriptor: i32) -> Option<PathBuf> {
        let link = match descriptor {
            libc::AT_FDCWD => format!("/proc/{}/cwd", self.pid),
            number => format!("/proc/{}/fd/{number}", self.pid),
        };
        std::fs::read_link(link).ok()
    }

    /// So many bytes of its memory; `None` if they are not all there.
    pub fn bytes(&self, address: u64, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        let remote = [RemoteIoVec { base: usize::try_from(address).ok()?, len: length }];
        let read = process_vm_readv(Pid::from_raw(self.pid), &mut [IoSliceMut::new(&mut bytes)], &remote).ok()?;
        (read == length).then_some(bytes)
    }

    /// Up to so many machine words of its memory: as many as there are up to the end of a page, and on the next one.
    pub fn words(&self, address: u64, most: usize) -> Vec<u64> {
        const WORD: usize = size_of::<u64>();
        let Ok(address) = usize::try_from(address) else { return Vec::new() };
        let whole = most * WORD;
        let first = (PAGE - address % PAGE).min(whole);
        let mut bytes = vec![0; whole];
        // Two pieces, so that a second page that is not there does not take the first one's words away.
        let remote = [
            RemoteIoVec { base: address, len: first },
            RemoteIoVec { base: address.saturating_add(first), len: whole - first },
        ];
        let read = process_vm_readv(Pid::from_raw(self.pid), &mut [IoSliceMut::new(&mut bytes)], &remote);
        bytes.truncate(read.unwrap_or(0));
        let words = bytes.chunks_exact(WORD).filter_map(|word| word.try_into().ok());
        words.map(u64::from_ne_bytes).collect()
    }

    /// What is in its memory at each of these addresses, up to `most` bytes and the end of a page; nothing from the first on that
    /// cannot be read.
    pub fn pieces(&self, addresses: &[u64], most: usize) -> Vec<Vec<u8>> {
        let remote = |address: &u64| {
            let base = usize::try_from(*address).unwrap_or(0);
            RemoteIoVec { base, len: (PAGE - base % PAGE).min(most) }
        };
        let remote: Vec<RemoteIoVec> = addresses.iter().map(remote).collect();
        let mut bytes = vec![0; remote.iter().map(|piece| piece.len).sum()];
        let read = process_vm_readv(Pid::from_raw(self.pid), &mut [IoSliceMut::new(&mut bytes)], &remote).unwrap_or(0);
        let mut rest = bytes.get(..read).unwrap_or_default();
        let mut pieces = Vec::new();
        for piece in remote {
            let Some((own, behind)) = rest.split_at_checked(piece.len) else { break };
            pieces.push(own.to_vec());
            rest = behind;
        }
        pieces
    }

    /// The beginning of a text in its memory, and whether that is all of it.
    pub fn text_of(&self, address: u64, most: usize) -> Option<(Vec<u8>, bool)> {
        let address = usize::try_from(address).ok()?;
        let mut text = vec![0; (PAGE - address % PAGE).min(most)];
        let remote = [RemoteIoVec { base: address, len: text.len() }];
        let count = process_vm_readv(Pid::from_raw(self.pid), &mut [IoSliceMut::new(&mut text)], &remote).ok()?;
        text.truncate(count);
        if let Some(end) = text.iter().position(|byte| *byte == 0) {
            text.truncate(end);
            return Some((text, true));
        }
        // It goes on behind the page, or is longer than wanted.
        let rest = most.saturating_sub(count);
        let whole = rest > 0 && count > 0;
        let more = whole.then(|| self.text_of(address.checked_add(count)? as u64, rest)).flatten();
        let (more, ended) = more.unwrap_or_default();
        text.extend(more);
        Some((text, ended))
    }

    /// A NUL-terminated text in its memory.
    pub fn text(&self, address: u64) -> Option<OsString> {
        let mut text = Vec::new();
        let mut address = usize::try_from(address).ok()?;
        while text.len() < LONGEST_PATH {
            let most = if text.is_empty() { SHORT } else { LONGEST_PATH - text.len() };
            let mut page = vec![0; (PAGE - address % PAGE).min(most)];
            let remote = [RemoteIoVec { base: address, len: page.len() }];
            let count = process_vm_readv(Pid::from_raw(self.pid), &mut [IoSliceMut::new(&mut page)], &remote).ok()?;
            let read = page.get(..count)?;
            if let Some(end) = read.iter().position(|byte| *byte == 0) {
                text.extend_from_slice(read.get(..end)?);
                return Some(OsString::from_vec(text));
            }
            if count < page.len() {
                return None;
            }
            text.extend_from_slice(read);
            address = address.checked_add(count)?;
        }
        None
    }
}
