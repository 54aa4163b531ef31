//! Why there is no run.

use super::failure;
use super::watch::Over;
use crate::confine::Failed;
use crate::plan::refused::Refused;
use crate::wire::privsep::{Failure, FromLauncher, Started};

/// Why there is no run.
#[derive(Debug)]
pub enum NotStarted {
    /// We said no.
    Refused(Refused),
    /// A step of ours did not work.
    Failed(Failed),
    /// A step in the jail did not work.
    ByInit(Failure),
    /// It had ended before it was said to run.
    Ended(Box<Started>, Box<Over>),
}

impl NotStarted {
    /// What the supervisor is told.
    pub fn answer(self) -> FromLauncher {
        match self {
            NotStarted::Refused(refused) => FromLauncher::Refused {
                code: refused.code.to_owned(),
                message: refused.message,
                remedy: refused.remedy,
            },
            NotStarted::Failed(failed) => FromLauncher::Failed(failure(failed)),
            NotStarted::ByInit(failure) => FromLauncher::Failed(failure),
            NotStarted::Ended(started, over) => FromLauncher::Ended(Some(started), Box::new(over.ended)),
        }
    }
}

impl From<Refused> for NotStarted {
    fn from(refused: Refused) -> NotStarted {
        NotStarted::Refused(refused)
    }
}

impl From<Failed> for NotStarted {
    fn from(failed: Failed) -> NotStarted {
        NotStarted::Failed(failed)
    }
}
