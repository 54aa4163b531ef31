//! What OpenClaw is answered: one JSON object on standard output, within what it shows.
//!
//! OpenClaw takes at most 100 findings with texts of at most 1,000 characters, and fails a warning whose whole notice is longer
//! than 4,000. So findings are told from the worst on, and what does not fit is counted.

use serde::Serialize;

use crate::openclaw::skill::Finding;
use crate::openclaw::skill::rules::Severity;
use crate::policy::names::cut;

/// The findings that are told.
const MOST: usize = 100;
/// The characters that they may have together where OpenClaw shows all or nothing; the rest of its notice is its own.
const NOTICE: usize = 2_400;
/// What OpenClaw puts around one.
const FRAME: usize = 32;
/// Characters of one text.
const LONGEST: usize = 400;

/// What becomes of the installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It goes on.
    Allow,
    /// The operator is asked.
    Warn,
    /// It does not.
    Block,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answer {
    protocol_version: u64,
    /// What becomes of it.
    pub decision: Decision,
    /// Why, in a sentence.
    pub reason: String,
    /// What was found, the worst first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

impl Answer {
    /// An answer that rests on findings.
    pub fn new(decision: Decision, reason: &str, mut findings: Vec<Finding>) -> Answer {
        findings.sort();
        findings.dedup();
        let all = findings.len();
        let mut room = NOTICE;
        let kept = findings.into_iter().map(shortened).take(MOST).take_while(|finding| {
            let takes = length(finding);
            let fits = takes <= room;
            room = room.saturating_sub(takes);
            fits
        });
        let kept: Vec<Finding> = kept.collect();
        let more = all - kept.len();
        let reason =
            if more > 0 { format!("{reason} (and {more} findings more than are shown)") } else { reason.to_owned() };
        Answer { protocol_version: super::request::VERSION, decision, reason: cut(&reason, LONGEST), findings: kept }
    }

    /// Blocks, for a reason that has to do with no finding.
    pub fn block(reason: &str) -> Answer {
        Answer::new(Decision::Block, reason, Vec::new())
    }

    /// As one line.
    pub fn line(&self) -> String {
        // Text, numbers and lists: there is nothing in it that JSON could refuse. Nothing at all would be a block, too.
        serde_json::to_string(self).map(|text| text + "\n").unwrap_or_default()
    }
}

fn shortened(finding: Finding) -> Finding {
    let evidence = finding.evidence.map(|evidence| cut(&evidence, LONGEST / 2)).filter(|text| !text.is_empty());
    Finding { evidence, ..finding }
}

fn length(finding: &Finding) -> usize {
    let texts = [Some(&finding.rule_id), Some(&finding.message), finding.file.as_ref(), finding.evidence.as_ref()];
    FRAME + texts.into_iter().flatten().map(|text| text.chars().count()).sum::<usize>()
}

/// The worst of it.
pub fn decision(findings: &[Finding]) -> Decision {
    match findings.iter().map(|finding| finding.severity).min() {
        Some(Severity::Critical) => Decision::Block,
        Some(Severity::Warn) => Decision::Warn,
        Some(Severity::Info | Severity::Part) | None => Decision::Allow,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity, evidence: &str) -> Finding {
        Finding {
            severity,
            rule_id: "x".into(),
            message: "why".into(),
            file: Some("SKILL.md".into()),
            line: Some(1),
            evidence: Some(evidence.into()),
        }
    }

    #[test]
    fn the_worst_finding_decides() {
        let (critical, warn, info) =
            (finding(Severity::Critical, ""), finding(Severity::Warn, ""), finding(Severity::Info, ""));
        assert_eq!(decision(&[info.clone(), critical, warn.clone()]), Decision::Block);
        assert_eq!(decision(&[info.clone(), warn]), Decision::Warn);
        assert_eq!(decision(&[info]), Decision::Allow);
        assert_eq!(decision(&[]), Decision::Allow);
    }

    #[test]
    fn an_answer_is_never_longer_than_openclaw_shows() {
        let many: Vec<Finding> =
            (0..5_000).map(|n| finding(Severity::Warn, &format!("{n} {}", "x".repeat(5_000)))).collect();
        let answer = Answer::new(Decision::Warn, &"r".repeat(5_000), many);
        assert!(answer.findings.len() < MOST && !answer.findings.is_empty());
        assert!(answer.findings.iter().map(length).sum::<usize>() <= NOTICE);
        assert!(answer.reason.chars().count() <= LONGEST + 3);
        assert!(answer.line().len() < 8_000);
    }

    #[test]
    fn the_worst_are_told_where_not_all_are() {
        let mut many: Vec<Finding> = (0..200).map(|n| finding(Severity::Info, &n.to_string())).collect();
        many.push(finding(Severity::Critical, "the one"));
        let answer = Answer::new(Decision::Block, "because", many);
        assert_eq!(answer.findings.first().map(|finding| finding.severity), Some(Severity::Critical));
        assert!(answer.reason.contains("more than are shown"), "{}", answer.reason);
    }
}
