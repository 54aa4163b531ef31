//! What one request takes away from a profile. It can ask for less than the profile grants, never for more.
//!
//! Owns the words and the taking away. Every member is the profile's own where it says nothing, and the lesser of the two where it
//! says something; what is hidden and protected is only ever added to.

use std::num::{NonZeroU32, NonZeroU64};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::recording::Recording;
use super::units::{Bytes, Cpus};
use super::{Egress, Grant, Profile, WorkspaceAccess, expand};
use crate::policy::names::shown;

/// Most patterns of `hide`, and of `protect`: each is looked for in the workspace.
const MOST_PATTERNS: usize = 64;

/// Less than a profile grants.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Narrow {
    /// Bytes of memory for the whole jail.
    pub memory: Option<NonZeroU64>,
    /// Thousandths of a processor.
    pub cpu_milli: Option<NonZeroU32>,
    /// Processes and threads of the whole jail.
    pub processes: Option<NonZeroU64>,
    /// Open files of each process.
    pub open_files: Option<NonZeroU64>,
    /// Bytes of one file.
    pub file_size: Option<NonZeroU64>,
    /// Bytes of stdout and stderr together.
    pub output: Option<NonZeroU64>,
    /// Bytes of the private `/tmp`.
    pub tmp: Option<NonZeroU64>,
    /// Bytes of the private home.
    pub disk: Option<NonZeroU64>,
    /// What may be done with the workspace at most.
    pub workspace: Option<AtMost>,
    /// No network, whatever the profile allows.
    pub network: Option<NoNetwork>,
    /// Record at least so much of what the command does.
    pub record: Option<Recording>,
    /// Further paths that are not there: absolute, `~/...`, or relative to the workspace; `*` and `**` are globs.
    pub hide: Vec<String>,
    /// Further paths that cannot be written, also when they are not there yet. The same forms.
    pub protect: Vec<String>,
}

/// What may be done with a workspace at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AtMost {
    /// It is not there.
    None,
    /// It can be read.
    Ro,
}

/// The one word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum NoNetwork {
    /// None.
    None,
}

impl Narrow {
    /// `profile` without what is taken away; or what is wrong with the words.
    pub fn apply(&self, mut profile: Profile) -> Result<Profile, String> {
        let limits = &mut profile.limits;
        limits.memory = lesser(limits.memory, self.memory.map(bytes));
        limits.cpus = lesser(limits.cpus, self.cpu_milli.map(|milli| Cpus(milli.get())));
        limits.processes = lesser(limits.processes, self.processes.map(NonZeroU64::get));
        limits.open_files = limits.open_files.min(self.open_files.map_or(u64::MAX, NonZeroU64::get));
        limits.file_size = lesser(limits.file_size, self.file_size.map(bytes));
        limits.output = lesser(limits.output, self.output.map(bytes));
        limits.disk = limits.disk.min(self.disk.map_or(limits.disk, bytes));
        let tmp = &mut profile.filesystem.tmp.size;
        *tmp = (*tmp).min(self.tmp.map_or(*tmp, bytes));
        profile.workspace.access = match (profile.workspace.access, self.workspace) {
            (WorkspaceAccess::None, _) | (_, Some(AtMost::None)) => WorkspaceAccess::None,
            (_, Some(AtMost::Ro)) => WorkspaceAccess::Ro,
            (granted, None) => granted,
        };
        if self.network.is_some() {
            profile.egress = Egress::default();
        }
        profile.recording = profile.recording.max(self.record.unwrap_or_default());
        add(&mut profile.filesystem.hide, &self.hide)?;
        add(&mut profile.filesystem.protect, &self.protect)?;
        Ok(profile)
    }
}

/// `None` is no limit.
fn lesser<T: Ord>(granted: Option<T>, asked: Option<T>) -> Option<T> {
    [granted, asked].into_iter().flatten().min()
}

/// The kernel keeps sizes in signed numbers.
fn bytes(asked: NonZeroU64) -> Bytes {
    Bytes(asked.get().min(i64::MAX as u64))
}

