//! The tree of names that a run changed.

use std::collections::BTreeMap;

use super::html::{Html, bytes, heading};
use crate::verdict::evidence::FileChange;

/// Names that are shown; the others are counted.
const MOST: usize = 1_000;
/// Directories within each other that are shown as such.
const DEEPEST: usize = 24;

/// A directory of the tree.
#[derive(Default)]
struct Directory<'a> {
    below: BTreeMap<&'a str, Directory<'a>>,
    files: Vec<(&'a str, &'a FileChange)>,
}

/// The section.
pub fn section(page: &mut Html, changes: &[FileChange], unlisted: u64) {
    if changes.is_empty() {
        return;
    }
    heading(page, "Files", &format!("{} changed", changes.len() as u64 + unlisted));
    let mut root = Directory::default();
    changes.iter().take(MOST).for_each(|change| root.add(change));
    page.raw("<ul class=\"path\">\n");
    root.show(page, 0);
    page.raw("</ul>\n");
    let left = changes.len().saturating_sub(MOST) as u64 + unlisted;
    if left > 0 {
        page.raw("<p class=\"soft\">").ours(&format!("and {left} more")).raw("</p>\n");
    }
}

impl<'a> Directory<'a> {
    fn add(&mut self, change: &'a FileChange) {
        let mut names: Vec<&str> = change.path.split('/').filter(|name| !name.is_empty()).collect();
        let name = names.pop().unwrap_or("/");
        let mut at = self;
        for above in names.into_iter().take(DEEPEST) {
            at = at.below.entry(above).or_default();
        }
        at.files.push((name, change));
    }

    /// Directories that hold nothing but another one share its line.
    fn show(&self, page: &mut Html, depth: usize) {
        for (name, directory) in &self.below {
            let (mut path, mut directory) = ((*name).to_owned(), directory);
            while let (true, Some((next, inner))) =
                (directory.files.is_empty() && directory.below.len() == 1, directory.below.first_key_value())
            {
                path.push('/');
                path.push_str(next);
                directory = inner;
            }
            page.raw(if depth < 2 { "<li><details open><summary>" } else { "<li><details><summary>" });
            page.text(&path)
                .raw("/ <span class=\"soft\">")
                .ours(&directory.count().to_string())
                .raw("</span></summary>\n<ul>\n");
            directory.show(page, depth + 1);
            page.raw("</ul></details></li>\n");
        }
        for (name, change) in &self.files {
            leaf(page, name, change);
        }
    }

    fn count(&self) -> usize {
        self.files.len() + self.below.values().map(Directory::count).sum::<usize>()
    }
}

fn leaf(page: &mut Html, name: &str, change: &FileChange) {
    page.raw(match change.change.as_str() {
        "created" => "<li><span class=\"mark good\">+</span>",
        "removed" => "<li><span class=\"mark bad\">-</span>",
        "renamed" => "<li><span class=\"mark warn\">&gt;</span>",
        _ => "<li><span class=\"mark\">~</span>",
    });
    page.text(name);
    if let Some(from) = &change.from {
        page.raw(" <span class=\"soft\">was</span> ").text(from);
    }
    let sizes = match (change.before, change.after) {
        (Some(before), Some(after)) if before != after => Some(format!("{} to {}", bytes(before), bytes(after))),
        (None, Some(size)) | (Some(size), None) | (Some(size), Some(_)) => Some(bytes(size)),
        (None, None) => None,
    };
    if let Some(sizes) = sizes {
        page.raw(" <span class=\"soft\">").ours(&sizes).raw("</span>");
    }
    page.raw("</li>\n");
}
