//! The second wall, and in the bare tier the only one. landlock(7).
//!
//! Two domains. [`restrict`] is the allow-list that init wears and every run inherits. [`restrict_naming`] is worn by runs
//! alone, on top: it takes away the making of names in shielded trees, so that only init, asked through the broker, can.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag};
use nix::sys::stat::{SFlag, fstat};

use super::Failed;
use super::shields::{Shielded, locate};
use crate::host::Tier;
use crate::plan::paths::{lies_at_or_below, literal_prefix};
use crate::plan::{Effect, Landlock, Naming, Plan, Rights, Shield};
use crate::profile::recording::Recording;
use crate::sys::resolving::open_resolved;

type Rules = BTreeMap<PathBuf, Rights>;
type Flags = BitFlags<AccessFs>;

/// Confines this process and all it makes to the plan's rules, handling every right of the plan's ABI. `gate` is the only port
/// that can be connected to where the jail has no network of its own.
pub fn restrict(plan: &Plan, gate: Option<u16>) -> Result<(), Failed> {
    let abi = abi(&plan.landlock);
    let mut created = begin(&plan.landlock)?;
    if let Some(port) = gate.filter(|_| plan.landlock.deny_tcp) {
        let rule = NetPort::new(port, AccessNet::ConnectTcp);
        created = created.add_rule(rule).map_err(|error| failed("the gate's port", &error))?;
    }
    // Where init makes names for its runs it needs the whole tree, and the runs' second domain has the exceptions.
    let around = if plan.naming == Naming::Direct { located(plan)? } else { Vec::new() };
    for (path, rights) in grants(&real_rules(plan), &around) {
        created = add(created, &path, flags(rights, abi), abi)?;
    }
    if plan.sees_host_paths() && plan.naming == Naming::Brokered {
        // Init reads there with which mask a file is to be made; the runs' second domain does not grant it.
        created = add(created, Path::new("/proc"), flags(Rights::READ, abi), abi)?;
    }
    enforce(created, Denials::of(plan))
}

/// Confines a process of our own that is no jail's to `rules`, and nothing outside of them.
pub fn restrict_ours(rules: &Landlock) -> Result<(), Failed> {
    let abi = abi(rules);
    let mut created = begin(rules)?;
    for (path, rights) in &rules.rules {
        created = add(created, path, flags(*rights, abi), abi)?;
    }
    enforce(created, Denials::Silent)
}

/// A ruleset that handles every right of the ABI, without a rule yet.
fn begin(landlock: &Landlock) -> Result<RulesetCreated, Failed> {
    let abi = abi(landlock);
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(abi))
        .map_err(|error| failed("handle", &error))?;
    if abi >= ABI::V4 && landlock.deny_tcp {
        ruleset = ruleset.handle_access(AccessNet::from_all(abi)).map_err(|error| failed("handle", &error))?;
    }
    if abi >= ABI::V6 {
        ruleset = ruleset.scope(Scope::from_all(abi)).map_err(|error| failed("scope", &error))?;
    }
    ruleset.create().map_err(|error| failed("create", &error))
}

/// The plan's rules; where they speak about the host's own tree, links in what the profile wrote are resolved first.
fn real_rules(plan: &Plan) -> Rules {
    if !plan.sees_host_paths() {
        return plan.landlock.rules.clone();
    }
    let mut real = Rules::new();
    for (path, rights) in &plan.landlock.rules {
        // The workspace is real already; a link in it, or put in its place since, is not to be followed.
        let own = plan.workspace.as_ref().is_some_and(|workspace| lies_at_or_below(path, workspace));
        let resolved = if own { Ok(path.clone()) } else { path.canonicalize() };
        put(&mut real, &resolved.unwrap_or_else(|_| path.clone()), *rights);
    }
    real
}

/// What makes a name.
fn making() -> Flags {
    AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::MakeSym | AccessFs::MakeSock | AccessFs::MakeFifo
}

/// What changes a file, or takes its name away, by its path.
fn changing(abi: ABI) -> Flags {
    let all = AccessFs::WriteFile | AccessFs::RemoveFile | AccessFs::Truncate;
    all & AccessFs::from_all(abi)
}

/// Takes the making of names in shielded trees away from this process and all it makes; where the broker looks at settings of git,
/// the changing of files by their paths too, so that every descriptor that can change one was given out by init.
///
/// In the bare tier, where nothing is mounted over what is shielded, it takes everything else about that away too, by
/// granting its siblings one by one.
pub fn restrict_naming(plan: &Plan) -> Result<(), Failed> {
    let abi = abi(&plan.landlock);
    let refer = if abi >= ABI::V2 { AccessFs::Refer.into() } else { Flags::EMPTY };
    let changing = if plan.vets_repositories() { changing(abi) } else { Flags::EMPTY };
    let handled = if plan.sees_host_paths() { AccessFs::from_all(abi) } else { making() | refer | changing };
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement).handle_access(handled);
    let mut created = ruleset.and_then(Ruleset::create).map_err(|error| failed("create", &error))?;
    let around = located(plan)?;
    for (path, rights) in &real_rules(plan) {
        let shielded = has_shields_below(path, &plan.shields);
        let taken = if shielded { making() | AccessFs::Refer | changing } else { Flags::EMPTY };
        for (path, rights) in grants(&BTreeMap::from([(path.clone(), *rights)]), &around) {
            created = add(created, &path, flags(rights, abi) & handled & !taken, abi)?;
        }
    }
    enforce(created, Denials::of(plan))
}

