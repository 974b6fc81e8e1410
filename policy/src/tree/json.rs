// SPDX-License-Identifier: MIT OR Apache-2.0
//! JSON, as strict as its RFC; a key that comes twice is refused.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{DEEPEST, Field, Node, Value};
use crate::{Fault, text::Text};

pub(super) fn read(text: &Text<'_>) -> Result<Node, Fault> {
    let root = parse::<&RawValue>(text, text.text())?;
    node(text, root, 0)
}

/// Parses a part of the text.
fn parse<'a, T: Deserialize<'a>>(text: &Text<'_>, part: &'a str) -> Result<T, Fault> {
    serde_json::from_str(part).map_err(|error| {
        let before: usize = part
            .split_inclusive('\n')
            .take(error.line().saturating_sub(1))
            .map(str::len)
            .sum();
        // Columns are bytes, and a line end that came too early is column 0 of the next line.
        let at = start(text, part) + before + error.column().saturating_sub(1);
        let message = error.to_string();
        let what = message.split(" at line ").next().unwrap_or_default();
        text.fault(at, format!("not valid JSON: {what}"), None)
    })
}

/// Where a part of the text begins.
fn start(text: &Text<'_>, part: &str) -> usize {
    part.as_ptr()
        .addr()
        .saturating_sub(text.text().as_ptr().addr())
}

/// Each level is parsed once more than the one above it; there are no more than [`DEEPEST`].
fn node(text: &Text<'_>, raw: &RawValue, depth: usize) -> Result<Node, Fault> {
    let part = raw.get();
    let at = start(text, part);
    if depth > DEEPEST {
        return Err(text.fault(at, "this is nested too deeply", None));
    }
    let value = match part.as_bytes().first() {
        Some(b'"') => {
            let value = Value::String(parse(text, part)?);
            return Ok(Node { at: at + 1, value });
        }
        Some(b'[') => {
            let all: Vec<&RawValue> = parse(text, part)?;
            let all = all.into_iter().map(|it| node(text, it, depth + 1));
            Value::Array(all.collect::<Result<_, _>>()?)
        }
        Some(b'{') => {
            let Pairs(pairs) = parse(text, part)?;
            let mut fields: Vec<Field> = Vec::with_capacity(pairs.len());
            for (key, value) in pairs {
                let at = start(text, key.get()) + 1;
                let key: String = parse(text, key.get())?;
                if fields.iter().any(|it| it.key == key) {
                    return Err(text.fault(at, "not valid JSON: this key came before", None));
                }
                let node = node(text, value, depth + 1)?;
                fields.push(Field { at, key, node });
            }
            Value::Table(fields)
        }
        Some(b'n') => Value::Other("null"),
        Some(b't' | b'f') => Value::Bool(part == "true"),
        _ => match parse::<i64>(text, part) {
            Ok(number) => Value::Integer(number),
            Err(_) if part.contains(['.', 'e', 'E']) => parse::<f64>(text, part)
                .ok()
                .filter(|it| it.is_finite())
                .map_or(Value::Other("a number that is too large"), Value::Float),
            Err(_) => Value::Other("a number that is too large"),
        },
    };
    Ok(Node { at, value })
}

/// An object, as it is written.
struct Pairs<'a>(Vec<(&'a RawValue, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;

        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Self::Value, A::Error> {
                let mut found = Vec::new();
                while let Some(it) = all.next_entry()? {
                    found.push(it);
                }
                Ok(Pairs(found))
            }
        }

        deserializer.deserialize_map(PairsVisitor)
    }
}
