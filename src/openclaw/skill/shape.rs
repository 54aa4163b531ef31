//! What a file is by its name and its first bytes.

use std::path::Path;

use super::unicode;

/// What the content of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To be read.
    Text,
    /// A picture, a font, a document: shown by programs, run by none.
    Shown,
    /// A compiled program.
    Program,
    /// A file with files in it.
    Archive,
    /// None of these. It is read all the same: a shell does not mind.
    Other,
}

const PROGRAMS: [&[u8]; 9] = [
    b"\x7fELF",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
    b"\xca\xfe\xba\xbe",
    b"\0asm",
    b"dex\n",
    b"!<arch>\n",
];

const ARCHIVES: [&[u8]; 11] = [
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a",
    b"\x28\xb5\x2f\xfd",
    b"xar!",
    b"MSCF",
    b"\x04\x22\x4d\x18",
];

const SHOWN: [&[u8]; 12] = [
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"RIFF",
    b"\0\0\x01\0",
    b"%PDF-",
    b"wOFF",
    b"wOF2",
    b"OTTO",
    b"\0\x01\0\0",
    b"ID3",
    b"OggS",
];

/// A name that ends otherwise is not believed to be shown only: a shell runs a picture that is called `x.sh`.
const SHOWN_ENDS: [&str; 17] = [
    "png", "jpg", "jpeg", "gif", "webp", "ico", "pdf", "woff", "woff2", "otf", "ttf", "mp3", "ogg", "wav", "mp4",
    "avi", "m4a",
];

/// What the bytes are.
pub fn kind(path: &str, bytes: &[u8]) -> Kind {
    let begins = |magics: &[&[u8]]| magics.iter().any(|magic| bytes.starts_with(magic));
    let end = Path::new(path).extension().map(|end| end.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let has_nul = bytes.contains(&0);
    let windows = bytes.starts_with(b"MZ") && has_nul;
    if begins(&PROGRAMS) || windows || matches!(end.as_str(), "pyc" | "pyo" | "exe" | "dll" | "so" | "dylib" | "jar") {
        return Kind::Program;
    }
    if begins(&ARCHIVES) || bytes.get(257..262) == Some(b"ustar") {
        return Kind::Archive;
    }
    let media = bytes.get(4..8) == Some(b"ftyp");
    if (begins(&SHOWN) || media) && SHOWN_ENDS.contains(&end.as_str()) {
        return Kind::Shown;
    }
    if has_nul || std::str::from_utf8(bytes).is_err() { Kind::Other } else { Kind::Text }
}

/// Whether a name cannot be shown as what it is.
pub fn is_odd_name(name: &str) -> bool {
    let edges = name.trim() != name || name.ends_with('.');
    edges || name.contains('\\') || name.contains(char::REPLACEMENT_CHARACTER) || unicode::is_odd(name)
}

/// Whether it is a script to be run once, by its name.
pub fn is_install_script(name: &str) -> bool {
    let lower = name.to_ascii_lowercase();
    let (stem, end) = lower.rsplit_once('.').unwrap_or((&lower, ""));
    let once = ["install", "setup", "bootstrap", "preinstall", "postinstall", "installer", "uninstall"];
    let scripts = ["", "sh", "bash", "zsh", "fish", "ps1", "bat", "cmd", "py", "js", "mjs", "cjs", "ts", "rb", "pl"];
    once.contains(&stem) && scripts.contains(&end)
}

/// Whether tools run or load it by themselves when they see the folder. The path is relative to the folder.
pub fn runs_on_its_own(path: &str) -> bool {
    let lower = path.to_ascii_lowercase();
    let (above, name) = lower.rsplit_once('/').unwrap_or(("", &lower));
    let within = |directory: &str| above == directory || above.ends_with(&format!("/{directory}"));
    let names =
        [".envrc", "sitecustomize.py", "usercustomize.py", ".mcp.json", ".npmrc", ".pnpmfile.cjs", ".yarnrc.yml"];
    names.contains(&name)
        || name.ends_with(".pth")
        || (within(".git/hooks") && !name.ends_with(".sample"))
        || within(".husky")
        || (within(".vscode") && matches!(name, "tasks.json" | "settings.json"))
        || (within(".claude") && name.starts_with("settings"))
        || within(".claude/hooks")
        || (within(".cursor") && matches!(name, "hooks.json" | "mcp.json"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_is_known_by_its_first_bytes_and_a_picture_by_its_name_too() {
        for (path, bytes, is) in [
            ("SKILL.md", b"# Weather".as_slice(), Kind::Text),
            ("run", b"\x7fELF\x02\x01", Kind::Program),
            ("a.py", b"MZ\x90\0", Kind::Program),
            ("notes.txt", b"MZ is how it begins", Kind::Text),
            ("cache.pyc", b"x", Kind::Program),
            ("a.dat", b"PK\x03\x04", Kind::Archive),
            ("logo.png", b"\x89PNG\r\n\x1a\n\0", Kind::Shown),
            ("logo.sh", b"GIF89a=1; curl x", Kind::Text),
            ("db", b"SQLite format 3\0", Kind::Other),
            ("latin.txt", b"gr\xfc\xdfe", Kind::Other),
        ] {
            assert_eq!(kind(path, bytes), is, "{path}");
        }
    }

    #[test]
    fn names_that_show_as_something_else_are_odd() {
        for odd in ["a\u{202e}dm.sh", " x", "x ", "a\nb", "a\\b", "x.", "a\u{200b}b", "\u{fffd}"] {
            assert!(is_odd_name(odd), "{odd:?}");
        }
        for plain in ["SKILL.md", "gr\u{fc}\u{df}e.txt", "a b.md", ".clawhubignore", "\u{4f60}\u{597d}.md"] {
            assert!(!is_odd_name(plain), "{plain:?}");
        }
    }

    #[test]
    fn what_runs_by_itself_and_what_is_to_be_run_once_is_known_by_name() {
        for (path, alone) in [
            (".envrc", true),
            ("a/.git/hooks/pre-commit", true),
            (".git/hooks/pre-commit.sample", false),
            (".vscode/tasks.json", true),
            ("lib/evil.pth", true),
            ("scripts/run.sh", false),
            ("docs/hooks/pre-commit", false),
        ] {
            assert_eq!(runs_on_its_own(path), alone, "{path}");
        }
        for (name, once) in [("install.sh", true), ("setup.py", true), ("Install", true), ("install.md", false)] {
            assert_eq!(is_install_script(name), once, "{name}");
        }
    }
}
