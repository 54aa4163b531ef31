//! Files that setup writes: each says so in its first line, with a digest of the rest, so that one which somebody has changed is known.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::layout::{File, Upkeep};

const MARK: &str = "# Written by `clawjail setup`. Change it as you like: it is then kept as it is. ";

/// What is where a file should be.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// The file, or one that is as good.
    Same,
    /// What setup wrote once, unchanged, and would write differently now.
    Outdated,
    /// Something else, and how it differs.
    Changed(String),
}

/// What became of a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was none.
    Absent,
    /// It is gone.
    Removed,
    /// Somebody has changed it.
    Kept,
}

fn marked(text: &str) -> String {
    format!("{MARK}{}\n{text}", digest(text))
}

fn digest(text: &str) -> String {
    Sha256::digest(text).iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// Whether it is as setup wrote it, whenever that was.
fn is_untouched(text: &str) -> bool {
    let (first, rest) = text.split_once('\n').unwrap_or((text, ""));
    first.strip_prefix(MARK) == Some(&digest(rest))
}

fn read(path: &Path) -> io::Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Looks at what is there.
pub fn look(file: &File) -> io::Result<Found> {
    let wanted = marked(&file.text);
    Ok(match read(&file.path)? {
        None => Found::Nothing,
        Some(there) if there == wanted => Found::Same,
        Some(there) if is_untouched(&there) => match file.upkeep {
            Upkeep::Renewed => Found::Outdated,
            Upkeep::Once => Found::Same,
        },
        Some(there) => Found::Changed(difference(&there, &wanted)),
    })
}

/// Writes it: all of it or nothing, and so that its owner alone can change it.
pub fn write(file: &File) -> io::Result<()> {
    let directory = file.path.parent().unwrap_or(Path::new("/"));
    make_directory(directory)?;
    let draft = file.path.with_extension("clawjail-setup");
    let written = write_new(&draft, &marked(&file.text)).and_then(|()| fs::rename(&draft, &file.path));
    if written.is_err() {
        let _ = fs::remove_file(&draft);
    }
    written
}

/// Makes a directory and what is missing above it, for its owner alone to change.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::File::options().write(true).create_new(true).mode(0o644).open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes it unless somebody has changed it; `really`, or only says what would become of it.
pub fn remove(file: &File, really: bool) -> io::Result<Outcome> {
    let Some(there) = read(&file.path)? else { return Ok(Outcome::Absent) };
    if !is_untouched(&there) {
        return Ok(Outcome::Kept);
    }
    if really {
        fs::remove_file(&file.path)?;
        if let Some(directory) = file.path.parent().filter(|directory| directory.ends_with("clawjail")) {
            // Profiles of one's own may be in it.
            let _ = fs::remove_dir(directory);
        }
    }
    Ok(Outcome::Removed)
}

/// Where two texts differ: the lines between what both begin with and what both end with.
fn difference(there: &str, wanted: &str) -> String {
    let (there, wanted): (Vec<&str>, Vec<&str>) = (there.lines().collect(), wanted.lines().collect());
    let same = |(one, other): &(&&str, &&str)| one == other;
    let begin = there.iter().zip(&wanted).take_while(same).count();
    let (old, new) = (there.get(begin..).unwrap_or_default(), wanted.get(begin..).unwrap_or_default());
    let end = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    let shown = |sign: &str, lines: &[&str]| -> Vec<String> {
        lines.iter().take(lines.len() - end).map(|line| format!("  {sign} {line}")).collect()
    };
    [shown("-", old), shown("+", new)].concat().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_changed_in_any_way_is_known() {
        let text = marked("one\ntwo\n");
        assert!(is_untouched(&text));
        for changed in [text.replace("two", "three"), format!("{text}\n"), format!("# mine\n{text}"), "one\n".into()] {
            assert!(!is_untouched(&changed), "{changed}");
        }
    }

    #[test]
    fn a_difference_leaves_out_what_is_the_same_at_both_ends() {
        assert_eq!(difference("a\nb\nc\nd\n", "a\nx\ny\nd\n"), "  - b\n  - c\n  + x\n  + y");
        assert_eq!(difference("a\n", "a\nb\n"), "  + b");
        assert_eq!(difference("a\na\n", "a\n"), "  - a");
    }
}
