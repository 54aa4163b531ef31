//! A profile that was learned: what it holds, as text and from text.
//!
//! Owns the form of the file. Each grant stands on a line of its own, with what was seen as its comment, so that a file can be read
//! back, widened and written again without losing a reason. Pure: it is told what was seen.

use std::collections::BTreeMap;

use toml::{Table, Value};

use crate::policy::paths;
use crate::profile::units::{Bytes, Span};
use crate::wire::text::printable;

/// Entries of a list, each with its reason.
pub type List = BTreeMap<String, String>;

/// What was learned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// The profile that it extends.
    pub base: String,
    /// The commands that it was learned from.
    pub examples: Vec<String>,
    /// Whether the workspace is changed, and what was seen of it.
    pub access: Option<(Access, String)>,
    /// What is read.
    pub read: List,
    /// What is executed.
    pub execute: List,
    /// Which hosts are reached.
    pub allow: List,
    /// What was asked for and is not granted.
    pub asked: List,
    /// Whether files in /tmp are executed.
    pub tmp: Option<(bool, String)>,
    /// Bounds by key of `[limits]`: bytes, counts or milliseconds.
    pub limits: BTreeMap<String, (u64, String)>,
}

/// What is done with the workspace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// It is only read.
    Ro,
    /// It is changed.
    Rw,
}

impl Access {
    fn word(self) -> &'static str {
        match self {
            Access::Ro => "ro",
            Access::Rw => "rw",
        }
    }
}

/// How a bound is written.
fn quantity(key: &str, value: u64) -> String {
    match key {
        "processes" => value.to_string(),
        "wall" => quoted(&Span(value).to_string()),
        _ => quoted(&Bytes(value).to_string()),
    }
}

/// Text as a value of TOML, in one line.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            letter if letter.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(letter))),
            letter => quoted.push(letter),
        }
    }
    quoted + "\""
}

/// Whether a profile can name this path at all.
pub fn can_be_named(path: &str) -> bool {
    paths::form(path).is_ok_and(|form| !form.pattern)
}

impl Learned {
    /// The profile, with `at` as the place of the workspace where that is not the base's own.
    pub fn text(&self, at: Option<&str>) -> String {
        let mut text = self.head();
        text.push_str("\n[workspace]\n");
        if let Some((access, why)) = &self.access {
            text.push_str(&line(&format!("access = {}", quoted(access.word())), why));
        }
        if let Some(at) = at {
            text.push_str(&format!("at = {}\n", quoted(at)));
        }
        text.push_str("\n[filesystem]\n");
        text.push_str(&list("read", &self.read));
        text.push_str(&list("execute", &self.execute));
        if let Some((execute, why)) = &self.tmp {
            text.push_str(&line(&format!("tmp = {{ execute = {execute} }}"), why));
        }
        text.push_str("\n[egress]\n");
        text.push_str(&list("allow", &self.allow));
        for (what, why) in &self.asked {
            text.push_str(&format!("# asked for, not granted: {} ({})\n", printable(what), printable(why)));
        }
        text.push_str("\n[limits]\n");
        for (key, (value, why)) in &self.limits {
            text.push_str(&line(&format!("{key} = {}", quantity(key, *value)), why));
        }
        text
    }

    fn head(&self) -> String {
        let mut text =
            "# Learned by `clawjail learn`: each line says what was seen. Another example widens it.\n".to_owned();
        for example in &self.examples {
            text.push_str(&format!("{EXAMPLE}{}\n", printable(example)));
        }
        let first = self.examples.first().map_or("nothing", String::as_str);
        let first = first.rsplit_once(" (").map_or(first, |(command, _)| command);
        let summary: String = format!("Learned from `{}`.", printable(first)).chars().take(200).collect();
        text.push_str(&format!("summary = {}\nextends = {}\n", quoted(&summary), quoted(&self.base)));
        text
    }

