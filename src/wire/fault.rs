//! Errors as clients get them: a number that JSON-RPC knows, a line for people, and a stable word for programs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::text::printable;
use crate::verdict::{Reason, Verdict};

/// An error of JSON-RPC 2.0.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Fault {
    /// By kind: see [`number`].
    pub code: i64,
    /// One line.
    pub message: String,
    /// What a program goes by.
    pub data: Detail,
}

/// What a program goes by.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Detail {
    /// Stable word: `refused.profile_not_granted`, `failed.mounts`, `invalid.parameters`, ...
    pub code: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// Milliseconds after which it may work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// The verdict, where the request was for a run.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Verdict>")]
    pub verdict: Option<Box<RawValue>>,
}

/// The numbers.
pub mod number {
    /// Not JSON.
    pub const NOT_JSON: i64 = -32700;
    /// JSON, but no request.
    pub const NO_REQUEST: i64 = -32600;
    /// No such method.
    pub const NO_METHOD: i64 = -32601;
    /// The method does not take these parameters.
    pub const PARAMETERS: i64 = -32602;
    /// We said no.
    pub const REFUSED: i64 = -32001;
    /// The kernel or the broker said no.
    pub const DENIED: i64 = -32002;
    /// Our own fault.
    pub const FAILED: i64 = -32003;
}

impl Fault {
    fn new(code: i64, word: String, message: impl Into<String>) -> Fault {
        let data = Detail { code: word, remedy: None, retry_after_ms: None, verdict: None };
        Fault { code, message: printable(&message.into()), data }
    }

    /// The line is no request of ours.
    pub fn invalid(code: i64, word: &str, message: impl Into<String>) -> Fault {
        Fault::new(code, format!("invalid.{word}"), message)
    }

    /// We say no.
    pub fn refused(word: &str, message: impl Into<String>) -> Fault {
        Fault::new(number::REFUSED, format!("refused.{word}"), message)
    }

    /// The jail says no.
    pub fn denied(word: &str, message: impl Into<String>) -> Fault {
        Fault::new(number::DENIED, format!("denied.{word}"), message)
    }

    /// Something of ours did not work.
    pub fn failed(word: &str, message: impl Into<String>) -> Fault {
        Fault::new(number::FAILED, format!("failed.{word}"), message)
    }

    /// As a verdict has it.
    pub fn of_reason(reason: &Reason) -> Fault {
        let code = if reason.code.starts_with("refused.") { number::REFUSED } else { number::FAILED };
        Fault {
            data: Detail { remedy: reason.remedy.as_deref().map(printable), ..Fault::detail(&reason.code) },
            code,
            message: printable(&reason.message),
        }
    }

    fn detail(word: &str) -> Detail {
        Detail { code: word.to_owned(), remedy: None, retry_after_ms: None, verdict: None }
    }

    /// With what to do about it.
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Fault {
        self.data.remedy = Some(printable(&remedy.into()));
        self
    }

    /// With when to try again.
    pub fn with_retry_after(mut self, milliseconds: u64) -> Fault {
        self.data.retry_after_ms = Some(milliseconds);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_message_has_a_line_or_a_control_character_that_somebody_typed() {
        let fault = Fault::refused("x", "no \u{1b}[2J`a\nb`").with_remedy("a\r\nb");
        assert_eq!(fault.message, "no \\u{1b}[2J`a\\nb`");
        assert_eq!(fault.data.remedy.as_deref(), Some("a\\r\\nb"));
        let reason = Reason { code: "failed.x".into(), message: "a\u{85}b é".into(), remedy: Some("\0".into()) };
        let fault = Fault::of_reason(&reason);
        assert_eq!((fault.message.as_str(), fault.data.remedy.as_deref()), ("a\\u{85}b é", Some("\\u{0}")));
    }
}
