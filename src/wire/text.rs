//! Bytes in JSON: text where they are text, base64 where they are not.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

/// An argument, a path, a value: any bytes. `"text"`, or `{"base64": "..."}` where they are not UTF-8.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(pub Vec<u8>);

impl Text {
    /// What a person can read of it.
    pub fn shown(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Text {
        Text(text.as_bytes().to_vec())
    }
}

/// As base64.
pub fn encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Out of base64; `None` when it is none.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = std::str::from_utf8(&self.0) {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &encode(&self.0))?;
        map.end()
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Text;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, or an object with the one key `base64`")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
        Ok(Text::from(text))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Text, A::Error> {
        let Some((key, value)) = map.next_entry::<Cow<'de, str>, Cow<'de, str>>()? else {
            return Err(A::Error::custom("missing key `base64`"));
        };
        if key != "base64" {
            return Err(A::Error::custom("expected the one key `base64`"));
        }
        let bytes = decode(&value).ok_or_else(|| A::Error::custom("the value of `base64` is not base64"))?;
        match map.next_key::<Cow<'de, str>>()? {
            None => Ok(Text(bytes)),
            Some(_) => Err(A::Error::custom("expected the one key `base64`")),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// Reads an object of texts. A name that comes twice is an error: whoever judges the first must not be given the second.
pub fn each_once<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Text>, D::Error> {
    struct EachOnce;

    impl<'de> Visitor<'de> for EachOnce {
        type Value = BTreeMap<String, Text>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut found = BTreeMap::new();
            while let Some((name, text)) = map.next_entry::<String, Text>()? {
                if found.contains_key(&name) {
                    return Err(A::Error::custom(format_args!("duplicate name `{}`", name.escape_debug())));
                }
                found.insert(name, text);
            }
            Ok(found)
        }
    }
    deserializer.deserialize_map(EachOnce)
}

impl JsonSchema for Text {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed("Text")
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [
            { "type": "string" },
            { "type": "object", "properties": { "base64": { "type": "string" } }, "required": ["base64"], "additionalProperties": false },
        ] })
    }
}

/// What somebody outside typed can be part of what we say, which is one line: what a terminal would act on is shown, not
/// sent.
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|letter| if letter.is_control() { letter.escape_default().collect::<Vec<_>>() } else { vec![letter] })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_were() {
        for bytes in [b"".as_slice(), b"plain", "\u{e9}".as_bytes(), b"\xff\x00\xfe"] {
            let json = serde_json::to_string(&Text(bytes.to_vec())).expect("text is JSON");
            assert_eq!(serde_json::from_str::<Text>(&json).expect(&json).0, bytes);
        }
    }

    #[test]
    fn what_is_neither_text_nor_base64_is_an_error() {
        for json in ["1", "null", "[]", "{}", r#"{"base64":"?"}"#, r#"{"base64":"AA==","x":""}"#, r#"{"text":"a"}"#] {
            assert!(serde_json::from_str::<Text>(json).is_err(), "{json}");
        }
    }
}