    /// Reads a file that was written by [`Learned::text`], and perhaps edited since.
    pub fn parse(text: &str) -> Result<Learned, String> {
        let table: Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
        let at = |path: [&str; 2]| table.get(path[0]).and_then(|inner| inner.get(path[1]));
        let entries = |path: [&str; 2]| -> List {
            let entries = at(path).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
            entries.map(|entry| (entry.to_owned(), comment(text, &quoted(entry)))).collect()
        };
        let base = table.get("extends").and_then(Value::as_str).ok_or("it extends nothing")?;
        let access = match at(["workspace", "access"]).and_then(Value::as_str) {
            Some("ro") => Some(Access::Ro),
            Some("rw") => Some(Access::Rw),
            _ => None,
        };
        let tmp = at(["filesystem", "tmp"]).and_then(|tmp| tmp.get("execute")).and_then(Value::as_bool);
        let limit =
            |key: &str| Some((key.to_owned(), (bound(at(["limits", key])?)?, comment(text, &format!("{key} =")))));
        Ok(Learned {
            base: base.to_owned(),
            examples: text.lines().filter_map(|line| line.strip_prefix(EXAMPLE)).map(str::to_owned).collect(),
            access: access.map(|access| (access, comment(text, "access ="))),
            read: entries(["filesystem", "read"]),
            execute: entries(["filesystem", "execute"]),
            allow: entries(["egress", "allow"]),
            asked: List::new(),
            tmp: tmp.map(|tmp| (tmp, comment(text, "tmp ="))),
            limits: LIMITS.iter().filter_map(|key| limit(key)).collect(),
        })
    }

    /// Both together: what either needs.
    pub fn widen(mut self, other: Learned) -> Learned {
        for example in other.examples {
            if !self.examples.contains(&example) {
                self.examples.push(example);
            }
        }
        self.access = greater(self.access, other.access);
        self.tmp = greater(self.tmp, other.tmp);
        for (mine, theirs) in [(&mut self.execute, other.execute), (&mut self.allow, other.allow)] {
            add(mine, theirs);
        }
        // What can be executed can be read.
        let covered = |path: &String, by: &List| by.keys().any(|tree| crate::profile::diff::within(path, tree));
        let theirs = other.read.into_iter().filter(|(path, _)| !covered(path, &self.execute)).collect();
        add(&mut self.read, theirs);
        self.read.retain(|path, _| !self.execute.keys().any(|tree| crate::profile::diff::within(path, tree)));
        self.asked = other.asked;
        for (key, (value, why)) in other.limits {
            let held = self.limits.entry(key).or_insert((0, String::new()));
            if value > held.0 {
                *held = (value, why);
            }
        }
        self
    }
}

const EXAMPLE: &str = "# example: ";

/// The bounds that are learned.
pub const LIMITS: [&str; 5] = ["file_size", "memory", "output", "processes", "wall"];

fn greater<T: Ord>(one: Option<(T, String)>, other: Option<(T, String)>) -> Option<(T, String)> {
    match (one, other) {
        (Some(one), Some(other)) => Some(if other.0 > one.0 { other } else { one }),
        (one, other) => one.or(other),
    }
}

/// Adds what is not there or below something there, and drops what then lies below something new.
fn add(mine: &mut List, theirs: List) {
    let within = crate::profile::diff::within;
    for (entry, why) in theirs {
        if mine.keys().any(|tree| within(&entry, tree)) {
            continue;
        }
        mine.retain(|old, _| !within(old, &entry));
        mine.insert(entry, why);
    }
}

fn bound(value: &Value) -> Option<u64> {
    use crate::profile::units::Quantity;
    match value {
        Value::Integer(number) => u64::try_from(*number).ok(),
        Value::String(text) => {
            Bytes::from_text(text).map(|bytes| bytes.0).or_else(|_| Span::from_text(text).map(|span| span.0)).ok()
        }
        _ => None,
    }
}

/// The comment of the line that begins with `code`.
fn comment(text: &str, code: &str) -> String {
    let line = text.lines().map(str::trim_start).find_map(|line| line.strip_prefix(code));
    line.and_then(|rest| rest.split_once("# ")).map(|(_, comment)| comment.trim().to_owned()).unwrap_or_default()
}

