//! Hiding and protecting names: which paths a shield means, and what a new name would do to one.
//!
//! Pure path logic, shared by the plan (what to mount over), the broker (which names it makes) and `explain`.

use std::path::{Path, PathBuf};

use super::paths::{Paths, is_glob, lies_at_or_below, literal_prefix};
use super::{Effect, Shield};
use crate::profile::{Grant, Profile};

/// Whether there is somebody to look at what settings of git would hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vetting {
    /// There is: the broker opens whatever is written.
    ByBroker,
    /// There is not: settings stay as they are.
    None,
}

/// The shields of `profile` as absolute patterns inside the jail, sorted; those outside every grant are left out, since
/// nothing there exists in the jail anyway.
pub fn inside_the_jail(profile: &Profile, hooks: Option<&str>, paths: &Paths, vetting: Vetting) -> Vec<Shield> {
    let files = &profile.filesystem;
    let granted: Vec<PathBuf> = [&files.read, &files.write, &files.execute]
        .into_iter()
        .flatten()
        .filter_map(|grant| paths.expand(&grant.path))
        .chain(paths.workspace.clone())
        .collect();
    let hidden = files.hide.iter().map(|grant| (grant, Effect::Hide));
    let named_hooks: Vec<(Grant, Effect)> = named_hooks(&files.protect, hooks, vetting);
    let protected = files.protect.iter().map(|grant| match vetting {
        Vetting::ByBroker if is_settings(&grant.path) => (grant, Effect::Vet),
        Vetting::ByBroker | Vetting::None => (grant, Effect::Protect),
    });
    let protected = protected.chain(named_hooks.iter().map(|(grant, effect)| (grant, *effect)));
    let mut shields: Vec<Shield> =
        hidden.chain(protected).filter_map(|(grant, effect)| place(grant, effect, paths, &granted)).collect();
    shields.sort();
    shields.dedup();
    shields
}

/// What `profile` hides of homes and of the host, outside of every grant: as the host has it, and where the jail's own home would.
pub fn elsewhere(profile: &Profile, paths: &Paths) -> Vec<Shield> {
    let inside = |grant: &Grant| Some(paths.home.join(grant.path.strip_prefix("~/")?));
    let shield = |grant: &Grant, pattern: PathBuf| Shield {
        pattern: pattern.to_string_lossy().into_owned(),
        effect: Effect::Hide,
        why: grant.why.clone(),
        from: grant.from.clone(),
    };
    let absolute = profile.filesystem.hide.iter().filter(|grant| grant.path.starts_with(['/', '~']));
    let both = absolute.flat_map(|grant| {
        let places = [paths.expand(&grant.path), inside(grant)].into_iter().flatten();
        places.map(move |place| shield(grant, place)).collect::<Vec<_>>()
    });
    let mut shields: Vec<Shield> = both.collect();
    shields.sort();
    shields.dedup();
    shields
}

/// Where the workspace's own settings have git look for hooks: there, and, since the name is relative to each work tree, under
/// that name in any work tree that a command makes.
fn named_hooks(protect: &[Grant], hooks: Option<&str>, vetting: Vetting) -> Vec<(Grant, Effect)> {
    let Some((grant, path)) = protect.iter().find(|grant| grant.path == ".git/hooks").zip(hooks) else {
        return Vec::new();
    };
    let why = "git runs these: core.hooksPath of the workspace names them";
    let named = |path: String| Grant { path, why: why.into(), from: grant.from.clone() };
    let mut all = vec![(named(path.to_owned()), Effect::Protect)];
    if vetting == Vetting::ByBroker {
        all.push((named(format!("**/{path}")), Effect::Vet));
    }
    all
}

/// Whether a shield's path, relative to the workspace, is that of git's settings.
fn is_settings(path: &str) -> bool {
    let mut names = path.split('/').rev();
    matches!(names.next(), Some("config" | "config.worktree")) && names.any(|name| name == ".git")
}

fn place(grant: &Grant, effect: Effect, paths: &Paths, granted: &[PathBuf]) -> Option<Shield> {
    let pattern = if grant.path.starts_with('/') || grant.path.starts_with("~/") {
        let host = paths.expand(&grant.path)?;
        paths.inside_workspace(&host).unwrap_or(host)
    } else {
        paths.workspace.as_ref()?.join(&grant.path)
    };
    let fixed = literal_prefix(&pattern);
    granted.iter().any(|path| lies_at_or_below(fixed, path)).then(|| Shield {
        pattern: pattern.to_string_lossy().into_owned(),
        effect,
        why: grant.why.clone(),
        from: grant.from.clone(),
    })
}

