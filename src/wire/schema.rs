//! The lines of the wire as JSON Schemas, by the same types that are parsed and printed.
//!
//! A definition for each method and each of its parts, so that a client can check a whole line, or pick what it needs.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::fault::Fault;
use super::id::Id;
use super::reply::{Ended, Output};
use super::reply_verdicts::VerdictWritten;
use super::rpc::schemas;

const DIALECT: &str = "https://json-schema.org/draft/2020-12/schema";

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().into_generator()
}

/// The lines that a client may send. `$defs` has one by the name of each method.
pub fn requests() -> Value {
    let mut generator = generator();
    let id = generator.subschema_for::<Id>();
    let lines = schemas(&mut generator).into_iter().map(|(method, parameters, _)| {
        let line = request(method, &id, &parameters, &generator);
        (method.to_owned(), line)
    });
    let lines: Map<String, Value> = lines.collect();
    let title = "A request to a service of clawjail: one line";
    document(title, "oneOf", lines.keys().cloned().collect(), lines, generator)
}

fn request(method: &str, id: &Schema, parameters: &Schema, generator: &SchemaGenerator) -> Value {
    let mut needed = vec!["jsonrpc", "id", "method"];
    if !required(parameters, generator).is_empty() {
        needed.push("params");
    }
    json!({
        "type": "object",
        "properties": { "jsonrpc": { "const": "2.0" }, "id": id, "method": { "const": method }, "params": parameters },
        "required": needed,
        "additionalProperties": false,
    })
}

/// What the object that `schema` leads to cannot do without.
fn required(schema: &Schema, generator: &SchemaGenerator) -> Vec<Value> {
    let name = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let definition = name.and_then(|name| generator.definitions().get(name));
    definition.and_then(|found| found.get("required")).and_then(Value::as_array).cloned().unwrap_or_default()
}

/// The lines that a service sends. `$defs` has `METHOD.result` for each method, `error`, and each notification by its name.
pub fn replies() -> Value {
    let mut generator = generator();
    let id = generator.subschema_for::<Id>();
    let fault = generator.subschema_for::<Fault>();
    let mut parts = Map::new();
    let mut answers = Vec::new();
    for (method, _, result) in schemas(&mut generator) {
        let name = format!("{method}.result");
        answers.push(reference(&name));
        parts.insert(name, result.to_value());
    }
    let (output, ended) = (generator.subschema_for::<Output<'_>>(), generator.subschema_for::<Ended<'_>>());
    parts.insert("result".into(), line(json!({ "id": id, "result": { "anyOf": answers } })));
    parts.insert("error".into(), line(json!({ "id": { "anyOf": [id, { "type": "null" }] }, "error": fault })));
    parts.insert("run.output".into(), line(json!({ "method": { "const": "run.output" }, "params": output })));
    parts.insert("run.ended".into(), line(json!({ "method": { "const": "run.ended" }, "params": ended })));
    let written = generator.subschema_for::<VerdictWritten<'_>>();
    parts
        .insert("verdict.written".into(), line(json!({ "method": { "const": "verdict.written" }, "params": written })));
    let lines = ["result", "error", "run.output", "run.ended", "verdict.written"].map(str::to_owned).to_vec();
    document("What a service of clawjail sends: one line", "anyOf", lines, parts, generator)
}

/// All members are there always; clients must let pass those that they do not know.
fn line(members: Value) -> Value {
    let mut members = members.as_object().cloned().unwrap_or_default();
    members.insert("jsonrpc".into(), json!({ "const": "2.0" }));
    let needed: Vec<&String> = members.keys().collect();
    json!({ "type": "object", "properties": members, "required": needed })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn document(
    title: &str,
    how: &str,
    lines: Vec<String>,
    parts: Map<String, Value>,
    generator: SchemaGenerator,
) -> Value {
    let mut definitions = parts;
    let mut generator = generator;
    definitions.extend(generator.take_definitions(true));
    let lines: Vec<Value> = lines.iter().map(|name| reference(name)).collect();
    json!({ "$schema": DIALECT, "title": title, how: lines, "$defs": definitions })
}
