//! What a client calls its requests.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a client calls its request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(i64),
    /// A word.
    Word(String),
}
