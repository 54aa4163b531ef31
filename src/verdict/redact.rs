//! Taking secrets out of a verdict before anybody writes it down.
//!
//! Owns what is looked for: values that are known to be secret, values under a name that says so (`TOKEN=..`,
//! `--password ..`), and values whose own form says so. The names and forms are `policies/secrets/patterns.toml`. Must not
//! look anything up: which values are known is told by the caller.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex_lite::{Captures, Regex};
use serde::Deserialize;

use super::{Denial, Verdict};
use crate::policy::environment::{Secrecy, secrecy};

/// What stands in a record where a secret was.
pub const REDACTED: &str = "[redacted]";

/// A known value is looked for from this length on: a shorter one would be found in every second word.
pub const SHORTEST_KNOWN: usize = 6;

/// No form of a secret is shorter, so shorter texts are not searched, and a run of `true` compiles no pattern.
const SHORTEST_FORM: usize = 8;

/// Bytes of a command that a record has. More would take the process that writes records seconds to search, while others wait;
/// and a line of the ledger is not much longer.
const LONGEST_COMMAND: usize = 32 << 10;
/// Bytes of any other text of a record.
const LONGEST_TEXT: usize = 4 << 10;
/// What is searched beyond these, so that a secret on the edge is found whole.
const BEYOND: usize = 16 << 10;

/// Marks where something was left out.
const CUT: char = '\u{2026}';

const SECRETS: &str = include_str!("../../policies/secrets/patterns.toml");

/// The part of the list that is about values.
#[derive(Deserialize)]
struct ValueList {
    values: BTreeMap<String, String>,
}

/// The forms of secrets, and `name=value` wherever it stands in a text.
struct Forms {
    values: Vec<Form>,
    assignment: Option<Regex>,
}

/// The form of a secret. Most texts lack what every secret of that form has in it, which is found out without the pattern.
struct Form {
    literal: String,
    pattern: Regex,
}

impl Form {
    fn of(form: &str) -> Option<Form> {
        Some(Form { literal: literal_of(form).to_owned(), pattern: Regex::new(form).ok()? })
    }

    fn is_match(&self, text: &str) -> bool {
        text.contains(&self.literal) && self.pattern.is_match(text)
    }
}

/// Whether each bracket of a pattern is one, and each backslash is followed by a class, an assertion or a sign.
fn is_plain_to_see(form: &str) -> bool {
    let brackets = ['[', ']', '(', ')', '{', '}'];
    let misread = |escaped: &str| {
        let letter = escaped.starts_with(|letter: char| letter.is_ascii_alphanumeric());
        escaped.starts_with(brackets) || letter && !escaped.starts_with(['b', 'B', 'd', 'D', 's', 'S', 'w', 'W'])
    };
    let unclear = |set: &str| {
        let inside = set.split(']').next().unwrap_or_default();
        matches!(inside, "" | "^") || inside.contains(brackets)
    };
    !form.contains('|')
        && !form.contains("(?")
        && !form.split('\\').skip(1).any(misread)
        && !form.split('[').skip(1).any(unclear)
}

