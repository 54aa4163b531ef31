//! `[ledger]` of the configuration file.
//!
//! Owns its keys, their defaults, and what they mean here. Must not open the ledger.

use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;

use super::files::Access;
use crate::profile::typed::Exact;
use crate::profile::units::{Bytes, Span};

/// Where the service keeps its ledger.
pub const DEFAULT_PATH: &str = "/var/lib/clawjail/ledger";

const JOURNALD: &str = "/run/systemd/journal/socket";
const SYSLOG: &str = "/dev/log";

/// `[ledger]` as typed.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LedgerTable {
    /// Its directory; `/var/lib/clawjail/ledger` if not given.
    pub path: Option<PathBuf>,
    /// When records go to the disk for good; every second if not given.
    pub fsync: Option<Fsync>,
    /// What happens to runs that cannot be recorded; they are refused if not given.
    pub when_full: Option<WhenFull>,
    /// A file is ended when it is so long; 64M if not given.
    pub rotate_size: Option<Exact<Bytes>>,
    /// A file is ended when so much time is over, counted from 1970, so `1d` is midnight UTC; 1d if not given.
    pub rotate_every: Option<Exact<Span>>,
    /// Mode of the files in octal; 0640 if not given.
    pub mode: Option<String>,
    /// Group of the files; the writer's own if not given.
    pub group: Option<String>,
    /// Whether each verdict also goes to the journal of systemd.
    #[serde(default)]
    pub journald: bool,
    /// Whether each verdict also goes to syslog.
    #[serde(default)]
    pub syslog: bool,
    /// A file for events in the Open Cybersecurity Schema Framework, one a line.
    pub ocsf: Option<PathBuf>,
}

/// When records go to the disk for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Each one before its run is answered.
    Always,
    /// So long after the first that is not.
    Interval(Exact<Span>),
    /// When the kernel does it.
    Never,
}

/// What happens to runs that cannot be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// They are refused.
    Refuse,
    /// They are run; how many were not recorded is said when the ledger can be written again.
    RunAndWarn,
}

/// What a ledger is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its directory.
    pub path: PathBuf,
    /// When records go to the disk for good.
    pub fsync: Fsync,
    /// What happens to runs that cannot be recorded.
    pub when_full: WhenFull,
    /// A file is ended when it is so long.
    pub rotate_size: u64,
    /// A file is ended when so many milliseconds are over.
    pub rotate_every: u64,
    /// Who may read the files.
    pub access: Access,
    /// The journal's socket.
    pub journald: Option<PathBuf>,
    /// The socket of syslog.
    pub syslog: Option<PathBuf>,
    /// The file for OCSF events.
    pub ocsf: Option<PathBuf>,
}

impl Settings {
    /// A ledger of the caller's own: theirs alone to read, and safe before they are answered.
    pub fn own(path: &Path) -> Settings {
        let access = Access { mode: 0o600, group: None };
        Settings { path: path.to_owned(), fsync: Fsync::Always, access, ..Settings::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            path: DEFAULT_PATH.into(),
            fsync: Fsync::Interval(Exact(Span(1000))),
            when_full: WhenFull::Refuse,
            rotate_size: 64 << 20,
            rotate_every: 86_400_000,
            access: Access { mode: 0o640, group: None },
            journald: None,
            syslog: None,
            ocsf: None,
        }
    }
}

impl LedgerTable {
    /// What it means here. An error names the key.
    pub fn settings(&self) -> Result<Settings, String> {
        let defaults = Settings::default();
        let mode = self.mode.as_deref().map_or(Ok(defaults.access.mode), mode)?;
        let group = self.group.as_deref().map(group).transpose()?;
        if let Some(path) = self.path.iter().chain(&self.ocsf).find(|path| !path.is_absolute()) {
            return Err(format!("`{}` in [ledger] is not an absolute path", path.display()));
        }
        Ok(Settings {
            path: self.path.clone().unwrap_or(defaults.path),
            fsync: self.fsync.unwrap_or(defaults.fsync),
            when_full: self.when_full.unwrap_or(defaults.when_full),
            rotate_size: self.rotate_size.map_or(defaults.rotate_size, |size| size.0.0),
            rotate_every: self.rotate_every.map_or(defaults.rotate_every, |span| span.0.0),
            access: Access { mode, group },
            journald: self.journald.then(|| JOURNALD.into()),
            syslog: self.syslog.then(|| SYSLOG.into()),
            ocsf: self.ocsf.clone(),
        })
    }
}

fn mode(text: &str) -> Result<u32, String> {
    let digits = text.len() == 4 && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = digits.then(|| u32::from_str_radix(text, 8).ok()).flatten();
    // The writer must be able to read it, and nobody else to write it.
    let fit = mode.filter(|mode| mode & 0o600 == 0o600 && mode & !0o644 == 0);
    fit.ok_or_else(|| format!("`mode` in [ledger] cannot be `{text}`: expected `0600`, `0640` or `0644`"))
}

/// From `/etc/group` alone: a static binary loads no name service.
fn group(name: &str) -> Result<u32, String> {
    let text = std::fs::read("/etc/group")
        .map_err(|error: io::Error| format!("cannot look up `group` of [ledger] in `/etc/group`: {error}"))?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = text.lines().map(|line| line.split(':'));
    let id = lines.find_map(|mut fields| (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?);
    id.ok_or_else(|| format!("`group` in [ledger] cannot be `{name}`: `/etc/group` has no such group"))
}
