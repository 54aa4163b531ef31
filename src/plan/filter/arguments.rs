//! The argument checks of a filter: conditions taken apart into 32-bit tests, and tests put together into blocks.
//!
//! Owns how a 64-bit argument is compared by a machine with 32-bit words. Must not know calls nor actions.

use std::collections::BTreeMap;

use super::backward::{Backward, Jump, Target};
use crate::policy::syscalls::Condition;

/// Where the arguments begin in `struct seccomp_data`; eight bytes each, low word first on both architectures.
const ARGUMENTS: u32 = 16;

/// Some bits of one 32-bit half of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Word {
    offset: u32,
    mask: u32,
}

/// A word must have a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    word: Word,
    value: u32,
}

/// The answer to a call for which all tests hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alternative {
    /// None: it always holds.
    pub tests: Vec<Test>,
    /// What the filter then returns.
    pub answer: u32,
}

/// The tests that `conditions` amount to, or none where one can never hold or names an argument that does not exist.
pub fn tests(conditions: &[Condition]) -> Option<Vec<Test>> {
    let mut tests = Vec::new();
    for Condition { arg, mask, value } in conditions {
        if *arg > 5 || value & !mask != 0 {
            return None;
        }
        let low = ARGUMENTS + 8 * u32::from(*arg);
        for (offset, shift) in [(low, 0), (low + 4, 32)] {
            let (mask, value) = ((mask >> shift) as u32, (value >> shift) as u32);
            if mask != 0 {
                tests.push(Test { word: Word { offset, mask }, value });
            }
        }
    }
    Some(tests)
}

/// Emits the choice between `alternatives`, in their order.
pub fn emit(program: &mut Backward, alternatives: &[Alternative], otherwise: Target) -> Target {
    let alternatives: Vec<Open<'_>> = alternatives.iter().map(|one| (one.tests.as_slice(), one.answer)).collect();
    choice(program, &alternatives, otherwise)
}

/// An alternative of which some tests are known to hold: those left, and the answer.
type Open<'t> = (&'t [Test], u32);

fn choice(program: &mut Backward, alternatives: &[Open<'_>], otherwise: Target) -> Target {
    let Some((tests, answer)) = alternatives.first() else {
        return otherwise;
    };
    let Some(first) = tests.first() else {
        return Target::Answer(*answer);
    };
    let asks_the_same = |(tests, _): &&Open<'_>| tests.first().is_some_and(|test| test.word == first.word);
    let (same_word, rest) = alternatives.split_at(alternatives.iter().take_while(asks_the_same).count());
    let otherwise = choice(program, rest, otherwise);
    by_value(program, first.word, same_word, otherwise)
}

/// Emits the choice between alternatives that all begin with a test of the same word, which is loaded once. They may
/// be reordered by value: a word has only one.
fn by_value(program: &mut Backward, word: Word, alternatives: &[Open<'_>], otherwise: Target) -> Target {
    let mut groups: BTreeMap<u32, Vec<Open<'_>>> = BTreeMap::new();
    for (tests, answer) in alternatives {
        if let Some((test, left)) = tests.split_first() {
            groups.entry(test.value).or_default().push((left, *answer));
        }
    }
    let mut emitted: Vec<(Vec<Open<'_>>, Target)> = Vec::new();
    let mut targets = Vec::new();
    for (value, group) in groups {
        let known = emitted.iter().find(|(known, _)| *known == group).map(|(_, target)| *target);
        let target = known.unwrap_or_else(|| choice(program, &group, otherwise));
        targets.push((value, target));
        emitted.push((group, target));
    }
    match targets.as_slice() {
        [(value, target)]
            if word.mask != u32::MAX && (*value == 0 || value.is_power_of_two() && *value == word.mask) =>
        {
            any_bit(program, word, *value, *target, otherwise)
        }
        _ => {
            let chain = chain(program, &targets, otherwise);
            program.load_masked(word.offset, word.mask, chain)
        }
    }
}

/// Emits comparisons with `values`, which are sorted: one for a value by itself, two for values in a row.
fn chain(program: &mut Backward, values: &[(u32, Target)], otherwise: Target) -> Target {
    let in_a_row =
        |(one, here): &(u32, Target), (next, there): &(u32, Target)| one.checked_add(1) == Some(*next) && here == there;
    let mut next = otherwise;
    for run in values.chunk_by(in_a_row).rev() {
        let (Some((first, target)), Some((last, _))) = (run.first(), run.last()) else {
            continue;
        };
        next = match last.checked_add(1).filter(|_| first != last) {
            None if first == last => program.compare(Jump::Equal, *first, *target, next),
            None => program.compare(Jump::GreaterOrEqual, *first, *target, otherwise),
            Some(after) => {
                let up_to_last = program.compare(Jump::GreaterOrEqual, after, next, *target);
                program.compare(Jump::GreaterOrEqual, *first, up_to_last, otherwise)
            }
        };
    }
    next
}

/// "None of these bits" and "this one bit" need no AND: BPF tests bits by itself.
fn any_bit(program: &mut Backward, word: Word, value: u32, holds: Target, otherwise: Target) -> Target {
    let (set, clear) = if value == 0 { (otherwise, holds) } else { (holds, otherwise) };
    let jump = program.compare(Jump::AnyBit, word.mask, set, clear);
    program.load(word.offset, jump)
}
