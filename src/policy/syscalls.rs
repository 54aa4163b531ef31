//! System call policies: allow-lists with a reason a rule.
//!
//! Owns the types, the parser of `policies/syscalls/*.toml` and the merge of several files into one policy. Must not know
//! how a policy becomes a filter (`plan::filter` does).

use serde::{Deserialize, Serialize};

/// A resolved policy: every rule that applies, sorted by system call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyscallPolicy {
    /// The rules. A call that none names is denied.
    pub rules: Vec<SyscallRule>,
}

/// One rule for one system call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SyscallRule {
    /// Its name, as in `syscalls(2)`.
    pub call: String,
    /// What happens.
    pub action: Action,
    /// Conditions that must all hold; several rules for one call are alternatives. Empty: always.
    pub when: Vec<Condition>,
    /// Why it is there.
    pub why: String,
}

/// What a rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The call is made.
    Allow,
    /// The call fails with `ENOSYS`: libc or the program then falls back to one that we can check.
    Missing,
    /// The call fails with `EPERM`, as calls without a rule do. Named where a reader would look for it.
    Deny,
}

/// A condition on one argument.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Condition {
    /// Which argument, 0 to 5.
    pub arg: u8,
    /// Bits that count; the others are ignored.
    pub mask: u64,
    /// What the masked argument must equal.
    pub value: u64,
}