/// The first hidden pattern that `host_path` lies at or below, if any: such a directory cannot be a workspace.
pub fn hiding<'a>(profile: &'a Profile, paths: &Paths, host_path: &Path) -> Option<&'a Grant> {
    profile.filesystem.hide.iter().find(|grant| {
        let absolute = grant.path.starts_with('/') || grant.path.starts_with("~/");
        let literal = !is_glob(grant.path.as_bytes());
        let holds = |pattern: &Path| {
            if literal { lies_at_or_below(host_path, pattern) } else { is_at_or_below(pattern, host_path) }
        };
        absolute && paths.expand(&grant.path).is_some_and(|pattern| holds(&pattern))
    })
}

/// What making the name `path` would mean for a set of shields.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub enum Name<'a> {
    /// No shield is concerned.
    Free,
    /// The name, or a directory above it, is shielded.
    Shielded(&'a Shield),
    /// Shields lie below the name: it may become a directory, and nothing else. Each with what remains of its pattern.
    Above(Vec<(&'a Shield, Vec<String>)>),
}

/// Judges the absolute path `path` inside the jail.
pub fn judge<'a>(shields: &'a [Shield], path: &Path) -> Name<'a> {
    let name = components(path.as_os_str().as_encoded_bytes());
    let mut above = Vec::new();
    for shield in shields {
        let pattern = components(shield.pattern.as_bytes());
        let mut rests = Vec::new();
        if covers(&pattern, &name, &mut rests) {
            return Name::Shielded(shield);
        }
        // What remains after `**` could lie anywhere below; a name there is judged when it is made.
        rests.retain(|rest| rest.first().is_some_and(|first| *first != b"**"));
        above.extend(
            rests
                .into_iter()
                .map(|rest| (shield, rest.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect())),
        );
    }
    if above.is_empty() { Name::Free } else { Name::Above(above) }
}

fn is_at_or_below(pattern: &Path, path: &Path) -> bool {
    let [pattern, path] = [pattern, path].map(|path| path.as_os_str().as_encoded_bytes());
    covers(&components(pattern), &components(path), &mut Vec::new())
}

/// The names in a path that is absolute and normal. Nothing is copied: every name that is made is judged by every shield.
fn components(path: &[u8]) -> Vec<&[u8]> {
    path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect()
}

/// Whether `pattern` matches `name` or a directory above it. When `name` ends first, what remains is put into `rests`.
fn covers<'a>(pattern: &'a [&'a [u8]], name: &[&[u8]], rests: &mut Vec<&'a [&'a [u8]]>) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return true };
    let any_depth = *first == b"**";
    if any_depth && rest.is_empty() {
        return true;
    }
    let Some((head, tail)) = name.split_first() else {
        rests.push(pattern);
        return false;
    };
    if any_depth {
        return covers(rest, name, rests) || covers(pattern, tail, rests);
    }
    matches_component(first, head) && covers(rest, tail, rests)
}

fn matches_component(pattern: &[u8], name: &[u8]) -> bool {
    if is_glob(pattern) { fast_glob::glob_match(pattern, name) } else { pattern == name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protect(pattern: &str) -> Shield {
        Shield { pattern: pattern.into(), effect: Effect::Protect, why: String::new(), from: String::new() }
    }

    #[test]
    fn a_name_at_or_below_a_pattern_is_shielded() {
        let shields = [protect("/workspace/.git/hooks")];
        assert!(matches!(judge(&shields, Path::new("/workspace/.git/hooks")), Name::Shielded(_)));
        assert!(matches!(judge(&shields, Path::new("/workspace/.git/hooks/pre-commit")), Name::Shielded(_)));
    }

    #[test]
    fn a_name_that_only_begins_alike_is_free() {
        let shields = [protect("/workspace/.env")];
        assert_eq!(judge(&shields, Path::new("/workspace/.envrc")), Name::Free);
        assert_eq!(judge(&shields, Path::new("/workspace/sub/.env")), Name::Free);
    }

    #[test]
    fn a_name_above_a_pattern_keeps_what_remains() {
        let shields = [protect("/workspace/.git/hooks")];
        let Name::Above(rests) = judge(&shields, Path::new("/workspace/.git")) else { panic!("not above") };
        assert_eq!(rests[0].1, ["hooks"]);
    }

    #[test]
    fn two_stars_match_at_any_depth_and_odd_names_too() {
        let shields = [protect("/workspace/**/.env*")];
        for path in ["/workspace/.env", "/workspace/a/.env.local", "/workspace/a/b/.env\nx", "/workspace/a/.env/below"]
        {
            assert!(matches!(judge(&shields, Path::new(path)), Name::Shielded(_)), "{path}");
        }
        assert_eq!(judge(&shields, Path::new("/workspace/a/env")), Name::Free);
    }

    #[test]
    fn a_nested_pattern_is_found_above_its_parent_only() {
        let shields = [protect("/workspace/**/.claude/settings.json")];
        assert!(matches!(judge(&shields, Path::new("/workspace/x/.claude")), Name::Above(_)));
        assert_eq!(judge(&shields, Path::new("/workspace/x")), Name::Free);
    }
}
