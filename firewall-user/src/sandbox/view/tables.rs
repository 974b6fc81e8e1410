// SPDX-License-Identifier: GPL-3.0-or-later
//! The lists of paths that come with keyward: files in `data/`, of which build.rs has made JSON, read when they are
//! first asked for.

use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// What is hidden, and what is shown without its secrets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Secrets {
    pub(super) hide: Vec<Hide>,
    pub(super) redact: Vec<Redact>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Hide {
    pub(super) path: String,
    pub(super) reason: String,
    #[serde(default)]
    pub(super) keep: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Redact {
    pub(super) path: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "it is for people"))]
    pub(super) reason: String,
    #[serde(flatten)]
    pub(super) without: Without,
}

/// What a copy is without.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Without {
    /// Lines of a text that have one of these words in them.
    Lines(Vec<String>),
    /// Keys of JSON.
    Keys(Vec<String>),
    /// Elements of XML.
    Tags(Vec<String>),
}

/// Where others act for whoever asks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Helpers {
    pub(super) mask: Vec<Mask>,
    pub(super) filesystem: Vec<FileSystem>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Mask {
    pub(super) path: String,
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileSystem {
    pub(super) r#type: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "it is for people"))]
    pub(super) reason: String,
    #[serde(default)]
    pub(super) but: Vec<String>,
}

/// What programs outside take orders from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Orders {
    pub(super) protect: Vec<Mask>,
}

pub(super) static SECRETS: LazyLock<Secrets> =
    LazyLock::new(|| read(include_str!(concat!(env!("OUT_DIR"), "/hide.json"))));
pub(super) static HELPERS: LazyLock<Helpers> =
    LazyLock::new(|| read(include_str!(concat!(env!("OUT_DIR"), "/sockets.json"))));
pub(super) static ORDERS: LazyLock<Orders> =
    LazyLock::new(|| read(include_str!(concat!(env!("OUT_DIR"), "/protect.json"))));

#[expect(
    clippy::expect_used,
    reason = "the files are part of the program, and a test reads them"
)]
fn read<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).expect("a table that comes with keyward")
}

/// Whether a name is meant by a pattern, in which `*` stands for any characters.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match name.find(part) {
            Some(at) => name = &name[at + part.len()..],
            None => return false,
        }
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Component, Path};

    use super::*;

    /// Whether it is one path and no other: nothing is said in two ways.
    fn is_plain(path: &str) -> bool {
        let rest = path.strip_prefix("~/").or(path.strip_prefix("../"));
        let rest = rest.unwrap_or(path);
        let parts = Path::new(rest).components();
        let (parent, last) = rest.rsplit_once('/').unwrap_or(("", rest));
        let plain = |it| matches!(it, Component::Normal(_) | Component::RootDir);
        parts.into_iter().all(plain)
            && !parent.contains('*')
            && !last.is_empty()
            && !rest.contains("//")
    }

    #[test]
    fn the_tables_hold() {
        let secrets = SECRETS.hide.iter().map(|it| (&it.path, &it.reason));
        let redacted = SECRETS.redact.iter().map(|it| (&it.path, &it.reason));
        let masks = HELPERS.mask.iter().map(|it| (&it.path, &it.reason));
        let mut seen = BTreeSet::new();
        for (path, reason) in secrets.chain(redacted).chain(masks) {
            assert!(is_plain(path), "{path}");
            let roots = ["~/", "../", "/"];
            assert!(roots.iter().any(|it| path.starts_with(it)), "{path}");
            assert!(!reason.is_empty(), "{path}");
            assert!(seen.insert(path), "{path} stands there twice");
        }
        for Mask { path, reason } in &ORDERS.protect {
            assert!(is_plain(path) && !path.starts_with(['/', '~']), "{path}");
            assert!(!path.starts_with("../"), "{path}");
            assert!(!path.contains('*') && !reason.is_empty(), "{path}");
            assert!(seen.insert(path), "{path} stands there twice");
        }
        for kind in &HELPERS.filesystem {
            assert!(!kind.reason.is_empty(), "{}", kind.r#type);
        }
    }

    /// Each row of `docs/files.md` is one of a table, and the other way round.
    #[test]
    fn the_documentation_has_the_same_rows() {
        let row = |what: &str, but: &[String], why: &str| {
            let but: Vec<_> = but.iter().map(|it| format!("`{it}`")).collect();
            let but = match but.as_slice() {
                [] => String::new(),
                all => format!(" (but for {})", all.join(", ")),
            };
            format!("| `{what}`{but} | {why} |")
        };
        let mut rows = Vec::new();
        rows.extend(
            SECRETS
                .hide
                .iter()
                .map(|it| row(&it.path, &it.keep, &it.reason)),
        );
        rows.extend(
            SECRETS
                .redact
                .iter()
                .map(|it| row(&it.path, &[], &it.reason)),
        );
        rows.extend(HELPERS.mask.iter().map(|it| row(&it.path, &[], &it.reason)));
        let kinds = HELPERS.filesystem.iter();
        rows.extend(kinds.map(|it| row(&it.r#type, &it.but, &it.reason)));
        rows.extend(
            ORDERS
                .protect
                .iter()
                .map(|it| row(&it.path, &[], &it.reason)),
        );
        let text = include_str!("../../../../docs/files.md");
        let (_, tables) = text.split_once("\n## Hidden\n").unwrap();
        let documented: Vec<_> = tables.lines().filter(|it| it.starts_with("| `")).collect();
        assert_eq!(documented, rows);
    }

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, is) in [
            ("config", "config", true),
            ("config", "config.old", false),
            ("*.pub", "id.pub", true),
            ("*.pub", "id.pub.key", false),
            (".*_history", ".bash_history", true),
            (".*_history", "._history", true),
            (".*_history", "bash_history", false),
            ("ssh_host_*_key", "ssh_host_rsa_key", true),
            ("ssh_host_*_key", "ssh_host_rsa_key.pub", false),
            ("shadow*", "shadow", true),
            ("*", "", true),
            ("a*b*c", "a1b2b3c", true),
            ("a*b*c", "ac", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, name), is, "{pattern} {name}");
        }
    }
}
