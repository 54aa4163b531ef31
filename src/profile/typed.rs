//! Quantities as a profile types them: with a unit, and where a limit may be lifted, the word `unlimited`.
//!
//! Owns the text forms inside TOML and their JSON Schema. Must not hold defaults.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

use super::units::{Bytes, Count, Cpus, Quantity, Span};

/// A quantity that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exact<T>(pub T);

/// A quantity, or the word `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<T> {
    /// At most so much.
    At(T),
    /// As much as the host gives.
    Unlimited,
}

impl<T> Limit<T> {
    /// The form that a resolved profile holds.
    pub fn into_option(self) -> Option<T> {
        match self {
            Limit::At(quantity) => Some(quantity),
            Limit::Unlimited => None,
        }
    }
}

/// Reads whatever is typed for a quantity.
struct Typing<T> {
    word: Option<&'static str>,
    quantity: PhantomData<T>,
}

impl<T: Quantity> Visitor<'_> for Typing<T> {
    /// `None` is the word.
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::EXPECTED)?;
        self.word.map_or(Ok(()), |word| write!(f, ", or `{word}`"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        if self.word == Some(text) {
            return Ok(None);
        }
        T::from_text(text).map(Some).map_err(E::custom)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
        T::from_whole(number).map(Some).map_err(E::custom)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
        // TOML ends at i64; what is above is no quantity of any kind, and not the largest one either.
        let whole = i64::try_from(number);
        let whole = whole.map_err(|_| E::custom(format!("`{number}` is too large: expected {}", T::EXPECTED)))?;
        T::from_whole(whole).map(Some).map_err(E::custom)
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Self::Value, E> {
        T::from_decimal(number).map(Some).map_err(E::custom)
    }
}

/// The word that lifts a limit.
const UNLIMITED: &str = "unlimited";

impl<'de, T: Quantity> Deserialize<'de> for Exact<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let typed = deserializer.deserialize_any(Typing { word: None, quantity: PhantomData })?;
        typed.map(Exact).ok_or_else(|| D::Error::custom(format!("expected {}", T::EXPECTED)))
    }
}

impl<'de, T: Quantity> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let typed = deserializer.deserialize_any(Typing { word: Some(UNLIMITED), quantity: PhantomData })?;
        Ok(typed.map_or(Limit::Unlimited, Limit::At))
    }
}

/// Reads a table, and nothing else. The derived readers would also take a list, and give its elements to the keys in the
/// order in which they happen to be declared.
pub fn table<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    struct OnlyTable<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyTable<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table")
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map))
        }
    }

    deserializer.deserialize_map(OnlyTable(PhantomData))
}

/// A value that is a table, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Only<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        table(deserializer).map(Only)
    }
}

impl<T: JsonSchema> JsonSchema for Only<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

/// The JSON Schema of a quantity.
pub trait Described {
    /// Its name in the schema.
    const NAME: &'static str;

    /// The schema.
    fn describe() -> Schema;
}

impl Described for Bytes {
    const NAME: &'static str = "Bytes";

    fn describe() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+[BKMGT]$" })
    }
}

impl Described for Span {
    const NAME: &'static str = "Span";

    fn describe() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+(ms|s|m|h|d)$" })
    }
}

impl Described for Cpus {
    const NAME: &'static str = "Cpus";

    fn describe() -> Schema {
        json_schema!({ "type": "number", "exclusiveMinimum": 0 })
    }
}

impl Described for Count {
    const NAME: &'static str = "Count";

    fn describe() -> Schema {
        json_schema!({ "type": "integer", "minimum": 1 })
    }
}

impl<T: Described> JsonSchema for Exact<T> {
    fn schema_name() -> Cow<'static, str> {
        Cow::Borrowed(T::NAME)
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        T::describe()
    }
}

impl<T: Described> JsonSchema for Limit<T> {
    fn schema_name() -> Cow<'static, str> {
        Cow::Owned(format!("{}OrUnlimited", T::NAME))
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [T::describe(), { "const": UNLIMITED }] })
    }
}
