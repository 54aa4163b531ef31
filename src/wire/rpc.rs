//! JSON-RPC 2.0, the strict part of it: one request a line, each with an id, parameters by name, no batches.

use schemars::{Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::fault::{Fault, number};
use super::frame::{MOST_DEPTH, is_shallow};
use super::id::Id;
use super::reply::{Done, InUse, Jail, Jails, Kept, Listed, Pong, Prepared, Running, Runs, SessionEnded, Written};
use super::reply_files::{Changed, Content, Directory, Stat};
use super::reply_verdicts::{One, Page};
use super::request::*;
use super::request_files::*;
use super::request_verdicts::*;

/// Most characters of an id that is a word, and of a method.
const LONGEST_WORD: usize = 128;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    jsonrpc: String,
    id: Id,
    method: String,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
}

/// Only who is asking, for an answer to what is otherwise not understood.
#[derive(Deserialize)]
struct Asking {
    id: Id,
}

macro_rules! methods {
    ($($name:literal => $variant:ident($parameters:ty) -> $result:ty,)+) => {
        /// A request that was understood.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Request {
            $(#[doc = concat!("`", $name, "`")] $variant(Box<$parameters>),)+
        }

        /// The names of all methods.
        pub const METHODS: &[&str] = &[$($name),+];

        fn of_method(method: &str, parameters: &str) -> Result<Request, Fault> {
            match method {
                $($name => read(method, parameters).map(|read| Request::$variant(Box::new(read))),)+
                _ => Err(Fault::invalid(number::NO_METHOD, "method", format!("unknown method `{}`", shown(method)))),
            }
        }

        /// Each method with the schemas of its parameters and of its result, by the same types that are read and written.
        pub fn schemas(generator: &mut SchemaGenerator) -> Vec<(&'static str, Schema, Schema)> {
            vec![$(($name, generator.subschema_for::<$parameters>(), generator.subschema_for::<$result>()),)+]
        }
    };
}

methods! {
    "ping" => Ping(Nothing) -> Pong,
    "run" => Run(Run) -> Running,
    "run.prepare" => RunPrepare(Run) -> Prepared,
    "run.begin" => RunBegin(RunBegin) -> Running,
    "run.stdin" => RunStdin(RunStdin) -> Written,
    "run.signal" => RunSignal(RunSignal) -> Done,
    "run.resize" => RunResize(RunResize) -> Done,
    "run.attach" => RunAttach(RunAttach) -> Listed,
    "run.output" => RunOutput(RunOutput) -> Kept,
    "run.cancel" => RunCancel(RunCancel) -> Done,
    "jail.open" => JailOpen(JailOpen) -> Jail,
    "jail.close" => JailClose(JailClose) -> Done,
    "jail.list" => JailList(Nothing) -> Jails,
    "session.end" => SessionEnd(SessionEnd) -> SessionEnded,
    "fs.stat" => FsStat(FsStat) -> Stat,
    "fs.read" => FsRead(FsRead) -> Content,
    "fs.write" => FsWrite(FsWrite) -> Changed,
    "fs.create" => FsCreate(FsWrite) -> Changed,
    "fs.mkdir" => FsMkdir(FsMkdir) -> Done,
    "fs.remove" => FsRemove(FsRemove) -> Done,
    "fs.rename" => FsRename(FsRename) -> Done,
    "fs.list" => FsList(FsList) -> Directory,
    "verdict.get" => VerdictGet(VerdictGet) -> One,
    "verdict.query" => VerdictQuery(VerdictQuery) -> Page,
    "verdict.follow" => VerdictFollow(VerdictQuery) -> Done,
    "ps" => Ps(Nothing) -> Runs,
    "top" => Top(Nothing) -> InUse,
    "reload" => Reload(Nothing) -> Done,
}

/// A line that is no request of ours, and by which id it can be answered; none is `null`.
#[derive(Debug)]
pub struct NotUnderstood {
    /// What the client calls it, if that could be read.
    pub id: Option<Id>,
    /// What is wrong.
    pub fault: Fault,
}

