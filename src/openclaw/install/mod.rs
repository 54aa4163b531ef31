//! `security.installPolicy`: whether OpenClaw goes on with an installation.
//!
//! OpenClaw starts us with an empty environment and a request on standard input, and takes one answer. Whatever is odd, whatever
//! cannot be looked at and whatever takes too long is blocked.

pub mod answer;
pub mod request;

use std::io::Read;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use answer::{Answer, Decision};
use request::{PathKind, Request, Target};

use super::skill::folder::{self, Bounds, Seen, Stop};
use super::skill::rules::{Rules, Severity};
use super::skill::{Deadline, Finding};
use crate::policy::names::shown;

/// Why a plugin is never just allowed.
const PLUGIN: &str = "a plugin is run by the Gateway itself, outside of every sandbox, and cannot be judged by rules";

/// Reads a request and answers it, in `limit` whatever happens: a pipe that nobody closes, a filesystem that does not answer.
pub fn answer(input: impl Read + Send + 'static, limit: Duration) -> Answer {
    let deadline = Deadline(Instant::now() + limit);
    let (told, hears) = mpsc::channel();
    // Nobody waits for this thread: the process ends when the answer has been given.
    let worker = thread::Builder::new().spawn(move || {
        let _ = told.send(read(input).map_or_else(|odd| Answer::block(&odd), |request| judge(&request, deadline)));
    });
    match worker {
        Ok(_) => hears.recv_timeout(limit).unwrap_or_else(|_| too_late(limit)),
        Err(error) => Answer::block(&format!("cannot look at it: {error}")),
    }
}

fn too_late(limit: Duration) -> Answer {
    Answer::block(&format!("it could not be looked at within {} ms", limit.as_millis()))
}

fn read(input: impl Read) -> Result<Request, String> {
    let mut bytes = Vec::new();
    let read = input.take(request::LONGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot read the request: {error}"))?;
    Request::read(&bytes).map_err(|odd| format!("the request is not understood: {odd}"))
}

/// Looks at what is to be installed.
pub fn judge(request: &Request, deadline: Deadline) -> Answer {
    let rules = match Rules::shipped() {
        Ok(rules) => rules,
        Err(error) => return Answer::block(&format!("the rules cannot be read: {error}")),
    };
    let bounds = bounds(request);
    let seen = match folder::look(&request.source_path, &rules, bounds, deadline) {
        Ok(seen) => seen,
        Err(Stop::OutOfTime) => return Answer::block("there is too much in it to be looked at in time"),
        Err(Stop::NoFolder) => return Answer::block("what is to be installed is neither a folder nor a file"),
        Err(Stop::Unreadable(errno)) => {
            return Answer::block(&format!("what is to be installed cannot be opened: {}", errno.desc()));
        }
    };
    conclude(request, &rules, seen)
}

fn bounds(request: &Request) -> Bounds {
    match request.target_type {
        Target::Skill => folder::SKILL,
        Target::Plugin => folder::PLUGIN,
    }
}

fn conclude(request: &Request, rules: &Rules, mut seen: Seen) -> Answer {
    if request.is_trial() && seen.files == 0 && seen.findings.is_empty() {
        return Answer::new(Decision::Allow, "a trial by `openclaw doctor`, with nothing in it", Vec::new());
    }
    let folder = request.source_path_kind == PathKind::Directory;
    match request.target_type {
        Target::Skill if folder && !seen.instructions && !seen.cut => {
            seen.findings.push(rules.shape("no-instructions", ".", None, None));
        }
        Target::Skill => {}
        Target::Plugin => seen.findings.push(plugin()),
    }
    let decision = answer::decision(&seen.findings);
    Answer::new(decision, &reason(request, decision, &seen), seen.findings)
}

fn plugin() -> Finding {
    Finding {
        severity: Severity::Warn,
        rule_id: "plugin".to_owned(),
        message: PLUGIN.to_owned(),
        file: None,
        line: None,
        evidence: None,
    }
}

fn reason(request: &Request, decision: Decision, seen: &Seen) -> String {
    let count = |severity| seen.findings.iter().filter(|finding| finding.severity == severity).count();
    let name = shown(&request.target_name);
    let worst = seen.findings.iter().min().map(|finding| finding.message.as_str()).unwrap_or_default();
    match decision {
        Decision::Block => format!("`{name}`: {worst} (critical findings: {})", count(Severity::Critical)),
        Decision::Warn => format!("`{name}`: {worst} (to look at: {})", count(Severity::Warn)),
        Decision::Allow => format!("`{name}`: nothing found (files looked at: {})", seen.files),
    }
}
