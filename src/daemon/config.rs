//! What a service goes by: the configuration with every name looked up and every default filled in.
//!
//! Read whole before any of it counts: a mistake anywhere, in a profile too, changes nothing and says where it is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema::{AgentTable, CallerTable, ConfigFile, JailsTable, LimitsTable, MetricsTable, PoolTable};
use crate::confine::Ids;
use crate::jail::accounts;
use crate::jail::mandate::{Lasting, Profiles};
use crate::ledger::config::{LedgerTable, Settings};
use crate::policy::document::{Authority, Document, Flaw, Spot};
use crate::policy::library::OpenError;
use crate::policy::names::{did_you_mean, nearest};
use crate::profile::Profile;
use crate::profile::error::ProfileError;
use crate::profile::load::{ConfigDir, Sources, Trust, read_trusted};
use crate::profile::resolve::resolve;
use crate::profile::typed::Exact;
use crate::profile::units::{Bytes, Count, Span};
use crate::wire::frame;

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
pub type Known = BTreeMap<String, Profile>;

/// Reads the configuration at `path` and every profile beside it. `named`: somebody asked for this very file.
pub fn read(path: &Path, named: bool, own: Ids) -> Result<(Config, Known), ConfigError> {
    let trust = if own.uid == 0 { Trust::Root } else { Trust::Caller(own.uid) };
    let document = match read_trusted(path, trust).map_err(ConfigError::Open)? {
        Some(document) => document,
        None if named => return Err(ConfigError::Missing(path.to_owned())),
        None => Document { source: path.display().to_string(), text: "".into(), authority: Authority::Root },
    };
    let file: ConfigFile = document.parse()?;
    let directory = path.parent().map_or_else(|| PathBuf::from("."), Path::to_owned);
    let known = read_profiles(&sources(&directory, own))?;
    let config = understand(&document, file, directory, own, &known)?;
    Ok((config, known))
}

/// Where the profiles and policies of a service are.
pub fn sources(directory: &Path, own: Ids) -> Sources {
    let trust = if own.uid == 0 { Trust::Root } else { Trust::Caller(own.uid) };
    let home = (own.uid != 0).then(|| accounts::caller(own.uid, own.gid).home);
    Sources { dirs: vec![ConfigDir { path: directory.to_owned(), trust }], home, built_in_stands: false }.present()
}

fn read_profiles(sources: &Sources) -> Result<Known, ConfigError> {
    let library = sources.library();
    let names = sources.profile_names(Authority::Caller);
    let profiles = names.into_iter().map(|name| {
        let profile = match crate::plan::built_in::profile(&name, sources) {
            Some(profile) => profile,
            None => resolve(&name, sources, &library).map_err(|error| ConfigError::Profile(Box::new(error)))?,
        };
        Ok((name, profile))
    });
    profiles.collect()
}

fn understand(
    document: &Document,
    file: ConfigFile,
    directory: PathBuf,
    own: Ids,
    known: &Known,
) -> Result<Config, ConfigError> {
    let becomes = whom(document, file.user.as_deref(), own)?;
    let group = file.group.map(|name| group_id(document, &["group"], &name)).transpose()?;
    let socket = file.socket.map(|text| absolute(document, &["socket"], text)).transpose()?;
    let socket = socket.unwrap_or_else(|| default_socket(own));
    let callers = file.caller.iter().map(|table| caller(document, table, known)).collect::<Result<_, _>>()?;
    let agents = file.agent.into_iter().map(|(name, table)| agent(document, name, table, known));
    let agents = agents.collect::<Result<_, _>>()?;
    let ledger = file.ledger.as_ref().map(|table| ledger(document, table, own)).transpose()?;
    let metrics = file.metrics.map(|table| metrics(document, table)).transpose()?;
    let limits = limits(&file.limits, &file.jails);
    let pool = pool(&file.pool);
    Ok(Config { directory, socket, group, becomes, callers, agents, limits, pool, ledger, metrics })
}