/// Reads one line.
pub fn parse(line: &[u8]) -> Result<(Id, Request), Box<NotUnderstood>> {
    let no = |id, code, word, message: String| {
        Err(Box::new(NotUnderstood { id, fault: Fault::invalid(code, word, message) }))
    };
    let Ok(text) = std::str::from_utf8(line) else {
        return no(None, number::NOT_JSON, "encoding", "the line is not UTF-8".into());
    };
    if !is_shallow(line) {
        return no(None, number::NOT_JSON, "depth", format!("brackets nest deeper than {MOST_DEPTH}"));
    }
    let envelope: Envelope<'_> = match serde_json::from_str(text) {
        Ok(envelope) => envelope,
        Err(error) if error.is_data() => {
            return no(asking(text), number::NO_REQUEST, "request", format!("no request: {error}"));
        }
        Err(error) => return no(None, number::NOT_JSON, "json", format!("not JSON: {error}")),
    };
    let Envelope { jsonrpc, id, method, params } = envelope;
    if !is_short(&id) {
        return no(None, number::NO_REQUEST, "request", "`id` is too long".into());
    }
    if jsonrpc != "2.0" {
        return no(Some(id), number::NO_REQUEST, "request", "`jsonrpc` is not \"2.0\"".into());
    }
    let parameters = params.map_or("{}", RawValue::get);
    match of_method(&method, parameters) {
        Ok(request) => Ok((id, request)),
        Err(fault) => Err(Box::new(NotUnderstood { id: Some(id), fault })),
    }
}

fn asking(text: &str) -> Option<Id> {
    serde_json::from_str::<Asking>(text).ok().map(|asking| asking.id).filter(is_short)
}

fn is_short(id: &Id) -> bool {
    !matches!(id, Id::Word(word) if word.len() > LONGEST_WORD)
}

fn read<'a, T: Deserialize<'a>>(method: &str, parameters: &'a str) -> Result<T, Fault> {
    // A list would be taken for the members in the order of their declaration.
    if !parameters.trim_start().starts_with('{') {
        return Err(Fault::invalid(number::PARAMETERS, "parameters", format!("`params` of `{method}` is no object")));
    }
    serde_json::from_str(parameters)
        .map_err(|error| Fault::invalid(number::PARAMETERS, "parameters", format!("`params` of `{method}`: {error}")))
}

fn shown(word: &str) -> String {
    word.chars().take(LONGEST_WORD).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(line: &str) -> (Option<Id>, String) {
        let NotUnderstood { id, fault } = *parse(line.as_bytes()).expect_err(line);
        (id, fault.data.code)
    }

    #[test]
    fn a_request_is_read() {
        let line = br#"{"jsonrpc":"2.0","id":7,"method":"run","params":{"argv":["ls","-l"],"profile":"untrusted"}}"#;
        let (id, request) = parse(line).expect("a request");
        let Request::Run(run) = request else { panic!("{request:?}") };
        assert_eq!((id, run.argv.len(), run.profile.as_deref()), (Id::Number(7), 2, Some("untrusted")));
    }

    #[test]
    fn what_is_no_request_is_told_by_a_stable_word() {
        let seven = Some(Id::Number(7));
        let cases = [
            ("", None, "invalid.json"),
            ("{", None, "invalid.json"),
            ("[]", None, "invalid.request"),
            ("null", None, "invalid.request"),
            (r#"{"jsonrpc":"2.0","method":"ping"}"#, None, "invalid.request"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, None, "invalid.request"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, None, "invalid.request"),
            (r#"{"jsonrpc":"1.0","id":7,"method":"ping"}"#, seven.clone(), "invalid.request"),
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping","extra":1}"#, seven.clone(), "invalid.request"),
            (r#"{"jsonrpc":"2.0","id":7,"id":8,"method":"ping"}"#, None, "invalid.request"),
            (r#"{"jsonrpc":"2.0","id":7,"method":"pong"}"#, seven.clone(), "invalid.method"),
            (r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":[]}"#, seven.clone(), "invalid.parameters"),
            (r#"{"jsonrpc":"2.0","id":7,"method":"run","params":{}}"#, seven.clone(), "invalid.parameters"),
            (r#"{"jsonrpc":"2.0","id":7,"method":"run","params":{"argv":"ls"}}"#, seven.clone(), "invalid.parameters"),
            (r#"{"jsonrpc":"2.0","id":7,"method":"run","params":{"argv":[],"uid":0}}"#, seven, "invalid.parameters"),
        ];
        for (line, id, word) in cases {
            assert_eq!(code(line), (id, word.to_owned()), "{line}");
        }
        assert_eq!(code(&"[".repeat(100_000)).1, "invalid.depth");
        assert_eq!(parse(b"\xff").expect_err("no text").fault.data.code, "invalid.encoding");
    }
}
