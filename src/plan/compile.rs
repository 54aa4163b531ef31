//! Profile + request + host = plan.
//!
//! Pure: the same three always give the same plan, which golden tests hold still. Picks mechanisms for promises and
//! refuses what no mechanism of this host keeps. [`super::view`] lists what exists in the jail.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::beside;
use super::built_in;
use super::paths::Paths;
use super::refused::Refused;
use super::request::Request;
use super::shield;
use super::view;
use super::{Identity, Landlock, Limits, Naming, Owner, Plan};
use crate::host::{HostFacts, IdmappedMounts, Tier};
use crate::policy::document::Authority;
use crate::policy::egress::MOST_UDP_PORTS;
use crate::policy::egress::http::secret::stand_in;
use crate::policy::egress::rule::{Over, Protocol, Rule};
use crate::policy::library::Library;
use crate::policy::syscalls::{SyscallPolicy, merge};
use crate::profile::error::ProfileError;
use crate::profile::promise::{Demand, Promise};
use crate::profile::recording::Recording;
use crate::profile::{Profile, WorkspaceAccess, WorkspaceAt};

/// First uid of the throw-away range: above what systemd gives to containers.
pub const FIRST_THROW_AWAY_UID: u32 = 0x7000_0000;
/// As many as there can be pids, so that no two living jails share one.
pub const THROW_AWAY_UIDS: u32 = 1 << 22;

/// The system call sets that a host's tier adds to a profile's own.
#[derive(Clone, Debug)]
pub struct TierPolicies {
    /// Added where the jail has namespaces: sockets that reach no further than its loopback, pids that are its own.
    pub namespaced: SyscallPolicy,
    /// Added where the jail has no namespaces: calls that could name processes outside.
    pub bare: SyscallPolicy,
    /// Added to that where the gate is a proxy that programs are asked to use.
    pub proxied: SyscallPolicy,
    /// Added where init cannot be asked.
    pub direct: SyscallPolicy,
    /// Added where init makes no names for its runs, and so sets no modes for them.
    pub unasked_modes: SyscallPolicy,
    /// Added where init can be asked.
    pub brokered: SyscallPolicy,
}

impl TierPolicies {
    /// The sets of `tier` from `library`. The names are ours, so only root may have replaced them.
    pub fn find(tier: Tier, library: &Library) -> Result<TierPolicies, Refused> {
        let set = |name: &str| own_set(name, library);
        Ok(match tier {
            Tier::Bare => TierPolicies {
                namespaced: SyscallPolicy::default(),
                bare: set("bare")?,
                proxied: set("proxied")?,
                direct: set("direct")?,
                unasked_modes: set("bare-direct")?,
                brokered: set("brokered")?,
            },
            Tier::Root | Tier::User => TierPolicies {
                namespaced: merge(vec![set("namespaced")?, set("loopback")?]),
                bare: SyscallPolicy::default(),
                proxied: SyscallPolicy::default(),
                direct: set("direct")?,
                unasked_modes: SyscallPolicy::default(),
                brokered: set("brokered")?,
            },
        })
    }
}

/// A system call set that we name ourselves: only root may have replaced it.
pub fn own_set(name: &str, library: &Library) -> Result<SyscallPolicy, Refused> {
    if let Some(set) = built_in::syscalls(name, library) {
        return Ok(set);
    }
    library.syscalls(name, Authority::Root).map_err(|error| {
        let error = ProfileError::Set { set: name.to_owned(), error: Box::new(error) };
        Refused { code: "policy_unusable", message: error.to_string(), remedy: error.hint() }
    })
}

