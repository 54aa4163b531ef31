//! Compiles a system call policy to a seccomp filter.
//!
//! Owns the shape of the filter: what is checked in which order, and which answer the kernel gets. Must not install
//! anything (`confine::seccomp` does) nor know why a rule exists.
//!
//! ```text
//!   architecture? --- another one (int 0x80) ---------------------------> EPERM
//!        |
//!   number, by binary search over ranges of calls with the same outcome
//!        |-- an answer for all of the range ----------------------------> ALLOW | NOTIFY | ENOSYS | EPERM
//!        '-- a block of argument checks, shared by equal ones ----------> the same
//! ```
//!
//! The kernel emulates the filter once for each call number while it is loaded, to cache which calls need no filter at
//! all, so loading costs by the depth of the search: ranges make it a tenth of what a chain of comparisons costs.

use std::cmp::Reverse;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::policy::syscalls::numbers::{Architecture, Call, NEWEST};
use crate::policy::syscalls::{Action, SyscallPolicy, SyscallRule};

mod arguments;
mod backward;
mod search;

use arguments::Alternative;
use backward::{Backward, Jump, Target};

/// `BPF_MAXINSNS`: the kernel refuses a longer program.
const MOST_INSTRUCTIONS: usize = 4096;

const RETURN_ALLOW: u32 = 0x7fff_0000;
const RETURN_NOTIFY: u32 = 0x7fc0_0000;
const RETURN_ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const DENIED: u32 = RETURN_ERRNO | EPERM;
const MISSING: u32 = RETURN_ERRNO | ENOSYS;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// `__X32_SYSCALL_BIT`: calls of the x32 interface carry it and report themselves as x86_64.
const X32_BIT: u32 = 0x4000_0000;

/// What becomes of a call that no rule answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Otherwise {
    /// It fails: `EPERM`, or `ENOSYS` where no call of that number was known when this program was written.
    Deny,
    /// It is made: for a filter that lies on top of one that denies.
    Allow,
}

/// A classic BPF program for seccomp.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// In the order in which the kernel reads them.
    pub instructions: Vec<Instruction>,
}

/// One instruction, as `struct sock_filter` holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instruction {
    /// What it does.
    pub code: u16,
    /// How many instructions to skip when a comparison holds.
    pub jt: u8,
    /// How many instructions to skip when it does not.
    pub jf: u8,
    /// Its operand.
    pub k: u32,
}

/// Why a policy cannot become a filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FilterError {
    /// No rule is about a call of this architecture: nobody wants a filter of that sort, so it is a mistake.
    Empty,
    /// A rule names a call that does not exist on any architecture.
    UnknownCall(String),
    /// The rules of this call are not side by side, so the policy did not come from `parse` or `merge`.
    Unsorted(String),
    /// A condition on an argument that system calls do not have, or that can never hold.
    Impossible(String),
    /// More instructions than the kernel takes.
    TooLong(usize),
}

impl fmt::Display for FilterError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterError::Empty => write!(out, "cannot compile a system call policy without a rule"),
            FilterError::UnknownCall(call) => write!(out, "cannot compile a rule for unknown system call `{call}`"),
            FilterError::Unsorted(call) => {
                write!(out, "cannot compile a policy that has rules for `{call}` in two places")
            }
            FilterError::Impossible(call) => write!(out, "cannot compile a rule for `{call}` that can never hold"),
            FilterError::TooLong(length) => {
                write!(out, "cannot use a filter of {length} instructions: the kernel takes {MOST_INSTRUCTIONS}")
            }
        }
    }
}

impl std::error::Error for FilterError {}

/// The filter that enforces `policy` on this architecture.
pub fn compile(policy: &SyscallPolicy, otherwise: Otherwise) -> Result<Program, FilterError> {
    compile_for(Architecture::CURRENT, policy, otherwise)
}

/// The filter that enforces `policy` on `architecture`.
pub fn compile_for(
    architecture: Architecture,
    policy: &SyscallPolicy,
    otherwise: Otherwise,
) -> Result<Program, FilterError> {
    let rules = rules_by_number(architecture, policy)?;
    let mut program = Backward::default();
    let ranges = ranges(architecture, &rules, otherwise)?;
    let targets = targets(&mut program, &ranges, otherwise);
    let search = search::emit(&mut program, &targets, NEWEST + 1);
    program.load(NUMBER, search);
    program.compare(Jump::Equal, audit_name(architecture), Target::Next, Target::Answer(DENIED));
    program.load(ARCHITECTURE, Target::Next);
    match program.finish() {
        instructions if instructions.len() > MOST_INSTRUCTIONS => Err(FilterError::TooLong(instructions.len())),
        instructions => Ok(Program { instructions }),
    }
}

/// `AUDIT_ARCH_*`, which seccomp reports a call's architecture by.
fn audit_name(architecture: Architecture) -> u32 {
    match architecture {
        Architecture::X86_64 => 0xc000_003e,
        Architecture::Aarch64 => 0xc000_00b7,
    }
}

/// The rules of each call number up to the newest; none where there is no such call, an empty slice where no rule
/// names it.
type RulesByNumber<'p> = Vec<Option<&'p [SyscallRule]>>;

