// SPDX-License-Identifier: MIT OR Apache-2.0
//! The promises to clients, and that each has its tests (`tests/data/wire.toml`).

use std::{collections::BTreeMap, fs, path::Path};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    files: BTreeMap<String, String>,
    promise: Vec<Promise>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Promise {
    says: String,
    #[serde(default)]
    ours: bool,
    held: Vec<String>,
}

#[test]
fn every_promise_is_held_by_tests_that_exist() {
    let wire: Wire = toml::from_str(include_str!("../data/wire.toml")).unwrap();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let texts: BTreeMap<&str, String> = wire
        .files
        .iter()
        .map(|(name, path)| {
            let text = fs::read_to_string(workspace.join(path));
            (name.as_str(), text.unwrap_or_else(|_| panic!("{path}")))
        })
        .collect();
    let mut faults = Vec::new();
    for promise in &wire.promise {
        assert!(!promise.held.is_empty(), "{}", promise.says);
        for test in &promise.held {
            let (file, name) = test.split_once(": ").unwrap();
            let text = &texts[file];
            let found = match wire.files[file].ends_with(".toml") {
                true => text.contains(&format!("\nname = \"{name}\"\n")),
                false => text.contains(&format!("fn {name}(")),
            };
            if !found {
                faults.push(format!("{}: {test}", promise.says));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    assert!(wire.promise.iter().filter(|it| it.ours).count() >= 12);
}