/// Resolves `profile` against one request and one host.
pub fn compile(profile: &Profile, request: &Request, host: &HostFacts, tiers: &TierPolicies) -> Result<Plan, Refused> {
    refuse_egress(profile, host)?;
    let paths = place_workspace(profile, request, host);
    refuse_hidden_workspace(profile, request, &paths)?;
    beside::refuse_unusable(profile, request, host, &paths)?;
    let vetting = decide_vetting(profile, host);
    let mut shields = shield::inside_the_jail(profile, request.workspace.hooks.as_deref(), &paths, vetting);
    beside::add_shields(profile, request, &paths, &mut shields);
    let naming = decide_naming(profile, &shields, host);
    let recording = if host.seccomp_notify { profile.recording } else { Recording::Off };
    let (view, rules) = view::build(profile, request, host, &paths);
    let identity = choose_identity(profile, request, host);
    let plan = Plan {
        profile: profile.name.clone(),
        sources: profile.sources.clone(),
        tier: host.tier,
        view,
        landlock: Landlock { abi: host.landlock_abi, rules, deny_tcp: !host.tier.has_namespaces() },
        shields,
        naming,
        egress: profile.egress.rules.clone(),
        syscalls: choose_syscalls(profile, host, naming, tiers),
        limits: set_limits(profile, request, host),
        recording,
        asks: host.seccomp_notify,
        watched: if recording == Recording::Full { shield::elsewhere(profile, &paths) } else { Vec::new() },
        environment: make_environment(profile, request, &paths, &identity),
        identity,
        pass: profile.environment.pass.clone(),
        workspace: paths.workspace.clone(),
        cwd: place_cwd(request, &paths),
        promises: BTreeMap::new(),
    };
    keep_promises(plan, profile, host)
}

/// Refuses what no gate of this version and this tier would enforce.
fn refuse_egress(profile: &Profile, host: &HostFacts) -> Result<(), Refused> {
    let no = |what: String, remedy: &str| {
        let message = format!("profile `{}` asks for {what}", profile.name);
        Err(Refused { code: "egress_not_supported", message, remedy: Some(remedy.into()) })
    };
    let rules = &profile.egress.rules;
    if rules.udp_ports().is_none() {
        let what = format!("egress over UDP to more than {MOST_UDP_PORTS} ports, and a gate has a socket for each");
        return no(what, "name the ports that are needed");
    }
    if let Some(rule) = rules.allow.iter().find(|rule| rule.covers(Protocol::Udp, 53)) {
        let what = format!("egress to `{}`, and over UDP the gate itself is on port 53", rule.text);
        return no(what, "ask it for names, or use TCP");
    }
    match rules.allow.iter().chain(rules.http.iter().map(|rule| &rule.host)).next() {
        Some(rule) if !host.tier.has_namespaces() => refuse_proxied(profile, host, rule),
        _ => Ok(()),
    }
}

/// Without a network namespace programs can only be asked to use the gate, as a proxy. That is less than was promised, so the
/// profile has to accept it; and it needs a kernel that can keep them from everything else.
fn refuse_proxied(profile: &Profile, host: &HostFacts, rule: &Rule) -> Result<(), Refused> {
    let no = |what: &str, remedy: &str| {
        let message = format!("profile `{}` asks for egress to `{}`, {what}", profile.name, rule.text);
        Err(Refused { code: "egress_not_supported", message, remedy: Some(remedy.into()) })
    };
    if profile.require.get(&Promise::Network) != Some(&Demand::Partial) {
        return no(
            "which needs a network namespace that this tier does not have",
            "accept a proxy that programs are asked to use, with `[require] network = \"partial\"` in a profile of your own, \
             or run `clawjail doctor` for the cause",
        );
    }
    if host.landlock_abi < TCP {
        return no("and this kernel cannot keep TCP to one port (Landlock ABI 4, Linux 6.7)", "use a newer kernel");
    }
    if profile.egress.rules.allow.iter().any(|rule| rule.over == Over::Only(Protocol::Udp)) {
        return no("beside rules for UDP, which a proxy does not carry", "use a profile without rules for UDP");
    }
    Ok(())
}

/// The ABI since which Landlock knows ports of TCP.
const TCP: u32 = 4;

