//! Why a profile cannot be had.
//!
//! Owns the error of the one operation "resolve a profile". Each displays as one line; what to do about it, where that is
//! not plain, is `hint`, which the printer puts on a line of its own.

use std::error::Error;
use std::fmt;

use crate::policy::document::Flaw;
use crate::policy::library::{LibraryError, OpenCause, OpenError};
use crate::policy::names::{NameError, did_you_mean, shown};

/// A profile that cannot be had, and why.
#[derive(Debug)]
pub enum ProfileError {
    /// What was asked for is no name.
    Name(NameError),
    /// Nothing has that name.
    Unknown {
        /// The name.
        name: String,
        /// The known one that may be meant.
        suggestion: Option<String>,
    },
    /// It is there and was not opened.
    Open {
        /// The name.
        name: String,
        /// Which file, and why.
        error: OpenError,
    },
    /// It has a flaw.
    Read {
        /// The name.
        name: String,
        /// Where and what. Boxed: it is by far the largest of all.
        flaw: Box<Flaw>,
    },
    /// A set that it names cannot be had.
    Set {
        /// The name of the set.
        set: String,
        /// Why.
        error: Box<LibraryError>,
    },
}

impl fmt::Display for ProfileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ProfileError::Name(error) => write!(f, "cannot open profile: {error}"),
            ProfileError::Unknown { name, suggestion } => {
                write!(f, "unknown profile `{}`{}", shown(name), did_you_mean(suggestion.as_deref()))
            }
            ProfileError::Open { name, error } => {
                write!(f, "cannot open profile `{name}`: {error}")
            }
            ProfileError::Read { name, flaw } => write!(f, "cannot read profile `{name}`: {flaw}"),
            ProfileError::Set { set, error } => match &**error {
                LibraryError::Unknown { suggestion } => {
                    write!(f, "unknown set `@{set}`{}", did_you_mean(suggestion.as_deref()))
                }
                LibraryError::Open(error) => write!(f, "cannot open policy `@{set}`: {error}"),
                LibraryError::Paths(flaw) | LibraryError::Egress(flaw) => {
                    write!(f, "cannot read policy `@{set}`: {flaw}")
                }
                LibraryError::Syscalls(error) => write!(f, "cannot read policy `@{set}`: {error}"),
            },
        }
    }
}

impl Error for ProfileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        // Only what Display left out: the kernel's reason. Everything else is in the line already.
        match self {
            ProfileError::Open { error, .. } => error.source(),
            ProfileError::Set { error, .. } => match &**error {
                LibraryError::Open(error) => error.source(),
                _ => None,
            },
            _ => None,
        }
    }
}

impl ProfileError {
    /// What to do about it, where that is not plain.
    pub fn hint(&self) -> Option<String> {
        match self {
            ProfileError::Name(_) => Some("a profile is asked for by its name, never by a path".to_owned()),
            ProfileError::Unknown { suggestion: None, .. } => {
                Some("`clawjail profile list` shows the profiles that there are".to_owned())
            }
            ProfileError::Unknown { .. } => None,
            ProfileError::Open { error, .. } => remedy(error),
            ProfileError::Read { flaw, .. } => flaw.hint.clone(),
            ProfileError::Set { error, .. } => match &**error {
                LibraryError::Open(error) => remedy(error),
                LibraryError::Paths(flaw) | LibraryError::Egress(flaw) => flaw.hint.clone(),
                _ => None,
            },
        }
    }
}

fn remedy(error: &OpenError) -> Option<String> {
    let path = error.path.display();
    match &error.cause {
        OpenCause::Owner { expected, .. } if expected == "root" => {
            Some(format!("`chown root {path}` after reading it"))
        }
        OpenCause::HardLinks { .. } => Some(format!("`cp {path} {path}.new && mv {path}.new {path}` after reading it")),
        OpenCause::Writable { .. } => Some(format!("`chmod go-w {path}` after reading it")),
        _ => None,
    }
}
