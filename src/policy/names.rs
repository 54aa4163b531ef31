//! Names of profiles and sets, and which known name a mistyped one may mean.
//!
//! Owns what a name looks like. A name becomes part of a path, so nothing but a checked name may be looked up. Must not
//! look anything up itself.

use std::fmt;

/// A name that can be none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameError {
    written: String,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "`{}` is not a name: expected a letter or digit, then up to 63 of a-z, 0-9, `_` and `-`",
            self.written
        )
    }
}

impl std::error::Error for NameError {}

/// The longest name.
const LONGEST: usize = 64;

/// Checks that `name` matches `[a-z0-9][a-z0-9_-]{0,63}`.
pub fn check(name: &str) -> Result<(), NameError> {
    let ordinary = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let starts_well = name.bytes().next().is_some_and(ordinary);
    let goes_on_well = name.bytes().all(|byte| ordinary(byte) || byte == b'_' || byte == b'-');
    if starts_well && goes_on_well && name.len() <= LONGEST { Ok(()) } else { Err(NameError { written: shown(name) }) }
}

/// Text of a stranger, fit for one line of a message.
pub fn shown(text: &str) -> String {
    cut(text, LONGEST)
}

/// The first `most` characters of a text, in one line.
pub fn cut(text: &str, most: usize) -> String {
    let mut line = String::new();
    for letter in text.chars().take(most) {
        match letter {
            // These cannot break a line, and an escaped one reads as something else.
            '\'' | '"' | '\\' => line.push(letter),
            other => line.extend(other.escape_debug()),
        }
    }
    if text.chars().nth(most).is_some() {
        line.push_str("...");
    }
    line
}

/// The known word that `typed` most likely means, if one is near.
pub fn nearest<'a>(typed: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    if typed.len() > LONGEST {
        return None;
    }
    let lower = typed.to_lowercase();
    let distance = |word: &str| strsim::damerau_levenshtein(&lower, &word.to_lowercase());
    let (far, word) = known.into_iter().map(|word| (distance(word), word)).min()?;
    let tolerable = (word.len().max(typed.len()) / 3).clamp(1, 4);
    (far <= tolerable && word != typed).then(|| word.to_owned())
}

/// ``, did you mean `word`?``, or nothing.
pub fn did_you_mean(suggestion: Option<&str>) -> String {
    suggestion.map(|word| format!(", did you mean `{word}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_never_leave_its_directory() {
        for name in ["", ".", "..", "../x", "a/b", "/etc", "a.toml", "A", "-a", "_a", "a\0", "\u{e9}", "a\n"] {
            assert!(check(name).is_err(), "{name:?}");
        }
        assert!(check(&"a".repeat(65)).is_err());
        for name in ["a", "0", "skill-test", "a_b", &"a".repeat(64)] {
            assert_eq!(check(name), Ok(()));
        }
    }

    #[test]
    fn a_suggestion_is_near_or_absent() {
        assert_eq!(nearest("netwrok", ["filesystem", "network"]).as_deref(), Some("network"));
        assert_eq!(nearest("Untrusted", ["untrusted"]).as_deref(), Some("untrusted"));
        assert_eq!(nearest("kubernetes", ["base", "untrusted"]), None);
    }
}
