//! docs/protocol.md: what it says happens, its lines fit the schemas, and it names every word that we refuse with.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Map, Value, json};

use crate::schema::misfit;
use crate::service::{Client, Service};
use crate::support::place::clawjail;

const DOCUMENT: &str = include_str!("../../docs/protocol.md");

/// Stands for anything; as a member, for more members.
const ANYTHING: &str = "...";

/// The transcripts: each is a connection of its own.
fn transcripts() -> Vec<Vec<&'static str>> {
    let blocks = DOCUMENT.split("\n```transcript\n").skip(1);
    blocks.map(|block| block.split("\n```").next().unwrap_or_default().lines().collect()).collect()
}

fn schema_of(what: &str) -> Value {
    let printed = Command::new(clawjail()).args(["schema", what]).output().expect("the binary can be executed");
    serde_json::from_slice(&printed.stdout).expect("a schema is JSON")
}

/// What names in transcripts stand for.
struct Names(BTreeMap<String, Value>);

impl Names {
    /// `value` with the names in it replaced by what they stand for.
    fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => self.0.get(text).cloned().unwrap_or_else(|| value.clone()),
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::Object(members) => {
                members.iter().map(|(name, member)| (name.clone(), self.fill(member))).collect::<Map<_, _>>().into()
            }
            _ => value.clone(),
        }
    }

    /// Whether `came` is what was `wanted`. A name that stands for nothing yet stands for what came from then on.
    fn fits(&mut self, wanted: &Value, came: &Value) -> bool {
        match (wanted, came) {
            (Value::String(text), _) if text == ANYTHING => true,
            (Value::String(text), _) if text.starts_with('$') => {
                self.0.entry(text.clone()).or_insert_with(|| came.clone()) == came
            }
            (Value::Array(wanted), Value::Array(came)) => {
                wanted.len() == came.len() && wanted.iter().zip(came).all(|(wanted, came)| self.fits(wanted, came))
            }
            (Value::Object(wanted), Value::Object(came)) => {
                let more = wanted.contains_key(ANYTHING);
                let mut named = wanted.iter().filter(|(name, _)| *name != ANYTHING);
                (more || came.len() == wanted.len())
                    && named.all(|(name, wanted)| came.get(name).is_some_and(|came| self.fits(wanted, came)))
            }
            _ => wanted == came,
        }
    }
}

/// Which definition of the replies' schema a line has to fit, and which part of it a result.
fn check_reply(schema: &Value, asked: &BTreeMap<i64, String>, line: &Value) {
    let (name, value) = match (line.get("method"), line.get("result")) {
        (Some(method), _) => (method.as_str().expect("a name").to_owned(), line),
        (None, Some(result)) => (format!("{}.result", asked[&line["id"].as_i64().expect("a number")]), result),
        (None, None) => ("error".to_owned(), line),
    };
    assert_eq!(misfit(schema, &name, value), None, "{line}");
}

#[test]
fn the_transcript_happens_as_it_is_written_and_every_line_fits_the_schemas() {
    let service = Service::start("[ledger]\npath = \"@OUTSIDE/ledger\"\n");
    let (requests, replies) = (schema_of("requests"), schema_of("replies"));
    let workspace = json!(service.place.workspace);
    let mut names = Names(BTreeMap::from([("$workspace".to_owned(), workspace)]));
    let mut lines = 0;
    for transcript in transcripts() {
        let mut client = service.client();
        let mut asked = BTreeMap::new();
        let mut rest = transcript.into_iter().peekable();
        while let Some(line) = rest.next() {
            lines += 1;
            if let Some(wanted) = line.strip_prefix("< ") {
                let wanted: Value = serde_json::from_str(wanted).expect(wanted);
                let came = client.line();
                assert!(names.fits(&wanted, &came), "written: {wanted}\ncame:    {came}");
                check_reply(&replies, &asked, &came);
                continue;
            }
            let text = line.strip_prefix("> ").expect("a line of a transcript begins with `> ` or `< `");
            let taken = !rest.peek().is_some_and(|answer| answer.contains("\"invalid."));
            send(&mut client, &names, text, &mut asked, |method, line| {
                let known = requests["$defs"].get(method).is_some();
                assert_eq!(known && misfit(&requests, method, line).is_none(), taken, "{line}");
            });
        }
    }
    assert!(lines > 60, "{lines} lines");
}

