//! `clawjail profile explain P --host H`: whether a host could be reached, decided by the code that enforces it.

use std::net::IpAddr;
use std::process::ExitCode;

use serde::Serialize;

use super::super::answer;
use super::super::report::code;
use super::sources;
use crate::jail::deciding;
use crate::jail::not_started::NotStarted;
use crate::policy::egress::http::path::Path;
use crate::policy::egress::http::{Carrier, Judged, Request};
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
    /// A request, if it is about one.
    pub request: Option<Asking<'a>>,
    /// The answer as data.
    pub json: bool,
}

/// A request that somebody would send.
#[derive(Clone, Copy)]
pub struct Asking<'a> {
    /// By which method.
    pub method: &'a str,
    /// For which path.
    pub path: &'a str,
    /// Whether for a websocket.
    pub websocket: bool,
}

#[derive(Serialize)]
struct Answer<'a> {
    host: &'a str,
    port: u16,
    protocol: &'static str,
    method: Option<&'a str>,
    path: Option<String>,
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
    let asked = match question.request {
        Some(asking) if matches!(decision, Some(Decision::Allowed(_))) => request(rules, question, asking)?,
        _ => None,
    };
    let method = question.request.map(|asking| asking.method);
    if let Some(RequestAnswer { path, allowed, rule, remedy }) = asked {
        let path = Some(path);
        return Ok(Answer { host, port, protocol: protocol.word(), method, path, allowed, rule, remedy });
    }
    let path = question.request.map(|asking| asking.path.to_owned());
    let (allowed, rule, remedy) = match decision {
        Some(Decision::Allowed(rule)) => (true, format!("`{}` ({}): {}", rule.text, rule.from, rule.why), None),
        Some(Decision::Denied(denied)) => (false, denied.rule, Some(denied.remedy)),
        // Only of an address behind a name.
        None => (false, "nothing allows it".to_owned(), None),
    };
    Ok(Answer { host, port, protocol: protocol.word(), method, path, allowed, rule, remedy })
}

/// What the rules for requests say.
struct RequestAnswer {
    /// As it would be sent.
    path: String,
    allowed: bool,
    rule: String,
    remedy: Option<String>,
}

/// `None`: it is for a host that is allowed as a whole.
fn request(rules: &Rules, question: &Question<'_>, asking: Asking<'_>) -> Result<Option<RequestAnswer>, String> {
    let Ok(name) = Name::parse(question.host) else { return Ok(None) };
    let bare = asking.path.split('?').next().unwrap_or_default();
    let Ok(path) = Path::read(bare) else {
        let rule = "built in: a path that can be read in more than one way".to_owned();
        let path = bare.escape_debug().to_string();
        return Ok(Some(RequestAnswer { path, allowed: false, rule, remedy: Some("write the path plainly".into()) }));
    };
    let judged = rules.judge_request(&Request {
        name: &name,
        port: question.port,
        over: if question.port == 80 { Carrier::Plain } else { Carrier::Tls },
        method: asking.method,
        path: &path,
        // What a rule wants of fields, the request would have to bring.
        header: &|field| {
            rules
                .for_requests(&name, question.port)
                .filter_map(|rule| rule.headers.get(field).cloned())
                .take(1)
                .collect()
        },
        websocket: asking.websocket,
    });
    let path = path.as_str().to_owned();
    Ok(match judged {
        Judged::Unruled => None,
        Judged::Allowed(rule) => {
            let rule = format!("[[egress.http]] `{}` ({}): {}", rule.host.text, rule.host.from, rule.summary());
            Some(RequestAnswer { path, allowed: true, rule, remedy: None })
        }
        Judged::Denied(denied) => {
            Some(RequestAnswer { path, allowed: false, rule: denied.rule, remedy: Some(denied.remedy) })
        }
    })
}

fn text(answer: &Answer<'_>) -> String {
    let Answer { host, port, protocol, rule, .. } = answer;
    let word = if answer.allowed { "allowed" } else { "denied" };
    let remedy = answer.remedy.iter().map(|remedy| format!("hint: {remedy}\n")).collect::<String>();
    let by_name = answer.allowed && host.parse::<IpAddr>().is_err();
    let addresses = if by_name { "the addresses behind the name are judged when they are known\n" } else { "" };
    let what = match (answer.method, &answer.path) {
        (Some(method), Some(path)) => format!("{method} {} of ", path.escape_debug()),
        _ => String::new(),
    };
    format!("{word}: {what}{host} port {port} over {protocol}: {rule}\n{remedy}{addresses}")
}
