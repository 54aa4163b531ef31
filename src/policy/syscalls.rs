//! System call policies: allow-lists with a reason a rule.
//!
//! Owns the types, the parser of `policies/syscalls/*.toml` and the merge of several files into one policy. Must not know
//! how a policy becomes a filter (`plan::filter` does).

use serde::{Deserialize, Serialize};

pub mod constants;
pub mod numbers;
mod text;

pub use text::{Problem, SyscallPolicyError, parse};

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

/// What a rule does. Later ones win: where the arguments of one call meet the conditions of several rules, the greatest
/// action is taken, so that a file can only narrow what another one allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// The call is made.
    Allow,
    /// The call waits for the listener of the filter, which answers it.
    Notify,
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

/// Every rule of every policy, once each and sorted by call. Nothing is decided here: where rules disagree, the order
/// of [`Action`] decides on the arguments of the call.
pub fn merge(policies: Vec<SyscallPolicy>) -> SyscallPolicy {
    let mut rules: Vec<SyscallRule> = policies.into_iter().flat_map(|policy| policy.rules).collect();
    rules.sort();
    rules.dedup_by(|later, kept| (&later.call, later.action, &later.when) == (&kept.call, kept.action, &kept.when));
    SyscallPolicy { rules }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> SyscallPolicy {
        parse("test", "test.toml", text).expect("a valid policy")
    }

    #[test]
    fn merging_keeps_each_rule_once_and_both_sides_of_a_disagreement() {
        let one = policy("[[rule]]\ncalls = [\"read\", \"ptrace\"]\nwhy = \"one\"");
        let other = policy(
            "[[rule]]\ncall = \"ptrace\"\naction = \"deny\"\nwhy = \"other\"\n[[rule]]\ncall = \"read\"\nwhy = \"other\"",
        );
        let merged = merge(vec![one, other]);
        let seen: Vec<(&str, Action)> = merged.rules.iter().map(|rule| (rule.call.as_str(), rule.action)).collect();
        assert_eq!(seen, [("ptrace", Action::Allow), ("ptrace", Action::Deny), ("read", Action::Allow)]);
    }
}
