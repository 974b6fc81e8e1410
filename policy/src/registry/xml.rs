// SPDX-License-Identifier: MIT OR Apache-2.0
//! As much XML as settings files need: elements that hold text, and attributes, each with its line.

/// What is found, in the order of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Names of the elements around it, outermost first, and its own.
    pub(super) path: Vec<String>,
    /// Text, or the tag's inside for an element that has attributes.
    pub(super) text: String,
    /// From 1.
    pub(super) line: usize,
    /// Whether the text is the tag's inside.
    pub(super) is_tag: bool,
}

/// Every text and every tag. What is not well-formed ends the file: what came before it counts.
pub(super) fn read(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let mut at = 0;
    while let Some(open) = text[at..].find('<') {
        let content = text[at..at + open].trim();
        if !content.is_empty() {
            found.push(Found {
                path: path.clone(),
                text: unescaped(content),
                line: line_of(text, at + open),
                is_tag: false,
            });
        }
        at += open + 1;
        let rest = &text[at..];
        if let Some(comment) = rest.strip_prefix("!--") {
            let Some(end) = comment.find("-->") else {
                break;
            };
            at += "!--".len() + end + "-->".len();
            continue;
        }
        let Some(end) = rest.find('>') else { break };
        let tag = &rest[..end];
        let line = line_of(text, at);
        at += end + 1;
        if tag.starts_with(['?', '!']) {
            continue;
        }
        if let Some(name) = tag.strip_prefix('/') {
            if path.pop().as_deref() != Some(name.trim()) {
                break;
            }
            continue;
        }
        let inside = tag.strip_suffix('/').unwrap_or(tag);
        let name = inside.split_whitespace().next().unwrap_or_default();
        path.push(name.to_owned());
        if inside.contains('=') {
            found.push(Found {
                path: path.clone(),
                text: inside.to_owned(),
                line,
                is_tag: true,
            });
        }
        if inside.len() < tag.len() {
            path.pop();
        }
        // Settings are not nested deeply; a hostile file could be.
        if path.len() > 64 {
            break;
        }
    }
    found
}

/// The value of an attribute of a tag.
pub(super) fn attribute(tag: &str, name: &str) -> Option<String> {
    for quote in ['"', '\''] {
        let begin = format!(" {name}={quote}");
        if let Some((_, behind)) = tag.split_once(&begin) {
            return Some(unescaped(behind.split(quote).next()?));
        }
    }
    None
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

fn line_of(text: &str, byte: usize) -> usize {
    text[..byte].bytes().filter(|it| *it == b'\n').count() + 1
}
