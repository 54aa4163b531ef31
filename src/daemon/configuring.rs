//! Reading the configuration of a service: from what is written to what it means, with every name looked up.
//!
//! Read whole before any of it counts: a mistake anywhere, in a profile too, changes nothing and says where it is.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::config::{
    Agent, CallerRule, Config, ConfigError, DEFAULT_SOCKET, DEFAULT_USER, Known, Limits, Metrics, Pool, Role, Standing,
    Who,
};
use super::schema::{AgentTable, CallerTable, ConfigFile, JailsTable, LimitsTable, MetricsTable, PoolTable};
use crate::confine::Ids;
use crate::jail::accounts;
use crate::jail::mandate::Profiles;
use crate::ledger::config::{LedgerTable, Settings};
use crate::plan::built_in;
use crate::policy::document::{Authority, Document, Flaw, Spot};
use crate::policy::names::{did_you_mean, nearest};
use crate::profile::load::{ConfigDir, Sources, Trust, read_trusted};
use crate::profile::packed::Packed;
use crate::profile::resolve::resolve;
use crate::profile::typed::Exact;
use crate::profile::units::{Bytes, Count, Span};
use crate::wire::frame;

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
        let packed = match built_in::packed(&name, sources) {
            Some(packed) => Some(packed),
            None => {
                let profile = resolve(&name, sources, &library);
                Packed::of(&profile.map_err(|error| ConfigError::Profile(Box::new(error)))?)
            }
        };
        Ok(packed.map(|packed| (name, packed)))
    });
    profiles.filter_map(Result::transpose).collect()
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
