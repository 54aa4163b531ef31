//! From the words of one profile text to what they mean.
//!
//! Owns the check of every value of a layer and the replacement of path sets by their members. All errors of a layer are
//! collected, so that `check` can show them together; a layer with any error is never used. Must not combine layers.

use core::net::IpAddr;
use std::collections::BTreeMap;

use super::error::ProfileError;
use super::lineage::Layer;
use super::promise::{Demand, Promise};
use super::requests::{self, is_name};
use super::schema::{Access, Addresses, Inspect};
use super::{Grant, WorkspaceAccess, WorkspaceAt};
use crate::policy::document::{Authority, Spot};
use crate::policy::egress::http::HttpRule;
use crate::policy::egress::http::secret::Secret;
use crate::policy::egress::{self, name::Name, rule::Rule};
use crate::policy::environment::{Hook, Secrecy, is_hook, secrecy};
use crate::policy::library::{Library, LibraryError};
use crate::policy::names::{did_you_mean, nearest, shown};
use crate::policy::paths::{self, Anchor, Form, Member, PathSet};

/// What one layer says, checked. `None`: it is silent.
#[derive(Debug, Default)]
pub struct Words {
    pub access: Option<WorkspaceAccess>,
    pub at: Option<WorkspaceAt>,
    pub read: Option<Vec<Grant>>,
    pub write: Option<Vec<Grant>>,
    pub execute: Option<Vec<Grant>>,
    pub hide: Vec<Grant>,
    pub protect: Vec<Grant>,
    pub egress_allow: Option<Vec<Rule>>,
    pub egress_deny: Vec<Rule>,
    pub egress_http: Option<Vec<HttpRule>>,
    pub egress_hosts: BTreeMap<Name, Vec<IpAddr>>,
    pub egress_secrets: BTreeMap<String, Secret>,
    pub egress_inspect: Option<Inspect>,
    pub pass: Option<Vec<String>>,
    pub set: BTreeMap<String, String>,
    pub require: BTreeMap<Promise, Demand>,
}

/// The path sets that were read for one resolution, so that a set named twice is read once.
#[derive(Default)]
pub struct Sets(BTreeMap<(Authority, String), PathSet>);

/// A list of `[filesystem]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Read,
    Write,
    Execute,
    Hide,
    Protect,
}

impl List {
    fn key(self) -> &'static str {
        match self {
            List::Read => "read",
            List::Write => "write",
            List::Execute => "execute",
            List::Hide => "hide",
            List::Protect => "protect",
        }
    }

    /// Whether the list takes things away. Only then may it name patterns and paths in the workspace: a pattern that
    /// grants would grant what appears later.
    fn takes_away(self) -> bool {
        matches!(self, List::Hide | List::Protect)
    }
}

/// Checks and expands one layer.
pub fn expand(layer: &Layer, library: &Library, sets: &mut Sets) -> (Words, Vec<ProfileError>) {
    let mut expansion = Expansion { layer, library, sets, errors: Vec::new() };
    let words = expansion.words();
    expansion.errors.extend(super::terms::check(layer));
    (words, expansion.errors)
}

struct Expansion<'a> {
    layer: &'a Layer,
    library: &'a Library,
    sets: &'a mut Sets,
    errors: Vec<ProfileError>,
}