fn line(code: &str, why: &str) -> String {
    format!("{code}   # {}\n", printable(why))
}

fn list(key: &str, entries: &List) -> String {
    if entries.is_empty() {
        return format!("{key} = []\n");
    }
    let codes: Vec<String> = entries.keys().map(|entry| quoted(entry) + ",").collect();
    let width = codes.iter().map(|code| code.chars().count()).max().unwrap_or(0).min(60);
    let lines =
        codes.iter().zip(entries.values()).map(|(code, why)| format!("  {code:<width$} # {}\n", printable(why)));
    format!("{key} = [\n{}]\n", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list_of(entries: &[(&str, &str)]) -> List {
        entries.iter().map(|(entry, why)| ((*entry).to_owned(), (*why).to_owned())).collect()
    }

    fn one() -> Learned {
        Learned {
            base: "offline".into(),
            examples: vec!["npm test (exit 0)".into()],
            access: Some((Access::Rw, "3 files were changed".into())),
            read: list_of(&[("/usr/share/a", "4 files were read"), ("~/\"odd\\name", "1 file was read")]),
            execute: list_of(&[("/usr/bin/node", "it was executed"), ("@workspace", "a was executed")]),
            allow: list_of(&[("a.example:443", "2 connections")]),
            asked: List::new(),
            tmp: Some((false, "nothing in /tmp was executed".into())),
            limits: [
                ("memory".into(), (256 << 20, "at most 100M".into())),
                ("processes".into(), (16, "at most 3".into())),
                ("wall".into(), (30_000, "6s".into())),
            ]
            .into(),
        }
    }

    #[test]
    fn what_is_written_is_read_back_reasons_and_all() {
        assert_eq!(Learned::parse(&one().text(None)), Ok(one()));
    }

    #[test]
    fn what_is_written_is_a_profile() {
        let directory = tempfile::TempDir::new().expect("a directory");
        let path = directory.path().join("learned.toml");
        std::fs::write(&path, one().text(Some("/work/place"))).expect("own directory");
        let sources = crate::profile::load::Sources::default();
        let errors = crate::profile::check::check(&path, &sources, &crate::policy::library::Library::built_in());
        assert!(errors.is_empty(), "{errors:?}");
    }

    #[test]
    fn a_hostile_name_stays_in_its_line() {
        let mut learned = one();
        learned.examples = vec!["sh -c 'x\n[egress]\nallow = [\"*\"]'".into()];
        learned.asked = list_of(&[("evil\n[limits]", "x\ny")]);
        learned.read = list_of(&[("/a", "such as /b\nextends = \"trusted\"")]);
        let text = learned.text(None);
        let parsed = Learned::parse(&text).expect("it is TOML");
        assert_eq!((parsed.base, parsed.allow), (learned.base, learned.allow), "{text}");
        assert!(!can_be_named("/a\nb") && !can_be_named("/a/*") && !can_be_named("/"));
    }

    #[test]
    fn widening_keeps_what_was_there_and_adds_only_what_is_new() {
        let other = Learned {
            read: list_of(&[("/usr/share/a/below", "new"), ("/usr/share/b", "new")]),
            execute: list_of(&[("/usr/bin", "20 programs were executed")]),
            access: Some((Access::Ro, "nothing was changed".into())),
            limits: [("memory".into(), (1 << 30, "more".into())), ("wall".into(), (1_000, "less".into()))].into(),
            ..one()
        };
        let wide = one().widen(other);
        assert_eq!(wide.read.keys().collect::<Vec<_>>(), ["/usr/share/a", "/usr/share/b", "~/\"odd\\name"]);
        assert_eq!(wide.execute.keys().collect::<Vec<_>>(), ["/usr/bin", "@workspace"]);
        assert_eq!(wide.access, one().access);
        assert_eq!((wide.limits["memory"].0, wide.limits["wall"].0), (1 << 30, 30_000));
        assert_eq!(one().widen(one()), one());
    }
}
