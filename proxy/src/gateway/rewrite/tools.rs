// SPDX-License-Identifier: MIT OR Apache-2.0
//! Takes tools away by name, in the forms of OpenAI, Anthropic and Gemini. Pure.

use std::borrow::Cow;

use super::object::{Object, list, listed};

/// Where a request says which tool is to be used, which means nothing without tools.
const CHOICES: [&str; 4] = [
    "tool_choice",
    "toolConfig",
    "tool_config",
    "parallel_tool_calls",
];

/// Takes the tools away; says whether there were any. A list that would be empty goes, too: APIs refuse it.
pub(super) fn remove(request: &mut Object<'_>, names: &[String]) -> bool {
    let mut changed = false;
    let mut none_left = false;
    for (_, value) in request.0.iter_mut().filter(|it| it.0 == "tools") {
        let Some(kept) = kept(value, names) else {
            continue;
        };
        changed = true;
        none_left = kept.is_empty();
        *value = Cow::Owned(listed(&kept));
    }
    if none_left {
        request
            .0
            .retain(|it| it.0 != "tools" && !CHOICES.contains(&it.0.as_str()));
    } else if changed {
        // Who insists on a tool that is not there is refused.
        request.0.retain(|(name, value)| {
            name != "tool_choice" || !Object::parse(value).is_some_and(|it| is_named(&it, names))
        });
    }
    changed
}

/// What stays of a list of tools. `None`: all of it.
fn kept(text: &str, names: &[String]) -> Option<Vec<String>> {
    let all = list(text)?;
    let mut changed = false;
    let mut kept = Vec::with_capacity(all.len());
    for tool in all {
        let Some(mut object) = Object::parse(tool) else {
            kept.push(tool.to_owned());
            continue;
        };
        if is_named(&object, names) {
            changed = true;
            continue;
        }
        match declarations(&mut object, names) {
            false => kept.push(tool.to_owned()),
            true => {
                changed = true;
                if !object.0.is_empty() {
                    kept.push(object.text());
                }
            }
        }
    }
    changed.then_some(kept)
}

/// Takes functions out of one of Gemini's tools, which holds a list of them.
fn declarations(tool: &mut Object<'_>, names: &[String]) -> bool {
    let mut changed = false;
    tool.0.retain_mut(|(name, value)| {
        if name != "functionDeclarations" && name != "function_declarations" {
            return true;
        }
        let Some(kept) = kept(value, names) else {
            return true;
        };
        changed = true;
        *value = Cow::Owned(listed(&kept));
        !kept.is_empty()
    });
    changed
}

fn is_named(tool: &Object<'_>, names: &[String]) -> bool {
    let function = tool.of("function").and_then(Object::parse);
    let function = function.and_then(|it| it.string("name"));
    let all = [tool.string("name"), function];
    all.into_iter().flatten().any(|it| names.contains(&it))
}