/// What exists of what is shielded and not mounted over: in the bare tier alone.
fn located(plan: &Plan) -> Result<Vec<Shielded>, Failed> {
    if !plan.sees_host_paths() {
        return Ok(Vec::new());
    }
    let mut located = locate(&plan.shields, plan.workspace.as_deref())?;
    // What the broker keeps needs no grants around it: there nothing is granted that could change it.
    located.retain(|shielded| shielded.effect != Effect::Vet);
    Ok(located)
}

/// Whether a shield speaks about something at or below `path`.
pub fn has_shields_below(path: &Path, shields: &[Shield]) -> bool {
    shields.iter().any(|shield| lies_at_or_below(literal_prefix(Path::new(&shield.pattern)), path))
}

fn abi(landlock: &Landlock) -> ABI {
    ABI::from(i32::try_from(landlock.abi).unwrap_or(i32::MAX))
}

fn flags(rights: Rights, abi: ABI) -> Flags {
    let mut flags = Flags::EMPTY;
    if rights.list || rights.read {
        flags |= AccessFs::ReadDir;
    }
    if rights.read {
        flags |= AccessFs::ReadFile;
    }
    if rights.execute {
        flags |= AccessFs::Execute;
    }
    if rights.devices {
        flags |= AccessFs::WriteFile | AccessFs::IoctlDev;
    } else if rights.write {
        // Devices are never made, whoever asks: mknod(2) of one stays denied.
        flags |= AccessFs::from_write(abi) & !(AccessFs::MakeChar | AccessFs::MakeBlock | AccessFs::IoctlDev);
    }
    flags & AccessFs::from_all(abi)
}

fn add(created: RulesetCreated, path: &Path, flags: Flags, abi: ABI) -> Result<RulesetCreated, Failed> {
    let Ok((descriptor, kind)) = open(path) else {
        // What does not exist here grants nothing; the launcher refused missing paths that a caller named.
        return Ok(created);
    };
    let flags = if kind == SFlag::S_IFDIR { flags } else { flags & AccessFs::from_file(abi) };
    if flags.is_empty() {
        return Ok(created);
    }
    created.add_rule(PathBeneath::new(descriptor, flags)).map_err(|error| failed(&path.to_string_lossy(), &error))
}

/// Opens what a rule is about. Rules name real paths: a link that was put in the way since grants nothing.
fn open(path: &Path) -> Result<(OwnedFd, SFlag), Errno> {
    let how = OpenHow::new().flags(OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    let descriptor = open_resolved(AT_FDCWD, path, how)?;
    let kind = SFlag::from_bits_truncate(fstat(&descriptor)?.st_mode) & SFlag::S_IFMT;
    Ok((descriptor, kind))
}

/// Whether the kernel writes a record of each denial, where the host has its audit on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Denials {
    /// It does not.
    Silent,
    /// It does, of what was executed: not of our own probes.
    Logged,
}

impl Denials {
    /// As `plan` has it recorded. A record costs the host something, so where nobody wants it there is none.
    fn of(plan: &Plan) -> Denials {
        let wanted = plan.recording != Recording::Off && plan.tier == Tier::Root && abi(&plan.landlock) >= ABI::V7;
        if wanted { Denials::Logged } else { Denials::Silent }
    }
}

fn enforce(created: RulesetCreated, denials: Denials) -> Result<(), Failed> {
    let created = match denials {
        Denials::Silent => created,
        Denials::Logged => created
            .log_same_exec(false)
            .and_then(|created| created.log_new_exec(true))
            .map_err(|error| failed("log", &error))?,
    };
    let status = created.restrict_self().map_err(|error| failed("restrict_self", &error))?;
    match status.ruleset {
        RulesetStatus::FullyEnforced => Ok(()),
        _ => Err(Failed { step: "landlock", errno: Errno::EOPNOTSUPP, what: Some("not fully enforced".into()) }),
    }
}

fn failed(what: &str, error: &RulesetError) -> Failed {
    Failed { step: "landlock", errno: Errno::last(), what: Some(format!("{what}: {error}")) }
}

/// The rules, with every tree that holds something in `around` replaced by grants to its siblings.
fn grants(rules: &Rules, around: &[Shielded]) -> Rules {
    let mut granted = Rules::new();
    for (path, rights) in rules {
        grant(path, *rights, around, &mut granted);
    }
    granted
}

fn grant(path: &Path, rights: Rights, around: &[Shielded], granted: &mut Rules) {
    let effects = || around.iter().filter(|shielded| shielded.path == path).map(|shielded| shielded.effect);
    if effects().any(|effect| effect == Effect::Hide) {
        return;
    }
    if effects().any(|effect| effect != Effect::Hide) {
        return put(granted, path, Rights { write: false, ..rights });
    }
    let below =
        |effect| around.iter().any(|shielded| shielded.effect == effect && lies_at_or_below(&shielded.path, path));
    if !below(Effect::Hide) && !below(Effect::Protect) {
        return put(granted, path, rights);
    }
    // As a whole, such a tree can be listed, and (if nothing in it is hidden) read.
    let listed = Rights { list: rights.list || rights.read, ..Rights::default() };
    put(granted, path, if below(Effect::Hide) { listed } else { Rights { write: false, ..rights } });
    // A directory that cannot be listed grants nothing below it: closed, not open. A link grants nothing either.
    for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| !kind.is_symlink()) {
            grant(&entry.path(), rights, around, granted);
        }
    }
}

fn put(granted: &mut Rules, path: &Path, rights: Rights) {
    let held = granted.entry(path.to_path_buf()).or_default();
    *held = held.union(rights);
}
