//! What the hostile program does to settings of git between their vetting and their use.

use std::ffi::CString;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use nix::errno::Errno;

use super::attack::{call, errno, os};

/// Settings that are harmless, and as long as the others.
const GOOD: &[u8] = b"[user]\n\tname = harmless-settings-of-git\n\temail = x\n";
/// Settings that make git run something.
const EVIL: &[u8] = b"[core]\n\tfsmonitor = harmful-settings-of-git\n\teol = lf\n";

/// Tries one operation; `None` if it is none of these.
pub fn attempt(name: &str, words: &[CString]) -> Option<Result<String, Errno>> {
    let path = |number: usize| std::path::PathBuf::from(os(&words[number]));
    Some(match name {
        "settings" => settle(&path(1), &path(2)).map_err(errno),
        "settings-while-open" => while_open(&path(1), &path(2)).map_err(errno),
        "settings-while-mapped" => while_mapped(&path(1), &path(2)),
        "settings-race" => race(&path(1), &path(2)).map_err(errno),
        "settings-write" => Ok(write_for(&path(1), 3)),
        "settings-move" => Ok(move_for(&path(1), &path(2), 2)),
        _ => return None,
    })
}

fn settle(from: &Path, to: &Path) -> std::io::Result<String> {
    std::fs::write(from, GOOD)?;
    std::fs::rename(from, to).map(|()| String::new())
}

/// Keeps the file open, so that it could be written after it was looked at.
fn while_open(from: &Path, to: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::create(from)?;
    file.write_all(GOOD)?;
    std::fs::rename(from, to)?;
    file.seek(SeekFrom::Start(0))?;
    file.write_all(EVIL).map(|()| String::new())
}

/// The same by memory: the descriptor is closed, the mapping is not.
fn while_mapped(from: &Path, to: &Path) -> Result<String, Errno> {
    std::fs::write(from, GOOD).map_err(errno)?;
    let file = std::fs::File::options().read(true).write(true).open(from).map_err(errno)?;
    let rights = i64::from(libc::PROT_READ | libc::PROT_WRITE);
    let number = i64::from(std::os::fd::AsRawFd::as_raw_fd(&file));
    let memory = call(libc::SYS_mmap, &[0, GOOD.len() as i64, rights, libc::MAP_SHARED.into(), number, 0])?;
    drop(file);
    std::fs::rename(from, to).map_err(errno)?;
    let length = GOOD.len().min(EVIL.len());
    // SAFETY: the mapping is new, writable and at least as long, and nothing else knows of it.
    unsafe { std::ptr::copy_nonoverlapping(EVIL.as_ptr(), memory as *mut u8, length) };
    Ok(String::new())
}

/// One thread opens, writes and closes the file all the time, the other renames it: says whether any rename got through, and how
/// often the settings were seen to be evil.
fn race(from: &Path, to: &Path) -> std::io::Result<String> {
    std::thread::scope(|scope| {
        scope.spawn(|| write_for(from, 2));
        Ok(move_for(from, to, 2))
    })
}

/// Writes what is evil for so many seconds, as often as it can be opened. Says how often that was.
fn write_for(file: &Path, seconds: u64) -> String {
    let begun = Instant::now();
    let mut written = 0;
    while begun.elapsed().as_secs() < seconds {
        if let Ok(mut file) = std::fs::File::options().write(true).open(file) {
            written += usize::from(file.write_all(EVIL).is_ok());
        }
        // Else the other one never finds it closed.
        std::thread::sleep(std::time::Duration::from_micros(300));
    }
    format!("written={}", if written > 0 { "some" } else { "none" })
}

/// Renames what is harmless for so many seconds, and longer where a busy machine never lets it.
fn move_for(from: &Path, to: &Path, seconds: u64) -> String {
    let begun = Instant::now();
    let (mut moved, mut evil) = (0, 0);
    while begun.elapsed().as_secs() < seconds || moved == 0 && begun.elapsed().as_secs() < 12 {
        let _ = std::fs::write(from, GOOD);
        moved += usize::from(std::fs::rename(from, to).is_ok());
        let mut text = Vec::new();
        let _ = std::fs::File::open(to).and_then(|mut file| file.read_to_end(&mut text));
        evil += usize::from(text.windows(7).any(|part| part == b"harmful"));
    }
    format!("evil={evil} moved={}", if moved > 0 { "some" } else { "none" })
}