fn absolute(document: &Document, at: &[&str], path: String) -> Result<PathBuf, Flaw> {
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(document.flaw(Spot::Value(at), "`socket` is no absolute path"))
}

fn metrics(document: &Document, table: MetricsTable) -> Result<Metrics, Flaw> {
    let none = || document.flaw(Spot::Key(&["metrics"]), "[metrics] without `socket`");
    let socket = absolute(document, &["metrics", "socket"], table.socket.ok_or_else(none)?)?;
    let group = table.group.map(|name| group_id(document, &["metrics", "group"], &name)).transpose()?;
    Ok(Metrics { socket, group })
}

fn ledger(document: &Document, table: &LedgerTable, own: Ids) -> Result<Settings, Flaw> {
    let mut settings = table.settings().map_err(|what| document.flaw(Spot::Key(&["ledger"]), what))?;
    if table.path.is_none() && own.uid != 0 {
        settings.path = default_ledger(own);
    }
    Ok(settings)
}

/// Where a service keeps its ledger when nobody says otherwise.
pub fn default_ledger(own: Ids) -> PathBuf {
    if own.uid == 0 {
        return PathBuf::from(crate::ledger::config::DEFAULT_PATH);
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = || std::env::var_os("HOME").map_or_else(|| accounts::caller(own.uid, own.gid).home, PathBuf::from);
    let state = state.unwrap_or_else(|| home().join(".local/state"));
    state.join("clawjail/ledger")
}

/// Where the socket is when nobody says otherwise.
pub fn default_socket(own: Ids) -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|_| own.uid != 0) {
        Some(directory) => PathBuf::from(directory).join("clawjail/socket"),
        None if own.uid == 0 => PathBuf::from(DEFAULT_SOCKET),
        None => PathBuf::from(format!("/run/user/{}/clawjail/socket", own.uid)),
    }
}

fn whom(document: &Document, name: Option<&str>, own: Ids) -> Result<Option<(u32, u32)>, Flaw> {
    let spot = Spot::Value(&["user"]);
    if own.uid != 0 {
        return match name {
            None => Ok(None),
            Some(_) => Err(document.flaw(spot, "a service that was not started as root cannot become another user")),
        };
    }
    let wanted = name.unwrap_or(DEFAULT_USER);
    match accounts::user(wanted) {
        Some(ids) if ids.uid != 0 => Ok(Some((ids.uid, ids.gid))),
        Some(_) => Err(document.flaw(spot, "the supervisor handles what clients send, and must not be root")),
        None => Err(document
            .flaw(spot, format!("there is no user `{wanted}` for the supervisor to become"))
            .with_hint("`clawjail setup` makes one; or name another as `user`")),
    }
}

fn group_id(document: &Document, at: &[&str], name: &str) -> Result<u32, Flaw> {
    name.parse()
        .ok()
        .or_else(|| accounts::group(name))
        .ok_or_else(|| document.flaw(Spot::Value(at), format!("there is no group `{name}`")))
}

fn caller(document: &Document, table: &CallerTable, known: &Known) -> Result<CallerRule, Flaw> {
    let flaw = |what: String| document.flaw(Spot::Key(&["caller"]), what);
    let who = match (&table.user, &table.group) {
        (Some(name), None) => {
            let uid = name.parse().ok().or_else(|| accounts::user(name).map(|ids| ids.uid));
            Who::User(uid.ok_or_else(|| flaw(format!("there is no user `{name}`")))?)
        }
        (None, Some(name)) => Who::Group(group_id(document, &["caller"], name)?),
        _ => return Err(flaw("a caller needs either `user` or `group`".into())),
    };
    let role = table.role.ok_or_else(|| flaw("a caller without `role`".into()))?;
    let profiles = granted(table, role).map_err(&flaw)?;
    let named = match &profiles {
        Profiles::Any => BTreeSet::new(),
        Profiles::Only(names) => names.clone(),
    };
    for name in named.iter().chain(&table.default) {
        if !known.contains_key(name) {
            let meant = nearest(name, known.keys().map(String::as_str));
            return Err(flaw(format!("unknown profile `{name}`{}", did_you_mean(meant.as_deref()))));
        }
    }
    let only = (named.len() == 1).then(|| named.first().cloned()).flatten();
    let default = table.default.clone().or(only);
    if let Some(default) = default.as_ref().filter(|default| !profiles.include(default)) {
        return Err(flaw(format!("the default profile `{default}` is not among `profiles`")));
    }
    Ok(CallerRule { who, standing: Standing { role, profiles, default } })
}

