//! Many words looked for at once, so that a form is only tried where it can match.

use std::collections::BTreeMap;

/// Words, by the two bytes that they begin with.
pub struct Needles {
    begins: Vec<bool>,
    words: BTreeMap<(u8, u8), Vec<Word>>,
}

/// A word, and the number of its rule.
struct Word {
    bytes: Vec<u8>,
    rule: usize,
}

impl Needles {
    /// Each word with the number of its rule. One that is shorter than two bytes is found nowhere.
    pub fn new<'a>(words: impl Iterator<Item = (usize, &'a String)>) -> Needles {
        let mut needles = Needles { begins: vec![false; 1 << 16], words: BTreeMap::new() };
        for (rule, word) in words {
            let [first, second, ..] = *word.as_bytes() else { continue };
            if let Some(begins) = needles.begins.get_mut(place(first, second)) {
                *begins = true;
            }
            needles.words.entry((first, second)).or_default().push(Word { bytes: word.as_bytes().to_vec(), rule });
        }
        needles
    }

    /// Tells each place of `lower` where a word is, with its rule, until `found` has had enough.
    pub fn each<E>(&self, lower: &[u8], mut found: impl FnMut(usize, usize) -> Result<(), E>) -> Result<(), E> {
        for (offset, pair) in lower.windows(2).enumerate() {
            let [first, second] = *pair else { continue };
            if !self.begins.get(place(first, second)).copied().unwrap_or(false) {
                continue;
            }
            let here = lower.get(offset..).unwrap_or_default();
            for word in self.words.get(&(first, second)).into_iter().flatten() {
                if here.starts_with(&word.bytes) {
                    found(offset, word.rule)?;
                }
            }
        }
        Ok(())
    }
}

fn place(first: u8, second: u8) -> usize {
    usize::from(first) << 8 | usize::from(second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_of_every_word_is_told() {
        let words = ["curl".to_owned(), "cu".to_owned(), "url".to_owned()];
        let needles = Needles::new(words.iter().enumerate());
        let mut found = Vec::new();
        let all = needles.each::<()>(b"a curl, cu", |offset, rule| {
            found.push((offset, rule));
            Ok(())
        });
        found.sort_unstable();
        assert_eq!((all, found), (Ok(()), vec![(2, 0), (2, 1), (3, 2), (8, 1)]));
        let stopped = needles.each(b"curl curl", |_, _| Err("enough"));
        assert_eq!(stopped, Err("enough"));
    }
}
