//! The parser of a system call policy.
//!
//! Owns the file format, and says of every mistake where it is and what was probably meant. Must not decide what a good
//! policy is.
//!
//! ```toml
//! [[rule]]
//! call = "socketpair"                                              # or: calls = ["bind", "listen"]
//! arg0 = "AF_UNIX"                                                 # the low 32 bits: what the kernel reads of an int
//! arg1 = { mask = "SOCK_TYPE_MASK", is = ["SOCK_STREAM", 5] }      # one of these; `A | B` is one value
//! arg2 = { long = 0 }                                              # all 64 bits, for what the kernel reads as a long
//! action = "allow"                                                 # allow (when left out), notify, missing, deny
//! why = "programs talk to their children"                          # mandatory
//! ```

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::numbers::Call;
use super::{Action, Condition, SyscallPolicy, SyscallRule, constants};

/// The 32 bits that the kernel reads of an `int` argument, whatever the caller left above them.
const INT: u64 = 0xffff_ffff;

const TOP_KEYS: &[&str] = &["summary", "rule"];
const RULE_KEYS: &[&str] = &["call", "calls", "action", "why", "arg0", "arg1", "arg2", "arg3", "arg4", "arg5"];
const CONDITION_KEYS: &[&str] = &["mask", "is", "long"];
const ACTIONS: &[(&str, Action)] =
    &[("allow", Action::Allow), ("notify", Action::Notify), ("missing", Action::Missing), ("deny", Action::Deny)];

/// What is wrong with a policy file, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyscallPolicyError {
    /// The file, as the reader of the message knows it.
    pub source: String,
    /// Line of the mistake, from 1.
    pub line: usize,
    /// Column of the mistake in characters, from 1.
    pub column: usize,
    /// The mistake.
    pub problem: Problem,
}

/// A mistake in a policy file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// Not TOML, as its parser says.
    Syntax(String),
    /// A key, system call, constant or action that does not exist.
    Unknown {
        /// What it was taken for.
        kind: &'static str,
        /// As written.
        name: String,
        /// The nearest one that exists.
        meant: Option<String>,
    },
    /// A rule without this key, or with nothing in it.
    Without(&'static str),
    /// Something else than that.
    Expected(&'static str),
    /// The same call with the same conditions twice, so that one of the two reasons is not the reason.
    Duplicate(String),
    /// No rule at all, which would deny or allow everything by accident.
    Empty(String),
}

impl fmt::Display for SyscallPolicyError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}:{}: {}", self.source, self.line, self.column, self.problem)
    }
}

impl std::error::Error for SyscallPolicyError {}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Problem::Syntax(message) => write!(out, "{message}"),
            Problem::Unknown { kind, name, meant: None } => write!(out, "unknown {kind} `{name}`"),
            Problem::Unknown { kind, name, meant: Some(meant) } => {
                write!(out, "unknown {kind} `{name}`\ndid you mean `{meant}`?")
            }
            Problem::Without(key) => write!(out, "rule without `{key}`"),
            Problem::Expected(what) => write!(out, "expected {what}"),
            Problem::Duplicate(call) => {
                write!(out, "second rule for `{call}` with the same conditions")
            }
            Problem::Empty(name) => write!(out, "system call policy `{name}` has no rule"),
        }
    }
}

/// Reads the policy `name` from `text`; `source` is the file that messages name.
pub fn parse(name: &str, source: &str, text: &str) -> Result<SyscallPolicy, SyscallPolicyError> {
    let place = |mistake: Mistake| mistake.located(source, text);
    let document = DeTable::parse(text).map_err(|error| {
        place(Mistake { span: error.span().unwrap_or(0..0), problem: Problem::Syntax(error.message().to_owned()) })
    })?;
    let mut rules = Vec::with_capacity(512);
    document_rules(&document, &mut rules).map_err(place)?;
    if rules.is_empty() {
        return Err(place(Mistake { span: 0..0, problem: Problem::Empty(name.to_owned()) }));
    }
    rules.sort_unstable_by(|one, other| one.order().cmp(&other.order()));
    refuse_duplicates(&rules).map_err(place)?;
    Ok(SyscallPolicy { rules: rules.into_iter().map(|placed| placed.rule).collect() })
}

