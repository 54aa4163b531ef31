//! The library: finds a set by name.
//!
//! Owns the built-in sets and the order of search. What stands on a shelf (a directory of the host) wins over what is
//! built in. Nothing is read before it is asked for, since every parse counts at start-up. Must not open files itself.

use std::fmt;
use std::io;
use std::path::PathBuf;

use super::document::{Authority, Document, Flaw};
use super::egress::set::{self, EgressSet};
use super::names::{check, nearest};
use super::paths::{self, PathSet};
use super::syscalls::{self, SyscallPolicy, SyscallPolicyError};

/// A kind of named set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetKind {
    /// `policies/paths`.
    Paths,
    /// `policies/syscalls`.
    Syscalls,
    /// `policies/egress`.
    Egress,
}

impl SetKind {
    /// The directory below `policies/`.
    pub fn directory(self) -> &'static str {
        match self {
            SetKind::Paths => "paths",
            SetKind::Syscalls => "syscalls",
            SetKind::Egress => "egress",
        }
    }

    fn built_in(self) -> &'static [(&'static str, &'static str)] {
        match self {
            SetKind::Paths => PATHS,
            SetKind::Syscalls => SYSCALLS,
            SetKind::Egress => EGRESS,
        }
    }
}

macro_rules! embedded {
    ($directory:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../policies/", $directory, "/", $name, ".toml")))),+]
    };
}

const PATHS: &[(&str, &str)] = embedded!(
    "paths": "agent-memory", "editor-config", "programs", "secrets", "shell-startup", "system", "tls-roots", "toolchains", "vcs-hooks",
);
const SYSCALLS: &[(&str, &str)] = embedded!("syscalls": "bare", "bare-direct", "broker", "broker-bare", "broker-git", "brokered", "default", "direct", "gate", "loopback", "namespaced", "observe", "observe-commands", "observe-full", "observe-writes", "proxied", "recorder", "supervisor", "unix");

const EGRESS: &[(&str, &str)] = embedded!("egress": "github", "llm-apis");

/// Where sets stand beside the built-in ones.
pub trait Shelf {
    /// The text of a set, if it is there. `authority`: nothing that only a lesser one vouches for is found.
    fn find(&self, kind: SetKind, name: &str, authority: Authority) -> Result<Option<Document>, OpenError>;

    /// The names of all sets of a kind.
    fn names(&self, kind: SetKind, authority: Authority) -> Vec<String>;

    /// Whether it is known to hold none that would be used in the place of a built-in one.
    fn replaces_nothing(&self) -> bool;
}

/// A shelf with nothing on it.
struct EmptyShelf;

impl Shelf for EmptyShelf {
    fn find(&self, _: SetKind, _: &str, _: Authority) -> Result<Option<Document>, OpenError> {
        Ok(None)
    }

    fn names(&self, _: SetKind, _: Authority) -> Vec<String> {
        Vec::new()
    }

    fn replaces_nothing(&self) -> bool {
        true
    }
}

/// A text that is there and was not opened.
#[derive(Debug)]
pub struct OpenError {
    /// The file, or the directory above it that was refused.
    pub path: PathBuf,
    /// Why.
    pub cause: OpenCause,
}