fn refuse_hidden_workspace(profile: &Profile, request: &Request, paths: &Paths) -> Result<(), Refused> {
    let Some(grant) = shield::hiding(profile, paths, &request.workspace.path) else { return Ok(()) };
    Err(Refused {
        code: "workspace_hidden",
        message: format!(
            "workspace `{}` lies in `{}`, which profile `{}` hides",
            request.workspace.path.display(),
            grant.path,
            profile.name
        ),
        remedy: Some("choose a directory that holds work, not secrets".into()),
    })
}

fn place_workspace(profile: &Profile, request: &Request, host: &HostFacts) -> Paths {
    let real = &request.workspace.path;
    let workspace = match (&profile.workspace.access, &profile.workspace.at) {
        (WorkspaceAccess::None, _) => None,
        (_, WorkspaceAt::Path(at)) if host.tier.has_namespaces() => Some(PathBuf::from(at)),
        _ => Some(real.clone()),
    };
    let home = if host.tier.has_namespaces() { PathBuf::from("/home/agent") } else { PathBuf::from(view::BARE_HOME) };
    Paths { workspace, host_workspace: real.clone(), caller_home: request.caller.home.clone(), home }
}

fn place_cwd(request: &Request, paths: &Paths) -> PathBuf {
    let Some(at) = &paths.workspace else { return paths.home.clone() };
    let below = request.cwd.as_ref().and_then(|cwd| cwd.strip_prefix(&request.workspace.path).ok());
    match below {
        Some(rest) if !rest.as_os_str().is_empty() => at.join(rest),
        _ => at.clone(),
    }
}

fn decide_naming(profile: &Profile, shields: &[super::Shield], host: &HostFacts) -> Naming {
    let writable = profile.workspace.access == WorkspaceAccess::Rw || !profile.filesystem.write.is_empty();
    if writable && !shields.is_empty() && host.seccomp_notify { Naming::Brokered } else { Naming::Direct }
}

/// Settings of git can be looked at where names in the workspace are made by the broker, and where Landlock denies the command to
/// write or truncate a file by its path (ABI 3).
fn decide_vetting(profile: &Profile, host: &HostFacts) -> shield::Vetting {
    let writable = profile.workspace.access == WorkspaceAccess::Rw;
    if writable && host.seccomp_notify && host.landlock_abi >= 3 {
        shield::Vetting::ByBroker
    } else {
        shield::Vetting::None
    }
}

fn choose_identity(profile: &Profile, request: &Request, host: &HostFacts) -> Identity {
    let caller = Owner { uid: request.caller.uid, gid: request.caller.gid };
    let must_write = profile.workspace.access != WorkspaceAccess::None;
    match host.tier {
        Tier::Root if must_write && host.idmapped_mounts != IdmappedMounts::Work => {
            Identity::Caller(request.workspace.owner)
        }
        Tier::Root => Identity::ThrowAway { first: FIRST_THROW_AWAY_UID, count: THROW_AWAY_UIDS },
        Tier::User => Identity::Mapped(caller),
        Tier::Bare => Identity::Caller(caller),
    }
}

fn choose_syscalls(profile: &Profile, host: &HostFacts, naming: Naming, tiers: &TierPolicies) -> SyscallPolicy {
    let added = if host.tier.has_namespaces() { &tiers.namespaced } else { &tiers.bare };
    let mut parts = vec![profile.syscalls.clone(), added.clone()];
    if !host.tier.has_namespaces() && !profile.egress.rules.allow_nothing() {
        parts.push(tiers.proxied.clone());
    }
    if naming == Naming::Direct {
        parts.push(tiers.unasked_modes.clone());
    }
    parts.push(if host.seccomp_notify { tiers.brokered.clone() } else { tiers.direct.clone() });
    merge(parts)
}

