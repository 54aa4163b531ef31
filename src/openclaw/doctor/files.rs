//! Who else can read or write what OpenClaw keeps on disk.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Fix, Hit, Setup, shown};

/// Names that are looked at, at most: sessions can be many.
const MOST: usize = 5_000;
/// How deep.
const DEEPEST: usize = 6;

/// Below the state directory: where secrets are, with all that is in it.
const PLACES: [&str; 10] = [
    "credentials",
    "agents",
    "state",
    "identity",
    "devices",
    "secrets.json",
    ".env",
    "logs",
    "sandboxes",
    "auth-profiles.json",
];

/// Looks.
pub fn look(setup: &Setup) -> Vec<(&'static str, Hit)> {
    let mut seen = Seen { found: Vec::new(), owner: owner(setup), left: MOST };
    for path in [&setup.place.state, &setup.place.config] {
        if let Ok(about) = fs::symlink_metadata(path) {
            if about.is_symlink() {
                seen.found.push(("files.link", Hit::told(shown(path), "it is a symbolic link")));
            }
            seen.one(path, &about);
        }
    }
    for path in &setup.config.includes {
        if let Ok(about) = fs::symlink_metadata(path) {
            seen.one(path, &about);
        }
    }
    for place in PLACES {
        seen.below(&setup.place.state.join(place), 0);
    }
    log(setup, &mut seen);
    if seen.owner == Some(0) {
        let at = shown(&setup.place.state);
        seen.found.push(("host.root", Hit::told(at, "the state directory belongs to root")));
    }
    seen.found
}

/// Whom the state belongs to, which is whom OpenClaw runs as.
fn owner(setup: &Setup) -> Option<u32> {
    let of = |path: &Path| fs::metadata(path).ok().map(|about| about.uid());
    of(&setup.place.state).or_else(|| of(&setup.place.config))
}

struct Seen {
    found: Vec<(&'static str, Hit)>,
    owner: Option<u32>,
    left: usize,
}

impl Seen {
    fn below(&mut self, path: &Path, depth: usize) {
        let Ok(about) = fs::symlink_metadata(path) else { return };
        self.one(path, &about);
        if !about.is_dir() || depth >= DEEPEST {
            return;
        }
        let mut names: Vec<PathBuf> =
            fs::read_dir(path).into_iter().flatten().flatten().map(|name| name.path()).take(self.left).collect();
        self.left -= names.len();
        names.sort();
        for name in names {
            self.below(&name, depth + 1);
        }
    }

    fn one(&mut self, path: &Path, about: &Metadata) {
        if about.is_symlink() || !(about.is_dir() || about.is_file()) {
            return;
        }
        if self.owner.is_some_and(|owner| about.uid() != owner && about.uid() != 0) {
            let what = format!("it belongs to uid {}", about.uid());
            self.found.push(("files.owner", Hit::told(shown(path), what)));
        }
        let mode = about.mode() & 0o7777;
        let id = match mode {
            _ if mode & 0o022 != 0 => "files.writable",
            _ if mode & 0o044 != 0 || (about.is_file() && mode & 0o011 != 0) => "files.readable",
            _ => return,
        };
        let wanted = if about.is_dir() { 0o700 } else { 0o600 };
        let fix = Some(Fix::Mode(path.to_owned(), wanted));
        self.found.push((id, Hit { at: shown(path), what: format!("mode {mode:03o}"), fix }));
    }
}

/// Where it is told to be; by itself OpenClaw logs to a directory in /tmp.
fn log(setup: &Setup, seen: &mut Seen) {
    let path = match setup.config.text("logging.file") {
        Some(path) => super::place::expand(path, &setup.place.home),
        None => PathBuf::from("/tmp/openclaw"),
    };
    let Ok(about) = fs::symlink_metadata(&path) else { return };
    if seen.owner.is_some_and(|owner| owner != about.uid()) || about.is_symlink() {
        return;
    }
    let mode = about.mode() & 0o7777;
    if mode & 0o077 != 0 && !path.starts_with(&setup.place.state) {
        let wanted = if about.is_dir() { 0o700 } else { 0o600 };
        let fix = Some(Fix::Mode(path.clone(), wanted));
        seen.found.push(("files.log", Hit { at: shown(&path), what: format!("mode {mode:03o}"), fix }));
    }
}