/// Why a text was not opened.
#[derive(Debug)]
pub enum OpenCause {
    /// It belongs to somebody else.
    Owner {
        /// The owner.
        uid: u32,
        /// Who it should belong to: `root`, or `root or uid 1000`.
        expected: String,
    },
    /// Others than its owner can write it.
    Writable {
        /// `its group` or `everybody`.
        by: &'static str,
    },
    /// It is a symbolic link.
    Link,
    /// It should be a directory, and not a symbolic link to one.
    NotADirectory,
    /// It should be a regular file.
    NotAFile,
    /// It has further names, somewhere.
    HardLinks {
        /// How many in all.
        names: String,
    },
    /// It is larger than any text of ours.
    TooLarge,
    /// It is not UTF-8.
    Encoding,
    /// The kernel said no.
    System(io::Error),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        match &self.cause {
            OpenCause::Owner { uid, expected } => {
                write!(f, ": owned by uid {uid}, not by {expected}")
            }
            OpenCause::Writable { by } => write!(f, ": writable by {by}"),
            OpenCause::Link => write!(f, ": a symbolic link, which is not followed"),
            OpenCause::NotADirectory => {
                write!(f, ": not a directory (a symbolic link is not followed)")
            }
            OpenCause::NotAFile => write!(f, ": not a regular file"),
            OpenCause::HardLinks { names } => write!(f, ": has {names} names (hard links)"),
            OpenCause::TooLarge => write!(f, ": larger than 256 KiB"),
            OpenCause::Encoding => write!(f, ": not UTF-8 text"),
            OpenCause::System(_) => Ok(()),
        }
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.cause {
            OpenCause::System(error) => Some(error),
            _ => None,
        }
    }
}

/// A set that was not found or could not be read.
#[derive(Debug)]
pub enum LibraryError {
    /// No set of that name.
    Unknown {
        /// The known one that may be meant.
        suggestion: Option<String>,
    },
    /// It is there and was not opened.
    Open(OpenError),
    /// It is not a path set.
    Paths(Flaw),
    /// It is not an egress set.
    Egress(Flaw),
    /// It is not a system call set.
    Syscalls(SyscallPolicyError),
}

/// Finds sets by name.
pub struct Library {
    shelf: Box<dyn Shelf>,
}

impl Library {
    /// Only what is built in.
    pub fn built_in() -> Self {
        Self { shelf: Box::new(EmptyShelf) }
    }

    /// What stands on `shelf`, then what is built in.
    pub fn with(shelf: impl Shelf + 'static) -> Self {
        Self { shelf: Box::new(shelf) }
    }

    /// Whether what is built in is known to be found here, and nothing in its place.
    pub fn has_built_in(&self) -> bool {
        self.shelf.replaces_nothing()
    }

    /// The path set `name`, for a text that `authority` vouches for.
    pub fn paths(&self, name: &str, authority: Authority) -> Result<PathSet, LibraryError> {
        let document = self.find(SetKind::Paths, name, authority)?;
        paths::parse(&document).map_err(LibraryError::Paths)
    }

    /// The system call set `name`, for a text that `authority` vouches for.
    pub fn syscalls(&self, name: &str, authority: Authority) -> Result<SyscallPolicy, LibraryError> {
        let document = self.find(SetKind::Syscalls, name, authority)?;
        syscalls::parse(name, &document.source, &document.text).map_err(LibraryError::Syscalls)
    }

    /// The egress set `name`, for a text that `authority` vouches for.
    pub fn egress(&self, name: &str, authority: Authority) -> Result<EgressSet, LibraryError> {
        let document = self.find(SetKind::Egress, name, authority)?;
        set::parse(&document).map_err(LibraryError::Egress)
    }

    /// The names of all sets of a kind, sorted.
    pub fn names(&self, kind: SetKind, authority: Authority) -> Vec<String> {
        let mut names = self.shelf.names(kind, authority);
        names.extend(kind.built_in().iter().map(|(name, _)| (*name).to_owned()));
        names.sort();
        names.dedup();
        names
    }

    fn find(&self, kind: SetKind, name: &str, authority: Authority) -> Result<Document, LibraryError> {
        if check(name).is_err() {
            return Err(self.unknown(kind, name, authority));
        }
        if let Some(document) = self.shelf.find(kind, name, authority).map_err(LibraryError::Open)? {
            return Ok(document);
        }
        let built_in = kind.built_in().iter().find(|(known, _)| *known == name);
        built_in
            .map(|(_, text)| Document::built_in(&format!("@{name}"), text))
            .ok_or_else(|| self.unknown(kind, name, authority))
    }

    fn unknown(&self, kind: SetKind, name: &str, authority: Authority) -> LibraryError {
        let names = self.names(kind, authority);
        LibraryError::Unknown { suggestion: nearest(name, names.iter().map(String::as_str)) }
    }
}
