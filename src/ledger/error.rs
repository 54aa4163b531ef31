//! Why a ledger cannot be opened, read or written.

use std::error::Error;
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

/// What went wrong, with the ledger or the file of it that it went wrong with.
#[derive(Debug)]
pub enum LedgerError {
    /// The system said no.
    System {
        /// What was to be done: `open`, `write` ...
        doing: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is not as a ledger must be for us to write it.
    Unfit {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        what: String,
        /// What to do about it.
        hint: Option<&'static str>,
    },
    /// Somebody else writes it.
    Busy {
        /// Which.
        path: PathBuf,
    },
    /// Its end is not as we or an earlier writer left it, and no power cut leaves it so.
    Altered {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl LedgerError {
    /// An error of the system.
    pub fn system<E: Into<io::Error>>(doing: &'static str, path: impl AsRef<Path>) -> impl FnOnce(E) -> LedgerError {
        move |error| LedgerError::System { doing, path: path.as_ref().to_owned(), error: error.into() }
    }

    /// Something that must be set right first.
    pub fn unfit(path: &Path, what: impl Into<String>, hint: Option<&'static str>) -> LedgerError {
        LedgerError::Unfit { path: path.to_owned(), what: what.into(), hint }
    }

    /// Something that nobody but an intruder, or a broken disk, does.
    pub fn altered(path: PathBuf, what: impl fmt::Display) -> LedgerError {
        LedgerError::Altered { path, what: what.to_string() }
    }

    /// Whether it is for want of space.
    pub fn is_full(&self) -> bool {
        let LedgerError::System { error, .. } = self else { return false };
        matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
    }

    /// Whether there is no ledger.
    pub fn is_absent(&self) -> bool {
        matches!(self, LedgerError::System { error, .. } if error.kind() == ErrorKind::NotFound)
    }

    /// What to do about it, where that is not plain.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            LedgerError::Unfit { hint, .. } => *hint,
            LedgerError::Altered { .. } => {
                Some("`clawjail ledger verify` says where; move the ledger aside to begin another one")
            }
            LedgerError::System { error, .. } if error.raw_os_error() == Some(Errno::ELOOP as i32) => {
                Some("symbolic links are not followed; name the real path")
            }
            LedgerError::System { .. } | LedgerError::Busy { .. } => None,
        }
    }
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerError::System { doing, path, .. } => write!(f, "cannot {doing} ledger `{}`", path.display()),
            LedgerError::Unfit { path, what, .. } => write!(f, "cannot use ledger `{}`: {what}", path.display()),
            LedgerError::Busy { path } => {
                write!(f, "cannot write ledger `{}`: another process is writing it", path.display())
            }
            LedgerError::Altered { path, what } => {
                write!(f, "cannot go on with ledger `{}`: {what}", path.display())
            }
        }
    }
}

impl Error for LedgerError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            LedgerError::System { error, .. } => Some(error),
            _ => None,
        }
    }
}
