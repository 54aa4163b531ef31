//! Path sets: named lists of paths, each with its reason.
//!
//! Owns the forms that a path may take and the reading of `policies/paths/*.toml`. Must not touch the file system: a path
//! here is text, and whether it exists is a question for the one host that a plan is made for.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

use super::document::{Document, Flaw, Spot};
use super::names::shown;

/// A path set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSet {
    /// What it is for, in one sentence.
    pub summary: String,
    /// Its members, sorted by path.
    pub members: Vec<Member>,
}

/// A member of a path set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The path or pattern. Of a built-in set it is borrowed from the program, for these are read at each start.
    pub path: Cow<'static, str>,
    /// Why it is there.
    pub why: Cow<'static, str>,
    /// How the path is to be read.
    pub form: Form,
}

/// What a path starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anchor {
    /// `/usr`: the host's root.
    Root,
    /// `~/.ssh`: the home of the caller.
    Home,
    /// `.git/hooks`: the workspace.
    Workspace,
}

/// How a path is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// What it starts from.
    pub anchor: Anchor,
    /// Whether it has a `*`.
    pub pattern: bool,
}

/// Why a text is not a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// Nothing is written.
    Empty,
    /// Longer than the kernel takes.
    TooLong,
    /// A NUL or another control character.
    Control,
    /// Blanks at the beginning or end, which are mistakes far more often than names.
    Blank,
    /// A `.` or `..` component.
    Dots,
    /// A doubled or trailing `/`.
    Slash,
    /// `/` itself, or the whole home.
    Everything,
    /// `~name`.
    OtherHome,
    /// A `**` that is only a part of a component.
    Stars,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Empty => "it is empty",
            PathError::TooLong => "it is longer than 4095 bytes",
            PathError::Control => "it has a control character",
            PathError::Blank => "it begins or ends with a blank",
            PathError::Dots => "it has a `.` or `..` component",
            PathError::Slash => "it has a doubled or trailing `/`",
            PathError::Everything => "it is everything",
            PathError::OtherHome => "`~` stands for the caller's home only, as in `~/name`",
            PathError::Stars => "`**` must be a whole component",
        })
    }
}

impl std::error::Error for PathError {}

/// The longest path that the kernel takes, without its NUL.
const LONGEST: usize = 4095;

/// Reads the form of a path.
pub fn form(path: &str) -> Result<Form, PathError> {
    check_text(path)?;
    let (anchor, rest) = match path.strip_prefix('/') {
        Some(rest) => (Anchor::Root, rest),
        None if path == "~" => return Err(PathError::Everything),
        None => match path.strip_prefix("~/") {
            Some(rest) => (Anchor::Home, rest),
            None if path.starts_with('~') => return Err(PathError::OtherHome),
            None => (Anchor::Workspace, path),
        },
    };
    if rest.is_empty() {
        return Err(PathError::Everything);
    }
    for component in rest.split('/') {
        match component {
            "" => return Err(PathError::Slash),
            "." | ".." => return Err(PathError::Dots),
            "**" => {}
            stars if stars.contains("**") => return Err(PathError::Stars),
            _ => {}
        }
    }
    Ok(Form { anchor, pattern: rest.contains('*') })
}

fn check_text(path: &str) -> Result<(), PathError> {
    if path.is_empty() {
        Err(PathError::Empty)
    } else if path.len() > LONGEST {
        Err(PathError::TooLong)
    } else if path.chars().any(char::is_control) {
        Err(PathError::Control)
    } else if path.trim() != path {
        Err(PathError::Blank)
    } else {
        Ok(())
    }
}

/// A path set as typed.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct PathSetFile {
    summary: String,
    paths: BTreeMap<Cow<'static, str>, Cow<'static, str>>,
}

/// Reads a path set.
pub fn parse(document: &Document) -> Result<PathSet, Flaw> {
    let quick = match &document.text {
        Cow::Borrowed(text) => plain(text),
        Cow::Owned(_) => None,
    };
    let file = quick.map_or_else(|| document.parse(), Ok)?;
    let mut members = Vec::with_capacity(file.paths.len());
    for (path, why) in file.paths {
        let at = |what: String| document.flaw(Spot::Key(&["paths", &path]), what);
        let form = form(&path).map_err(|error| at(format!("cannot use path `{}`: {error}", shown(&path))))?;
        if why.trim().is_empty() {
            return Err(at(format!("path `{path}` has no reason")));
        }
        members.push(Member { path, why, form });
    }
    if members.is_empty() {
        return Err(document.flaw(Spot::Key(&["paths"]), "a set without paths"));
    }
    Ok(PathSet { summary: file.summary, members })
}

