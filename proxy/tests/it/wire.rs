// SPDX-License-Identifier: MIT OR Apache-2.0
//! The promises to clients, that each has its tests, and that each hole has its probe (`tests/data/wire.toml`).

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::Deserialize;

use crate::holes;

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
    /// Where other gateways of this kind promise something weaker: the probes that tell the two apart.
    #[serde(default)]
    holes: Vec<String>,
    held: Vec<String>,
}

fn wire() -> Wire {
    toml::from_str(include_str!("../data/wire.toml")).unwrap()
}

#[test]
fn every_promise_is_held_by_tests_that_exist() {
    let wire = wire();
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
        for test in promise.held.iter().chain(&promise.holes) {
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
}

/// Those that are seen open at the peer and closed here (`holes.rs`) are those that are named, and no others.
#[test]
fn every_hole_is_probed() {
    let wire = wire();
    let named = wire.promise.iter().flat_map(|it| it.holes.clone());
    // Not at the gateway: probed where they are, beside the same tests' other cases.
    let elsewhere = |it: &String| it.starts_with("environment: ") || it.starts_with("preflight: ");
    let (elsewhere, here): (BTreeSet<_>, BTreeSet<_>) = named.partition(elsewhere);
    assert_eq!(here, holes::names().into_iter().collect());
    assert_eq!(elsewhere.len(), 2, "{elsewhere:?}");
    let promises = wire.promise.iter().filter(|it| !it.holes.is_empty());
    assert!(promises.count() >= 15);
}
