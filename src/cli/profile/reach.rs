//! `clawjail profile explain P --host H`: whether a host could be reached, decided by the code that enforces it.

use std::net::IpAddr;
use std::process::ExitCode;

use serde::Serialize;

use super::super::answer;
use super::super::report::code;
use super::sources;
use crate::jail::deciding;
use crate::jail::not_started::NotStarted;
use crate::policy::egress::name::Name;
use crate::policy::egress::rule::Protocol;
use crate::policy::egress::{Asked, Decision, Rules};

/// What is asked about.
pub struct Question<'a> {
    /// The profile.
    pub profile: &'a str,
    /// A name or an address.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// Over what.
    pub protocol: Protocol,
    /// The answer as data.
    pub json: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    host: &'a str,
    port: u16,
    protocol: &'static str,
    allowed: bool,
    rule: String,
    remedy: Option<String>,
}

/// Answers it.
pub fn run(question: &Question<'_>) -> ExitCode {
    let sources = sources();
    let profile = match deciding::load_profile(question.profile, &sources, &sources.library()) {
        Ok(profile) => profile,
        Err(refused) => return answer::refuse_start(&NotStarted::Refused(refused)),
    };
    let answer = match judge(&profile.egress.rules, question) {
        Ok(answer) => answer,
        Err(message) => return answer::fail(&message),
    };
    let code = if answer.allowed { ExitCode::SUCCESS } else { ExitCode::from(code::REFUSED) };
    answer::give_with(&if question.json { answer::json(&answer) } else { text(&answer) }, code)
}

fn judge<'a>(rules: &Rules, question: &Question<'a>) -> Result<Answer<'a>, String> {
    let Question { host, port, protocol, .. } = *question;
    let bare = host.strip_prefix('[').and_then(|inner| inner.strip_suffix(']')).unwrap_or(host);
    let decision = match (bare.parse::<IpAddr>(), Name::parse(host)) {
        (Ok(address), _) => rules.judge_address(protocol, address, port, Asked::ByAddress),
        (Err(_), Ok(name)) => Some(rules.judge_name(protocol, &name, port)),
        (Err(_), Err(flaw)) => return Err(format!("cannot use host `{}`: {flaw}", host.escape_debug())),
    };
    let (allowed, rule, remedy) = match decision {
        Some(Decision::Allowed(rule)) => (true, format!("`{}` ({}): {}", rule.text, rule.from, rule.why), None),
        Some(Decision::Denied(denied)) => (false, denied.rule, Some(denied.remedy)),
        // Only of an address behind a name.
        None => (false, "nothing allows it".to_owned(), None),
    };
    Ok(Answer { host, port, protocol: protocol.word(), allowed, rule, remedy })
}

fn text(answer: &Answer<'_>) -> String {
    let Answer { host, port, protocol, rule, .. } = answer;
    let word = if answer.allowed { "allowed" } else { "denied" };
    let remedy = answer.remedy.iter().map(|remedy| format!("hint: {remedy}\n")).collect::<String>();
    let by_name = answer.allowed && host.parse::<IpAddr>().is_err();
    let addresses = if by_name { "the addresses behind the name are judged when they are known\n" } else { "" };
    format!("{word}: {host} port {port} over {protocol}: {rule}\n{remedy}{addresses}")
}
