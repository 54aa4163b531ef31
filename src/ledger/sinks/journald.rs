//! The journal of systemd, in its native protocol.
//!
//! One datagram a verdict: a field a line, and those with a newline in them with their length. Pure.

use super::{priority, summary};
use crate::verdict::Verdict;

/// So long is the longest field; a datagram has to fit into the socket's buffer.
const LONGEST: usize = 16 * 1024;

/// The datagram for a verdict.
pub fn datagram(verdict: &Verdict) -> Vec<u8> {
    let text = |number: Option<i32>| number.map(|number| number.to_string()).unwrap_or_default();
    let denials: u64 = verdict.denials.iter().map(|denial| denial.count).sum();
    let fields = [
        ("MESSAGE", summary(verdict)),
        ("PRIORITY", priority(verdict).to_string()),
        ("SYSLOG_IDENTIFIER", "clawjail".to_owned()),
        ("CLAWJAIL_ID", verdict.id.clone()),
        ("CLAWJAIL_SEQ", verdict.seq.map(|seq| seq.to_string()).unwrap_or_default()),
        ("CLAWJAIL_UID", verdict.caller.uid.to_string()),
        ("CLAWJAIL_AGENT", verdict.agent.clone().unwrap_or_default()),
        ("CLAWJAIL_SESSION", verdict.session.clone().unwrap_or_default()),
        ("CLAWJAIL_PROFILE", verdict.profile.clone()),
        ("CLAWJAIL_PLAN", verdict.plan.clone().unwrap_or_default()),
        ("CLAWJAIL_ARGV", verdict.argv.join(" ")),
        ("CLAWJAIL_OUTCOME", verdict.outcome.word().to_owned()),
        ("CLAWJAIL_EXIT_CODE", text(verdict.exit_code)),
        ("CLAWJAIL_SIGNAL", text(verdict.signal)),
        ("CLAWJAIL_REASON", verdict.reason.as_ref().map(|reason| reason.code.clone()).unwrap_or_default()),
        ("CLAWJAIL_DENIALS", denials.to_string()),
        ("CLAWJAIL_WALL_USEC", verdict.resources.wall_us.to_string()),
    ];
    let mut datagram = Vec::new();
    for (name, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        field(&mut datagram, name, value);
    }
    datagram
}

fn field(datagram: &mut Vec<u8>, name: &str, value: &str) {
    let value = value.get(..value.floor_char_boundary(LONGEST)).unwrap_or_default();
    datagram.extend(name.as_bytes());
    if value.contains('\n') {
        // With its length before it, so that a command line cannot bring fields of its own.
        datagram.push(b'\n');
        datagram.extend((value.len() as u64).to_le_bytes());
    } else {
        datagram.push(b'=');
    }
    datagram.extend(value.as_bytes());
    datagram.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_with_a_newline_cannot_bring_a_field_of_its_own() {
        let mut datagram = Vec::new();
        field(&mut datagram, "A", "x\nPRIORITY=0");
        field(&mut datagram, "B", "y");
        assert_eq!(datagram, b"A\n\x0c\0\0\0\0\0\0\0x\nPRIORITY=0\nB=y\n");
    }
}
