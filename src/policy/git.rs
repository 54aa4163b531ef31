//! Settings of git: whether a change of a repository's settings can make git run anything.
//!
//! Owns the judgement of one settings file against what it was. The list of what is harmless is
//! `policies/git/harmless.toml`; whatever it does not name may neither appear, go, nor change. Must not open files, and must
//! not know which files are settings.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use serde::Deserialize;

pub mod syntax;

use syntax::{Entry, NotUnderstood, parse};

const HARMLESS: &str = include_str!("../../policies/git/harmless.toml");

/// Schemes of addresses that git itself speaks. Any other is the name of a program, `git-remote-SCHEME`.
const SCHEMES: [&str; 5] = ["https", "http", "ssh", "git", "file"];

/// Why a file of settings may not be what is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// It, or what was there before, holds something that our parser does not understand.
    NotUnderstood(NotUnderstood),
    /// This key would appear, go, change, or get a value that it may not have.
    Key(String),
}

impl fmt::Display for Flaw {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Flaw::NotUnderstood(line) => write!(out, "{line}"),
            Flaw::Key(key) => out.write_str(key),
        }
    }
}

/// Where a settings file may say that the work tree is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkTree {
    /// Nowhere but where git finds it.
    Found,
    /// At a relative path that climbs at most this many directories, and so stays in the workspace.
    Climbing(usize),
}

/// Whether settings may become `new` where they were `old` (nothing, for a file that is new).
pub fn judge(old: &[u8], new: &[u8], tree: WorkTree) -> Result<(), Flaw> {
    let (old, new) = (read(old)?, read(new)?);
    let (kept, wanted) = (unlisted(&old, tree), unlisted(&new, tree));
    if let Some(key) = first_difference(&kept, &wanted) {
        return Err(Flaw::Key(key));
    }
    // What is not on the list may be relative to where the work tree is.
    if !wanted.is_empty()
        && let Some(key) = first_difference(&alone(&old), &alone(&new))
    {
        return Err(Flaw::Key(key));
    }
    Ok(())
}

fn read(text: &[u8]) -> Result<Vec<Entry>, Flaw> {
    parse(text).map_err(Flaw::NotUnderstood)
}

/// The key at which two lists first differ.
fn first_difference(old: &[&Entry], new: &[&Entry]) -> Option<String> {
    let at = old.iter().zip(new).position(|(old, new)| old != new).unwrap_or(old.len().min(new.len()));
    new.get(at).or(old.get(at)).map(|entry| entry.key())
}

/// Entries that are not harmless, in order.
fn unlisted(entries: &[Entry], tree: WorkTree) -> Vec<&Entry> {
    entries.iter().filter(|entry| !is_harmless(entry, tree)).collect()
}

/// Entries that other settings may be relative to.
fn alone(entries: &[Entry]) -> Vec<&Entry> {
    entries.iter().filter(|entry| rule(entry).is_some_and(|rule| rule.alone)).collect()
}

fn is_harmless(entry: &Entry, tree: WorkTree) -> bool {
    let Some(rule) = rule(entry) else { return false };
    let plain = entry.subsection.as_ref().is_none_or(|name| is_plain(name) && !name.starts_with('-'));
    plain && rule.allows(entry.value.as_deref(), tree)
}

/// What a listed setting may be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    value: Option<Value>,
    #[serde(default)]
    words: Vec<String>,
    #[serde(default)]
    alone: bool,
    #[cfg_attr(not(test), expect(dead_code, reason = "for people, and for the test that there is one"))]
    why: String,
}

/// A kind of value.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Value {
    Text,
    Flag,
    Number,
    Address,
    Refspec,
    Worktree,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    #[expect(dead_code, reason = "for people")]
    summary: String,
    settings: BTreeMap<String, Rule>,
}

/// The rule for a setting. A list that cannot be read has none, so that a broken build grants nothing.
fn rule(entry: &Entry) -> Option<&'static Rule> {
    static LIST: OnceLock<BTreeMap<String, Rule>> = OnceLock::new();
    let list =
        LIST.get_or_init(|| toml::from_str::<List>(HARMLESS).map_or_else(|_| BTreeMap::new(), |list| list.settings));
    let whole_section = || {
        let (section, _) = entry.kind.split_once('.').filter(|_| entry.subsection.is_none())?;
        list.get(&format!("{section}.*"))
    };
    list.get(&entry.kind).or_else(whole_section)
}

impl Rule {
    fn allows(&self, value: Option<&str>, tree: WorkTree) -> bool {
        // Without a `=` it is git's short way to say true.
        let value = value.unwrap_or("true");
        match self.value {
            None => self.words.iter().any(|word| word == value),
            Some(Value::Text) => is_plain(value),
            Some(Value::Flag) => ["true", "false", "yes", "no", "on", "off", "1", "0", ""]
                .iter()
                .any(|word| value.eq_ignore_ascii_case(word)),
            Some(Value::Number) => is_number(value),
            Some(Value::Address) => is_address(value),
            Some(Value::Refspec) => is_plain(value) && !value.starts_with('-'),
            Some(Value::Worktree) => is_work_tree(value, tree),
        }
    }
}