/// A problem at a byte range of the text.
struct Mistake {
    span: Range<usize>,
    problem: Problem,
}

impl Mistake {
    fn located(self, source: &str, text: &str) -> SyscallPolicyError {
        let before = text.get(..self.span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        SyscallPolicyError {
            source: source.to_owned(),
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            problem: self.problem,
        }
    }

    fn expected(value: &Spanned<DeValue<'_>>, what: &'static str) -> Mistake {
        Mistake { span: value.span(), problem: Problem::Expected(what) }
    }

    fn unknown<'n>(
        span: Range<usize>,
        kind: &'static str,
        name: &str,
        known: impl Iterator<Item = &'n str>,
    ) -> Mistake {
        let nearest = known.map(|candidate| (strsim::damerau_levenshtein(candidate, name), candidate)).min();
        let close_enough = (name.len() / 3).max(1);
        let meant = nearest.filter(|(distance, _)| *distance <= close_enough).map(|(_, meant)| meant.to_owned());
        Mistake { span, problem: Problem::Unknown { kind, name: name.to_owned(), meant } }
    }
}

/// A rule, with what sorts it faster than its name does, and where it is written.
struct Placed {
    call: Call,
    rule: SyscallRule,
    start: usize,
}

impl Placed {
    fn order(&self) -> (Call, &[Condition]) {
        (self.call, &self.rule.when)
    }
}

fn document_rules(document: &Spanned<DeTable<'_>>, rules: &mut Vec<Placed>) -> Result<(), Mistake> {
    refuse_unknown_keys(document.get_ref(), TOP_KEYS)?;
    let Some(value) = document.get_ref().get("rule") else {
        return Ok(());
    };
    let DeValue::Array(tables) = value.get_ref() else {
        return Err(Mistake::expected(value, "`[[rule]]`"));
    };
    for table in tables.iter() {
        let DeValue::Table(keys) = table.get_ref() else {
            return Err(Mistake::expected(table, "`[[rule]]`"));
        };
        rule(keys, table.span(), rules)?;
    }
    Ok(())
}

/// One `[[rule]]`: as many rules as it has calls, times the combinations of values that its arguments may have.
fn rule(keys: &DeTable<'_>, span: Range<usize>, rules: &mut Vec<Placed>) -> Result<(), Mistake> {
    refuse_unknown_keys(keys, RULE_KEYS)?;
    let without = |key| Mistake { span: span.clone(), problem: Problem::Without(key) };
    let why = match keys.get("why") {
        Some(value) => string(value, "a reason as a string")?.trim(),
        None => return Err(without("why")),
    };
    if why.is_empty() {
        return Err(without("why"));
    }
    let action = keys.get("action").map_or(Ok(Action::Allow), action)?;
    let alternatives = alternatives(keys)?;
    let mut add = |value: &Spanned<DeValue<'_>>| {
        let call = call(value)?;
        for when in &alternatives {
            let (name, why, when) = (call.name().to_owned(), why.to_owned(), when.clone());
            let rule = SyscallRule { call: name, action, when, why };
            rules.push(Placed { call, rule, start: value.span().start });
        }
        Ok(())
    };
    match (keys.get("call"), keys.get("calls")) {
        (Some(one), None) => add(one),
        (None, Some(many)) => match many.get_ref() {
            DeValue::Array(names) if !names.is_empty() => names.iter().try_for_each(add),
            _ => Err(Mistake::expected(many, "a list of system calls")),
        },
        (Some(one), Some(_)) => Err(Mistake::expected(one, "`call` or `calls`, not both")),
        (None, None) => Err(without("calls")),
    }
}

fn call(value: &Spanned<DeValue<'_>>) -> Result<Call, Mistake> {
    let name = string(value, "the name of a system call")?;
    let known = || Call::all().map(Call::name);
    Call::named(name).ok_or_else(|| Mistake::unknown(value.span(), "system call", name, known()))
}

