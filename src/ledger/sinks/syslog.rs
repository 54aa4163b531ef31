//! Syslog, as RFC 5424 has it. Pure.

use jiff::Timestamp;

use super::{priority, summary};
use crate::verdict::Verdict;

/// Security and authorization messages.
const FACILITY: u8 = 10;

/// Names our structured data. The number is the one set aside for documentation: we have none of our own.
const DATA: &str = "clawjail@32473";

/// The message for a verdict.
pub fn message(verdict: &Verdict, host: &str) -> String {
    let priority = u16::from(FACILITY) * 8 + u16::from(priority(verdict));
    let time = verdict.time.parse::<Timestamp>();
    // The standard allows six decimals.
    let time = time.map_or("-".to_owned(), |time| format!("{time:.6}"));
    let host = printable(host, 255);
    let denials: u64 = verdict.denials.iter().map(|denial| denial.count).sum();
    let mut data = format!("[{DATA}");
    for (name, value) in [
        ("id", Some(verdict.id.clone())),
        ("seq", verdict.seq.map(|seq| seq.to_string())),
        ("uid", Some(verdict.caller.uid.to_string())),
        ("agent", verdict.agent.clone()),
        ("session", verdict.session.clone()),
        ("profile", Some(verdict.profile.clone())),
        ("outcome", Some(verdict.outcome.word().to_owned())),
        ("reason", verdict.reason.as_ref().map(|reason| reason.code.clone())),
        ("denials", Some(denials.to_string())),
    ] {
        if let Some(value) = value {
            data.push_str(&format!(" {name}=\"{}\"", escaped(&value)));
        }
    }
    let message = summary(verdict);
    format!("<{priority}>1 {time} {host} clawjail {} verdict {data}] {message}", std::process::id())
}

/// A value between quotes.
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for letter in value.chars().take(256) {
        match letter {
            '"' | '\\' | ']' => text.extend(['\\', letter]),
            letter if letter.is_control() => text.extend(letter.escape_default()),
            letter => text.push(letter),
        }
    }
    text
}

/// A word of the header: visible ASCII.
fn printable(text: &str, most: usize) -> String {
    let word: String = text.chars().filter(char::is_ascii_graphic).take(most).collect();
    if word.is_empty() { "-".to_owned() } else { word }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stays_between_its_quotes_and_on_its_line() {
        assert_eq!(escaped("a\"] b\\\n"), "a\\\"\\] b\\\\\\n");
        assert_eq!(printable("a b\n", 255), "ab");
    }
}
