//! Hiding and protecting names: which paths a shield means, and what a new name would do to one.
//!
//! Pure path logic, shared by the plan (what to mount over), the broker (which names it makes) and `explain`.

use std::path::{Component, Path, PathBuf};

use super::paths::{Paths, is_glob, lies_at_or_below, literal_prefix};
use super::{Effect, Shield};
use crate::profile::{Grant, Profile};

/// The shields of `profile` as absolute patterns inside the jail, sorted; those outside every grant are left out, since
/// nothing there exists in the jail anyway.
pub fn inside_the_jail(profile: &Profile, hooks: Option<&str>, paths: &Paths) -> Vec<Shield> {
    let files = &profile.filesystem;
    let granted: Vec<PathBuf> = [&files.read, &files.write, &files.execute]
        .into_iter()
        .flatten()
        .filter_map(|grant| paths.expand(&grant.path))
        .chain(paths.workspace.clone())
        .collect();
    let hidden = files.hide.iter().map(|grant| (grant, Effect::Hide));
    let named_hooks =
        files.protect.iter().find(|grant| grant.path == ".git/hooks").zip(hooks).map(|(grant, path)| Grant {
            path: path.to_owned(),
            why: "git runs these: core.hooksPath of the workspace names them".into(),
            from: grant.from.clone(),
        });
    let protected = files.protect.iter().chain(&named_hooks).map(|grant| (grant, Effect::Protect));
    let mut shields: Vec<Shield> =
        hidden.chain(protected).filter_map(|(grant, effect)| place(grant, effect, paths, &granted)).collect();
    shields.sort();
    shields.dedup();
    shields
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
    let name = components(path);
    let mut above = Vec::new();
    for shield in shields {
        let pattern = components(Path::new(&shield.pattern));
        let mut rests = Vec::new();
        if covers(&pattern, &name, &mut rests) {
            return Name::Shielded(shield);
        }
        // What remains after `**` could lie anywhere below; a name there is judged when it is made.
        rests.retain(|rest| rest.first().is_some_and(|first| first.as_slice() != b"**"));
        above.extend(
            rests
                .into_iter()
                .map(|rest| (shield, rest.iter().map(|part| String::from_utf8_lossy(part).into_owned()).collect())),
        );
    }
    if above.is_empty() { Name::Free } else { Name::Above(above) }
}

fn is_at_or_below(pattern: &Path, path: &Path) -> bool {
    covers(&components(pattern), &components(path), &mut Vec::new())
}

fn components(path: &Path) -> Vec<Vec<u8>> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.as_encoded_bytes().to_vec()),
            _ => None,
        })
        .collect()
}

/// Whether `pattern` matches `name` or a directory above it. When `name` ends first, what remains is put into `rests`.
fn covers(pattern: &[Vec<u8>], name: &[Vec<u8>], rests: &mut Vec<Vec<Vec<u8>>>) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return true };
    let any_depth = first.as_slice() == b"**";
    if any_depth && rest.is_empty() {
        return true;
    }
    let Some((head, tail)) = name.split_first() else {
        rests.push(pattern.to_vec());
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
