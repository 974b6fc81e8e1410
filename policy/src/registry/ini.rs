// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of sections, keys and values, as npm, pip and others have them.

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// In lower case.
    pub(super) section: String,
    /// As it is written.
    pub(super) key: String,
    pub(super) value: String,
    /// From 1.
    pub(super) line: usize,
}

/// Reads all settings. A line that begins with a space goes on with the value above it, as in pip's files; what cannot
/// be read is left out.
pub(super) fn settings(text: &str) -> Vec<Setting> {
    let mut section = String::new();
    let mut found: Vec<Setting> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = content
            .strip_prefix('[')
            .and_then(|it| it.strip_suffix(']'))
        {
            section = name.trim().to_ascii_lowercase();
            continue;
        }
        if let (true, Some(last)) = (line.starts_with([' ', '\t']), found.last_mut()) {
            last.value.push('\n');
            last.value.push_str(content);
            continue;
        }
        // pip takes both.
        let Some((key, value)) = content.split_once('=').or_else(|| content.split_once(": "))
        else {
            continue;
        };
        found.push(Setting {
            section: section.clone(),
            key: key.trim().to_owned(),
            value: unquoted(value.trim()).to_owned(),
            line: at + 1,
        });
    }
    found
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        let inner = value
            .strip_prefix(quote)
            .and_then(|it| it.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner;
        }
    }
    value
}
