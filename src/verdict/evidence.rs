//! What was recorded of a run, by whom, and what nobody could see, as a verdict tells it.
//!
//! Owns these keys and their meaning. Pure: it is told everything.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::observed::{Change, Execution, How, Listener, Peak, Process, Watch};

/// Whether the list of denials is all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Evidence {
    /// What was recorded of what it did: `off`, `commands` or `full`.
    pub activity: String,
    /// Who watched for denials: `broker`, `view`, `gate`, `landlock_audit`, `seccomp_audit`, `limits`.
    pub source: Vec<String>,
    /// Whether these see every denial by a rule that there can be in this jail, and none was lost. Limits are apart: `uncounted`.
    pub complete: bool,
    /// What they do not see, in words; empty when they see everything.
    pub unseen: Vec<String>,
    /// Limits that nobody counts how often they were reached, in words.
    #[serde(default)]
    pub uncounted: Vec<String>,
    /// Denials that happened and are not listed.
    pub lost: u64,
}

/// What in a profile would have allowed something. Lists of the profile keep what they have: the value is added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// The table: `filesystem`, `egress`, `limits`.
    pub table: String,
    /// The key in it.
    pub key: String,
    /// The value that it needs, as TOML.
    pub value: String,
    /// The same as a line of TOML, such as `filesystem.read = ["/data"]`.
    pub line: String,
}

/// A program that a process of the jail became.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Command {
    /// The pid inside the jail.
    pub pid: u32,
    /// The pid of the process above it; null where that is not known.
    pub parent: Option<u32>,
    /// Path of the program, inside. Bytes that are not UTF-8 are shown as U+FFFD, here and below.
    pub path: String,
    /// Its arguments, the first ones where there are many.
    pub argv: Vec<String>,
    /// Whether there were more or longer arguments.
    pub cut: bool,
    /// Microseconds from the start of the run.
    pub after_us: u64,
    /// Microseconds until the process ended or became another program; null when it had not.
    pub lasted_us: Option<u64>,
    /// Its exit code; null when it did not exit, or where the kernel does not tell (before Linux 6.15).
    pub exit_code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// A name in the workspace that the run changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileChange {
    /// Its path, inside.
    pub path: String,
    /// `created`, `changed`, `removed`, `renamed`. Compared are the begin and the end: what came and went is not listed.
    pub change: String,
    /// Of a renamed one, its name before.
    pub from: Option<String>,
    /// Bytes before, of a file.
    pub before: Option<u64>,
    /// Bytes after, of a file.
    pub after: Option<u64>,
}

/// A socket that something could connect to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listening {
    /// `tcp`.
    pub protocol: String,
    /// Its address.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// The pid inside the jail.
    pub pid: u32,
    /// Microseconds from the start of the run.
    pub after_us: u64,
}

/// How near a run came to one of its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PeakUse {
    /// The key in `[limits]`: `memory`, `processes`, `wall` (milliseconds), `output`.
    pub limit: String,
    /// The most that was used.
    pub used: u64,
    /// The limit; null if there is none.
    pub most: Option<u64>,
    /// How often something was denied because of it, where that is counted.
    pub reached: u64,
}

/// Who did something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Doer {
    /// The pid inside the jail.
    pub pid: u32,
    /// Its name; it may have chosen it itself.
    pub name: String,
}

impl Evidence {
    /// What `watch` says of a run of which `activity` was recorded.
    pub fn of(watch: &Watch, activity: &str) -> Evidence {
        Evidence {
            activity: activity.to_owned(),
            source: watch.sources.clone(),
            complete: watch.unseen.is_empty() && watch.lost == 0 && !watch.sources.is_empty(),
            unseen: watch.unseen.clone(),
            uncounted: watch.uncounted.clone(),
            lost: watch.lost,
        }
    }
}

impl Grant {
    /// A value that a list needs besides what it has.
    pub fn in_list(table: &str, key: &str, value: &str) -> Grant {
        Grant::new(table, key, format!("[{}]", quoted(value)))
    }

    /// A value in the place of the one that is there.
    pub fn new(table: &str, key: &str, value: String) -> Grant {
        let line = format!("{table}.{key} = {value}");
        Grant { table: table.to_owned(), key: key.to_owned(), value, line }
    }
}

/// As TOML writes text: nothing in it can end the line or the string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            control if control.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(control))),
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

impl Doer {
    /// As a record names it.
    pub fn of(process: &Process) -> Doer {
        Doer { pid: process.pid, name: text(&process.name) }
    }
}

impl Command {
    /// As a record lists it.
    pub fn of(execution: &Execution) -> Command {
        let status = execution.ended.and_then(|ended| ended.status);
        Command {
            pid: execution.pid,
            parent: (execution.parent != 0).then_some(execution.parent),
            path: text(&execution.path),
            argv: execution.argv.iter().map(|argument| text(argument)).collect(),
            cut: execution.cut,
            after_us: execution.after_us,
            lasted_us: execution.ended.map(|ended| ended.after_us.saturating_sub(execution.after_us)),
            exit_code: status.filter(|status| status & 0x7f == 0).map(|status| (status >> 8) & 0xff),
            signal: status.map(|status| status & 0x7f).filter(|signal| *signal != 0),
        }
    }
}

impl FileChange {
    /// As a record lists it.
    pub fn of(change: &Change) -> FileChange {
        let (word, from) = match &change.how {
            How::Created => ("created", None),
            How::Changed => ("changed", None),
            How::Removed => ("removed", None),
            How::RenamedFrom(from) => ("renamed", Some(text(from))),
        };
        FileChange {
            path: text(&change.path),
            change: word.to_owned(),
            from,
            before: change.before,
            after: change.after,
        }
    }
}

impl Listening {
    /// As a record lists it.
    pub fn of(listener: &Listener) -> Listening {
        Listening {
            protocol: "tcp".to_owned(),
            address: listener.address.clone(),
            port: listener.port,
            pid: listener.pid,
            after_us: listener.after_us,
        }
    }
}

impl PeakUse {
    /// As a record lists it.
    pub fn of(peak: &Peak) -> PeakUse {
        PeakUse { limit: peak.limit.clone(), used: peak.used, most: peak.most, reached: peak.reached }
    }
}

/// What a person can read of bytes.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::observed::Ending;

    #[test]
    fn a_line_for_a_hostile_name_is_one_line_of_toml_that_says_the_name() {
        for name in
            ["/a b", "/quo\"te", "/back\\slash", "/new\nline", "/esc\u{1b}[31m", "/\u{7f}\u{85}", "/ünï\u{202e}"]
        {
            let grant = Grant::in_list("filesystem", "read", name);
            assert!(!grant.line.contains('\n') && !grant.line.contains('\u{1b}'), "{:?}", grant.line);
            let parsed: toml::Value = toml::from_str(&grant.line).expect("a line of TOML");
            assert_eq!(parsed["filesystem"]["read"][0].as_str(), Some(name));
        }
    }

    #[test]
    fn a_status_is_an_exit_or_a_signal_and_never_both() {
        let ended = |status| Execution {
            pid: 2,
            parent: 0,
            path: b"/bin/true".to_vec(),
            argv: Vec::new(),
            cut: false,
            after_us: 5,
            ended: Some(Ending { after_us: 9, status }),
        };
        let of = |status| Command::of(&ended(status));
        assert_eq!((of(Some(0x300)).exit_code, of(Some(0x300)).signal), (Some(3), None));
        assert_eq!((of(Some(9)).exit_code, of(Some(9)).signal), (None, Some(9)));
        assert_eq!((of(None).exit_code, of(None).signal, of(None).lasted_us), (None, None, Some(4)));
    }
}
