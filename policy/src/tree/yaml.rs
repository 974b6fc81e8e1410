// SPDX-License-Identifier: MIT OR Apache-2.0
//! YAML: one document. Aliases stand for what they name; the reader limits how much may come of them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::{Location, Spanned};

use super::{DEEPEST, Field, Node, Value};
use crate::{Fault, text::Text};

const TOO_DEEP: &str = "this is nested too deeply";

pub(super) fn read(text: &Text<'_>) -> Result<Node, Fault> {
    // Here already, for the stack's sake: its own limit takes more than a thread has.
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! { max_depth: DEEPEST },
    };
    let root = serde_saphyr::from_str_with_options(text.text(), options);
    let root: Spanned<Plain> = root.map_err(|error| {
        let error = error.without_snippet();
        let at = error.location().map_or(0, |it| byte(text, &it));
        // Its first line, without the place, which the fault has, and without advice for programmers.
        let message = error.to_string();
        let line = message.lines().next().unwrap_or_default();
        let ends = [" at line ", ", set DuplicateKeyPolicy"];
        let end = ends.iter().filter_map(|it| line.find(it)).min();
        let what = &line[..end.unwrap_or(line.len())];
        if what.contains("Depth {") {
            return text.fault(at, TOO_DEEP, None);
        }
        text.fault(at, format!("not valid YAML: {what}"), None)
    })?;
    node(text, root, 0)
}

/// A value as the reader gives it.
enum Plain {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    Array(Vec<Spanned<Self>>),
    Table(Vec<(Spanned<String>, Spanned<Self>)>),
    Other(&'static str),
}

fn node(text: &Text<'_>, plain: Spanned<Plain>, depth: usize) -> Result<Node, Fault> {
    let at = byte(text, &plain.referenced);
    if depth > DEEPEST {
        return Err(text.fault(at, TOO_DEEP, None));
    }
    let value = match plain.value {
        Plain::String(it) => {
            let value = Value::String(it);
            let at = inner(text, at);
            return Ok(Node { at, value });
        }
        Plain::Integer(it) => Value::Integer(it),
        Plain::Float(it) => Value::Float(it),
        Plain::Bool(it) => Value::Bool(it),
        Plain::Other(kind) => Value::Other(kind),
        Plain::Array(all) => {
            let all = all.into_iter().map(|it| node(text, it, depth + 1));
            Value::Array(all.collect::<Result<_, _>>()?)
        }
        Plain::Table(fields) => {
            let fields = fields.into_iter().map(|(key, value)| {
                Ok(Field {
                    at: inner(text, byte(text, &key.referenced)),
                    key: key.value,
                    node: node(text, value, depth + 1)?,
                })
            });
            Value::Table(fields.collect::<Result<_, Fault>>()?)
        }
    };
    Ok(Node { at, value })
}

fn byte(text: &Text<'_>, location: &Location) -> usize {
    let number = |it: u64| usize::try_from(it).unwrap_or(usize::MAX);
    text.byte(number(location.line()), number(location.column()))
}

/// Behind the quote that stands there.
fn inner(text: &Text<'_>, at: usize) -> usize {
    let quoted = text
        .text()
        .get(at..)
        .is_some_and(|it| it.starts_with(['"', '\'']));
    at + usize::from(quoted)
}

impl<'de> Deserialize<'de> for Plain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PlainVisitor)
    }
}

struct PlainVisitor;

impl<'de> Visitor<'de> for PlainVisitor {
    type Value = Plain;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Plain, E> {
        Ok(Plain::String(value.to_owned()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Plain, E> {
        Ok(Plain::Integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Plain, E> {
        let too_large = Plain::Other("a number that is too large");
        Ok(i64::try_from(value).map_or(too_large, Plain::Integer))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Plain, E> {
        Ok(Plain::Other("a number that is too large"))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Plain, E> {
        Ok(Plain::Other("a number that is too large"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Plain, E> {
        Ok(if value.is_finite() {
            Plain::Float(value)
        } else {
            Plain::Other("a number without an end")
        })
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Plain, E> {
        Ok(Plain::Bool(value))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Plain, E> {
        Ok(Plain::Other("binary"))
    }

    fn visit_unit<E: Error>(self) -> Result<Plain, E> {
        Ok(Plain::Other("null"))
    }

    fn visit_none<E: Error>(self) -> Result<Plain, E> {
        Ok(Plain::Other("null"))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Plain, D::Error> {
        Plain::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Plain, A::Error> {
        let mut found = Vec::new();
        while let Some(it) = all.next_element()? {
            found.push(it);
        }
        Ok(Plain::Array(found))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Plain, A::Error> {
        let mut found = Vec::new();
        while let Some(it) = all.next_entry()? {
            found.push(it);
        }
        Ok(Plain::Table(found))
    }
}