/// One line.
fn is_plain(text: &str) -> bool {
    !text.chars().any(char::is_control)
}

fn is_number(value: &str) -> bool {
    let digits = value.strip_suffix(['k', 'm', 'g', 'K', 'M', 'G']).unwrap_or(value);
    let digits = digits.strip_prefix('-').unwrap_or(digits);
    !digits.is_empty() && digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// An address that git handles itself: `scheme://host/path`, `host:path`, a path, or the name of a remote.
fn is_address(value: &str) -> bool {
    if value.is_empty() || !is_plain(value) || value.starts_with('-') {
        return false;
    }
    let host = match value.split_once("://") {
        Some((scheme, rest)) if SCHEMES.contains(&scheme) => rest,
        // Also where no scheme can be: git's own rules for that are subtle.
        Some(_) => return false,
        None => value,
    };
    // `helper::address` runs git-remote-helper. Elsewhere `::` is rare, but for numeric addresses in brackets.
    let (before, after) = match host.split_once('[').and_then(|(before, rest)| Some((before, rest.split_once(']')?.1)))
    {
        Some(around) => around,
        None => (host, ""),
    };
    let place = host.rsplit_once('@').map_or(host, |(_, place)| place);
    let helper = before.contains("::") || after.contains("::");
    !helper && !place.starts_with('-') && !host.starts_with('-')
}

/// A path that goes up first and down then, and up no further than it may.
fn is_work_tree(value: &str, tree: WorkTree) -> bool {
    let WorkTree::Climbing(most) = tree else { return false };
    let parts: Vec<&str> = value.split('/').collect();
    let ups = parts.iter().take_while(|part| **part == "..").count();
    let down = parts.get(ups..).unwrap_or_default();
    let named = |part: &&str| !part.is_empty() && *part != "." && *part != ".." && !part.eq_ignore_ascii_case(".git");
    is_plain(value) && ups <= most && !down.is_empty() && down.iter().all(named)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRESH: &str =
        "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = false\n\tlogallrefupdates = true\n";

    fn change(old: &str, new: &str) -> Result<(), String> {
        judge(old.as_bytes(), new.as_bytes(), WorkTree::Found).map_err(|flaw| flaw.to_string())
    }

    fn with(old: &str, added: &str) -> Result<(), String> {
        change(old, &format!("{old}{added}"))
    }

    #[test]
    fn the_list_can_be_read_and_gives_each_setting_a_reason() {
        let list: List = toml::from_str(HARMLESS).expect("the shipped list");
        assert!(list.settings.len() > 60);
        for (key, rule) in &list.settings {
            assert!(!rule.why.trim().is_empty(), "{key}");
            assert_eq!(rule.value.is_some(), rule.words.is_empty(), "{key}: a value or words");
            assert_eq!(key.to_ascii_lowercase(), *key, "keys are compared in lower case");
        }
    }

    #[test]
    fn what_git_itself_writes_is_harmless() {
        for text in [
            FRESH,
            "[user]\n\tname = A B\n\temail = a@example.org\n",
            "[remote \"origin\"]\n\turl = https://example.org/x.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n",
            "[remote \"up\"]\n\turl = git@example.org:a/b.git\n\tpushurl = ssh://git@[::1]:22/x\n",
            "[branch \"main\"]\n\tremote = origin\n\tmerge = refs/heads/main\n",
            "[submodule]\n\trecurse\n[submodule \"part\"]\n\tactive = true\n\turl = ../part\n",
            "[advice]\n\tdetachedHead = false\n",
            "",
        ] {
            assert_eq!(change("", text), Ok(()), "{text}");
            assert_eq!(with(FRESH, text), Ok(()), "{text}");
            assert_eq!(change(text, ""), Ok(()), "gone: {text}");
        }
    }

    #[test]
    fn what_runs_a_program_is_named() {
        let keys = "core.fsmonitor core.hooksPath core.sshCommand core.pager core.editor core.askPass core.gitProxy \
            core.attributesFile core.alternateRefsCommand sequence.editor include.path alias.st pager.log gpg.program \
            credential.helper diff.external interactive.diffFilter uploadpack.packObjectsHook http.proxy http.sslVerify \
            receive.x protocol.allow safe.directory extensions.partialClone lfs.url commit.gpgSign core.excludesFile \
            submodule.update sendemail.smtpServer instaweb.httpd browser.x man.viewer gui.x web.browser tar.x notes.x";
        for key in keys.split_whitespace() {
            let (section, name) = key.split_once('.').expect("a key");
            let wanted = Err(key.to_ascii_lowercase());
            assert_eq!(with(FRESH, &format!("[{section}]\n{name} = x\n")), wanted);
            assert_eq!(with(FRESH, &format!("[{section}]{name}")), wanted);
        }
        let keys = "includeIf.gitdir:/.path filter.x.clean filter.x.process diff.x.textconv diff.x.command merge.x.driver \
            remote.x.uploadpack remote.x.receivepack remote.x.vcs remote.x.proxy remote.x.promisor url.x.insteadOf \
            credential.https://x.helper browser.x.cmd mergetool.x.cmd difftool.x.cmd trailer.x.command lfs.x.access \
            gpg.ssh.program http.https://x.proxy guitool.x.cmd branch.x.mergeOptions submodule.x.path tar.x.command";
        for key in keys.split_whitespace() {
            let (section, rest) = key.split_once('.').expect("a key");
            let (middle, name) = rest.rsplit_once('.').expect("a key");
            let wanted = format!("{}.{middle}.{}", section.to_ascii_lowercase(), name.to_ascii_lowercase());
            assert_eq!(with(FRESH, &format!("[{section} \"{middle}\"]\n{name} = x\n")), Err(wanted));
        }
    }

    #[test]
    fn what_was_there_may_stay_but_neither_change_nor_go_nor_come_twice() {
        let kept = format!("{FRESH}[core]\n\tpager = less\n[alias]\n\tst = status\n");
        assert_eq!(with(&kept, "[user]\n\tname = x\n"), Ok(()));
        assert_eq!(change(&kept, &format!("[alias]\n\tst = status\n{FRESH}")), Err("alias.st".into()));
        assert_eq!(change(&kept, FRESH), Err("core.pager".into()));
        assert_eq!(with(&kept, "[core]\n\tpager = less\n"), Err("core.pager".into()));
        assert_eq!(change(&kept, &kept.replace("less", "more")), Err("core.pager".into()));
    }

    #[test]
    fn an_address_is_one_that_git_speaks_itself() {
        let with_url = |url: &str| with(FRESH, &format!("[remote \"x\"]\n\turl = \"{url}\"\n"));
        for url in [
            "https://example.org/x",
            "ssh://a@b:22/c",
            "git://h/p",
            "file:///a/b",
            "http://[::1]/x",
            "a@b:c",
            "[::1]:x",
            "../x",
            "/a/b",
            "origin",
            "C:/x",
        ] {
            assert_eq!(with_url(url), Ok(()), "{url}");
        }
        for url in [
            "ext::sh -c id",
            "fd::7",
            "foo::bar",
            "transport://x",
            "ext://x",
            "--upload-pack=id",
            "ssh://-oProxyCommand=id/x",
            "ssh://a@-oProxyCommand=id/x",
            "-x:y",
            "a@-x:y",
            "",
            "a\\nb",
            "HTTPS://x",
            "x]ext::y",
            "ext::sh -c [id]",
            "[a]ext::id",
        ] {
            assert_eq!(with_url(url), Err("remote.x.url".into()), "{url}");
        }
        assert_eq!(with(FRESH, "[branch \"x\"]\n\tremote = ext::id\n"), Err("branch.x.remote".into()));
        assert_eq!(with(FRESH, "[remote \"-x\"]\n\turl = y\n"), Err("remote.-x.url".into()));
        assert_eq!(with(FRESH, "[submodule \"x\"]\n\tupdate = !id\n"), Err("submodule.x.update".into()));
    }

    #[test]
    fn a_work_tree_stays_in_the_workspace_and_only_where_one_may_be_named() {
        let named = |path: &str, tree| judge(b"", format!("[core]\nworktree = {path}\n").as_bytes(), tree);
        for path in ["../../../part", "part", "../../a/b"] {
            assert_eq!(named(path, WorkTree::Climbing(3)), Ok(()), "{path}");
            assert!(named(path, WorkTree::Found).is_err(), "{path}");
        }
        for path in ["../../../../part", "/tmp", "../../..", "..", "a/../../../../x", "../.git/x", "", ".", "a//b"] {
            assert!(named(path, WorkTree::Climbing(3)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_work_tree_does_not_move_beside_what_may_be_relative_to_it() {
        let hooks = "[core]\n\tbare = false\n\thooksPath = .githooks\n";
        assert_eq!(change(hooks, &hooks.replace("false", "true")), Err("core.bare".into()));
        assert_eq!(with(hooks, "[user]\n\tname = x\n"), Ok(()));
        assert_eq!(change(FRESH, &FRESH.replace("bare = false", "bare = true")), Ok(()));
    }

    #[test]
    fn what_is_not_understood_is_an_answer_of_its_own() {
        assert_eq!(change("", "[a]\nk=1\\\n2\n"), Err("line 2".into()));
        assert_eq!(change("[core]\r\n", FRESH), Err("line 1".into()));
    }
}