fn action(value: &Spanned<DeValue<'_>>) -> Result<Action, Mistake> {
    let name = string(value, "an action")?;
    let found = ACTIONS.iter().find(|(known, _)| *known == name);
    let known = || ACTIONS.iter().map(|(known, _)| *known);
    found.map(|(_, action)| *action).ok_or_else(|| Mistake::unknown(value.span(), "action", name, known()))
}

/// Every combination of the values that the arguments may have, each as one list of conditions.
fn alternatives(keys: &DeTable<'_>) -> Result<Vec<Vec<Condition>>, Mistake> {
    let mut alternatives = vec![Vec::new()];
    for (arg, key) in (0..).zip(["arg0", "arg1", "arg2", "arg3", "arg4", "arg5"]) {
        let Some(value) = keys.get(key) else { continue };
        let conditions = conditions(arg, value)?;
        alternatives = alternatives
            .iter()
            .flat_map(|before| conditions.iter().map(|one| before.iter().chain([one]).cloned().collect()))
            .collect();
    }
    Ok(alternatives)
}

/// The conditions on one argument, of which one must hold.
fn conditions(arg: u8, value: &Spanned<DeValue<'_>>) -> Result<Vec<Condition>, Mistake> {
    let DeValue::Table(keys) = value.get_ref() else {
        return equals(arg, INT, value);
    };
    refuse_unknown_keys(keys, CONDITION_KEYS)?;
    match (keys.get("mask"), keys.get("is"), keys.get("long")) {
        (None, None, Some(long)) => equals(arg, u64::MAX, long),
        (None, Some(is), None) => equals(arg, INT, is),
        (Some(mask), Some(is), None) => equals(arg, number(mask)?, is),
        _ => Err(Mistake::expected(value, "`{ is = .. }`, `{ mask = .., is = .. }` or `{ long = .. }`")),
    }
}

fn equals(arg: u8, mask: u64, value: &Spanned<DeValue<'_>>) -> Result<Vec<Condition>, Mistake> {
    let one = |value: &Spanned<DeValue<'_>>| match number(value)? {
        number if number & !mask == 0 => Ok(Condition { arg, mask, value: number }),
        _ => Err(Mistake::expected(value, "a value within the bits that are compared")),
    };
    match value.get_ref() {
        DeValue::Array(values) if !values.is_empty() => values.iter().map(one).collect(),
        _ => Ok(vec![one(value)?]),
    }
}

/// A number: written out, a constant's name, or several names joined by `|`.
fn number(value: &Spanned<DeValue<'_>>) -> Result<u64, Mistake> {
    const WHAT: &str = "a number or the name of a constant";
    match value.get_ref() {
        DeValue::Integer(digits) => {
            u64::from_str_radix(digits.as_str(), digits.radix()).map_err(|_| Mistake::expected(value, WHAT))
        }
        DeValue::String(names) => names.split('|').map(str::trim).try_fold(0, |all, name| {
            let unknown = || Mistake::unknown(value.span(), "constant", name, constants::names());
            Ok(all | constants::value_of(name).ok_or_else(unknown)?)
        }),
        _ => Err(Mistake::expected(value, WHAT)),
    }
}

fn string<'v>(value: &'v Spanned<DeValue<'_>>, what: &'static str) -> Result<&'v str, Mistake> {
    value.get_ref().as_str().ok_or_else(|| Mistake::expected(value, what))
}

fn refuse_unknown_keys(keys: &DeTable<'_>, known: &[&str]) -> Result<(), Mistake> {
    match keys.keys().find(|key| !known.contains(&key.get_ref().as_ref())) {
        Some(key) => Err(Mistake::unknown(key.span(), "key", key.get_ref(), known.iter().copied())),
        None => Ok(()),
    }
}

/// Rules are sorted by call and conditions, so that twins are neighbours.
fn refuse_duplicates(rules: &[Placed]) -> Result<(), Mistake> {
    for (one, next) in rules.iter().zip(rules.iter().skip(1)) {
        if one.call == next.call && one.rule.when == next.rule.when {
            let start = one.start.max(next.start);
            let problem = Problem::Duplicate(one.rule.call.clone());
            return Err(Mistake { span: start..start, problem });
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
