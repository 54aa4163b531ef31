//! Which hosts an agent has reached, kept outside of every jail.
//!
//! Owns the files: one for each user and agent, a host on each line, in `/var/lib/clawjail/contacts` where we are root and in
//! the user's state directory where not. A gate is told what they hold and never opens them. Whatever is in one is read with
//! bounds and taken for a host or for nothing.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::PathBuf;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::accounts;
use crate::confine::identity::errno_of;
use crate::confine::{Failed, Ids};
use crate::policy::egress::name::Name;

/// What a file may hold: bytes, and hosts.
const LONGEST: u64 = 4 << 20;
const MOST: usize = 16_384;
/// Letters of an agent's name that are part of a file's.
const LONGEST_AGENT: usize = 100;

/// Where the files are for root.
const OF_ROOT: &str = "/var/lib/clawjail/contacts";

/// What one agent of one user has reached.
#[derive(Clone, Debug)]
pub struct Memory {
    directory: PathBuf,
    file: String,
    owner: u32,
}

impl Memory {
    /// That of `agent`, or of a user who has named none.
    pub fn of(own: Ids, caller: u32, agent: Option<&str>) -> Memory {
        let agent: String = agent.unwrap_or_default().chars().take(LONGEST_AGENT).flat_map(plain).collect();
        Memory { directory: directory(own), file: format!("{caller}-{agent}"), owner: own.uid }
    }

    /// The hosts that it holds, each of them a name or an address.
    pub fn known(&self) -> Result<Vec<String>, Failed> {
        let failed = |error: &io::Error| Failed::on("read_contacts", &self.path())(errno_of(error));
        match OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(self.path()) {
            Ok(file) => self.read(&file).map_err(|error| failed(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(&error)),
        }
    }

    fn read(&self, file: &File) -> io::Result<Vec<String>> {
        let about = file.metadata()?;
        if !about.is_file() || about.uid() != self.owner || about.mode() & 0o022 != 0 {
            return Err(Errno::EPERM.into());
        }
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text)?;
        let lines = text.split(|byte| *byte == b'\n').filter_map(|line| host(std::str::from_utf8(line).ok()?));
        Ok(lines.take(MOST).collect())
    }

    /// Adds hosts. What does not fit any more is met for the first time again.
    pub fn remember(&self, hosts: &[String]) -> Result<(), Failed> {
        let failed = |error: &io::Error| Failed::on("write_contacts", &self.path())(errno_of(error));
        self.change(|known| known.extend(hosts.iter().filter_map(|text| host(text)))).map_err(|error| failed(&error))
    }

    /// Takes a host out; false when it was not there.
    pub fn forget(&self, gone: &str) -> Result<bool, Failed> {
        let failed = |error: &io::Error| Failed::on("write_contacts", &self.path())(errno_of(error));
        let mut found = false;
        let change = self.change(|known| {
            let before = known.len();
            known.retain(|host| host != gone);
            found = known.len() < before;
        });
        change.map(|()| found).map_err(|error| failed(&error))
    }

    /// Reads, changes and writes the file, while nobody else does.
    fn change(&self, change: impl FnOnce(&mut Vec<String>)) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(self.path())?;
        let file = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| io::Error::from(errno))?;
        let mut known = self.read(&file)?;
        let before = known.clone();
        change(&mut known);
        known.sort();
        known.dedup();
        known.truncate(MOST);
        if known == before {
            return Ok(());
        }
        // One write over the old text, then the end: whoever reads meanwhile sees whole lines of either.
        let text: String = known.iter().map(|host| format!("{host}\n")).collect();
        std::os::unix::fs::FileExt::write_all_at(&*file, text.as_bytes(), 0)?;
        file.set_len(text.len() as u64)?;
        (&*file).flush()
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(&self.file)
    }
}

