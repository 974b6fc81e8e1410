// SPDX-License-Identifier: MIT OR Apache-2.0
//! Rules in a list: texts, tables, and names of groups.

use super::{Key, Table, string, strings};
use crate::{
    Entry, Fault,
    rule::{List, parse},
    text::Text,
    tree::{Node, Value},
};

/// What stands in a list.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A rule, checked.
    Rule(Entry),
    /// The name of a group, to be put in place.
    Reference(Reference),
}

/// `group:NAME` or `registry:NAME`.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    /// As it is written.
    pub(crate) text: String,
    /// A fault to complain with that stands at its place.
    pub(crate) place: Fault,
}

impl Reference {
    /// The fault that this name is the cause of.
    pub(crate) fn fault(&self, what: impl Into<String>, hint: Option<String>) -> Fault {
        Fault {
            what: what.into(),
            hint,
            ..self.place.clone()
        }
    }
}

/// Reads one rule, which stands at a byte of the text.
pub(crate) fn item(
    text: &Text<'_>,
    at: usize,
    mut entry: Entry,
    list: List,
    faults: &mut Vec<Fault>,
) -> Option<Item> {
    entry.origin = text.origin(at);
    if ["group:", "registry:"]
        .iter()
        .any(|it| entry.rule.starts_with(it))
    {
        if entry
            != (Entry {
                rule: entry.rule.clone(),
                origin: entry.origin.clone(),
                ..Entry::default()
            })
        {
            let what = "a group's rules are taken as they are";
            faults.push(text.fault(at, what, Some("name the group alone".to_owned())));
            return None;
        }
        return Some(Item::Reference(Reference {
            place: text.fault(at, String::new(), None),
            text: entry.rule,
        }));
    }
    match parse(&entry, list) {
        Ok(_) => Some(Item::Rule(entry)),
        Err(wrong) => {
            let at = text.inside(at, &entry.rule, wrong.at);
            faults.push(wrong.fault(text, at));
            None
        }
    }
}

/// Reads a list of rules.
pub(super) fn items(
    text: &Text<'_>,
    node: &Node,
    list: List,
    faults: &mut Vec<Fault>,
) -> Vec<Item> {
    let Value::Array(all) = &node.value else {
        let what = format!("this is a list of rules, not {}", node.value.kind());
        let hint = "write `[\"github.com\"]`".to_owned();
        faults.push(text.fault(node.at, what, Some(hint)));
        return Vec::new();
    };
    let mut found = Vec::new();
    for node in all {
        let (at, entry) = match &node.value {
            Value::String(rule) => {
                let rule = rule.clone();
                let entry = Entry {
                    rule,
                    ..Entry::default()
                };
                (node.at, entry)
            }
            Value::Table(_) => match table(text, node, faults) {
                Some(it) => it,
                None => continue,
            },
            other @ (Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Array(_)
            | Value::Other(_)) => {
                let what = format!("a rule is a string or a table, not {}", other.kind());
                faults.push(text.fault(node.at, what, None));
                continue;
            }
        };
        found.extend(item(text, at, entry, list, faults));
    }
    found
}

/// `{ rule = "http://…", methods = ["GET"], private = true }`
fn table(text: &Text<'_>, node: &Node, faults: &mut Vec<Fault>) -> Option<(usize, Entry)> {
    let table = Table::new(text, node, faults)?;
    let mut at = None;
    let mut entry = Entry::default();
    for (key, node) in table.known(Key::RULE, text, faults) {
        match (key, &node.value) {
            (Key::Rule, _) => {
                entry.rule = string(text, node, faults)?.to_owned();
                at = Some(node.at);
            }
            (Key::Methods, _) => {
                let methods = strings(text, node, faults);
                // None would be all.
                if methods.is_empty() {
                    faults.push(text.fault(node.at, "no method is left", None));
                }
                entry.methods = methods.into_iter().map(|it| it.1.to_owned()).collect();
            }
            (_, Value::Bool(private)) => entry.private = *private,
            (_, other) => {
                let what = format!("this is true or false, not {}", other.kind());
                faults.push(text.fault(node.at, what, None));
            }
        }
    }
    if at.is_none() {
        faults.push(text.fault(node.at, "the table has no `rule`", None));
    }
    Some((at?, entry))
}
