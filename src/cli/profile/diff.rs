//! `clawjail profile diff`: what one profile allows that another does not.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::super::answer;
use super::{sources, which};
use crate::plan::explain::aligned;
use crate::profile::diff::{Difference, Direction, compare};
use crate::wire::text::printable;

/// Say in words what one profile allows more than another, and what less.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  clawjail profile diff untrusted offline
  clawjail profile diff offline ./learned.toml      a file is named by a path
  clawjail profile diff old.toml new.toml --json | jq '.[] | select(.direction == \"more\")'

What a host makes of each, `clawjail profile explain` shows.")]
pub struct Diff {
    /// The one that is known: a name, or the path of a file.
    #[arg(value_name = "A")]
    one: String,
    /// The other one.
    #[arg(value_name = "B")]
    other: String,
    /// The differences as data.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    a: &'a str,
    b: &'a str,
    differences: &'a [Difference],
}

/// Compares them.
pub fn run(diff: &Diff) -> ExitCode {
    let sources = sources();
    let library = sources.library();
    let resolved = [&diff.one, &diff.other].map(|name| which(name).resolve(&sources, &library));
    let [one, other] = match resolved {
        [Ok(one), Ok(other)] => [one, other],
        [Err(error), _] | [_, Err(error)] => return answer::refuse_profile(&error),
    };
    let differences = compare(&one, &other);
    if diff.json {
        return answer::give(&answer::json(&Answer { a: &diff.one, b: &diff.other, differences: &differences }));
    }
    answer::give(&text(&diff.one, &diff.other, &differences))
}

/// The differences as a person reads them.
pub fn text(one: &str, other: &str, differences: &[Difference]) -> String {
    let [one, other] = [one, other].map(name);
    let sections = [
        (Direction::More, format!("`{other}` allows more than `{one}`:")),
        (Direction::Less, format!("`{other}` allows less than `{one}`:")),
        (Direction::Other, "and what is neither:".to_owned()),
    ];
    let mut text = String::new();
    for (direction, title) in sections {
        let of_it = differences.iter().filter(|difference| difference.direction == direction);
        let rows: Vec<Vec<String>> =
            of_it.map(|difference| vec![difference.about.to_owned(), printable(&difference.words)]).collect();
        if !rows.is_empty() {
            text.push_str(&format!("{title}\n{}", aligned(&rows)));
        } else if direction == Direction::More {
            text.push_str(&format!("`{other}` allows nothing more than `{one}`\n"));
        }
    }
    text
}

fn name(typed: &str) -> String {
    let stem = Path::new(typed).file_stem().map(|stem| stem.to_string_lossy().into_owned());
    printable(&stem.unwrap_or_else(|| typed.to_owned()))
}
