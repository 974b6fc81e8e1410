// SPDX-License-Identifier: GPL-3.0-or-later
//! The system-wide settings of Gemini CLI, which beat the user's own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::PrivateFile;

/// Whose key the client is to use, in its own words.
pub(super) const GEMINI: &str = "gemini-api-key";
pub(super) const VERTEX: &str = "vertex-ai";

/// With a base URL alone the client chooses a way to log in that it then refuses, so it is told to use the key. Its
/// statistics would only ask for a host that is out of reach. What else the host's administrator has set stays.
pub(super) fn settings(etc: &Path, key: &str) -> Result<PrivateFile> {
    let path = PathBuf::from("gemini-cli/settings.json");
    let mut settings = host_settings(&etc.join(&path))?;
    set(
        &mut settings,
        &["security", "auth", "selectedType"],
        json!(key),
    );
    set(
        &mut settings,
        &["privacy", "usageStatisticsEnabled"],
        json!(false),
    );
    let content = format!("{settings:#}\n").into_bytes();
    Ok(PrivateFile { path, content })
}

/// What is no table on the way is replaced by one: the client would not take it either.
fn set(value: &mut Value, path: &[&str], new: Value) {
    let Some((key, rest)) = path.split_first() else {
        *value = new;
        return;
    };
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    if let Value::Object(table) = value {
        let inner = table.entry(*key).or_insert(Value::Null);
        set(inner, rest, new);
    }
}

/// What the host has in the same place; nothing if there is no such file.
fn host_settings(path: &Path) -> Result<Value> {
    match fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("{} is not valid JSON", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Value::Object(Map::new())),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(etc: &Path) -> Value {
        let file = settings(etc, GEMINI).unwrap();
        assert_eq!(file.path, Path::new("gemini-cli/settings.json"));
        serde_json::from_slice(&file.content).unwrap()
    }

    #[test]
    fn the_key_is_used_and_nothing_is_counted() {
        let etc = tempfile::tempdir().unwrap();
        let expected = json!({
            "security": {"auth": {"selectedType": "gemini-api-key"}},
            "privacy": {"usageStatisticsEnabled": false},
        });
        assert_eq!(written(etc.path()), expected);
    }

    #[test]
    fn what_the_host_has_set_stays() {
        let etc = tempfile::tempdir().unwrap();
        let path = etc.path().join("gemini-cli/settings.json");
        fs::create_dir(path.parent().unwrap()).unwrap();
        let host = r#"{"ui": {"theme": "x"}, "security": {"auth": {"selectedType": "oauth", "useExternal": true}}}"#;
        fs::write(&path, host).unwrap();
        let expected = json!({
            "ui": {"theme": "x"},
            "security": {"auth": {"selectedType": "gemini-api-key", "useExternal": true}},
            "privacy": {"usageStatisticsEnabled": false},
        });
        assert_eq!(written(etc.path()), expected);
        fs::write(&path, "{").unwrap();
        let error = settings(etc.path(), GEMINI).unwrap_err();
        assert!(error.to_string().contains("is not valid JSON"), "{error}");
    }
}
