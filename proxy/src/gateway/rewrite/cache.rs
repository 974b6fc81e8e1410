// SPDX-License-Identifier: MIT OR Apache-2.0
//! Asks for prompt caching in Anthropic's requests that do not: three places of the four that the API allows. Pure.

use std::borrow::Cow;

use super::{
    ansi::literal,
    object::{Object, list, listed, string},
};

const NAME: &str = "cache_control";
const EPHEMERAL: &str = r#"{"type":"ephemeral"}"#;

/// Adds the marks; says whether there was a place for one. `text` is the whole request.
pub(super) fn mark(text: &str, request: &mut Object<'_>) -> bool {
    if asks(text) {
        return false;
    }
    let mut changed = false;
    for (name, value) in &mut request.0 {
        let new = match name.as_str() {
            "tools" => last(value, tool),
            "system" => content(value),
            "messages" => last(value, message),
            _ => None,
        };
        if let Some(new) = new {
            *value = Cow::Owned(new);
            changed = true;
        }
    }
    changed
}

/// Whether a member anywhere is called so: the client knows what it wants.
fn asks(json: &str) -> bool {
    let mut rest = json;
    while let Some(start) = rest.find('"') {
        let Some(found) = rest.get(start..) else {
            break;
        };
        let Some((text, behind)) = literal(found).and_then(|it| found.split_at_checked(it)) else {
            break;
        };
        if behind.trim_start().starts_with(':')
            && text.len() < 100
            && string(text).as_deref() == Some(NAME)
        {
            return true;
        }
        rest = behind;
    }
    false
}

/// A list with its last element changed that `change` has an answer for.
fn last(text: &str, change: impl Fn(&str) -> Option<String>) -> Option<String> {
    let mut all: Vec<Cow<'_, str>> = list(text)?.into_iter().map(Cow::Borrowed).collect();
    for element in all.iter_mut().rev() {
        if let Some(new) = change(element) {
            *element = Cow::Owned(new);
            return Some(listed(&all));
        }
    }
    None
}

/// A tool with its mark. One that is loaded later is not part of what is cached, and may have none.
fn tool(text: &str) -> Option<String> {
    let tool = Object::parse(text)?;
    match tool.of("defer_loading") {
        Some("true") => None,
        _ => marked(tool),
    }
}

/// A message of the user's with its last block marked.
fn message(text: &str) -> Option<String> {
    let mut message = Object::parse(text)?;
    if message.string("role")? != "user" {
        return None;
    }
    let (_, value) = message.0.iter_mut().rev().find(|it| it.0 == "content")?;
    *value = Cow::Owned(content(value)?);
    Some(message.text())
}

/// Blocks with the last one marked; text alone becomes one.
fn content(text: &str) -> Option<String> {
    if text.starts_with('"') {
        let block = Object(vec![
            ("type".to_owned(), Cow::Borrowed("\"text\"")),
            ("text".to_owned(), Cow::Borrowed(text)),
        ]);
        return block_marked(block).map(|it| listed(&[it]));
    }
    last(text, |it| block_marked(Object::parse(it)?))
}

/// A block with its mark. Empty text and thoughts may have none.
fn block_marked(block: Object<'_>) -> Option<String> {
    let kind = block.string("type")?;
    let empty = kind == "text" && block.string("text").is_none_or(|it| it.trim().is_empty());
    match empty || kind.ends_with("thinking") {
        true => None,
        false => marked(block),
    }
}

fn marked(mut object: Object<'_>) -> Option<String> {
    object.0.push((NAME.to_owned(), Cow::Borrowed(EPHEMERAL)));
    Some(object.text())
}
