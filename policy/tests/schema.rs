// SPDX-License-Identifier: MIT OR Apache-2.0
//! The JSON Schema against files: what keyward takes, the schema takes, and what has a wrong key or kind neither takes.
#![expect(
    clippy::panic,
    clippy::unwrap_used,
    reason = "it is how a test says that it failed"
)]

use std::{collections::BTreeMap, path::Path};

use keyward_policy::{Builder, Input, NoCommands, Sources, schema};
use serde_json::{Value, json};

/// As much of JSON Schema as ours uses. An unknown keyword is a failure: it would not be tested.
fn valid(root: &Value, schema: &Value, value: &Value) -> bool {
    let Value::Object(keywords) = schema else {
        return schema == &Value::Bool(true);
    };
    keywords
        .iter()
        .all(|(keyword, wanted)| match keyword.as_str() {
            "$schema" | "title" | "description" | "default" | "format" | "$defs" => true,
            "$ref" => {
                let pointer = wanted.as_str().unwrap().strip_prefix('#').unwrap();
                valid(root, root.pointer(pointer).unwrap(), value)
            }
            "type" => {
                let is = |kind: &Value| match kind.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("{other}"),
                };
                wanted
                    .as_array()
                    .map_or_else(|| is(wanted), |all| all.iter().any(is))
            }
            "enum" => wanted.as_array().unwrap().contains(value),
            "const" => wanted == value,
            "anyOf" => wanted
                .as_array()
                .unwrap()
                .iter()
                .any(|it| valid(root, it, value)),
            "items" => value
                .as_array()
                .is_none_or(|all| all.iter().all(|it| valid(root, wanted, it))),
            "minItems" => value
                .as_array()
                .is_none_or(|all| u64::try_from(all.len()).unwrap() >= wanted.as_u64().unwrap()),
            "required" => value.as_object().is_none_or(|it| {
                wanted
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|key| it.contains_key(key.as_str().unwrap()))
            }),
            "minimum" => value
                .as_i64()
                .is_none_or(|it| it >= wanted.as_i64().unwrap()),
            "maximum" => value
                .as_i64()
                .is_none_or(|it| it <= wanted.as_i64().unwrap()),
            "properties" => value.as_object().is_none_or(|it| {
                it.iter().all(|(key, value)| {
                    wanted
                        .get(key)
                        .is_none_or(|wanted| valid(root, wanted, value))
                })
            }),
            "additionalProperties" => value.as_object().is_none_or(|it| {
                let known = schema.get("properties");
                let mut others = it
                    .iter()
                    .filter(|it| known.and_then(|known| known.get(it.0)).is_none());
                others.all(|(_, value)| valid(root, wanted, value))
            }),
            // Patterns are looked at by editors; what they mean is tested with the reader.
            "pattern" => true,
            other => panic!("`{other}` is not tested"),
        })
}

fn taken(file: &Value) -> bool {
    let environment = BTreeMap::new();
    let mut builder = Builder::new(Sources {
        root: Path::new("/nonexistent"),
        home: None,
        directory: Path::new("/nonexistent"),
        environment: &environment,
        commands: &NoCommands,
    });
    builder.config(&Input::Text {
        name: "<stdin>".to_owned(),
        text: file.to_string(),
    });
    builder.finish().is_ok()
}

#[test]
fn the_schema_and_the_reader_agree() {
    let schema = schema().to_value();
    for (file, fine) in [
        (json!({}), true),
        (json!({"mode": "audit", "allow": [], "block": []}), true),
        (
            json!({"allow": ["a.test", {"rule": "http://b.test", "methods": ["GET"]}, {"rule": "c.test", "private": true}]}),
            true,
        ),
        (json!({"host-ports": [22, "80-90"]}), true),
        (
            json!({"groups": {"a": ["a.test"], "b": {"description": "x", "rules": ["group:a"]}}}),
            true,
        ),
        (
            json!({"dns": {"answers": "real", "servers": ["192.0.2.1"]}}),
            true,
        ),
        (json!({"dns": {"servers": "192.0.2.1"}}), true),
        (
            json!({"upstream-proxy": {"url": "http://proxy.test:3128", "no-proxy": ["*"]}}),
            true,
        ),
        (
            json!({"include": [], "allow-files": [], "block-files": []}),
            true,
        ),
        (json!({"provider": [{"name": "a", "port": 10010}]}), true),
        (json!({"provider": {"a": {"port": 10010}}}), true),
        (
            json!({"limits": {"connect-seconds": 1.5}, "spend": {}, "models": {}}),
            true,
        ),
        (
            json!({"scan": {}, "rewrite": {}, "retry": {"deep": [{"x": true}]}}),
            true,
        ),
        (
            json!({"files": {"hide": [".env*"], "mount": ["/a:/b:ro"], "x11": true}}),
            true,
        ),
        (json!({"files": []}), false),
        (json!({"provider": [{"port": 10010}]}), false),
        (json!({"provider": [{"name": 5}]}), false),
        (json!({"provider": "a"}), false),
        (json!({"provider": {"a": 5}}), false),
        (json!({"limits": 5}), false),
        (json!({"retry": []}), false),
        (json!([]), false),
        (json!({"alow": []}), false),
        (json!({"allow": "a.test"}), false),
        (json!({"allow": [5]}), false),
        (json!({"allow": [{"rules": "a.test"}]}), false),
        (json!({"allow": [{"methods": ["GET"]}]}), false),
        (
            json!({"allow": [{"rule": "http://a.test", "methods": []}]}),
            false,
        ),
        (
            json!({"allow": [{"rule": "a.test", "private": "yes"}]}),
            false,
        ),
        (json!({"mode": "off"}), false),
        (json!({"host-ports": [0]}), false),
        (json!({"host-ports": 22}), false),
        (json!({"groups": {"a": "a.test"}}), false),
        (json!({"groups": {"a": {"rule": ["a.test"]}}}), false),
        (json!({"groups": {"a": {"description": "x"}}}), false),
        (json!({"dns": {"answers": "none"}}), false),
        (json!({"dns": {"server": []}}), false),
        (json!({"upstream-proxy": {"proxy": "x"}}), false),
        (json!({"upstream-proxy": "http://proxy.test"}), false),
        (json!({"include": 5}), false),
        (json!({"mode": null}), false),
        (json!({"dns": null}), false),
    ] {
        assert_eq!(taken(&file), fine, "read: {file}");
        assert_eq!(valid(&schema, &schema, &file), fine, "schema: {file}");
    }
}

#[test]
fn every_key_is_described() {
    let schema = schema().to_value();
    fn walk(schema: &Value, found: &mut usize) {
        match schema {
            Value::Object(all) => {
                for (key, property) in all
                    .get("properties")
                    .and_then(Value::as_object)
                    .into_iter()
                    .flatten()
                {
                    assert!(property.get("description").is_some(), "{key}");
                    *found += 1;
                }
                all.values().for_each(|it| walk(it, found));
            }
            Value::Array(all) => all.iter().for_each(|it| walk(it, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = 0;
    walk(&schema, &mut found);
    assert_eq!(found, 41, "{schema:#}");
    assert!(schema.to_string().contains("2020-12"));
}
