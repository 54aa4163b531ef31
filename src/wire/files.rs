//! What can be done with files in a jail, and what comes of it. Done by a process of the jail, under its confinement.

use serde::{Deserialize, Serialize};

/// Most bytes that are read at once, and most entries of a directory that are listed at once.
pub const MOST_READ: u64 = 4 << 20;
/// Most entries of a directory.
pub const MOST_LISTED: usize = 4096;

/// One thing to do with one file. Paths are as a command in the jail would write them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FileJob {
    /// What is it?
    Stat {
        /// Which.
        path: Vec<u8>,
        /// Whether a link is followed.
        follow: bool,
        /// So many bytes of a regular file's content with it.
        look: Option<u64>,
    },
    /// Its bytes.
    Read {
        /// Which.
        path: Vec<u8>,
        /// From here on.
        offset: u64,
        /// So many at most.
        length: u64,
    },
    /// All of it anew, at once or not at all. The content is on stdin.
    Write {
        /// Which.
        path: Vec<u8>,
        /// Permission bits; those it has, or those of a new file, if not given.
        mode: Option<u32>,
        /// What it is afterwards, with so many bytes of its content.
        look: Option<u64>,
    },
    /// A new one, which must not be there yet. The content is on stdin.
    Create {
        /// Which.
        path: Vec<u8>,
        /// Permission bits; those of a new file if not given.
        mode: Option<u32>,
        /// What it is afterwards, with so many bytes of its content.
        look: Option<u64>,
    },
    /// A directory.
    Mkdir {
        /// Which.
        path: Vec<u8>,
        /// Whether those above it are made too, and it may be there already.
        parents: bool,
        /// Permission bits; those of a new directory if not given.
        mode: Option<u32>,
    },
    /// Take it away.
    Remove {
        /// Which.
        path: Vec<u8>,
        /// Whether a directory goes with all that is in it.
        recursive: bool,
    },
    /// Another name for it.
    Rename {
        /// From here.
        from: Vec<u8>,
        /// To there.
        to: Vec<u8>,
        /// Whether what is there already gives way.
        replace: bool,
    },
    /// What is in a directory, sorted by name.
    List {
        /// Which.
        path: Vec<u8>,
        /// Only names behind this one.
        after: Option<Vec<u8>>,
    },
}

impl FileJob {
    /// Whether it may change something.
    pub fn changes(&self) -> bool {
        !matches!(self, FileJob::Stat { .. } | FileJob::Read { .. } | FileJob::List { .. })
    }

    /// Its name, and what it is about.
    pub fn words(&self) -> Vec<Vec<u8>> {
        let (name, paths): (&str, &[&Vec<u8>]) = match self {
            FileJob::Stat { path, .. } => ("fs.stat", &[path]),
            FileJob::Read { path, .. } => ("fs.read", &[path]),
            FileJob::Write { path, .. } => ("fs.write", &[path]),
            FileJob::Create { path, .. } => ("fs.create", &[path]),
            FileJob::Mkdir { path, .. } => ("fs.mkdir", &[path]),
            FileJob::Remove { path, .. } => ("fs.remove", &[path]),
            FileJob::Rename { from, to, .. } => ("fs.rename", &[from, to]),
            FileJob::List { path, .. } => ("fs.list", &[path]),
        };
        [name.as_bytes().to_vec()].into_iter().chain(paths.iter().map(|path| (*path).clone())).collect()
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// What it is, and what it holds where that was asked for and could be read.
    Facts(Facts, Option<Part>),
    /// Its bytes.
    Read(Part),
    /// What is in it.
    Listed {
        /// Sorted by name.
        entries: Vec<Entry>,
        /// Whether there are more behind the last.
        more: bool,
    },
    /// It could not be done.
    Not {
        /// What the kernel or the broker said.
        errno: i32,
        /// At which path, and through which link if there is one.
        what: String,
    },
}

/// Bytes of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Those asked for, as far as they are there.
    pub bytes: Vec<u8>,
    /// How many there are in all.
    pub size: u64,
    /// Whether there are none behind these.
    pub end: bool,
}

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// `file`, `directory`, `link`, `other`.
    pub kind: String,
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// When its content last changed, milliseconds since 1970.
    pub modified_ms: i64,
    /// Where a link leads, as written in it.
    pub target: Option<Vec<u8>>,
}

/// One entry of a directory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its name.
    pub name: Vec<u8>,
    /// `file`, `directory`, `link`, `other`.
    pub kind: String,
    /// Bytes.
    pub size: u64,
}