fn set_limits(profile: &Profile, request: &Request, host: &HostFacts) -> Limits {
    let asked = profile.limits;
    let wall = asked.wall.map(|span| span.0);
    Limits {
        controllers: host.controllers.clone(),
        memory: asked.memory.map(|bytes| bytes.0),
        cpu_milli: asked.cpus.map(|cpus| cpus.0).filter(|milli| *milli < host.cpus.saturating_mul(1000)),
        processes: asked.processes,
        open_files: asked.open_files,
        file_size: asked.file_size.map(|bytes| bytes.0),
        // The request can only shorten what the profile grants.
        wall_ms: match (wall, request.timeout_ms) {
            (Some(granted), Some(wanted)) => Some(granted.min(wanted)),
            (granted, wanted) => granted.or(wanted),
        },
        output: asked.output.map(|bytes| bytes.0),
    }
}

fn make_environment(
    profile: &Profile,
    request: &Request,
    paths: &Paths,
    identity: &Identity,
) -> BTreeMap<String, String> {
    let caller_home = request.caller.home.to_string_lossy();
    let mut environment: BTreeMap<String, String> = profile
        .environment
        .set
        .iter()
        .map(|(name, value)| (name.clone(), value.replace("{home}", &caller_home)))
        .collect();
    let home = paths.home.to_string_lossy().into_owned();
    let tmp = if paths.home.starts_with("/home") { "/tmp".to_owned() } else { view::BARE_TMP.to_owned() };
    environment.insert("HOME".into(), home);
    environment.insert("TMPDIR".into(), tmp);
    environment.insert("USER".into(), "agent".into());
    environment.insert("LOGNAME".into(), "agent".into());
    let own = |name: &String| name.starts_with("GIT_CONFIG");
    let settings = profile.environment.set.keys().any(own) || profile.environment.pass.iter().any(own);
    if matches!(identity, Identity::ThrowAway { .. }) && !settings {
        environment.extend(OWNERS_DO_NOT_COUNT.map(|(name, value)| (name.into(), value.into())));
    }
    let rules = &profile.egress.rules;
    if rules.end_tls() {
        let bare = paths.home == Path::new(view::BARE_HOME);
        environment.extend(view::variables_of_trust(if bare { view::BARE_TRUST } else { view::TRUST_PLACE }));
    }
    let stand_ins = rules.secrets.iter().filter_map(|(name, secret)| Some((secret.env.clone()?, stand_in(name))));
    environment.extend(stand_ins);
    if paths.home == Path::new(view::BARE_HOME) && !rules.allow_nothing() {
        environment.extend(PROXY.map(|name| (name.into(), "{gate}".into())));
        environment.extend(NO_PROXY.map(|name| (name.into(), String::new())));
    }
    environment
}

/// git's index knows a file by its owner, too. Where each jail has a uid of its own, git would take every file of a workspace for a
/// changed one, and read all of them in each run. Sizes and times stay.
const OWNERS_DO_NOT_COUNT: [(&str, &str); 3] =
    [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "core.checkStat"), ("GIT_CONFIG_VALUE_0", "minimal")];

/// By what programs are asked to use a proxy, and not to go around it. Where the gate is, the launcher says.
const PROXY: [&str; 6] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];
const NO_PROXY: [&str; 2] = ["NO_PROXY", "no_proxy"];

fn keep_promises(mut plan: Plan, profile: &Profile, host: &HostFacts) -> Result<Plan, Refused> {
    for promise in crate::profile::promise::Promise::ALL {
        let keeping = super::promise::keep(promise, &plan, host);
        let demand = profile.require.get(&promise).copied().unwrap_or(Demand::Full);
        if let (Some(missing), Demand::Full) = (&keeping.missing, demand) {
            return Err(Refused {
                code: "promise_not_kept",
                message: format!(
                    "profile `{}` demands `{}`, which this host cannot keep: {missing}",
                    profile.name,
                    promise.word()
                ),
                remedy: Some(format!(
                    "run `clawjail doctor` for the cause, or write `[require] {} = \"partial\"` in a profile of your own",
                    promise.word()
                )),
            });
        }
        plan.promises.insert(promise, keeping);
    }
    Ok(plan)
}
