//! What a person sees of a run's denials: one to five lines, the most useful first, each with what would have allowed it.

use crate::verdict::denials::rank;
use crate::verdict::{Denial, Verdict};
use crate::wire::text::printable;

/// Most lines about denials.
const MOST: usize = 5;

/// From this rank on, a denial seldom matters to a command that went well: programs try such things and do without.
const ALONE: u8 = 3;

/// The lines, without our name in front.
pub fn lines(verdict: &Verdict) -> Vec<String> {
    let mut ranked: Vec<&Denial> = verdict.denials.iter().collect();
    ranked.sort_by_key(|denial| rank(denial));
    if verdict.exit_code == Some(0) {
        ranked.retain(|denial| rank(denial) <= ALONE);
    }
    let mut lines = Vec::new();
    for (number, denial) in ranked.iter().enumerate() {
        // The last line is for those that have none.
        if lines.len() + 1 == MOST && ranked.len() - number > 1 {
            lines.push(further(ranked.len() - number));
            return lines;
        }
        lines.push(line(denial, &verdict.profile));
        // One remedy is read; the others are in the verdict.
        lines.extend(hint(denial).filter(|_| number == 0));
    }
    lines
}

fn further(count: usize) -> String {
    format!("denied: {count} more, which the verdict lists (--verdict FILE, --json)")
}

fn line(denial: &Denial, profile: &str) -> String {
    let (what, rule) = (printable(&denial.what), printable(&denial.rule));
    let times = if denial.count > 1 { format!(", {} times", denial.count) } else { String::new() };
    let kind = match (denial.mechanism.as_str(), denial.kind.as_str()) {
        // Of settings it is not the file that is denied, but what it would say.
        (_, "set") => format!("set {rule} in"),
        (_, "settings") => format!("change settings ({rule}) in"),
        (_, "connect") => "connect to".to_owned(),
        (_, "look_up") => "look up".to_owned(),
        ("gate", "send") => "send to".to_owned(),
        (_, "system_call") => "system call".to_owned(),
        (_, kind) => kind.to_owned(),
    };
    match denial.mechanism.as_str() {
        "gate" | "network" => format!("denied: {kind} `{what}` ({rule}; profile `{profile}`{times})"),
        "broker" => format!("denied: {kind} `{what}` (shielded by `{profile}`{times})"),
        "limit" => format!("denied: limit `{rule}` of `{profile}` was reached{times}"),
        _ if denial.kind == "read" && !rule.is_empty() => {
            format!("denied: {kind} `{what}` (hidden by `{profile}`{times})")
        }
        _ if !rule.is_empty() => format!("denied: {kind} `{what}` (shielded by `{profile}`{times})"),
        _ => format!("denied: {kind} `{what}` (not granted by `{profile}`{times})"),
    }
}

fn hint(denial: &Denial) -> Option<String> {
    let tells = denial.mechanism == "gate" || denial.grant.is_some();
    tells.then(|| format!("hint: {}", printable(&denial.remedy)))
}