/// Adds `patterns` to a list, which stays sorted, with each path once.
fn add(list: &mut Vec<Grant>, patterns: &[String]) -> Result<(), String> {
    if patterns.len() > MOST_PATTERNS {
        return Err(format!("more than {MOST_PATTERNS} paths are to be hidden or protected"));
    }
    let shield = |path: &String| match expand::usable_shield(path) {
        // In a profile that is a set; here it would be a file of that name, and hide nothing that was meant.
        Ok(()) if path.starts_with('@') => Err(format!("`{}` is a set, which only a profile can name", shown(path))),
        Ok(()) => Ok(Grant { path: path.clone(), why: "asked for with the run".into(), from: "request".into() }),
        Err(problem) => Err(format!("cannot use path `{}`: {problem}", shown(path))),
    };
    for path in patterns {
        let shield = shield(path)?;
        if let Err(place) = list.binary_search_by(|known| known.path.cmp(&shield.path)) {
            list.insert(place, shield);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Limits;
    use crate::profile::load::Sources;
    use crate::profile::resolve::resolve;

    fn narrowed(json: &str) -> Profile {
        let narrow: Narrow = serde_json::from_str(json).expect(json);
        narrow.apply(untrusted()).expect(json)
    }

    fn untrusted() -> Profile {
        let sources = Sources::default();
        resolve("untrusted", &sources, &sources.library()).expect("it is built in")
    }

    #[test]
    fn the_lesser_of_two_counts_and_silence_changes_nothing() {
        assert_eq!(narrowed("{}"), untrusted());
        let more = r#"{"memory":999999999999999,"cpu_milli":4000000,"processes":99999999,"open_files":99999999,
            "file_size":18446744073709551615,"output":999999999999999,"tmp":999999999999999,"disk":999999999999999}"#;
        let limits = narrowed(more).limits;
        let own = untrusted().limits;
        assert_eq!(Limits { file_size: own.file_size, ..limits }, own);
        assert_eq!(limits.file_size, own.file_size.or(Some(Bytes(i64::MAX as u64))));
        let less = narrowed(
            r#"{"memory":1,"cpu_milli":2,"processes":3,"open_files":4,"file_size":5,"output":6,"tmp":7,"disk":8}"#,
        );
        let Limits { memory, cpus, processes, open_files, file_size, output, disk, .. } = less.limits;
        assert_eq!((memory, cpus, processes), (Some(Bytes(1)), Some(Cpus(2)), Some(3)));
        assert_eq!((open_files, file_size, output, disk), (4, Some(Bytes(5)), Some(Bytes(6)), Bytes(8)));
        assert_eq!(less.filesystem.tmp.size, Bytes(7));
    }

    #[test]
    fn a_workspace_is_never_more_than_the_profile_makes_it() {
        let access = |granted, json: &str| {
            let narrow: Narrow = serde_json::from_str(json).expect(json);
            let mut profile = untrusted();
            profile.workspace.access = granted;
            narrow.apply(profile).expect(json).workspace.access
        };
        use WorkspaceAccess::{None, Ro, Rw};
        for (granted, ro, none) in [(Rw, Ro, None), (Ro, Ro, None), (None, None, None)] {
            assert_eq!(access(granted, "{}"), granted);
            assert_eq!(access(granted, r#"{"workspace":"ro"}"#), ro);
            assert_eq!(access(granted, r#"{"workspace":"none"}"#), none);
        }
        assert!(serde_json::from_str::<Narrow>(r#"{"workspace":"rw"}"#).is_err());
    }

    #[test]
    fn paths_are_added_once_in_order_and_only_if_they_can_be() {
        let own = untrusted().filesystem;
        let first = own.protect.first().expect("it protects something").path.clone();
        let narrow = Narrow { protect: vec!["skills/**".into(), first], ..Narrow::default() };
        let protect = narrow.apply(untrusted()).expect("usable").filesystem.protect;
        assert_eq!(protect.len(), own.protect.len() + 1);
        assert!(protect.is_sorted_by(|one, other| one.path < other.path));
        for path in ["", "../x", "a?*", "@secrets", "~root/x"] {
            let narrow = Narrow { hide: vec![path.into()], ..Narrow::default() };
            assert!(narrow.apply(untrusted()).is_err(), "{path}");
        }
        let many = Narrow { hide: vec!["x".into(); MOST_PATTERNS + 1], ..Narrow::default() };
        assert!(many.apply(untrusted()).is_err());
    }

    #[test]
    fn nothing_that_would_grant_is_a_word_of_it() {
        for json in
            [r#"{"memory":0}"#, r#"{"memory":-1}"#, r#"{"network":"host"}"#, r#"{"read":["/"]}"#, r#"{"unhide":["x"]}"#]
        {
            assert!(serde_json::from_str::<Narrow>(json).is_err(), "{json}");
        }
    }
}