/// The longest piece of a pattern that stands in every match as it is: it is in no set, group or alternative, no letter of it may be
/// repeated or missing, and case counts. None where that is not plain to see: the form is then looked for in every text.
fn literal_of(form: &str) -> &str {
    if !is_plain_to_see(form) {
        return "";
    }
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:/@ ".contains(&byte);
    let (mut longest, mut begin, mut depth) = ("", 0, 0_usize);
    for (place, byte) in form.bytes().chain([b'\\']).enumerate() {
        if depth == 0 && is_plain(byte) {
            continue;
        }
        // What is counted behind a letter may be a count of none.
        let end = if b"*?{".contains(&byte) { place.saturating_sub(1) } else { place };
        longest = form.get(begin..end).filter(|piece| depth == 0 && piece.len() > longest.len()).unwrap_or(longest);
        match byte {
            b'[' | b'(' | b'{' => depth += 1,
            b']' | b')' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        // Behind a backslash a letter is no letter.
        begin = if byte == b'\\' { place + 2 } else { place + 1 };
    }
    longest
}

impl Verdict {
    /// Replaces every secret in what the caller gave and what we said about it, and cuts what is too long for a record.
    /// `known`: values that are secret whatever they look like.
    pub fn redact(&mut self, known: &[Vec<u8>]) {
        let known: Vec<Cow<'_, str>> = known
            .iter()
            .filter(|value| value.len() >= SHORTEST_KNOWN)
            .map(|value| String::from_utf8_lossy(value))
            .collect();
        let beyond = known.iter().map(|value| value.len()).fold(BEYOND, usize::max);
        self.cut(beyond);
        redact_after_names(&mut self.argv);
        self.activity.commands.iter_mut().for_each(|command| redact_after_names(&mut command.argv));
        let (argv, others) = self.texts();
        for text in argv.iter_mut().chain(others) {
            redact_text(text, &known);
        }
        self.cut(0);
    }

    /// The command, and every other text that somebody outside could have chosen.
    fn texts(&mut self) -> (&mut Vec<String>, impl Iterator<Item = &mut String>) {
        let reason = self.reason.iter_mut().flat_map(|reason| [Some(&mut reason.message), reason.remedy.as_mut()]);
        let asked = [self.cwd.as_mut(), self.agent.as_mut(), self.session.as_mut()];
        // A name can carry what somebody wanted to get out by asking for it.
        let names = self.activity.connections.iter_mut().flat_map(|connection| {
            let requests = connection.requests.iter_mut().flat_map(|request| [&mut request.method, &mut request.path]);
            connection.name.iter_mut().chain(requests)
        });
        let denials = self.denials.iter_mut().flat_map(texts_of);
        let hint = self.denial_hint.iter_mut();
        let commands = self.activity.commands.iter_mut();
        let commands = commands.flat_map(|command| [&mut command.path].into_iter().chain(&mut command.argv));
        let files = self.activity.files.iter_mut();
        let files = files.flat_map(|file| [&mut file.path].into_iter().chain(&mut file.from));
        let did = commands.chain(files).chain(&mut self.activity.reads);
        (&mut self.argv, denials.chain(hint).chain(names).chain(did).chain(reason.chain(asked).flatten()))
    }

    /// Cuts each text that is longer than allowed by more than `beyond`.
    fn cut(&mut self, beyond: usize) {
        let (argv, others) = self.texts();
        let mut shortened = cut_command(argv, LONGEST_COMMAND.saturating_add(beyond));
        for text in others {
            shortened |= cut_text(text, LONGEST_TEXT.saturating_add(beyond));
        }
        self.shortened |= shortened;
    }
}

/// Whatever of a denial somebody outside could have chosen.
fn texts_of(denial: &mut Denial) -> impl Iterator<Item = &mut String> {
    let grant = denial.grant.iter_mut().flat_map(|grant| [&mut grant.value, &mut grant.line]);
    let process = denial.process.iter_mut().map(|process| &mut process.name);
    [&mut denial.what, &mut denial.remedy].into_iter().chain(grant).chain(process)
}

/// Whether anything was cut: arguments count with what divides them.
fn cut_command(arguments: &mut Vec<String>, most: usize) -> bool {
    let mut left = most;
    let mut shortened = false;
    for (index, argument) in arguments.iter_mut().enumerate() {
        if left == 0 {
            arguments.truncate(index);
            return true;
        }
        shortened |= cut_text(argument, left);
        left = left.saturating_sub(argument.len() + 1);
    }
    shortened
}

fn cut_text(text: &mut String, most: usize) -> bool {
    let longer = text.len() > most;
    if longer {
        // With its mark it is as long as allowed, so that a second cut finds nothing to do.
        text.truncate(text.floor_char_boundary(most.saturating_sub(CUT.len_utf8())));
        text.push(CUT);
    }
    longer
}

/// `--password hunter2`: the argument after a name that says so.
fn redact_after_names(arguments: &mut [String]) {
    let mut after = false;
    for argument in arguments {
        let flag = argument.strip_prefix("--").map(|name| name.replace('-', "_"));
        if after && flag.is_none() {
            *argument = REDACTED.to_owned();
        }
        after = flag.is_some_and(|name| secrecy(name.as_bytes()) == Secrecy::Secret);
    }
}

/// Whether a text has the form of a secret in it.
pub fn is_secret_by_form(text: &str) -> bool {
    forms().values.iter().any(|form| form.is_match(text))
}

fn redact_text(text: &mut String, known: &[Cow<'_, str>]) {
    for value in known.iter().filter(|value| text.contains(value.as_ref())).collect::<Vec<_>>() {
        *text = text.replace(value.as_ref(), REDACTED);
    }
    if let Some(assignment) = forms().assignment.as_ref().filter(|_| text.contains('=')) {
        *text = assignment.replace_all(text, redact_assignment).into_owned();
    }
    if text.len() < SHORTEST_FORM {
        return;
    }
    for form in forms().values.iter() {
        if form.is_match(text) {
            *text = form.pattern.replace_all(text, REDACTED).into_owned();
        }
    }
}

fn redact_assignment(found: &Captures<'_>) -> String {
    let part = |number| found.get(number).map_or("", |part| part.as_str());
    let name = part(1).trim_start_matches('-').replace('-', "_");
    match secrecy(name.as_bytes()) {
        Secrecy::Secret => format!("{}={REDACTED}", part(1)),
        Secrecy::Open => part(0).to_owned(),
    }
}

/// Compiled once. A list that cannot be read hides everything, so that a broken build gives nothing away.
fn forms() -> &'static Forms {
    static FORMS: OnceLock<Forms> = OnceLock::new();
    FORMS.get_or_init(|| {
        let list = toml::from_str::<ValueList>(SECRETS).map(|list| list.values).unwrap_or_default();
        let compiled: Option<Vec<Form>> = list.keys().map(|form| Form::of(form)).collect();
        let values = compiled.filter(|forms| !forms.is_empty());
        let everything = || Form::of("(?s).+").into_iter().collect();
        Forms {
            values: values.unwrap_or_else(everything),
            assignment: Regex::new(r#"([A-Za-z_][A-Za-z0-9_-]*)=("[^"]*"|'[^']*'|[^\s&;"']+)"#).ok(),
        }
    })
}

#[cfg(test)]
#[path = "redact/tests.rs"]
mod tests;
