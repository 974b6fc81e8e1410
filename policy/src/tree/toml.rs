// SPDX-License-Identifier: MIT OR Apache-2.0
//! TOML.

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{DEEPEST, Field, Node, Value};
use crate::{Fault, text::Text};

pub(super) fn read(text: &Text<'_>) -> Result<Node, Fault> {
    let table = DeTable::parse(text.text()).map_err(|error| {
        let at = error.span().map_or(0, |it| it.start);
        text.fault(at, format!("not valid TOML: {}", error.message()), None)
    })?;
    let value = self::table(text, table.get_ref(), 0)?;
    Ok(Node { at: 0, value })
}

fn table(text: &Text<'_>, table: &DeTable<'_>, depth: usize) -> Result<Value, Fault> {
    let fields = table.iter().map(|(key, value)| {
        Ok(Field {
            at: inner(text, key.span().start),
            key: key.get_ref().to_string(),
            node: node(text, value, depth + 1)?,
        })
    });
    let mut fields = fields.collect::<Result<Vec<_>, Fault>>()?;
    // The parser's map is sorted by key.
    fields.sort_by_key(|it| it.at);
    Ok(Value::Table(fields))
}

fn node(text: &Text<'_>, value: &Spanned<DeValue<'_>>, depth: usize) -> Result<Node, Fault> {
    let at = value.span().start;
    if depth > DEEPEST {
        return Err(text.fault(at, "this is nested too deeply", None));
    }
    let value = match value.get_ref() {
        DeValue::String(it) => {
            let value = Value::String(it.to_string());
            let at = inner(text, at);
            return Ok(Node { at, value });
        }
        DeValue::Integer(it) => match i64::from_str_radix(it.as_str(), it.radix()) {
            Ok(number) => Value::Integer(number),
            Err(_) => Value::Other("a number that is too large"),
        },
        DeValue::Float(it) => match it.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() => Value::Float(number),
            Ok(_) | Err(_) => Value::Other("a number without an end"),
        },
        DeValue::Boolean(it) => Value::Bool(*it),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(all) => {
            let all = all.iter().map(|it| node(text, it, depth + 1));
            Value::Array(all.collect::<Result<_, _>>()?)
        }
        DeValue::Table(it) => table(text, it, depth)?,
    };
    Ok(Node { at, value })
}

/// Behind the quotes that stand there.
fn inner(text: &Text<'_>, at: usize) -> usize {
    let rest = &text.text()[at..];
    for quotes in ["\"\"\"", "'''"] {
        if let Some(behind) = rest.strip_prefix(quotes) {
            // A line end right behind them is not part of the string.
            let ends = ["\r\n", "\n"];
            let skip = ends.iter().find(|it| behind.starts_with(**it));
            return at + quotes.len() + skip.map_or(0, |it| it.len());
        }
    }
    at + usize::from(rest.starts_with(['"', '\'']))
}