impl Expansion<'_> {
    fn words(&mut self) -> Words {
        let file = &self.layer.file;
        let filesystem = &file.filesystem;
        Words {
            access: self.access(file.workspace.access),
            at: file.workspace.at.as_deref().and_then(|at| self.workspace_at(at)),
            read: filesystem.read.as_ref().map(|list| self.grants(List::Read, list)),
            write: filesystem.write.as_ref().map(|list| self.grants(List::Write, list)),
            execute: filesystem.execute.as_ref().map(|list| self.grants(List::Execute, list)),
            hide: filesystem.hide.as_ref().map(|list| self.grants(List::Hide, list)).unwrap_or_default(),
            protect: filesystem.protect.as_ref().map(|list| self.grants(List::Protect, list)).unwrap_or_default(),
            egress_allow: file.egress.allow.as_ref().map(|list| self.hosts(egress::rule::List::Allow, list)),
            egress_deny: file
                .egress
                .deny
                .as_ref()
                .map(|list| self.hosts(egress::rule::List::Deny, list))
                .unwrap_or_default(),
            egress_http: file.egress.http.as_ref().map(|tables| self.add(requests::rules(self.layer, tables))),
            egress_hosts: self.addresses(&file.egress.hosts),
            egress_secrets: self.add(requests::secrets(self.layer, &file.egress.secrets)),
            egress_inspect: file.egress.inspect,
            pass: file.environment.pass.as_ref().map(|names| self.pass(names)),
            set: self.set(&file.environment.set),
            require: self.require(&file.require),
        }
    }

    fn wrong(&mut self, spot: Spot<'_>, what: String) {
        self.errors.push(self.layer.flaw(spot, what));
    }

    fn wrong_with_hint(&mut self, spot: Spot<'_>, what: String, hint: &str) {
        let flaw = self.layer.document.flaw(spot, what).with_hint(hint);
        self.errors.push(self.layer.error(flaw));
    }

    fn access(&mut self, access: Option<Access>) -> Option<WorkspaceAccess> {
        match access? {
            Access::None => Some(WorkspaceAccess::None),
            Access::Ro => Some(WorkspaceAccess::Ro),
            Access::Rw => Some(WorkspaceAccess::Rw),
            Access::Cow => {
                self.wrong(
                    Spot::Value(&["workspace", "access"]),
                    "workspace access `cow` is not supported yet".to_owned(),
                );
                None
            }
        }
    }

    fn workspace_at(&mut self, at: &str) -> Option<WorkspaceAt> {
        if at == "same" {
            return Some(WorkspaceAt::Same);
        }
        let problem = match paths::form(at) {
            Err(error) => error.to_string(),
            Ok(form) if form.anchor != Anchor::Root => "it is neither `same` nor absolute".to_owned(),
            Ok(form) if form.pattern => "it is a pattern".to_owned(),
            Ok(_) if below_kernel(at) => "the kernel's own files are there".to_owned(),
            Ok(_) => return Some(WorkspaceAt::Path(at.to_owned())),
        };
        let what = format!("cannot put the workspace at `{}`: {problem}", shown(at));
        self.wrong(Spot::Value(&["workspace", "at"]), what);
        None
    }

    fn grants(&mut self, list: List, entries: &[String]) -> Vec<Grant> {
        let mut grants = Vec::with_capacity(entries.len());
        for entry in entries {
            match entry.strip_prefix('@') {
                Some("workspace") if list == List::Execute => grants.push(self.named(entry)),
                Some(set) => self.members(list, set, entry, &mut grants),
                None => {
                    if let Err((problem, hint)) = usable(list, entry) {
                        let what = format!("cannot use path `{}`: {problem}", shown(entry));
                        self.wrong_with_hint(Spot::Item(&["filesystem", list.key()], entry), what, hint);
                    } else {
                        grants.push(self.named(entry));
                    }
                }
            }
        }
        grants
    }

    fn named(&self, entry: &str) -> Grant {
        Grant {
            path: entry.to_owned(),
            why: "named by the profile".to_owned(),
            from: self.layer.document.source.clone(),
        }
    }

    fn members(&mut self, list: List, set: &str, entry: &str, grants: &mut Vec<Grant>) {
        let place = ["filesystem", list.key()];
        let at = Spot::Item(&place, entry);
        let key = (self.layer.document.authority, set.to_owned());
        if !self.sets.0.contains_key(&key) {
            match self.library.paths(set, key.0) {
                Ok(found) => drop(self.sets.0.insert(key.clone(), found)),
                Err(error) => return self.set_error(at, set, error),
            }
        }
        let Some(found) = self.sets.0.get(&key) else {
            return;
        };
        let problem = |member: &Member| usable_form(list, &member.path, member.form).err();
        let first = found.members.iter().find_map(|member| problem(member).map(|(problem, _)| (&member.path, problem)));
        if let Some((path, problem)) = first {
            let what = format!("cannot use set `{entry}` in `{}`: `{path}` cannot stand there: {problem}", list.key());
            return self.wrong(at, what);
        }
        grants.extend(found.members.iter().map(|member| Grant {
            path: member.path.to_string(),
            why: member.why.to_string(),
            from: entry.to_owned(),
        }));
    }

    fn set_error(&mut self, at: Spot<'_>, set: &str, error: LibraryError) {
        let error = set_error(self.layer, at, set, error);
        self.errors.push(error);
    }

    /// The hosts of one list of `[egress]`, sets replaced by theirs.
    fn hosts(&mut self, list: egress::rule::List, entries: &[String]) -> Vec<Rule> {
        let place = ["egress", if list == egress::rule::List::Allow { "allow" } else { "deny" }];
        let mut rules = Vec::with_capacity(entries.len());
        for entry in entries {
            let at = Spot::Item(&place, entry);
            if let Some(set) = entry.strip_prefix('@') {
                match self.library.egress(set, self.layer.document.authority) {
                    Ok(found) => rules.extend(found.rules(list, entry)),
                    Err(error) => self.set_error(at, set, error),
                }
                continue;
            }
            match Rule::parse(entry, list, "named by the profile", &self.layer.document.source) {
                Ok(rule) => rules.push(rule),
                Err(flaw) => {
                    let what = format!("cannot use host `{}`: {flaw}", shown(entry));
                    self.wrong_with_hint(at, what, flaw.hint());
                }
            }
        }
        rules
    }

    /// The names whose addresses the profile itself knows.
    fn addresses(&mut self, hosts: &BTreeMap<String, Addresses>) -> BTreeMap<Name, Vec<IpAddr>> {
        let mut known = BTreeMap::new();
        for (host, addresses) in hosts {
            let texts = match addresses {
                Addresses::One(one) => std::slice::from_ref(one),
                Addresses::Several(several) => several.as_slice(),
            };
            let read: Result<Vec<IpAddr>, _> = texts.iter().map(|text| text.parse()).collect();
            match (Name::parse(host), read) {
                (Ok(name), Ok(read)) if !read.is_empty() => drop(known.insert(name, read)),
                (Err(flaw), _) => {
                    let what = format!("cannot use host `{}`: {flaw}", shown(host));
                    self.wrong(Spot::Key(&["egress", "hosts", host]), what);
                }
                (Ok(_), _) => {
                    let what = format!("the addresses of `{}` are none", shown(host));
                    self.wrong_with_hint(
                        Spot::Value(&["egress", "hosts", host]),
                        what,
                        "such as `10.1.2.3`, or a list of them",
                    );
                }
            }
        }
        known
    }

    /// What was read elsewhere, its errors being ours.
    fn add<T>(&mut self, (read, errors): (T, Vec<ProfileError>)) -> T {
        self.errors.extend(errors);
        read
    }

    fn pass(&mut self, names: &[String]) -> Vec<String> {
        for name in names {
            let at = Spot::Item(&["environment", "pass"], name);
            if !is_name(name) {
                self.wrong(at, format!("`{}` is not an environment name", shown(name)));
                continue;
            }
            // The built-in profiles name no hook, which a test shows; reading the list would cost each start.
            if self.layer.document.is_built_in() {
                continue;
            }
            if is_hook(name.as_bytes()) == Hook::Yes {
                let what = format!("cannot pass `{name}`: programs run or load what it says");
                self.wrong_with_hint(at, what, "a profile that root owns can give it a value in [environment] set");
            } else if secrecy(name.as_bytes()) == Secrecy::Secret {
                let what = format!("cannot pass `{name}`: it looks like a secret");
                self.wrong_with_hint(at, what, "a profile passes no secrets; `--env` gives one to a single run");
            }
        }
        names.to_vec()
    }

    fn set(&mut self, values: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        for (name, value) in values {
            let key = ["environment", "set", name.as_str()];
            if !is_name(name) {
                self.wrong(Spot::Key(&key), format!("`{}` is not an environment name", shown(name)));
            } else if value.contains('\0') {
                self.wrong(Spot::Value(&key), format!("the value of `{name}` has a NUL"));
            } else if self.layer.document.authority == Authority::Caller && is_hook(name.as_bytes()) == Hook::Yes {
                let what = format!("cannot set `{name}`: programs run or load what it says");
                self.wrong_with_hint(Spot::Key(&key), what, "only a profile in /etc/clawjail/profiles can set it");
            }
        }
        values.clone()
    }

    fn require(&mut self, demands: &BTreeMap<String, Demand>) -> BTreeMap<Promise, Demand> {
        let mut known = BTreeMap::new();
        for (word, demand) in demands {
            match Promise::ALL.into_iter().find(|promise| promise.word() == word) {
                Some(promise) => drop(known.insert(promise, *demand)),
                None => {
                    let suggestion = nearest(word, Promise::ALL.map(Promise::word));
                    let what = format!("unknown promise `{}`{}", shown(word), did_you_mean(suggestion.as_deref()));
                    let words = Promise::ALL.map(|promise| format!("`{}`", promise.word())).join(", ");
                    self.wrong_with_hint(Spot::Key(&["require", word]), what, &format!("the promises are {words}"));
                }
            }
        }
        known
    }
}

