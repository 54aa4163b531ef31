//! What a service goes by: the configuration with every name looked up and every default filled in.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::confine::Ids;
use crate::jail::mandate::{Lasting, Profiles};
use crate::ledger::config::Settings;
use crate::policy::document::Flaw;
use crate::policy::library::OpenError;
use crate::profile::error::ProfileError;
use crate::profile::packed::Packed;

/// Where the configuration is, when nobody says otherwise.
pub const DEFAULT_PATH: &str = "/etc/clawjail/clawjail.toml";
/// Where the socket of a service of root is.
pub const DEFAULT_SOCKET: &str = "/run/clawjail/socket";
/// Whom its supervisor becomes.
pub const DEFAULT_USER: &str = "clawjail";

/// All of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// The directory with `profiles/` and `policies/`.
    pub directory: PathBuf,
    /// Where the socket is.
    pub socket: PathBuf,
    /// The group that may connect.
    pub group: Option<u32>,
    /// Whom the supervisor becomes; nobody else when we are not root.
    pub becomes: Option<(u32, u32)>,
    /// Who may do what, the first that fits.
    pub callers: Vec<CallerRule>,
    /// Agents by name.
    pub agents: BTreeMap<String, Agent>,
    /// Bounds.
    pub limits: Limits,
    /// Jails made ahead.
    pub pool: Pool,
    /// How runs are recorded, if they are. Of no concern to the supervisor, which is not told after a reload.
    #[serde(skip)]
    pub ledger: Option<Settings>,
    /// Where numbers are given, if they are; the supervisor is not told of this either.
    #[serde(skip)]
    pub metrics: Option<Metrics>,
}

/// `[metrics]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// Where the socket is.
    pub socket: PathBuf,
    /// The group that may connect.
    pub group: Option<u32>,
}

/// What a caller may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// One profile, one run after the other, each in a jail of its own.
    Guest,
    /// Read verdicts.
    Viewer,
    /// Run, keep jails, read own verdicts.
    Operator,
    /// Everything.
    Admin,
}

impl Role {
    /// The word in the configuration.
    pub fn word(self) -> &'static str {
        match self {
            Role::Guest => "guest",
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Admin => "admin",
        }
    }
}

/// Whom a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Who {
    /// This user.
    User(u32),
    /// Everybody in this group.
    Group(u32),
}

/// One `[[caller]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallerRule {
    /// Whom it is about.
    pub who: Who,
    /// What they may do.
    pub standing: Standing,
}

/// What one caller may do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// In one word.
    pub role: Role,
    /// With which profiles.
    pub profiles: Profiles,
    /// The one that is taken when none is named.
    pub default: Option<String>,
}

impl Standing {
    /// Whether they may keep jails.
    pub fn lasting(&self) -> Lasting {
        if self.role >= Role::Operator { Lasting::Allowed } else { Lasting::Refused }
    }

    /// Whether they may run anything.
    pub fn runs(&self) -> bool {
        self.role != Role::Viewer
    }
}

/// One `[agent.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Agent {
    /// Its profile.
    pub profile: String,
    /// Its workspace.
    pub workspace: Option<PathBuf>,
}

/// Bounds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Runs at once.
    pub runs: usize,
    /// Of one caller.
    pub runs_per_caller: usize,
    /// That may wait.
    pub waiting_per_caller: usize,
    /// That one caller may start in a minute.
    pub runs_per_minute: Option<u64>,
    /// Open jails.
    pub jails: usize,
    /// Of one caller.
    pub jails_per_caller: usize,
    /// Connections of one caller.
    pub connections_per_caller: usize,
    /// Bytes of a request.
    pub frame: usize,
    /// Milliseconds that one request may take from its first byte to its last.
    pub slowest_request_ms: u64,
    /// Bytes of output kept for `attach`.
    pub output_kept: usize,
    /// Milliseconds after which an idle jail is closed.
    pub idle_ms: u64,
    /// Milliseconds after which any jail is closed.
    pub age_ms: u64,
}

/// Jails made ahead of the next run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// For each connection.
    pub size: usize,
    /// Milliseconds after which one that was not used is let go.
    pub idle_ms: u64,
}

/// A caller as the kernel noted them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Process id.
    pub pid: i32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Login name, or the user id in digits.
    pub name: String,
}

/// A configuration that cannot be used.
#[derive(Debug)]
pub enum ConfigError {
    /// It could not be opened.
    Open(OpenError),
    /// It is not there, and somebody named it.
    Missing(PathBuf),
    /// It says something that makes no sense.
    Flaw(Box<Flaw>),
    /// A profile cannot be used.
    Profile(Box<ProfileError>),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::Open(error) => write!(f, "cannot open the configuration {error}"),
            ConfigError::Missing(path) => write!(f, "cannot open the configuration {}: there is none", path.display()),
            ConfigError::Flaw(flaw) => write!(f, "cannot use the configuration {flaw}"),
            ConfigError::Profile(error) => f.write_str(&crate::jail::chain(error.as_ref())),
        }
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            ConfigError::Flaw(flaw) => flaw.hint.clone(),
            ConfigError::Profile(error) => error.hint(),
            ConfigError::Open(_) => None,
            ConfigError::Missing(_) => Some("docs/service.md has one to begin with".into()),
        }
    }
}

impl From<Flaw> for ConfigError {
    fn from(flaw: Flaw) -> ConfigError {
        ConfigError::Flaw(Box::new(flaw))
    }
}

/// The profiles that can be asked for, resolved.
pub type Known = BTreeMap<String, Packed>;

impl Config {
    /// What `peer` may do; `None` is nothing. `own` is whom the service acts as: one that is not root acts for nobody else.
    pub fn standing(&self, peer: &Peer, own: Ids) -> Option<Standing> {
        if own.uid != 0 && peer.uid != own.uid {
            return None;
        }
        let fits = |rule: &&CallerRule| match rule.who {
            Who::User(uid) => peer.uid == uid,
            Who::Group(gid) => peer.gid == gid || peer.groups.contains(&gid),
        };
        let written = self.callers.iter().find(fits).map(|rule| rule.standing.clone());
        // Whoever could change the configuration needs no line in it.
        let itself = || Standing { role: Role::Admin, profiles: Profiles::Any, default: Some("untrusted".into()) };
        written.or_else(|| (peer.uid == own.uid).then(itself))
    }
}
