//! Markup that text cannot become a part of.
//!
//! Owns the one way in which text of others gets onto the page. Markup is `&'static str`, so whatever a command chose can only
//! come in by [`Html::text`]: escaped, cut, and with what would change how its neighbours read shown instead of sent.

/// Letters of one text that are shown; a path of the kernel's longest is cut in the middle of nowhere, and says so.
const LONGEST: usize = 300;

/// A growing piece of a page.
#[derive(Debug, Default)]
pub struct Html(String);

impl Html {
    /// Markup of our own.
    pub fn raw(&mut self, markup: &'static str) -> &mut Html {
        self.0.push_str(markup);
        self
    }

    /// Text of anybody. It stands in an isolated run of letters, so that what is written from right to left stays within it.
    pub fn text(&mut self, text: &str) -> &mut Html {
        self.0.push_str("<bdi>");
        for letter in text.chars().take(LONGEST) {
            self.letter(letter);
        }
        if let Some((at, _)) = text.char_indices().nth(LONGEST) {
            self.0.push_str(&format!("<span class=\"odd\">… {} more bytes</span>", text.len() - at));
        }
        self.0.push_str("</bdi>");
        self
    }

    /// Text that is ours, such as a number with its unit.
    pub fn ours(&mut self, text: &str) -> &mut Html {
        text.chars().for_each(|letter| self.letter(letter));
        self
    }

    /// A number for an attribute, from 0 to 100.
    pub fn percent(&mut self, value: f64) -> &mut Html {
        let bounded = if value.is_finite() { value.clamp(0.0, 100.0) } else { 0.0 };
        self.0.push_str(&format!("{bounded:.2}"));
        self
    }

    /// Another piece.
    pub fn push(&mut self, other: Html) -> &mut Html {
        self.0.push_str(&other.0);
        self
    }

    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// All of it.
    pub fn into_string(self) -> String {
        self.0
    }

    fn letter(&mut self, letter: char) {
        match letter {
            '&' => self.0.push_str("&amp;"),
            '<' => self.0.push_str("&lt;"),
            '>' => self.0.push_str("&gt;"),
            '"' => self.0.push_str("&quot;"),
            '\'' => self.0.push_str("&#39;"),
            letter if is_odd(letter) => {
                self.0.push_str(&format!("<span class=\"odd\">\\u{{{:x}}}</span>", u32::from(letter)));
            }
            letter => self.0.push(letter),
        }
    }
}

/// What a browser would act on, or not show, or may not be given at all.
fn is_odd(letter: char) -> bool {
    let number = u32::from(letter);
    letter.is_control()
        || matches!(number, 0x61c | 0x180e | 0x200b..=0x200f | 0x2028..=0x202e | 0x2060..=0x206f | 0xfeff | 0xfff9..=0xfffb)
        || matches!(number, 0xfdd0..=0xfdef | 0xe0000..=0xe007f)
        || number & 0xfffe == 0xfffe
}

/// A heading, with a few words of ours beside it.
pub fn heading(page: &mut Html, title: &'static str, beside: &str) {
    page.raw("<h2>").raw(title).raw(" <small>").ours(beside).raw("</small></h2>\n");
}

/// A number of bytes as a person reads it.
pub fn bytes(count: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 1024.0 && unit + 1 < units.len() {
        value /= 1024.0;
        unit += 1;
    }
    let unit = units.get(unit).unwrap_or(&"B");
    if value.fract() == 0.0 || value >= 100.0 { format!("{value:.0} {unit}") } else { format!("{value:.1} {unit}") }
}