/// Where the files are.
fn directory(own: Ids) -> PathBuf {
    if own.uid == 0 {
        return PathBuf::from(OF_ROOT);
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || accounts::caller(own.uid, own.gid).home.join(".local/state");
    state.unwrap_or_else(home).join("clawjail/contacts")
}

/// A letter of an agent's name as it stands in that of a file: never a `/`, and never anything that another could be.
fn plain(letter: char) -> Vec<char> {
    if letter.is_ascii_alphanumeric() || letter == '_' {
        vec![letter]
    } else {
        format!("%{:x}.", letter as u32).chars().collect()
    }
}

/// A host as it is compared; `None` of what is none.
pub fn host(text: &str) -> Option<String> {
    let address = text.parse::<IpAddr>().map(|address| address.to_string());
    address.ok().or_else(|| Name::parse(text).ok().map(|name| name.to_string()))
}

/// For tests: a memory in a directory of theirs.
#[cfg(test)]
fn in_directory(directory: &std::path::Path) -> Memory {
    Memory { directory: directory.to_owned(), file: "7-".into(), owner: nix::unistd::geteuid().as_raw() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;

    use super::*;

    fn hosts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn what_is_remembered_is_known_until_it_is_forgotten() {
        let place = tempfile::tempdir().expect("a directory");
        let memory = in_directory(&place.path().join("deep/below"));
        assert_eq!(memory.known().expect("none is no error"), hosts(&[]));
        memory.remember(&hosts(&["b.example", "A.Example.", "10.1.2.3", "::ffff", "not a host", "a/b"])).expect("room");
        memory.remember(&hosts(&["b.example", "c.example"])).expect("room");
        assert_eq!(
            memory.known().expect("own file"),
            hosts(&["10.1.2.3", "::ffff", "a.example", "b.example", "c.example"])
        );
        assert!(memory.forget("b.example").expect("own file") && !memory.forget("b.example").expect("own file"));
        assert_eq!(memory.known().expect("own file"), hosts(&["10.1.2.3", "::ffff", "a.example", "c.example"]));
        let about = fs::metadata(memory.path()).expect("own file");
        assert_eq!(about.permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_that_somebody_filled_is_read_with_bounds_and_never_believed_to_hold_more_than_hosts() {
        let place = tempfile::tempdir().expect("a directory");
        let memory = in_directory(place.path());
        let mut text = b"good.example\n\0\n\xff\xfe\n../../etc\nx\ny\n".to_vec();
        text.extend((0..100_000).flat_map(|number| format!("h{number}.example\n").into_bytes()));
        fs::write(memory.path(), text).expect("own file");
        let known = memory.known().expect("own file");
        assert_eq!((known.len(), known[0].as_str()), (MOST, "good.example"));
        memory.remember(&hosts(&["zz.example"])).expect("it only does not fit");
        assert!(memory.known().expect("own file").len() <= MOST);
    }

    #[test]
    fn a_file_that_others_can_write_or_that_leads_elsewhere_is_no_memory() {
        let place = tempfile::tempdir().expect("a directory");
        let memory = in_directory(place.path());
        memory.remember(&hosts(&["a.example"])).expect("room");
        fs::set_permissions(memory.path(), fs::Permissions::from_mode(0o666)).expect("own file");
        assert!(memory.known().is_err() && memory.remember(&hosts(&["b.example"])).is_err());
        fs::rename(memory.path(), place.path().join("elsewhere")).expect("own file");
        symlink(place.path().join("elsewhere"), memory.path()).expect("own link");
        assert!(memory.known().is_err() && memory.remember(&hosts(&["b.example"])).is_err());
    }

    #[test]
    fn no_two_agents_share_a_file_and_none_leaves_the_directory() {
        let own = Ids { uid: 0, gid: 0 };
        let names = ["", "a", "A", "a/b", "../a", "a b", "a%20.b", "é", "%e9."];
        let mut files: Vec<PathBuf> = names.iter().map(|agent| Memory::of(own, 7, Some(agent)).path()).collect();
        assert!(files.iter().all(|file| file.parent() == Some(Path::new(OF_ROOT))), "{files:?}");
        files.sort();
        files.dedup();
        assert_eq!(files.len(), names.len());
    }
}
