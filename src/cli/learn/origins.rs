//! What a path that was used needs to be found again: the links on the way, and what a program loads before it begins.
//!
//! Looks at the host's files, after the run; what has changed since makes a grant that the proof finds wanting, and no other harm.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::plan::sight::normal;

/// Links in a row that are followed.
const MOST_LINKS: usize = 40;
/// Interpreters of interpreters that are followed.
const MOST_INTERPRETERS: usize = 4;
/// Bytes at the begin of a file that say what it is.
const HEAD: usize = 4096;
/// Program headers that are looked at.
const MOST_HEADERS: usize = 64;

/// Where the workspace stood, and the copy that it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Map {
    /// As the command saw it.
    pub inside: PathBuf,
    /// On the host.
    pub copy: PathBuf,
}

impl Map {
    /// Whether a path of the jail lies in the workspace.
    pub fn holds(&self, path: &Path) -> bool {
        path.starts_with(&self.inside)
    }

    /// Where a path of the jail lies on the host.
    fn host(&self, path: &Path) -> PathBuf {
        match path.strip_prefix(&self.inside) {
            Ok(below) if !self.inside.as_os_str().is_empty() => self.copy.join(below),
            _ => path.to_path_buf(),
        }
    }
}

/// Paths of the jail by what has to be done with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// Where they lie.
    pub map: Map,
    /// To be read, links among them.
    pub read: BTreeSet<PathBuf>,
    /// To be executed, or mapped as code.
    pub execute: BTreeSet<PathBuf>,
}

impl Needed {
    /// Something that was opened for reading.
    pub fn opened(&mut self, path: &Path) {
        let Some(real) = self.resolve(path) else { return };
        // The kernel maps code only from where files may be executed.
        if head(&self.map.host(&real)).starts_with(b"\x7fELF") {
            self.execute.insert(real);
        } else {
            self.read.insert(real);
        }
    }

    /// Something that was executed.
    pub fn executed(&mut self, path: &Path) {
        let mut next = Some(path.to_path_buf());
        for _ in 0..MOST_INTERPRETERS {
            let Some(real) = next.take().and_then(|path| self.resolve(&path)) else { return };
            next = interpreter(&self.map.host(&real));
            self.execute.insert(real);
        }
    }

    /// The path without links; each link on the way is to be read. `None` where nothing is.
    fn resolve(&mut self, path: &Path) -> Option<PathBuf> {
        let (mut left, mut links) = (normal(path), 0);
        'again: loop {
            let mut walked = PathBuf::new();
            for component in left.components() {
                walked.push(component);
                if let Ok(target) = std::fs::read_link(self.map.host(&walked))
                    && links < MOST_LINKS
                {
                    links += 1;
                    self.read.insert(walked.clone());
                    let above = walked.parent().unwrap_or(Path::new("/"));
                    let rest = left.strip_prefix(&walked).unwrap_or(Path::new("")).to_path_buf();
                    left = normal(&above.join(target).join(rest));
                    continue 'again;
                }
            }
            return self.map.host(&walked).symlink_metadata().is_ok().then_some(walked);
        }
    }
}

fn head(path: &Path) -> Vec<u8> {
    let mut head = Vec::new();
    let regular = path.symlink_metadata().is_ok_and(|about| about.is_file());
    if let (true, Ok(file)) = (regular, File::open(path)) {
        let _ = file.take(HEAD as u64).read_to_end(&mut head);
    }
    head
}

/// What the kernel loads to run this file: what its first line names, or its dynamic loader.
fn interpreter(path: &Path) -> Option<PathBuf> {
    let head = head(path);
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|byte| *byte == b'\n').next()?;
        let word = line.split(|byte| byte.is_ascii_whitespace()).find(|word| !word.is_empty())?;
        return Some(PathBuf::from(std::ffi::OsStr::from_bytes(word)));
    }
    loader(path, &head)
}