fn granted(table: &CallerTable, role: Role) -> Result<Profiles, String> {
    let names = table.profiles.as_deref();
    let any = names.is_some_and(|names| names.iter().any(|name| name == "*"));
    match (role, names) {
        (Role::Admin, None) => Ok(Profiles::Any),
        (Role::Viewer, None) => Ok(Profiles::Only(BTreeSet::new())),
        (Role::Viewer, Some(_)) => Err("a viewer runs nothing, so `profiles` says nothing".into()),
        (Role::Guest, Some([_])) if !any => Ok(Profiles::Only(names.unwrap_or_default().iter().cloned().collect())),
        (Role::Guest, _) => Err("a guest has exactly one of `profiles`".into()),
        (_, Some([])) | (Role::Operator, None) => Err("a caller without `profiles` could run nothing".into()),
        (_, Some(_)) if any => Ok(Profiles::Any),
        (_, Some(names)) => Ok(Profiles::Only(names.iter().cloned().collect())),
    }
}

fn agent(document: &Document, name: String, table: AgentTable, known: &Known) -> Result<(String, Agent), Flaw> {
    let Some(profile) = table.profile else {
        return Err(document.flaw(Spot::Key(&["agent", &name]), format!("agent `{name}` without `profile`")));
    };
    if !known.contains_key(&profile) {
        let meant = nearest(&profile, known.keys().map(String::as_str));
        let what = format!("unknown profile `{profile}`{}", did_you_mean(meant.as_deref()));
        return Err(document.flaw(Spot::Value(&["agent", &name, "profile"]), what));
    }
    if table.workspace.as_ref().is_some_and(|path| !path.starts_with('/')) {
        return Err(document.flaw(Spot::Value(&["agent", &name, "workspace"]), "`workspace` is no absolute path"));
    }
    Ok((name, Agent { profile, workspace: table.workspace.map(PathBuf::from) }))
}

fn count(typed: Option<Exact<Count>>, default: usize) -> usize {
    typed.map_or(default, |Exact(Count(count))| usize::try_from(count).unwrap_or(usize::MAX))
}

fn span(typed: Option<Exact<Span>>, default: u64) -> u64 {
    typed.map_or(default, |Exact(span)| span.0)
}

fn pool(typed: &PoolTable) -> Pool {
    Pool { size: typed.size.unwrap_or(1).into(), idle_ms: span(typed.idle, 60_000) }
}

fn limits(typed: &LimitsTable, jails: &JailsTable) -> Limits {
    let bytes = |typed: Option<Exact<Bytes>>, default: usize| {
        typed.map_or(default, |Exact(bytes)| usize::try_from(bytes.0).unwrap_or(usize::MAX))
    };
    Limits {
        runs: count(typed.runs, 64),
        runs_per_caller: count(typed.runs_per_caller, 16),
        waiting_per_caller: count(typed.waiting_per_caller, 64),
        runs_per_minute: match typed.runs_per_minute {
            None => Some(6000),
            Some(limit) => limit.into_option().map(|count| count.0),
        },
        jails: count(typed.jails, 1024),
        jails_per_caller: count(typed.jails_per_caller, 256),
        connections_per_caller: count(typed.connections_per_caller, 64),
        frame: bytes(typed.frame, frame::MOST_BYTES).min(frame::MOST_BYTES),
        slowest_request_ms: span(typed.slowest_request, 30_000),
        output_kept: bytes(typed.output_kept, 256 << 10),
        idle_ms: span(jails.idle, 10 * 60_000),
        age_ms: span(jails.age, 24 * 3_600_000),
    }
}

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
