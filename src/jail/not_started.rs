//! Why there is no run.

use super::watch::Over;
use crate::confine::Failed;
use crate::plan::compile::Refused;
use crate::wire::privsep::{Failure, Started};

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
