// SPDX-License-Identifier: MIT OR Apache-2.0
//! The gateway's sections: the same in every format, each part with its place, nothing said twice.
#![expect(clippy::unwrap_used, reason = "it is how a test says that it failed")]

use std::{collections::BTreeMap, fs, path::Path};

use keyward_policy::{Builder, Faults, Input, Loaded, NoCommands, Sources};
use serde_json::{Value, json};
use tempfile::TempDir;

fn files(all: &[(&str, &str)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, text) in all {
        fs::write(directory.path().join(path), text).unwrap();
    }
    directory
}

fn config(directory: &Path, path: &str) -> Result<Loaded, Faults> {
    let environment = BTreeMap::new();
    let mut builder = Builder::new(Sources {
        root: directory,
        home: None,
        directory,
        environment: &environment,
        commands: &NoCommands,
    });
    builder.config(&Input::Path(path.into()));
    builder.finish()
}

fn values(loaded: &Loaded) -> Value {
    Value::Object(loaded.gateway.values().clone())
}

fn place(loaded: &Loaded, path: &str) -> Option<String> {
    let fault = loaded.gateway.fault(path, "x")?;
    Some(fault.origin.to_string())
}

const TOML: &str = "allow = ['a.test']
[[provider]]
name = 'groq'
port = 10010
inject = [{ header = 'x-key' }]
[limits]
connect-seconds = 1.5
[models]
allow = ['a', 'b']
";

const NAMED: &str = "[provider.groq]
port = 10010
inject = [{ header = 'x-key' }]
[limits]
connect-seconds = 1.5
[models]
allow = ['a', 'b']
";

const YAML: &str = "provider:
  - name: groq
    port: 10010
    inject: [{ header: x-key }]
limits: { connect-seconds: 1.5 }
models:
  allow: [a, b]
";

const JSON: &str = r#"{"provider": [{"name": "groq", "port": 10010, "inject": [{"header": "x-key"}]}],
 "limits": {"connect-seconds": 1.5}, "models": {"allow": ["a", "b"]}}"#;

#[test]
fn sections_are_the_same_in_every_format() {
    let directory = files(&[
        ("a.toml", TOML),
        ("n.toml", NAMED),
        ("a.yaml", YAML),
        ("a.json", JSON),
    ]);
    for (file, port, header, limit, model, unknown) in [
        ("a.toml", "4:8", "5:23", "7:19", "9:16", "3:9"),
        ("n.toml", "2:8", "3:23", "5:19", "7:16", "1:11"),
        ("a.yaml", "3:11", "4:24", "5:28", "7:14", "2:11"),
        ("a.json", "1:40", "1:70", "2:32", "2:65", "1:25"),
    ] {
        let loaded = config(directory.path(), file).unwrap();
        let expected = json!({
            "provider": {"groq": {"port": 10010, "inject": [{"header": "x-key"}]}},
            "limits": {"connect-seconds": 1.5},
            "models": {"allow": ["a", "b"]},
        });
        assert_eq!(values(&loaded), expected, "{file}");
        for (path, expected) in [
            ("provider.groq.port", port),
            ("provider.groq.inject[0].header", header),
            ("limits.connect-seconds", limit),
            ("models.allow[1]", model),
            // What is not there: the nearest that is.
            ("provider.groq.target", unknown),
        ] {
            let expected = Some(format!("{file}:{expected}"));
            assert_eq!(place(&loaded, path), expected, "{path}");
        }
        assert_eq!(place(&loaded, "upstream.resolve"), None);
    }
}

#[test]
fn a_section_or_a_provider_stands_in_one_place() {
    let directory = files(&[
        ("one.toml", "[provider.a]\nport = 1\n[limits]\nhead = 1\n"),
        (
            "two.toml",
            "include = ['one.toml']\n[provider.a]\nport = 2\n[provider.b]\n[limits]\nbody = 1\n",
        ),
        (
            "fine.toml",
            "include = ['one.toml']\n[provider.b]\n[scan]\n",
        ),
        ("twice.yaml", "provider: [{ name: a }, { name: a }]\n"),
    ]);
    let loaded = config(directory.path(), "fine.toml").unwrap();
    let expected =
        json!({"provider": {"a": {"port": 1}, "b": {}}, "limits": {"head": 1}, "scan": {}});
    assert_eq!(values(&loaded), expected);
    let faults = config(directory.path(), "two.toml")
        .unwrap_err()
        .to_string();
    for words in [
        "two.toml:2:11: provider `a` is set up a second time",
        "the first time is at one.toml:1:11",
        "two.toml:5:2: `limits` is set up a second time",
        "the first time is at one.toml:3:2",
    ] {
        assert!(faults.contains(words), "{words}: {faults}");
    }
    assert!(!faults.contains("provider `b`"), "{faults}");
    let faults = config(directory.path(), "twice.yaml").unwrap_err();
    assert_eq!(faults.0.len(), 1, "{faults}");
}

#[test]
fn what_is_no_section_has_a_place() {
    for (text, place, words) in [
        ("limits: 5", "1:9", "this is a table, not a number"),
        (
            "provider: 5",
            "1:11",
            "this is a list of tables, not a number",
        ),
        (
            "provider: [{ port: 1 }]",
            "1:12",
            "the provider has no `name`",
        ),
        (
            "provider: { a: 5 }",
            "1:16",
            "this is a table, not a number",
        ),
        ("spend: { tokens: ~ }", "1:18", "null means nothing here"),
    ] {
        let directory = files(&[("a.yaml", text)]);
        let faults = config(directory.path(), "a.yaml").unwrap_err().to_string();
        let expected = format!("a.yaml:{place}: {words}");
        assert!(faults.starts_with(&expected), "{expected}: {faults}");
    }
}
