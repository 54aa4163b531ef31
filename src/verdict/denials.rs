//! Denials as a verdict lists them: what was denied, why, and what would have allowed it.
//!
//! Owns the words. Pure: it is told what was observed, and guesses nothing from what a command printed.

use super::Denial;
use super::activity;
use super::evidence::{Doer, Grant, text};
use super::observed::Denied;
use super::run::{Contact, Decision, Ended};
use crate::policy::egress::ONLY_IF;

/// What a remedy begins with that lets something through: an attacker who is denied wants nothing more than its line pasted.
const ASKED: &str = "the command asked for it; ";

/// What the word `remedy` says where only a person outside may do it.
const BY_A_PERSON: &str = "have a person set it on the host, outside of any jail";

/// Those of broker and kernel, then those of the gate.
pub fn of(ended: &Ended) -> Vec<Denial> {
    let at_the_gate = ended.reached.contacts.iter().filter(|contact| contact.decision == Decision::Denied);
    ended.denials.iter().map(denial).chain(at_the_gate.map(by_the_gate)).collect()
}

fn denial(denied: &Denied) -> Denial {
    let what = text(&denied.what);
    let grant = grant(denied, &what);
    Denial {
        kind: denied.kind.clone(),
        mechanism: denied.mechanism.clone(),
        rule: denied.rule.clone(),
        count: denied.count,
        remedy: remedy(denied, grant.as_ref()),
        grant,
        first_us: denied.when_us.map(|(first, _)| first),
        last_us: denied.when_us.map(|(_, last)| last),
        process: denied.by.as_ref().map(Doer::of),
        what,
    }
}

/// What in a profile would allow it. What a shield keeps has none: a list of the profile would have to lose something.
fn grant(denied: &Denied, what: &str) -> Option<Grant> {
    // A path that is not text cannot be written into a profile.
    std::str::from_utf8(&denied.what).ok()?;
    let path = |key| what.starts_with('/').then(|| Grant::in_list("filesystem", key, what));
    match (denied.mechanism.as_str(), denied.kind.as_str()) {
        ("broker", _) => None,
        ("view" | "landlock", "read" | "list") if denied.rule.is_empty() => path("read"),
        ("view" | "landlock", "execute") if denied.rule.is_empty() => path("execute"),
        ("view" | "landlock", "write" | "truncate" | "mode") if denied.rule.is_empty() => path("write"),
        ("view" | "landlock", "create" | "mkdir" | "symlink" | "link" | "rename" | "remove" | "make")
            if denied.rule.is_empty() =>
        {
            let parent = what.rsplit_once('/').map_or("/", |(parent, _)| if parent.is_empty() { "/" } else { parent });
            path("write").map(|_| Grant::in_list("filesystem", "write", parent))
        }
        ("network", "connect" | "look_up") if !what.contains(' ') => Some(Grant::in_list("egress", "allow", what)),
        _ => None,
    }
}

fn by_the_gate(contact: &Contact) -> Denial {
    let denial = activity::denial(contact);
    // Asked without a command, the rules give the same remedy.
    if denial.remedy.contains(ONLY_IF) {
        Denial { remedy: format!("{ASKED}{}", denial.remedy), ..denial }
    } else {
        denial
    }
}

fn remedy(denied: &Denied, grant: Option<&Grant>) -> String {
    if let Some(grant) = grant {
        return format!("{ASKED}{ONLY_IF}add to a profile of your own: {}", grant.line);
    }
    match (denied.mechanism.as_str(), denied.kind.as_str()) {
        ("broker", "set" | "settings") => BY_A_PERSON.into(),
        ("broker", _) => "choose another name, or have the operator take it out of `hide` or `protect`".into(),
        ("view" | "landlock", _) if !denied.rule.is_empty() => {
            "do without it, or have the operator take it out of `hide` or `protect`".into()
        }
        ("network", _) => {
            "work from files in the workspace, or use a profile with `[egress]` that names the host".into()
        }
        ("seccomp", _) => "no program of ordinary kind needs it; `[syscalls] add` takes further sets".into(),
        ("limit", _) => format!("raise `limits.{}` in a profile of your own", text(&denied.what)),
        ("landlock", "signal" | "trace" | "abstract_socket") => "only processes of the same jail can be reached".into(),
        _ => "do without it".into(),
    }
}

/// One or two sentences for whoever gave the command, who may be a model: what was denied and what to do instead. Made of what the
/// command itself asked for, so it tells nothing that the command did not know.
pub fn hint(denials: &[Denial], profile: &str) -> Option<String> {
    let mut ranked: Vec<&Denial> = denials.iter().collect();
    ranked.sort_by_key(|denial| rank(denial));
    let first = ranked.first()?;
    let mut hint = sentence(first, profile);
    let second = ranked.iter().find(|denial| rank(denial) != rank(first));
    if let Some(second) = second.filter(|second| rank(second) <= LAST_USEFUL) {
        hint.push(' ');
        hint.push_str(&sentence(second, profile));
    }
    Some(hint)
}

/// From this rank on, a denial is seldom why a command failed.
const LAST_USEFUL: u8 = 5;

/// How soon a denial is told of: first what ends most attempts.
pub fn rank(denial: &Denial) -> u8 {
    match (denial.mechanism.as_str(), denial.kind.as_str()) {
        ("limit", _) => 0,
        ("gate" | "network", _) => 1,
        ("broker", "set" | "settings") => 2,
        ("broker", _) => 2,
        ("view" | "landlock", "read") if !denial.rule.is_empty() => 2,
        ("view" | "landlock" | "kernel", "write" | "create" | "mkdir" | "remove" | "rename" | "make") => 3,
        ("view" | "landlock", "execute") => 4,
        ("view" | "landlock", "read" | "list") => 5,
        ("view" | "landlock", _) => 6,
        _ => 7,
    }
}

fn sentence(denial: &Denial, profile: &str) -> String {
    let what = short(&denial.what);
    match (denial.mechanism.as_str(), denial.kind.as_str()) {
        ("limit", _) => {
            format!("The limit `{what}` of profile `{profile}` was reached; use less, or ask for a larger one.")
        }
        ("network", _) => {
            "Network is off in this jail; work from files in the workspace, or ask for a profile with `[egress]`."
                .into()
        }
        ("gate", _) => format!(
            "`{what}` may not be reached under profile `{profile}`; do without it, or ask for a profile that allows it."
        ),
        ("broker", "set" | "settings") => {
            format!(
                "Setting `{}` in `{what}` is left to a person, because it would run something outside of this jail.",
                short(&denial.rule)
            )
        }
        ("broker", _) => format!(
            "`{what}` is protected in this jail and stays as it is; use another name, or tell the person what it should hold."
        ),
        ("view" | "landlock", "read" | "list") => {
            format!("`{what}` cannot be read in this jail; work from files in the workspace, or ask for the content.")
        }
        ("view" | "landlock", "execute") => format!("`{what}` cannot be executed in this jail."),
        ("view" | "landlock", _) => {
            format!("`{what}` cannot be written in this jail; write in the workspace or in /tmp instead.")
        }
        ("seccomp", _) => format!("System call `{what}` is not available in this jail."),
        _ => format!("{} `{what}` was denied in this jail.", denial.kind),
    }
}

/// Short enough for a sentence, and without what a terminal would act on.
fn short(text: &str) -> String {
    const MOST: usize = 120;
    let mut short: String = text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect();
    if short.len() > MOST {
        short.truncate(short.floor_char_boundary(MOST));
        short.push('\u{2026}');
    }
    short
}

#[cfg(test)]
#[path = "denials/tests.rs"]
mod tests;
