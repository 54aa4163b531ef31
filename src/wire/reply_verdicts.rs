//! What a service answers about what was run.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::verdict::Verdict;

/// Answer of `verdict.get`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct One {
    /// Byte for byte as it stands in the ledger.
    #[schemars(with = "Verdict")]
    pub verdict: Box<RawValue>,
}

/// Answer of `verdict.query`: a page.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Page {
    /// Newest first, each byte for byte as it stands in the ledger.
    #[schemars(with = "Vec<Verdict>")]
    pub verdicts: Vec<Box<RawValue>>,
    /// What to ask for as `page` to go on; null when there are no more.
    pub next: Option<String>,
    /// Lines of the ledger that could not be read.
    pub unreadable: u64,
}

/// `verdict.written`: what `verdict.follow` asks for.
#[derive(Serialize, JsonSchema)]
pub struct VerdictWritten<'a> {
    /// As it was recorded.
    #[schemars(with = "Verdict")]
    pub verdict: &'a RawValue,
    /// How many before it the client had no room for.
    pub missed: u64,
}
