// SPDX-License-Identifier: GPL-3.0-or-later
//! What of a section cannot be read, all of it and each with its path.
//!
//! The reader of settings stops at the first thing that it does not know, and does not say where that is. So a
//! section that it does not take is offered to it again, part by part.

use keyward_proxy::settings::RawSettings;
use serde_json::{Map, Value};

/// What cannot be read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unread {
    /// `provider.groq.port`, `models.allow[1]`.
    pub(super) path: String,
    /// What is wrong with it.
    pub(super) what: String,
    /// For a key that is not known: those that are.
    pub(super) hint: Option<String>,
}

/// Everything in a section that cannot be read.
pub(super) fn in_section(name: &str, value: &Value) -> Vec<Unread> {
    let mut found = Vec::new();
    let whole = |it: Value| Value::Object(Map::from_iter([(name.to_owned(), it)]));
    inside((name, name), value, &whole, &mut found);
    found
}

/// `whole` puts a value into the place that is looked at, with nothing beside it. True: something was found.
fn inside(
    (path, key): (&str, &str),
    value: &Value,
    whole: &dyn Fn(Value) -> Value,
    found: &mut Vec<Unread>,
) -> bool {
    let Err(error) = serde_json::from_value::<RawSettings>(whole(value.clone())) else {
        return false;
    };
    let message = error.to_string();
    if let Some(rest) = message.strip_prefix(&format!("unknown field `{key}`")) {
        found.push(Unread {
            path: path.to_owned(),
            what: "this key is not known".to_owned(),
            hint: Some(known(rest)),
        });
        return true;
    }
    let mut deeper = false;
    match value {
        Value::Object(table) => {
            for (key, value) in table {
                let whole = |it: Value| whole(Value::Object(Map::from_iter([(key.clone(), it)])));
                let path = format!("{path}.{key}");
                deeper |=
                    is_own(&message, value, &whole) && inside((&path, key), value, &whole, found);
            }
        }
        Value::Array(all) => {
            for (index, value) in all.iter().enumerate() {
                let whole = |it: Value| whole(Value::Array(vec![it]));
                let path = format!("{path}[{index}]");
                deeper |=
                    is_own(&message, value, &whole) && inside((&path, ""), value, &whole, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
    if !deeper {
        found.push(Unread {
            path: path.to_owned(),
            what: without_values(&message),
            hint: None,
        });
    }
    true
}

/// Whether a part is at fault itself: alone it may only lack what stands beside it.
fn is_own(message: &str, value: &Value, whole: &dyn Fn(Value) -> Value) -> bool {
    match serde_json::from_value::<RawSettings>(whole(value.clone())) {
        Ok(_) => false,
        Err(error) => {
            let alone = error.to_string();
            !alone.starts_with("missing field") || alone == message
        }
    }
}

/// `, expected one of …` as a hint.
fn known(rest: &str) -> String {
    let names = rest.trim_start_matches(", expected ");
    let names = names.trim_start_matches("one of ");
    match names {
        "" | "there are no fields" => "leave it out".to_owned(),
        names => format!("there are {names}"),
    }
}

/// A message of the reader without what it quotes: that may be a key in the wrong place.
pub(super) fn without_values(message: &str) -> String {
    match (message.find(" \""), message.rfind('"')) {
        (Some(begin), Some(end)) if begin < end => {
            format!("{}{}", &message[..begin], &message[end + 1..])
        }
        _ => message.to_owned(),
    }
}
