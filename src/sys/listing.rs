//! The names in a directory. getdents64(2).
//!
//! Not by way of the C library, which takes a large buffer for each directory and asks four more things about it; most
//! directories that are looked at before every run are small.

use std::ffi::OsString;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

use nix::errno::Errno;

/// Bytes asked for at once.
const CHUNK: usize = 4096;
/// Where an entry has its length, and where its name begins.
const LENGTH: usize = 16;
const NAME: usize = 19;

/// Gives each name in `directory` to `visit`, but for `.` and `..`, from where reading stands.
pub fn each_name(directory: BorrowedFd<'_>, mut visit: impl FnMut(OsString)) -> Result<(), Errno> {
    let mut buffer = [0_u8; CHUNK];
    loop {
        // SAFETY: the buffer is live and as long as is said; the kernel writes no more than that.
        let returned =
            unsafe { libc::syscall(libc::SYS_getdents64, directory.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
        let length = usize::try_from(super::answer(returned)?).map_err(|_| Errno::EIO)?;
        let mut entries = buffer.get(..length).ok_or(Errno::EIO)?;
        if entries.is_empty() {
            return Ok(());
        }
        while let Some(&[low, high]) = entries.get(LENGTH..LENGTH + 2) {
            let of_entry = usize::from(u16::from_ne_bytes([low, high]));
            let name = entries.get(NAME..of_entry).and_then(|name| name.split(|byte| *byte == 0).next());
            match name {
                Some(b"." | b"..") => {}
                Some(name) => visit(OsString::from_vec(name.to_vec())),
                None => return Err(Errno::EIO),
            }
            entries = entries.get(of_entry..).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::os::fd::AsFd;

    use super::each_name;

    #[test]
    fn every_name_is_given_once_however_many_there_are() {
        let directory = tempfile::tempdir().expect("the temporary directory is writable");
        let mut names = BTreeSet::new();
        let list = || {
            let opened = std::fs::File::open(directory.path()).expect("it was just made");
            let mut found = Vec::new();
            each_name(opened.as_fd(), |name| found.push(name.into_string().expect("made here"))).expect("a directory");
            found
        };
        assert_eq!(list(), Vec::<String>::new());
        for number in 0..500 {
            let name = format!(".{number}{}", "x".repeat(number % 200));
            std::fs::write(directory.path().join(&name), "").expect("it is ours");
            names.insert(name);
        }
        let found = list();
        assert_eq!((found.len(), found.into_iter().collect::<BTreeSet<_>>()), (500, names));
        let file = tempfile::tempfile().expect("the temporary directory is writable");
        assert!(each_name(file.as_fd(), |_| {}).is_err(), "a file has no names");
    }
}
