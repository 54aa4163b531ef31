//! Names in the workspace that a run may have changed: what they were before, looked at when the broker was first asked, and what they
//! are at the end.
//!
//! Every name of the workspace is made, opened for writing or removed by way of the broker when this is recorded, so nothing has to be
//! walked: a run in a tree of a million files costs what it touches.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::asking::Asked;
use crate::plan::paths::lies_at_or_below;
use crate::wire::privsep::{Change, How};

/// Most names that are remembered, most that are listed, and most bytes of all that are listed.
const MOST_TOUCHED: usize = 16_384;
const MOST_LISTED: usize = 4096;
const MOST_BYTES: usize = 512 << 10;

/// What a name stood for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Absent,
    There { file: bool, size: u64, changed: (i64, i64), inode: u64 },
}

/// Those of one run.
#[derive(Debug, Default)]
pub struct Changes {
    workspace: PathBuf,
    touched: BTreeMap<PathBuf, State>,
    // New names of renames by what they were before: an inode alone says nothing, for the kernel gives it to the next file.
    moved: BTreeMap<PathBuf, PathBuf>,
    more: u64,
}

impl Changes {
    /// Below `workspace`.
    pub fn new(workspace: &Path) -> Changes {
        Changes { workspace: workspace.to_path_buf(), ..Changes::default() }
    }

    /// Before a call is made or answered: remembers what its names are.
    pub fn before(&mut self, asked: &Asked) {
        let changes = match asked {
            Asked::Open { flags, .. } => {
                flags & libc::O_ACCMODE != libc::O_RDONLY || flags & (libc::O_CREAT | libc::O_TRUNC) != 0
            }
            Asked::Mode { .. } | Asked::ModeOf { .. } | Asked::Reopen { .. } | Asked::Unnamed { .. } => false,
            _ => true,
        };
        if !changes {
            return;
        }
        let names = asked.names();
        for name in &names {
            self.remember(name, None);
        }
        if let (Asked::Rename { .. }, [from, to, ..]) = (asked, names.as_slice()) {
            self.follow(from, to);
        }
    }

    fn remember(&mut self, name: &Path, known: Option<State>) {
        if !lies_at_or_below(name, &self.workspace) || self.touched.contains_key(name) {
            return;
        }
        if self.touched.len() >= MOST_TOUCHED {
            self.more = self.more.saturating_add(1);
            return;
        }
        self.touched.insert(name.to_path_buf(), known.unwrap_or_else(|| look(name)));
    }

    /// What was touched below a directory that moves is below its new name then.
    fn follow(&mut self, from: &Path, to: &Path) {
        let first = self.moved.remove(from).unwrap_or_else(|| from.to_path_buf());
        self.moved.insert(to.to_path_buf(), first);
        let below = self.touched.range(from.to_path_buf()..).skip(1);
        let below = below.map(|(path, _)| path).take_while(|path| path.starts_with(from));
        let renamed: Vec<(PathBuf, PathBuf)> =
            below.filter_map(|path| Some((to.join(path.strip_prefix(from).ok()?), path.clone()))).collect();
        for (name, before) in renamed {
            self.remember(&name, Some(State::Absent));
            self.moved.insert(name, before);
        }
    }

    /// What became of them, and how many more there were.
    pub fn finish(self) -> (Vec<Change>, u64) {
        let now: BTreeMap<&PathBuf, State> = self.touched.keys().map(|path| (path, look(path))).collect();
        let from = |path: &PathBuf, after: &State| {
            let source = self.moved.get(path)?;
            let was = self.touched.get(source)?.inode()?;
            let left = now.get(source).is_none_or(|now| now.inode() != Some(was));
            (left && after.inode() == Some(was)).then_some(source)
        };
        let sources: BTreeSet<&PathBuf> = now.iter().filter_map(|(path, after)| from(path, after)).collect();
        let (mut changes, mut bytes, mut more) = (Vec::new(), 0_usize, self.more);
        for (path, before) in &self.touched {
            let after = now.get(path).copied().unwrap_or(State::Absent);
            let how = match (*before, after, from(path, &after)) {
                (_, _, Some(source)) => How::RenamedFrom(source.as_os_str().as_bytes().to_vec()),
                (State::Absent, State::Absent, _) => continue,
                (State::Absent, State::There { .. }, _) => How::Created,
                (State::There { .. }, State::Absent, _) if sources.contains(path) => continue,
                (State::There { .. }, State::Absent, _) => How::Removed,
                (before, after, _) if before == after => continue,
                // A directory changes with what is in it, and that is listed.
                (State::There { file: false, inode: one, .. }, State::There { file: false, inode: other, .. }, _)
                    if one == other =>
                {
                    continue;
                }
                (State::There { .. }, State::There { .. }, _) => How::Changed,
            };
            let name = path.as_os_str().as_bytes().to_vec();
            bytes = bytes.saturating_add(name.len() + 64);
            if changes.len() >= MOST_LISTED || bytes > MOST_BYTES {
                more = more.saturating_add(1);
                continue;
            }
            changes.push(Change { path: name, how, before: before.size(), after: after.size() });
        }
        (changes, more)
    }
}

impl State {
    fn inode(&self) -> Option<u64> {
        match self {
            State::Absent => None,
            State::There { inode, .. } => Some(*inode),
        }
    }

    fn size(&self) -> Option<u64> {
        match self {
            State::There { file: true, size, .. } => Some(*size),
            State::There { .. } | State::Absent => None,
        }
    }
}

fn look(path: &Path) -> State {
    let Ok(about) = std::fs::symlink_metadata(path) else { return State::Absent };
    let changed = (about.mtime(), about.mtime_nsec());
    State::There { file: about.is_file(), size: about.len(), changed, inode: about.ino() }
}