/// Reads a built-in set, of which each line is blank, a comment, the summary, the header or one path with its reason.
/// Several are read at each start, and this copies nothing. `None` says nothing about the text: the general reader then
/// decides, and finds the words for what is wrong.
fn plain(text: &'static str) -> Option<PathSetFile> {
    if text.bytes().any(|byte| (byte < b' ' && byte != b'\n') || byte == 0x7f) {
        return None;
    }
    let mut lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let summary = quoted(lines.next()?.strip_prefix("summary = ")?)?.to_owned();
    if lines.next()? != "[paths]" {
        return None;
    }
    let mut paths = BTreeMap::new();
    for line in lines {
        let (path, why) = line.split_once(" = ")?;
        if paths.insert(Cow::Borrowed(quoted(path)?), Cow::Borrowed(quoted(why)?)).is_some() {
            return None;
        }
    }
    Some(PathSetFile { summary, paths })
}

/// What stands between quotes, when nothing in it has a meaning of its own.
fn quoted(text: &str) -> Option<&str> {
    let inner = text.strip_prefix('"')?.strip_suffix('"')?;
    (!inner.contains(['"', '\\'])).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_reading_or_none() {
        let read = |anchor, pattern| Ok(Form { anchor, pattern });
        assert_eq!(form("/usr"), read(Anchor::Root, false));
        assert_eq!(form("~/.ssh"), read(Anchor::Home, false));
        assert_eq!(form(".git/hooks"), read(Anchor::Workspace, false));
        assert_eq!(form("**/*.pem"), read(Anchor::Workspace, true));
        for (path, error) in [
            ("", PathError::Empty),
            ("/", PathError::Everything),
            ("~", PathError::Everything),
            ("~/", PathError::Everything),
            ("~root/x", PathError::OtherHome),
            ("/a\0b", PathError::Control),
            ("/a/../b", PathError::Dots),
            ("./a", PathError::Dots),
            ("/a/", PathError::Slash),
            ("//a", PathError::Slash),
            ("/a ", PathError::Blank),
            ("a**", PathError::Stars),
        ] {
            assert_eq!(form(path), Err(error), "{path:?}");
        }
    }

    #[test]
    fn the_quick_reader_and_the_general_one_agree_or_the_quick_one_leaves_it() {
        let good = "# c\nsummary = \"s\"\n\n[paths]\n# c\n\"/a\" = \"w\"\n\"b = c\" = \"w\"\n";
        for text in [
            good,
            &good.replace("\"/a\"", "\"/a\\\\b\""),
            &good.replace("\"/a\" =", "\"/a\"  ="),
            &good.replace("\"/a\"", "'/a'"),
            &good.replace('\n', "\r\n"),
            &good.replace("\"w\"\n", "\"w\" # c\n"),
            &good.replace("[paths]", "[path]"),
            &good.replace("\"b = c\"", "\"/a\""),
            &good.replace("\"w\"", "\"w\"\""),
            &good.replace("\"w\"", "w"),
            "",
        ] {
            if let Some(quick) = plain(String::leak(text.to_owned())) {
                assert_eq!(toml::from_str(text), Ok(quick), "{text}");
            }
        }
        let without = good.replace("\"b = c\" = \"w\"\n", "");
        assert_eq!(plain(String::leak(without)).map(|set| set.paths.len()), Some(1));
    }

    #[test]
    fn every_shipped_set_is_read_by_the_quick_reader_to_the_same_end() {
        macro_rules! shipped {
            ($($name:literal),+) => { [$(($name, include_str!(concat!("../../policies/paths/", $name, ".toml")))),+] };
        }
        for (name, text) in shipped!(
            "agent-memory",
            "editor-config",
            "secrets",
            "shell-startup",
            "system",
            "tls-roots",
            "toolchains",
            "vcs-hooks"
        ) {
            let quick = plain(text).expect("a plain set");
            assert_eq!(toml::from_str(text), Ok(quick), "{name}");
        }
    }
}
