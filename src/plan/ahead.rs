//! The part of a view that init builds before there is a plan.
//!
//! While the launcher still reads the request, init would wait; the views of the shipped profiles have most of their paths
//! in common, so it puts those in place meanwhile. A plan whose view does not hold every one of them, just so, is enforced
//! in a jail that was begun without: [`remainder`] says which. It is a guess about order, never about what is granted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::paths::lies_at_or_below;
use super::view;
use super::{Entry, HostPath, Missing, Rights, View};

// `GRANTED`: the host paths that the built-in `untrusted` shows to everybody, and whether they can be executed; by build.rs.
include!(concat!(env!("OUT_DIR"), "/ahead.rs"));

/// What is put in place, parents first.
pub fn entries() -> BTreeMap<PathBuf, Entry> {
    let granted = GRANTED.iter().map(|(path, execute)| (PathBuf::from(path), host_path(path, *execute)));
    let mut entries: BTreeMap<PathBuf, Entry> = granted.collect();
    view::drop_covered(&mut entries);
    entries.extend(view::fixed());
    entries
}

fn host_path(path: &str, execute: bool) -> Entry {
    Entry::Host(HostPath {
        source: path.into(),
        rights: Rights { execute, ..Rights::READ },
        owner: None,
        missing: Missing::Skip,
        why: String::new(),
        from: String::new(),
    })
}

/// What is left to do for `view` when [`entries`] are in place. `None` when they are not what it shows.
pub fn remainder(view: &View) -> Option<View> {
    let mut made = entries().into_iter().peekable();
    let mut left = Vec::new();
    for (path, shown) in &view.entries {
        // Both are sorted, so one walk over both finds what they share.
        match made.next_if(|(next, _)| next.as_os_str() == path.as_os_str()) {
            Some((_, entry)) if same(shown, &entry) => {}
            Some(_) => return None,
            // Mounted now, it would cover what is there.
            None if made.peek().is_some_and(|(next, _)| lies_at_or_below(next, path)) => return None,
            None => left.push((path.clone(), shown.clone())),
        }
    }
    made.next().is_none().then(|| View { entries: left.into_iter().collect() })
}

/// Whether both come to the same mount; the reasons may differ.
fn same(one: &Entry, other: &Entry) -> bool {
    let enforced = |host: &HostPath| (host.source.clone(), host.rights, host.owner, host.missing);
    match (one, other) {
        (Entry::Host(one), Entry::Host(other)) => enforced(one) == enforced(other),
        (one, other) => one == other,
    }
}
