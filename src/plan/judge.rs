//! Whether a path may be used in a jail, and by what that is decided: asked of the plan that would be enforced.
//!
//! Owns the order in which the walls stand: what is hidden, what is in the view at all, what Landlock and the mounts grant, what
//! is protected. Shields are judged by the code that the broker judges names with. Pure: links on the way are for the caller to
//! follow, and what a file's own owner and mode say is not known here.

use std::path::Path;

use serde::Serialize;

use super::paths::lies_at_or_below;
use super::shield::{Name, judge};
use super::{Effect, Entry, HostPath, Plan, Rights, Shield};

/// What is to be done with a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Read a file.
    Read,
    /// List a directory.
    List,
    /// Change a file.
    Write,
    /// Execute a file.
    Execute,
    /// Make a name that is not there.
    Make,
    /// Remove a name, or take it for something else.
    Remove,
}

impl Access {
    /// As it is asked for, and told.
    pub fn word(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::List => "list",
            Access::Write => "write",
            Access::Execute => "execute",
            Access::Make => "make",
            Access::Remove => "remove",
        }
    }

    fn needed(self) -> Rights {
        match self {
            Access::Read => Rights::READ,
            Access::List => Rights::LIST,
            Access::Write | Access::Make | Access::Remove => Rights { write: true, ..Rights::default() },
            Access::Execute => Rights { execute: true, ..Rights::default() },
        }
    }

    /// The list of `[filesystem]` that grants it.
    fn list(self) -> &'static str {
        match self {
            Access::Read | Access::List => "read",
            Access::Write | Access::Make | Access::Remove => "write",
            Access::Execute => "execute",
        }
    }
}

/// Yes or no, by what, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Judged {
    /// Whether it may.
    pub allowed: bool,
    /// By what: `view`, `landlock`, `hide`, `protect`, `vet`, or `grant` where it may.
    pub by: &'static str,
    /// Which entry, with its reason and who said so.
    pub rule: String,
    /// What to write where to have it otherwise.
    pub remedy: Option<String>,
}

impl Judged {
    /// No, because it is hidden by `rule`.
    pub fn hidden(rule: String) -> Judged {
        let remedy =
            "`hide` only ever adds: use a profile that does not hide it, or copy what is needed into the workspace";
        Judged::no("hide", rule, remedy.to_owned())
    }

    fn no(by: &'static str, rule: String, remedy: String) -> Judged {
        Judged { allowed: false, by, rule, remedy: Some(remedy) }
    }
}

/// Judges `access` to the absolute path `inside`, on which there is no link any more.
pub fn path(plan: &Plan, inside: &Path, access: Access) -> Judged {
    if let Some(judged) = hidden(plan, inside) {
        return judged;
    }
    let Some(entry) = nearest(plan, inside) else { return not_there(inside, access) };
    let rights = held(plan, inside);
    // Both have to grant it; where there is no view of our own there are no mounts either.
    let mounted = match entry {
        Shown::Host(host) if plan.tier.has_namespaces() => host.rights,
        _ => rights,
    };
    let needed = access.needed();
    if !rights.covers(needed) || !mounted.covers(needed) {
        return not_granted(entry, inside, access);
    }
    if let Some(judged) = protected(plan, inside, access) {
        return judged;
    }
    Judged { allowed: true, by: "grant", rule: entry.told(), remedy: None }
}

/// What stands nearest above a path.
#[derive(Clone, Copy)]
enum Shown<'a> {
    Host(&'a HostPath),
    Made(&'a Path),
    /// In the bare tier: a rule without an entry.
    Ruled(&'a Path),
}

impl Shown<'_> {
    fn told(&self) -> String {
        match self {
            Shown::Host(host) => format!("`{}` ({}; {})", host.source.display(), host.why, host.from),
            Shown::Made(path) => format!("`{}`, made for the jail", path.display()),
            Shown::Ruled(path) => format!("`{}`, which every jail has", path.display()),
        }
    }
}

fn nearest<'a>(plan: &'a Plan, inside: &'a Path) -> Option<Shown<'a>> {
    let found = inside.ancestors().find_map(|ancestor| {
        Some(match plan.view.entries.get_key_value(ancestor)? {
            (_, Entry::Host(host)) => Shown::Host(host),
            // Nothing is below it but what has an entry of its own.
            (path, Entry::Directory) if path != inside => return None,
            (path, _) => Shown::Made(path),
        })
    });
    let above = || plan.view.entries.keys().find(|path| lies_at_or_below(path, inside));
    let ruled = || inside.ancestors().find_map(|path| plan.landlock.rules.get_key_value(path));
    found.or_else(|| {
        if plan.tier.has_namespaces() {
            above().map(|_| Shown::Made(inside))
        } else {
            ruled().map(|(path, _)| Shown::Ruled(path))
        }
    })
}

/// What Landlock grants: every rule at or above a path counts.
fn held(plan: &Plan, inside: &Path) -> Rights {
    let above = plan.landlock.rules.iter().filter(|(path, _)| lies_at_or_below(inside, path));
    above.fold(Rights::default(), |held, (_, rights)| held.union(*rights))
}

fn hidden(plan: &Plan, inside: &Path) -> Option<Judged> {
    let shields: Vec<Shield> = plan.shields_that(Effect::Hide).cloned().collect();
    let Name::Shielded(shield) = judge(&shields, inside) else { return None };
    Some(Judged::hidden(told(shield)))
}

fn protected(plan: &Plan, inside: &Path, access: Access) -> Option<Judged> {
    if !matches!(access, Access::Write | Access::Make | Access::Remove) {
        return None;
    }
    let shields: Vec<Shield> = plan.shields.iter().filter(|shield| shield.effect != Effect::Hide).cloned().collect();
    let Name::Shielded(shield) = judge(&shields, inside) else { return None };
    let (by, remedy) = match shield.effect {
        Effect::Vet => (
            "vet",
            "it may come to say what makes git run nothing, as git itself writes it; what runs something a person sets outside",
        ),
        _ => (
            "protect",
            "`protect` only ever adds: use a profile that does not protect it, or have a person change it outside",
        ),
    };
    Some(Judged::no(by, told(shield), remedy.to_owned()))
}

fn told(shield: &Shield) -> String {
    format!("`{}` ({}; {})", shield.pattern, shield.why, shield.from)
}

fn not_there(inside: &Path, access: Access) -> Judged {
    Judged::no("view", "nothing in the profile shows it, so it does not exist there".to_owned(), grant(inside, access))
}

fn not_granted(shown: Shown<'_>, inside: &Path, access: Access) -> Judged {
    let what = format!("{} grants no `{}`", shown.told(), access.word());
    let remedy = match shown {
        Shown::Host(host) if host.from == "request" && access == Access::Execute => {
            "execute = [..., \"@workspace\"] in [filesystem]".to_owned()
        }
        Shown::Host(host) if host.from == "request" => "access = \"rw\" in [workspace]".to_owned(),
        Shown::Made(path) if path == Path::new("/tmp") => "tmp = { execute = true } in [filesystem]".to_owned(),
        _ => grant(inside, access),
    };
    Judged::no("landlock", what, remedy)
}

/// The line that would grant it. A list replaces that of the parent, so its other entries have to stay.
fn grant(inside: &Path, access: Access) -> String {
    let path = toml::Value::from(inside.to_string_lossy().into_owned());
    format!("{} = [..., {path}] in [filesystem]", access.list())
}
