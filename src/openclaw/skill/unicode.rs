//! Characters that people do not see, or not where they are.

use std::collections::BTreeMap;

/// What a character does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trick {
    /// Turns the order of what is shown.
    Turns,
    /// Carries a letter that is not shown.
    Carries,
    /// Has no width.
    Widthless,
}

/// So many in a row or in all are a message, not a typographer's.
const A_MESSAGE: usize = 16;

/// The black flag, after which tags are a part of the picture of a region's flag.
const FLAG: char = '\u{1f3f4}';

/// Each kind that is in the text: rule, first place, how many.
pub fn look(text: &str) -> Vec<(&'static str, usize, String)> {
    let mut kinds: BTreeMap<Trick, (usize, usize, char)> = BTreeMap::new();
    let mut before = ' ';
    let mut in_flag = false;
    for (offset, letter) in text.char_indices() {
        if letter.is_ascii() {
            (before, in_flag) = (letter, false);
            continue;
        }
        in_flag = letter == FLAG || (in_flag && is_tag(letter));
        let after = text.get(offset + letter.len_utf8()..).and_then(|rest| rest.chars().next()).unwrap_or(' ');
        if let Some(trick) = trick(letter, before, after, offset).filter(|_| !in_flag) {
            kinds.entry(trick).or_insert((offset, 0, letter)).1 += 1;
        }
        before = letter;
    }
    kinds.into_iter().map(|(trick, (offset, count, first))| (rule(trick, count), offset, shown(first, count))).collect()
}

/// Whether a name holds any of it.
pub fn is_odd(name: &str) -> bool {
    name.chars().any(|letter| letter.is_control() || trick(letter, 'a', 'a', 1).is_some())
}

fn shown(first: char, count: usize) -> String {
    format!("U+{:04X}, {count} of such characters", u32::from(first))
}

fn rule(trick: Trick, count: usize) -> &'static str {
    match trick {
        Trick::Turns => "turned-text",
        Trick::Carries => "hidden-text",
        Trick::Widthless if count >= A_MESSAGE => "hidden-text",
        Trick::Widthless => "invisible-characters",
    }
}

fn is_tag(letter: char) -> bool {
    ('\u{e0000}'..='\u{e007f}').contains(&letter)
}

fn trick(letter: char, before: char, after: char, offset: usize) -> Option<Trick> {
    match letter {
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => Some(Trick::Turns),
        '\u{e0000}'..='\u{e007f}' | '\u{e0100}'..='\u{e01ef}' => Some(Trick::Carries),
        // One of these chooses how the sign before it is drawn; after a letter or after another it carries a value.
        '\u{fe00}'..='\u{fe0f}' if before.is_ascii_alphabetic() || ('\u{fe00}'..='\u{fe0f}').contains(&before) => {
            Some(Trick::Carries)
        }
        // These join emojis and letters of some scripts. Between ASCII letters they have no use.
        '\u{200c}' | '\u{200d}' if before.is_ascii_alphanumeric() && after.is_ascii_alphanumeric() => {
            Some(Trick::Widthless)
        }
        '\u{feff}' if offset == 0 => None,
        '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}' | '\u{feff}' | '\u{180e}' => {
            Some(Trick::Widthless)
        }
        '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}' | '\u{34f}' => Some(Trick::Widthless),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<&'static str> {
        look(text).into_iter().map(|(rule, ..)| rule).collect()
    }

    #[test]
    fn text_that_is_turned_or_hidden_is_found() {
        assert_eq!(rules("a \u{202e}b"), ["turned-text"]);
        assert_eq!(rules("x \u{2066}y\u{2069}"), ["turned-text"]);
        let hidden: String =
            "run me".chars().filter_map(|letter| char::from_u32(0xe0000 + u32::from(letter))).collect();
        assert_eq!(rules(&format!("Weather.{hidden}")), ["hidden-text"]);
        assert_eq!(rules("a\u{fe01}\u{fe07}b"), ["hidden-text"]);
        assert_eq!(rules("cu\u{200b}rl"), ["invisible-characters"]);
        assert_eq!(rules(&"\u{200b}\u{2060}".repeat(20)), ["hidden-text"]);
    }

    #[test]
    fn scripts_and_emojis_are_left_alone() {
        for text in [
            "\u{feff}# Title",
            "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{2764}\u{fe0f} 1\u{fe0f}\u{20e3}",
            "\u{1f3f4}\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}",
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "gr\u{fc}\u{df}e, \u{4f60}\u{597d}, \u{645}\u{631}\u{62d}\u{628}\u{627}",
        ] {
            assert_eq!(rules(text), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn the_first_place_and_the_number_are_told() {
        let found = look("ab\u{202e}c\u{202d}");
        assert_eq!(found, [("turned-text", 2, "U+202E, 2 of such characters".to_owned())]);
    }
}
