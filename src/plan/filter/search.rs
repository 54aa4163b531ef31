//! The search for the range in which a loaded word lies.
//!
//! Owns the shape of the tree. Must not know what the word means.

use super::backward::{Backward, Jump, Target};

/// How many comparisons in a row are still better than a tree.
const MOST_EXCEPTIONS: usize = 4;

/// Emits the search through `ranges`, each given by its first number and open up to the next one. `end` is where the
/// numbers that are asked for end; the tree is balanced for those below.
pub fn emit(program: &mut Backward, ranges: &[(u32, Target)], end: u32) -> Target {
    match ranges {
        [] => Target::Next,
        [(_, target)] => *target,
        [(_, around), ..] if are_exceptions(ranges) => {
            let exceptions = ranges.iter().skip(1).step_by(2).rev();
            exceptions.fold(*around, |next, (number, target)| program.compare(Jump::Equal, *number, *target, next))
        }
        [(first, _), ..] => {
            let (below, above) = ranges.split_at(middle(ranges, *first, end));
            let first_above = above.first().map_or(end, |(first, _)| *first);
            let above = emit(program, above, end);
            let below = emit(program, below, first_above);
            program.compare(Jump::GreaterOrEqual, first_above, above, below)
        }
    }
}

/// Whether `ranges` are a few single numbers amid one outcome. Each then needs one comparison where a tree needs two,
/// and an instruction more costs more to load than a longer way for a few numbers.
fn are_exceptions(ranges: &[(u32, Target)]) -> bool {
    let same = |index: usize| ranges.get(index).map(|(_, target)| *target) == ranges.first().map(|(_, target)| *target);
    let single = |pair: &[(u32, Target)]| matches!(pair, [(one, _), (next, _)] if one.checked_add(1) == Some(*next));
    ranges.len() % 2 == 1
        && ranges.len() <= 2 * MOST_EXCEPTIONS + 1
        && (0..ranges.len()).step_by(2).all(same)
        && ranges.get(1..).unwrap_or_default().chunks(2).all(single)
}

/// Where to split so that both sides hold as many numbers: the kernel walks the tree for each of them while it loads
/// the filter.
fn middle(ranges: &[(u32, Target)], first: u32, end: u32) -> usize {
    let centre = first + end.saturating_sub(first) / 2;
    let distance = |index: &usize| ranges.get(*index).map_or(0, |(first, _)| first.abs_diff(centre));
    (1..ranges.len()).min_by_key(distance).unwrap_or(1)
}