/// A call that only other architectures have cannot be made on this one, so its rules say nothing.
fn rules_by_number(architecture: Architecture, policy: &SyscallPolicy) -> Result<RulesByNumber<'_>, FilterError> {
    let mut by_number: RulesByNumber<'_> = vec![None; NEWEST as usize + 1];
    for number in Call::all().filter_map(|call| call.number(architecture)) {
        if let Some(slot) = by_number.get_mut(number as usize) {
            *slot = Some(&[]);
        }
    }
    let mut any = false;
    for rules in policy.rules.chunk_by(|one, next| one.call == next.call) {
        let name = rules.first().map_or("", |rule| &rule.call);
        let call = Call::named(name).ok_or_else(|| FilterError::UnknownCall(name.to_owned()))?;
        let Some(number) = call.number(architecture) else {
            continue;
        };
        match by_number.get_mut(number as usize) {
            Some(Some(slot)) if slot.is_empty() => *slot = rules,
            _ => return Err(FilterError::Unsorted(name.to_owned())),
        }
        any = true;
    }
    if any { Ok(by_number) } else { Err(FilterError::Empty) }
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Outcome {
    /// The same whatever its arguments.
    Always(u32),
    /// The answer of the first alternative that holds.
    ByArguments(Vec<Alternative>),
}

/// Neighbouring numbers with the same outcome, by the first of them. The last range is open upwards.
type Ranges = Vec<(u32, Outcome)>;

fn ranges(architecture: Architecture, rules: &RulesByNumber<'_>, otherwise: Otherwise) -> Result<Ranges, FilterError> {
    let mut ranges = Ranges::with_capacity(128);
    for (number, rules) in (0..).zip(rules) {
        let outcome = match rules {
            Some(rules) => outcome(rules, otherwise)?,
            None => Outcome::Always(unnamed(false, otherwise)),
        };
        extend(&mut ranges, number, outcome);
    }
    extend(&mut ranges, NEWEST + 1, Outcome::Always(unnamed(false, otherwise)));
    if architecture == Architecture::X86_64 {
        // -1 also has the bit, and is no call: a tracer writes it to skip one, and the kernel answers ENOSYS.
        extend(&mut ranges, X32_BIT, Outcome::Always(DENIED));
        extend(&mut ranges, u32::MAX, Outcome::Always(MISSING));
    }
    Ok(ranges)
}

fn extend(ranges: &mut Ranges, first: u32, outcome: Outcome) {
    if ranges.last().is_none_or(|(_, last)| *last != outcome) {
        ranges.push((first, outcome));
    }
}

/// The answer to a call that no rule names.
fn unnamed(known: bool, otherwise: Otherwise) -> u32 {
    match otherwise {
        Otherwise::Allow => RETURN_ALLOW,
        Otherwise::Deny if known => DENIED,
        // A program that tries a call newer than this table then does what it did on the kernels before it.
        Otherwise::Deny => MISSING,
    }
}

fn outcome(rules: &[SyscallRule], otherwise: Otherwise) -> Result<Outcome, FilterError> {
    match rules {
        [] => return Ok(Outcome::Always(unnamed(true, otherwise))),
        [only] if only.when.is_empty() => return Ok(Outcome::Always(answer(only.action))),
        _ => {}
    }
    let mut alternatives = Vec::with_capacity(rules.len() + 1);
    for rule in rules {
        let tests = arguments::tests(&rule.when).ok_or_else(|| FilterError::Impossible(rule.call.clone()))?;
        alternatives.push((Reverse(rule.action), Alternative { tests, answer: answer(rule.action) }));
    }
    // The greatest action is asked first, so that it wins.
    alternatives.sort();
    let mut alternatives: Vec<Alternative> = alternatives.into_iter().map(|(_, alternative)| alternative).collect();
    if let Some(always) = alternatives.iter().position(|alternative| alternative.tests.is_empty()) {
        alternatives.truncate(always + 1);
    } else {
        alternatives.push(Alternative { tests: Vec::new(), answer: unnamed(true, otherwise) });
    }
    Ok(match alternatives.first() {
        Some(first) if alternatives.iter().all(|one| one.answer == first.answer) => Outcome::Always(first.answer),
        _ => Outcome::ByArguments(alternatives),
    })
}

fn answer(action: Action) -> u32 {
    match action {
        Action::Allow => RETURN_ALLOW,
        Action::Notify => RETURN_NOTIFY,
        Action::Missing => MISSING,
        Action::Deny => DENIED,
    }
}

/// Emits each different block of argument checks once.
fn targets(program: &mut Backward, ranges: &Ranges, otherwise: Otherwise) -> Vec<(u32, Target)> {
    let mut emitted: Vec<(&[Alternative], Target)> = Vec::new();
    let mut targets = Vec::with_capacity(ranges.len());
    for (first, outcome) in ranges {
        let target = match outcome {
            Outcome::Always(answer) => Target::Answer(*answer),
            Outcome::ByArguments(alternatives) => match emitted.iter().find(|(known, _)| known == alternatives) {
                Some((_, target)) => *target,
                None => {
                    let target = arguments::emit(program, alternatives, Target::Answer(unnamed(true, otherwise)));
                    emitted.push((alternatives, target));
                    target
                }
            },
        };
        targets.push((*first, target));
    }
    targets
}

#[cfg(test)]
#[path = "filter/tests.rs"]
mod tests;
