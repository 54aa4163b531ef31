//! What the workspace's own git settings say about code that git runs on the host.
//!
//! Reads one file, as the caller, below the opened workspace and through no link. Believes nothing: what it says can only
//! add protection.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::sys::resolving::open_resolved;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag};

/// Settings are short; what is longer is read no further.
const MOST_BYTES: u64 = 64 << 10;

/// The directory in the workspace that `core.hooksPath` names, relative to it, if there is such a setting.
pub fn hooks_directory(workspace: &OwnedFd, real: &Path) -> Option<String> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let file = open_resolved(workspace, ".git/config", OpenHow::new().flags(flags).resolve(resolve)).ok()?;
    let mut text = Vec::new();
    File::from(file).take(MOST_BYTES).read_to_end(&mut text).ok()?;
    let written = hooks_path(&String::from_utf8_lossy(&text))?;
    let inside = match Path::new(&written).strip_prefix(real) {
        Ok(below) => below.to_str()?.to_owned(),
        Err(_) => written,
    };
    // Outside of the workspace nothing can be changed anyway; `.` would be all of it.
    let plain =
        |part: std::path::Component<'_>| matches!(part, std::path::Component::Normal(_) | std::path::Component::CurDir);
    let path = Path::new(&inside);
    let names: Vec<&str> = path.iter().filter_map(|name| name.to_str()).filter(|name| *name != ".").collect();
    (path.components().all(plain) && !names.is_empty()).then(|| names.join("/"))
}

/// The value of `hooksPath` in the section `[core]`; git-config(1), SYNTAX. The last one counts.
fn hooks_path(text: &str) -> Option<String> {
    let mut in_core = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            in_core = section.split(']').next().is_some_and(|name| name.trim().eq_ignore_ascii_case("core"));
        } else if in_core
            && let Some((key, value)) = line.split_once('=')
            && key.trim().eq_ignore_ascii_case("hooksPath")
        {
            found = Some(value.trim().trim_matches('"').to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::hooks_path;

    #[test]
    fn the_last_hooks_path_of_the_core_section_counts() {
        let text = "[user]\n\thooksPath = no\n[Core]\n\tbare = false\n\thookspath = \"tools/hooks\"\n[core]\nhooksPath=.husky\n";
        assert_eq!(hooks_path(text), Some(".husky".to_owned()));
        assert_eq!(hooks_path("[remote \"core\"]\n\thooksPath = x\n"), None);
    }
}