/// The path in a 64-bit program's PT_INTERP header. elf(5).
fn loader(path: &Path, head: &[u8]) -> Option<PathBuf> {
    const PT_INTERP: u64 = 3;
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let number = |at: usize, size: usize| -> Option<u64> {
        let bytes = head.get(at..at.checked_add(size)?)?;
        Some(bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    };
    let (table, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for index in 0..count.min(MOST_HEADERS as u64) {
        let at = usize::try_from(table.checked_add(index.checked_mul(size)?)?).ok()?;
        if number(at, 4)? == PT_INTERP {
            let (offset, length) = (number(at.checked_add(8)?, 8)?, number(at.checked_add(32)?, 8)?);
            return read_text(path, offset, length);
        }
    }
    None
}

fn read_text(path: &Path, offset: u64, length: u64) -> Option<PathBuf> {
    let mut file = File::open(path).ok()?;
    file.seek(SeekFrom::Start(offset)).ok()?;
    let mut text = Vec::new();
    file.take(length.min(HEAD as u64)).read_to_end(&mut text).ok()?;
    let text = text.split(|byte| *byte == 0).next()?;
    Some(PathBuf::from(std::ffi::OsStr::from_bytes(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_needs_its_loader_and_each_link_on_the_way() {
        let mut needed = Needed::default();
        needed.executed(Path::new("/bin/sh"));
        let real = Path::new("/bin/sh").canonicalize().expect("a shell");
        assert!(needed.execute.contains(&real), "{needed:?}");
        // Every Linux that runs these tests has a shell that is linked to the dynamic loader, and the loader is no shell.
        assert!(needed.execute.iter().any(|path| path.to_string_lossy().contains("ld")), "{needed:?}");
        let linked = Path::new("/bin/sh").symlink_metadata().is_ok_and(|about| about.is_symlink());
        assert_eq!(needed.read.iter().any(|path| path.ends_with("bin/sh")), linked, "{needed:?}");
    }

    #[test]
    fn a_script_needs_what_its_first_line_names_and_data_needs_nothing() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let [script, data] = ["script", "data"].map(|name| directory.path().join(name));
        std::fs::write(&script, "#! /bin/sh -e\necho\n").expect("own directory");
        std::fs::write(&data, "#\n").expect("own directory");
        let mut needed = Needed::default();
        needed.executed(&script);
        assert!(needed.execute.contains(&Path::new("/bin/sh").canonicalize().expect("a shell")), "{needed:?}");
        let mut needed = Needed::default();
        needed.opened(&data);
        assert_eq!((needed.read.len(), needed.execute.len()), (1, 0), "{needed:?}");
    }

    #[test]
    fn links_in_the_workspace_lead_where_they_did_in_the_jail() {
        let copy = tempfile::TempDir::new().expect("a directory");
        std::fs::create_dir(copy.path().join("bin")).expect("own directory");
        std::fs::write(copy.path().join("tool"), "#!/bin/sh\n").expect("own directory");
        std::os::unix::fs::symlink("../tool", copy.path().join("bin/tool")).expect("own directory");
        std::os::unix::fs::symlink("/bin/sh", copy.path().join("bin/sh")).expect("own directory");
        let map = Map { inside: "/work/place".into(), copy: copy.path().into() };
        let mut needed = Needed { map, ..Needed::default() };
        needed.executed(Path::new("/work/place/bin/tool"));
        assert!(needed.execute.contains(Path::new("/work/place/tool")), "{needed:?}");
        needed.executed(Path::new("/work/place/bin/sh"));
        assert!(needed.execute.contains(&Path::new("/bin/sh").canonicalize().expect("a shell")), "{needed:?}");
        let strays = needed.execute.iter().chain(&needed.read).filter(|path| path.starts_with(copy.path()));
        assert_eq!(strays.count(), 0, "{needed:?}");
    }

    #[test]
    fn what_is_not_there_and_links_in_a_circle_need_nothing_to_be_executed() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let circle = directory.path().join("circle");
        std::os::unix::fs::symlink("circle", &circle).expect("own directory");
        let mut needed = Needed::default();
        needed.executed(&directory.path().join("nothing"));
        needed.executed(&circle);
        needed.opened(&circle);
        assert!(needed.execute.len() <= 1 && !needed.execute.iter().any(|path| path.is_file()), "{needed:?}");
    }
}
