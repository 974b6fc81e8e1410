// SPDX-License-Identifier: GPL-3.0-or-later
//! Copies of configuration files without the secrets in them.
//!
//! They err on the side of leaving out: a line too many costs a setting, one too few a key.

use serde_json::Value;

use super::tables::Without;

/// The file without its secrets. `None` if it cannot be read as what it should be: then it must not be shown at all.
pub(super) fn redact(text: &str, without: &Without) -> Option<String> {
    let text = match without {
        Without::Lines(words) => lines(text, words),
        Without::Keys(keys) => {
            let mut value = serde_json::from_str(text).ok()?;
            prune(&mut value, keys);
            serde_json::to_string_pretty(&value).ok()?
        }
        Without::Tags(tags) => tags
            .iter()
            .try_fold(text.to_owned(), |text, tag| elements(&text, tag))?,
    };
    Some(addresses(&text))
}

/// A line that ends with a backslash goes on in the next, and so does what is left out with it.
fn lines(text: &str, words: &[String]) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut continued = false;
    for line in text.split_inclusive('\n') {
        let small = line.to_lowercase();
        let secret = continued || words.iter().any(|word| small.contains(word.as_str()));
        continued = secret && line.trim_end().ends_with('\\');
        if !secret {
            kept.push_str(line);
        }
    }
    kept
}

fn prune(value: &mut Value, keys: &[String]) {
    match value {
        Value::Object(fields) => {
            fields.retain(|key, _| !keys.contains(key));
            fields.values_mut().for_each(|it| prune(it, keys));
        }
        Value::Array(all) => all.iter_mut().for_each(|it| prune(it, keys)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// `None`: one is not closed.
fn elements(text: &str, tag: &str) -> Option<String> {
    let (open, close) = (format!("<{tag}"), format!("</{tag}>"));
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(&open) {
        let behind = &rest[start + open.len()..];
        // Of another element the name goes on.
        if !behind.starts_with(['>', ' ', '\t', '\r', '\n', '/']) {
            kept.push_str(&rest[..start + open.len()]);
            rest = behind;
            continue;
        }
        kept.push_str(&rest[..start]);
        let end = behind.find('>')?;
        rest = if behind[..end].ends_with('/') {
            &behind[end + 1..]
        } else {
            let end = behind.find(&close)?;
            &behind[end + close.len()..]
        };
    }
    kept.push_str(rest);
    Some(kept)
}

/// Takes user and password out of every `scheme://user:password@host`.
fn addresses(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        kept.push_str(before);
        let authority = behind
            .find(['/', '?', '#', '"', '\'', '<', '>', ' ', '\t', '\r', '\n'])
            .unwrap_or(behind.len());
        let user = behind[..authority].rfind('@').map_or(0, |at| at + 1);
        rest = &behind[user..];
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sandbox::view::tables::SECRETS;

    fn as_in_the_table(path: &str, text: &str) -> Option<String> {
        let row = SECRETS.redact.iter().find(|it| it.path == path).unwrap();
        redact(text, &row.without)
    }

    #[test]
    fn settings_stay_and_secrets_go() {
        for (path, text, expected) in [
            (
                "~/.npmrc",
                "registry=https://npm.corp.test/\n//npm.corp.test/:_authToken=HIDDEN\n//x/:_Password=HIDDEN\nsave-exact=true",
                "registry=https://npm.corp.test/\nsave-exact=true",
            ),
            (
                "~/.config/pip/pip.conf",
                "[global]\nindex-url = https://me:HIDDEN@pypi.corp.test/simple\nextra-index-url =\n  https://HIDDEN@a.test\n  https://b.test/x@y\n",
                "[global]\nindex-url = https://pypi.corp.test/simple\nextra-index-url =\n  https://a.test\n  https://b.test/x@y\n",
            ),
            (
                "~/.gitconfig",
                "[user]\n\tname = Me\n[http]\n\textraHeader = \\\nAUTHORIZATION: HIDDEN\n[url \"https://x:HIDDEN@g.test/\"]\n\tinsteadOf = g:\n",
                "[user]\n\tname = Me\n[http]\n[url \"https://g.test/\"]\n\tinsteadOf = g:\n",
            ),
            (
                "~/.cargo/config.toml",
                "[registries.corp]\nindex = \"sparse+https://c.test/\"\ntoken = \"HIDDEN\"\n",
                "[registries.corp]\nindex = \"sparse+https://c.test/\"\n",
            ),
            (
                "~/.m2/settings.xml",
                "<settings><mirror><url>https://m.test</url></mirror><server><id>m</id><username>HIDDEN</username>\n\
                 <password>\nHIDDEN\n</password><passwordless/></server></settings>",
                "<settings><mirror><url>https://m.test</url></mirror><server><id>m</id>\n<passwordless/></server></settings>",
            ),
            (
                "~/.claude.json",
                "{\"theme\":\"dark\",\"primaryApiKey\":\"HIDDEN\",\"mcpServers\":{\"a\":{\"env\":{\"K\":\"HIDDEN\"}}}}",
                "{\n  \"theme\": \"dark\",\n  \"mcpServers\": {\n    \"a\": {}\n  }\n}",
            ),
        ] {
            let redacted = as_in_the_table(path, text).unwrap();
            if path.ends_with(".json") {
                // The order of keys is nobody's business.
                let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                assert_eq!(read(&redacted), read(expected), "{path}");
            } else {
                assert_eq!(redacted, expected, "{path}");
            }
            assert!(!redacted.contains("HIDDEN"), "{path}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_not_shown() {
        for (path, text) in [
            ("~/.claude.json", "{\"primaryApiKey\": \"HIDDEN\""),
            ("~/.m2/settings.xml", "<password>HIDDEN"),
            ("~/.m2/settings.xml", "<password x"),
        ] {
            assert_eq!(as_in_the_table(path, text), None, "{text}");
        }
    }
}
