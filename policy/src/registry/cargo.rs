// SPDX-License-Identifier: MIT OR Apache-2.0
//! cargo: `config.toml` of the user, the environment, and what its cache knows of the default registry.
//!
//! cargo has no command that says its default. It is in the program itself; where crates are downloaded from is in the
//! index, whose `config.json` cargo keeps after the first use.

use std::path::{Path, PathBuf};

use super::{Place, Reading};
use crate::{
    sources::read_bytes,
    text::Text,
    tree::{self, Field, Format, Node, Value},
};

pub(super) fn read(reading: &mut Reading<'_>) {
    let sources = reading.sources;
    for (name, value) in sources.environment {
        if name.starts_with("CARGO_REGISTRIES_") && name.ends_with("_INDEX") {
            reading.url(value, &Place::Variable(name));
        }
    }
    let home = sources.variable("CARGO_HOME").map(PathBuf::from);
    let Some(home) = home.or_else(|| sources.at_home(".cargo")) else {
        return default(None, reading);
    };
    let mut replaced = false;
    // Both are read, the one without an extension first, which counts alone if it is there.
    for name in ["config", "config.toml"] {
        let path = home.join(name);
        if let Some(text) = reading.file(&path) {
            replaced |= config(&path, &text, reading);
            break;
        }
    }
    downloads(&home, replaced, reading);
    if !replaced {
        default(Some(&home), reading);
    }
}

/// Whether the default registry is replaced by another.
fn config(path: &Path, text: &str, reading: &mut Reading<'_>) -> bool {
    let text = Text::file("", text);
    let Ok(Node {
        value: Value::Table(fields),
        ..
    }) = tree::read(&text, Format::Toml)
    else {
        reading.note(format!("{} is not valid TOML", path.display()));
        return false;
    };
    let mut replaced = false;
    for (section, key) in [("registries", "index"), ("source", "registry")] {
        for field in table(&fields, section) {
            let Value::Table(inner) = &field.node.value else {
                continue;
            };
            for it in inner {
                let place = Place::File(path, text.line(it.at));
                replaced |= it.key == "replace-with";
                if let (Value::String(url), true) = (&it.node.value, it.key == key) {
                    // Vendored and local sources have no host.
                    if !url.starts_with("file:") {
                        reading.url(url, &place);
                    }
                }
            }
        }
    }
    replaced
}

fn table<'n>(fields: &'n [Field], key: &str) -> &'n [Field] {
    match fields
        .iter()
        .find(|it| it.key == key)
        .map(|it| &it.node.value)
    {
        Some(Value::Table(inner)) => inner,
        _ => &[],
    }
}

/// Where crates are downloaded from, for every index in the cache that is allowed now, or for all if the default is in
/// use.
fn downloads(home: &Path, replaced: bool, reading: &mut Reading<'_>) {
    for index in reading.files_in(&home.join("registry/index"), "") {
        let name = index
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        // `HOST-0123456789abcdef`.
        let Some((host, _)) = name.rsplit_once('-') else {
            continue;
        };
        let url = format!("https://{host}");
        let ours = reading.entries.iter().any(|it| it.rule == url);
        if replaced && !ours {
            continue;
        }
        let path = index.join("config.json");
        let Some(text) = reading.file(&path) else {
            continue;
        };
        reading.url(&url, &Place::File(&path, 0));
        let text = Text::file("", &text);
        let Ok(Node {
            value: Value::Table(fields),
            ..
        }) = tree::read(&text, Format::Json)
        else {
            continue;
        };
        for it in &fields {
            if let (Value::String(url), "dl") = (&it.node.value, it.key.as_str()) {
                reading.url(url, &Place::File(&path, text.line(it.at)));
            }
        }
    }
}

/// The largest cargo there is, and more.
const PROGRAM_LIMIT: u64 = 256 << 20;

/// Finds the default index in the program.
fn default(home: Option<&Path>, reading: &mut Reading<'_>) {
    if !reading.entries.is_empty() {
        return;
    }
    let sysroot = reading
        .sources
        .commands
        .run("rustc", &["--print", "sysroot"]);
    let toolchain = sysroot.map(|it| PathBuf::from(it.trim()).join("bin/cargo"));
    let system = ["usr/bin/cargo", "usr/local/bin/cargo"].map(|it| reading.sources.system(it));
    let own = home.map(|it| it.join("bin/cargo"));
    for path in toolchain.into_iter().chain(system).chain(own) {
        let Ok(program) = read_bytes(&path, PROGRAM_LIMIT) else {
            continue;
        };
        if let Some(url) = index_url(&program) {
            reading.url(&url, &Place::File(&path, 0));
            let note = "where crates are downloaded from is not known before cargo was used once: \
                 if it is another host than the index, it must be named";
            reading.note(note.to_owned());
            return;
        }
    }
}

/// The first URL of a sparse index with a host in it.
fn index_url(program: &[u8]) -> Option<String> {
    const MARK: &[u8] = b"sparse+https://";
    let mut rest = program;
    while let Some(at) = rest.windows(MARK.len()).position(|it| it == MARK) {
        rest = &rest[at + MARK.len()..];
        let end = rest.iter().take(254).position(|it| !is_host_byte(*it))?;
        let host = &rest[..end];
        if rest[end] == b'/' && host.contains(&b'.') {
            return Some(format!("https://{}", String::from_utf8_lossy(host)));
        }
    }
    None
}

fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-')
}