/// The error about a set that `layer` names at a spot.
pub fn set_error(layer: &Layer, at: Spot<'_>, set: &str, error: LibraryError) -> ProfileError {
    let LibraryError::Unknown { suggestion } = error else {
        return ProfileError::Set { set: set.to_owned(), error: Box::new(error) };
    };
    let suggestion = suggestion.map(|name| format!("@{name}"));
    let what = format!("unknown set `@{}`{}", shown(set), did_you_mean(suggestion.as_deref()));
    let flaw = layer.document.flaw(at, what);
    layer.error(if set == "workspace" {
        flaw.with_hint("the workspace is granted by `access` in [workspace], and by `@workspace` in `execute`")
    } else {
        flaw
    })
}

const GRANTS: &str = "expected an absolute path, `~/...` or a set; the workspace is granted in [workspace]";
const SHIELDS: &str = "expected an absolute path, `~/...`, a path in the workspace, or a pattern with `*` or `**`";

/// Whether a text can stand in a list as a path; if not, why, and what can.
fn usable(list: List, path: &str) -> Result<(), (String, &'static str)> {
    let hint = if list.takes_away() { SHIELDS } else { GRANTS };
    let form = paths::form(path).map_err(|error| (error.to_string(), hint))?;
    usable_form(list, path, form)
}

/// Whether a path or pattern can be hidden or protected.
pub fn usable_shield(path: &str) -> Result<(), String> {
    usable(List::Hide, path).map_err(|(problem, _)| problem)
}

/// The same for a path whose form is known.
fn usable_form(list: List, path: &str, form: Form) -> Result<(), (String, &'static str)> {
    if list.takes_away() {
        let special = |letter: char| "?[]{}!\\".contains(letter);
        return if form.pattern && path.contains(special) {
            Err(("in a pattern only `*` and `**` stand for something".to_owned(), SHIELDS))
        } else {
            Ok(())
        };
    }
    if form.anchor == Anchor::Workspace {
        return Err(("it is not absolute".to_owned(), GRANTS));
    }
    if form.pattern {
        return Err((format!("`{}` takes no patterns", list.key()), GRANTS));
    }
    Ok(())
}

/// Whether a path is one of the kernel's mount points, or in one.
fn below_kernel(path: &str) -> bool {
    ["/proc", "/sys", "/dev"]
        .iter()
        .any(|root| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
}
