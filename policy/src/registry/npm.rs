// SPDX-License-Identifier: MIT OR Apache-2.0
//! npm: `.npmrc` of the user and of the system, and the environment. Yarn and pnpm read the same.

use std::path::PathBuf;

use super::{Place, Reading, ini::settings};

pub(super) fn read(reading: &mut Reading<'_>) {
    let mut has_default = false;
    for (name, value) in reading.sources.environment {
        let key = name.to_ascii_lowercase();
        if key == "npm_config_registry" && !value.is_empty() {
            reading.url(value, &Place::Variable(name));
            has_default = true;
        }
    }
    for path in files(reading) {
        let Some(text) = reading.file(&path) else {
            continue;
        };
        for it in settings(&text) {
            // `//host/:_authToken` and the like are credentials.
            let scoped = it.key.starts_with('@') && it.key.ends_with(":registry");
            // What comes first counts; those of scopes all count.
            let default = it.key == "registry" && !has_default;
            if scoped || default {
                has_default |= default;
                let url = with_variables(&it.value, reading);
                reading.url(&url, &Place::File(&path, it.line));
            }
        }
    }
    if !has_default {
        reading.ask("npm", &["config", "get", "registry"]);
    }
}

/// Those that count more come first.
fn files(reading: &Reading<'_>) -> Vec<PathBuf> {
    let sources = &reading.sources;
    let named = |name: &str| {
        let upper = name.to_ascii_uppercase();
        let value = sources.variable(name).or_else(|| sources.variable(&upper));
        value.map(PathBuf::from)
    };
    let user = named("npm_config_userconfig").or_else(|| sources.at_home(".npmrc"));
    let mut files: Vec<_> = user.into_iter().collect();
    match named("npm_config_globalconfig") {
        Some(path) => files.push(path),
        None => files.extend(
            ["etc/npmrc", "usr/local/etc/npmrc", "usr/etc/npmrc"].map(|it| sources.system(it)),
        ),
    }
    files
}

/// `${NAME}`, as npm has it.
fn with_variables(value: &str, reading: &Reading<'_>) -> String {
    let mut found = String::new();
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((name, after)) = behind.split_once('}') else {
            break;
        };
        found.push_str(before);
        let name = name.strip_suffix('?').unwrap_or(name);
        found.push_str(reading.sources.variable(name).unwrap_or_default());
        rest = after;
    }
    found + rest
}
