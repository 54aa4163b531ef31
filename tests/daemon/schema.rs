//! Whether a value fits a JSON Schema: the keywords that ours use. One that is not known here fails, so nothing is let pass unread.

use serde_json::{Map, Value};

/// The first thing in `value` that does not fit the definition `name` of `document`.
pub fn misfit(document: &Value, name: &str, value: &Value) -> Option<String> {
    let definition = document["$defs"].get(name).unwrap_or_else(|| panic!("no definition `{name}`"));
    Schema { document }.check(definition, value, name).err()
}

struct Schema<'a> {
    document: &'a Value,
}

impl Schema<'_> {
    fn check(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        let Value::Object(keywords) = schema else { return self.check_plain(schema, at) };
        keywords.iter().try_for_each(|(keyword, wanted)| self.keyword(keyword, wanted, keywords, value, at))
    }

    fn check_plain(&self, schema: &Value, at: &str) -> Result<(), String> {
        if *schema == Value::Bool(true) { Ok(()) } else { Err(format!("{at}: nothing fits")) }
    }

    fn keyword(
        &self,
        keyword: &str,
        wanted: &Value,
        beside: &Map<String, Value>,
        value: &Value,
        at: &str,
    ) -> Result<(), String> {
        let fits = |is: bool| if is { Ok(()) } else { Err(format!("{at}: {value} is not {keyword} {wanted}")) };
        let fitting = || list(wanted).iter().filter(|schema| self.check(schema, value, at).is_ok()).count();
        match keyword {
            "title" | "description" | "default" | "format" => Ok(()),
            "$ref" => {
                let name = wanted.as_str().and_then(|path| path.strip_prefix("#/$defs/")).expect("a definition");
                self.check(&self.document["$defs"][name], value, at)
            }
            "type" => fits(list(wanted).iter().any(|name| is_of(name, value))),
            "const" => fits(value == wanted),
            "enum" => fits(list(wanted).contains(value)),
            "anyOf" => fits(fitting() > 0),
            "oneOf" => fits(fitting() == 1),
            "minimum" => fits(value.as_f64().is_none_or(|number| number >= wanted.as_f64().expect("a number"))),
            "maximum" => fits(value.as_f64().is_none_or(|number| number <= wanted.as_f64().expect("a number"))),
            "minItems" => {
                fits(value.as_array().is_none_or(|all| all.len() as u64 >= wanted.as_u64().expect("a number")))
            }
            "maxItems" => {
                fits(value.as_array().is_none_or(|all| all.len() as u64 <= wanted.as_u64().expect("a number")))
            }
            "items" => list_of(value).iter().try_for_each(|item| self.check(wanted, item, &format!("{at}[]"))),
            "required" => fits(value.as_object().is_none_or(|members| {
                list(wanted).iter().all(|name| members.contains_key(name.as_str().expect("a name")))
            })),
            "properties" => members(value).iter().try_for_each(|(name, member)| {
                wanted.get(name).map_or(Ok(()), |schema| self.check(schema, member, &format!("{at}.{name}")))
            }),
            "additionalProperties" => members(value).iter().try_for_each(|(name, member)| {
                let known = beside.get("properties").is_some_and(|properties| properties.get(name).is_some());
                if known { Ok(()) } else { self.check(wanted, member, &format!("{at}.{name}")) }
            }),
            _ => panic!("{at}: the keyword `{keyword}` is not known to this test"),
        }
    }
}

fn list(wanted: &Value) -> Vec<Value> {
    wanted.as_array().cloned().unwrap_or_else(|| vec![wanted.clone()])
}

fn list_of(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn members(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

fn is_of(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        other => panic!("no type: {other:?}"),
    }
}
