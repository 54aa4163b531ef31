//! The rules, as `policies/openclaw/skill.toml` says them.
//!
//! Owns reading them and trying one on a piece of text. A form that cannot be compiled matches everything, so that a broken build
//! lets nothing through.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::OnceLock;

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use super::Finding;
use super::needles::Needles;

const SHIPPED: &str = include_str!("../../../policies/openclaw/skill.toml");

/// What a finding comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Blocks.
    Critical,
    /// Asks the operator.
    Warn,
    /// Is told.
    Info,
    /// Is not told; pairs are made of it.
    Part,
}

/// The file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(rename = "summary")]
    _summary: String,
    rule: Vec<Rule>,
    pair: Vec<Pair>,
    shape: Vec<Shape>,
}

/// What is looked for in a line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name; several rules can have the same.
    pub id: String,
    /// What it comes to.
    pub severity: Severity,
    /// Why it is bad.
    pub why: String,
    /// One of these is in the line, in lower case.
    pub needs: Vec<String>,
    /// What the line looks like.
    form: String,
    /// And what the part of it that matched does not look like.
    unless: Option<String>,
    /// Lines that it finds; for tests.
    #[serde(default)]
    pub bad: Vec<String>,
    /// Lines that it does not find; for tests.
    #[serde(default)]
    pub good: Vec<String>,
    #[serde(skip)]
    compiled: OnceLock<(Option<Regex>, Option<Regex>)>,
}

/// Rules that are worse together, in one file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Its name.
    pub id: String,
    /// What it comes to.
    pub severity: Severity,
    /// Why it is bad.
    pub why: String,
    /// The rules.
    pub of: [String; 2],
    /// A text with both; for tests.
    pub bad: String,
    /// A text with one; for tests.
    pub good: String,
}

/// What is seen without a form.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Its name.
    pub id: String,
    /// What it comes to.
    pub severity: Severity,
    /// Why it is bad.
    pub why: String,
}

/// All of them.
pub struct Rules {
    /// In the order of the file.
    pub rules: Vec<Rule>,
    /// Pairs of rules.
    pub pairs: Vec<Pair>,
    /// By name.
    pub shapes: BTreeMap<String, Shape>,
    /// Which rule may apply where.
    pub needles: Needles,
}

impl Rules {
    /// The shipped ones.
    pub fn shipped() -> Result<Rules, String> {
        let file: File = toml::from_str(SHIPPED).map_err(|error| error.message().to_owned())?;
        let needs = file.rule.iter().enumerate();
        let needles = Needles::new(needs.flat_map(|(index, rule)| rule.needs.iter().map(move |need| (index, need))));
        let shapes = file.shape.into_iter().map(|shape| (shape.id.clone(), shape)).collect();
        Ok(Rules { rules: file.rule, pairs: file.pair, shapes, needles })
    }

    /// A finding of a shape. One that is not listed is as bad as can be.
    pub fn shape(&self, id: &str, file: &str, line: Option<usize>, evidence: Option<String>) -> Finding {
        let known = self.shapes.get(id);
        Finding {
            severity: known.map_or(Severity::Critical, |shape| shape.severity),
            rule_id: id.to_owned(),
            message: known.map_or("a finding without a reason", |shape| &shape.why).to_owned(),
            file: Some(file.to_owned()),
            line,
            evidence,
        }
    }
}

impl Rule {
    /// Where the rule matches.
    pub fn find(&self, text: &str) -> Option<Range<usize>> {
        let (form, unless) = self.compiled.get_or_init(|| {
            let never = |text: &String| Regex::new(text).ok();
            (never(&self.form), self.unless.as_ref().and_then(never))
        });
        let Some(form) = form else { return Some(0..text.len()) };
        let harmless = |part: &str| unless.as_ref().is_some_and(|unless| unless.is_match(part));
        form.find_iter(text).map(|found| found.range()).find(|range| {
            // `unless` may look a little further than the form did.
            let end = text.floor_char_boundary(range.end.saturating_add(40));
            !harmless(text.get(range.start..end).unwrap_or_default())
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::{Deadline, text};
    use super::*;

    fn ids(rules: &Rules, text: &str) -> Vec<String> {
        let soon = Deadline(Instant::now() + Duration::from_secs(60));
        let mut found = Vec::new();
        text::look("SKILL.md", text, rules, soon, &mut found).expect("time enough");
        found.into_iter().map(|finding| finding.rule_id).collect()
    }

    #[test]
    fn every_form_can_be_compiled_and_every_need_can_be_looked_for() {
        let rules = Rules::shipped().expect("the shipped rules");
        assert!(rules.rules.len() > 30);
        for rule in &rules.rules {
            for form in [Some(&rule.form), rule.unless.as_ref()].into_iter().flatten() {
                assert!(Regex::new(form).is_ok(), "{}: {form}", rule.id);
            }
            assert!(!rule.bad.is_empty() && !rule.good.is_empty() && !rule.needs.is_empty(), "{}", rule.id);
            for need in &rule.needs {
                assert!(need.len() >= 2 && *need == need.to_ascii_lowercase(), "{}: {need}", rule.id);
            }
        }
    }

    #[test]
    fn every_rule_finds_what_it_is_for_and_not_its_harmless_neighbour() {
        let rules = Rules::shipped().expect("the shipped rules");
        for rule in &rules.rules {
            for bad in &rule.bad {
                let told = rule.severity == Severity::Part || ids(&rules, bad).contains(&rule.id);
                assert!(rule.find(bad).is_some() && told, "{} does not find: {bad}", rule.id);
            }
            for good in &rule.good {
                assert!(rule.find(good).is_none(), "{} finds: {good}", rule.id);
            }
        }
    }

    #[test]
    fn a_pair_is_found_in_a_file_with_both_and_not_in_one_with_half_of_it() {
        let rules = Rules::shipped().expect("the shipped rules");
        for pair in &rules.pairs {
            assert!(ids(&rules, &pair.bad).contains(&pair.id), "{}", pair.id);
            assert!(!ids(&rules, &pair.good).contains(&pair.id), "{}", pair.id);
            let known = |id: &String| rules.rules.iter().any(|rule| rule.id == *id);
            assert!(pair.of.iter().all(known), "{}", pair.id);
        }
    }

    #[test]
    fn a_rule_that_cannot_be_compiled_lets_nothing_through() {
        let rules = "id = 'x'\nseverity = 'warn'\nwhy = 'x'\nneeds = ['xx']\nform = '('";
        let rule: Rule = toml::from_str(rules).expect("a rule");
        assert_eq!(rule.find("anything"), Some(0..8));
    }
}