/// Sends a line; `check` sees the method and all of one that is JSON.
fn send(
    client: &mut Client,
    names: &Names,
    text: &str,
    asked: &mut BTreeMap<i64, String>,
    check: impl Fn(&str, &Value),
) {
    let mut line = text.to_owned();
    if let Ok(request) = serde_json::from_str::<Value>(text) {
        let request = names.fill(&request);
        let method = request["method"].as_str().expect("a method").to_owned();
        check(&method, &request);
        asked.insert(request["id"].as_i64().expect("a number"), method);
        line = request.to_string();
    }
    assert!(client.send_raw(format!("{line}\n").as_bytes()), "the service has closed");
}

#[test]
fn a_line_that_the_parser_does_not_take_does_not_fit_the_schema() {
    let requests = schema_of("requests");
    let good = json!({ "jsonrpc": "2.0", "id": 1, "method": "run", "params": { "argv": ["true"], "tty": { "rows": 1, "columns": 1 } } });
    assert_eq!(misfit(&requests, "run", &good), None);
    for (pointer, value) in [
        ("/jsonrpc", json!("1.0")),
        ("/id", json!(null)),
        ("/id", json!(1.5)),
        ("/method", json!("ping")),
        ("/params", json!([])),
        ("/params", json!({})),
        ("/params/argv", json!("true")),
        ("/params/argv/0", json!({ "base64": 1 })),
        ("/params/tty/rows", json!(-1)),
        ("/params/tty/rows", json!(65_536)),
        ("/params/tty/columns", json!("80")),
    ] {
        let mut line = good.clone();
        *line.pointer_mut(pointer).expect("a part of it") = value;
        assert!(misfit(&requests, "run", &line).is_some(), "{line}");
        assert!(clawjail::wire::rpc::parse(line.to_string().as_bytes()).is_err() || pointer == "/method", "{line}");
    }
    let mut more = good.clone();
    more["params"]["uid"] = json!(0);
    assert!(misfit(&requests, "run", &more).is_some());
    assert!(clawjail::wire::rpc::parse(more.to_string().as_bytes()).is_err());
}

#[test]
fn every_method_has_a_schema_and_is_in_the_document() {
    let (requests, replies) = (schema_of("requests"), schema_of("replies"));
    for method in clawjail::wire::rpc::METHODS {
        assert!(requests["$defs"].get(method).is_some(), "{method}");
        assert!(replies["$defs"].get(format!("{method}.result")).is_some(), "{method}");
        assert!(DOCUMENT.contains(method), "{method} is not in docs/protocol.md");
    }
}

/// The words of `text` behind `before`, such as `rate` in `Fault::refused("rate"`.
fn words(text: &str, before: &str) -> BTreeSet<String> {
    let quoted = text.split(before).skip(1).filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    quoted
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .map(str::to_owned)
        .collect()
}

fn sources(directory: &str) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(directory).expect("the sources are here").map(|entry| entry.expect("an entry")) {
        let path = entry.path();
        // Unit tests speak of what they like.
        let source = if path.is_dir() {
            sources(&path.display().to_string())
        } else {
            std::fs::read_to_string(&path).expect("a source")
        };
        text += source.split("#[cfg(test)]").next().unwrap_or_default();
    }
    text
}

#[test]
fn every_word_that_a_request_can_be_turned_down_with_is_in_the_document() {
    let text = sources("src");
    let mut known = BTreeSet::new();
    for (before, kind) in [
        ("Fault::refused(", "refused"),
        ("Fault::failed(", "failed"),
        ("Refused { code:", "refused"),
        ("        code:", "refused"),
        ("            code:", "refused"),
        ("number::PARAMETERS,", "invalid"),
        ("number::NO_REQUEST,", "invalid"),
        ("number::NOT_JSON,", "invalid"),
        ("number::NO_METHOD,", "invalid"),
    ] {
        known.extend(words(&text, before).into_iter().map(|word| format!("{kind}.{word}")));
    }
    assert!(known.len() > 40, "{known:?}");
    let missing: Vec<&String> = known.iter().filter(|word| !DOCUMENT.contains(&format!("`{word}`"))).collect();
    assert!(missing.is_empty(), "docs/protocol.md has to say when these come: {missing:?}");
}
