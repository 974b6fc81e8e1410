// SPDX-License-Identifier: MIT OR Apache-2.0
//! A policy file's contents, read from its tree. Every fault is found, each with its place.

mod keys;
mod rules;

use std::path::PathBuf;

use self::{keys::Table, rules::items};
pub(crate) use self::{
    keys::{Key, did_you_mean},
    rules::{Item, Reference, item},
};
use crate::{
    Answers, DnsServer, Fault, Mode, Sections,
    rule::List,
    settings,
    text::Text,
    tree::{Node, Value},
};

/// What one file says, nothing of it put in place of names yet.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) mode: Option<Mode>,
    pub(crate) include: Vec<Named>,
    pub(crate) allow: Vec<Item>,
    pub(crate) block: Vec<Item>,
    pub(crate) allow_files: Vec<Named>,
    pub(crate) block_files: Vec<Named>,
    pub(crate) host_ports: Vec<(u16, u16)>,
    pub(crate) groups: Vec<Group>,
    pub(crate) answers: Option<Answers>,
    pub(crate) servers: Option<Vec<DnsServer>>,
    pub(crate) proxy: Option<String>,
    pub(crate) no_proxy: Option<Vec<String>>,
    pub(crate) gateway: Sections,
}

/// A path that is named in a file, and a fault to complain with that stands at its place.
#[derive(Debug)]
pub(crate) struct Named {
    pub(crate) path: PathBuf,
    pub(crate) place: Fault,
}

/// A group that a file defines.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: String,
    pub(crate) description: Option<String>,
    pub(crate) items: Vec<Item>,
    pub(crate) place: Fault,
}

/// Reads a file's contents.
pub(crate) fn contents(text: &Text<'_>, root: &Node, faults: &mut Vec<Fault>) -> Contents {
    let mut contents = Contents::default();
    let Some(table) = Table::new(text, root, faults) else {
        return contents;
    };
    for (key, node) in table.known(Key::FILE, text, faults) {
        match key {
            Key::Mode => contents.mode = word(text, node, MODES, faults),
            Key::Include => contents.include = paths(text, node, faults),
            Key::Allow => contents.allow = items(text, node, List::Allow, faults),
            Key::Block => contents.block = items(text, node, List::Block, faults),
            Key::AllowFiles => contents.allow_files = paths(text, node, faults),
            Key::BlockFiles => contents.block_files = paths(text, node, faults),
            Key::HostPorts => contents.host_ports = host_ports(text, node, faults),
            Key::Groups => contents.groups = groups(text, node, faults),
            Key::Dns => dns(text, node, &mut contents, faults),
            Key::UpstreamProxy => upstream_proxy(text, node, &mut contents, faults),
            Key::Provider
            | Key::Limits
            | Key::Spend
            | Key::Models
            | Key::Scan
            | Key::Rewrite
            | Key::Retry
            | Key::Sandbox
            | Key::Files
            | Key::Telemetry => {
                let named = table.fields().iter().find(|it| it.key == key.name());
                let at = named.map_or(node.at, |it| it.at);
                contents.gateway.add(text, key.name(), (at, node), faults);
            }
            Key::Answers
            | Key::Servers
            | Key::Url
            | Key::NoProxy
            | Key::Rule
            | Key::Methods
            | Key::Private
            | Key::Description
            | Key::Rules => {}
        }
    }
    contents
}

/// Reads the only group of a file that comes with keyward.
pub(crate) fn group(text: &Text<'_>, name: &str, root: &Node, faults: &mut Vec<Fault>) -> Group {
    let mut group = Group {
        name: name.to_owned(),
        description: None,
        items: Vec::new(),
        place: text.fault(root.at, String::new(), None),
    };
    match &root.value {
        Value::Array(_) => group.items = items(text, root, List::Allow, faults),
        Value::Table(_) => {
            let Some(table) = Table::new(text, root, faults) else {
                return group;
            };
            let known = table.known(Key::GROUP, text, faults);
            if !known.iter().any(|it| it.0 == Key::Rules) {
                faults.push(text.fault(root.at, "the group has no `rules`", None));
            }
            for (key, node) in known {
                if key == Key::Rules {
                    group.items = items(text, node, List::Allow, faults);
                } else {
                    group.description = string(text, node, faults).map(str::to_owned);
                }
            }
        }
        other @ (Value::String(_)
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Other(_)) => {
            let what = format!("a group is a list of rules, not {}", other.kind());
            faults.push(text.fault(root.at, what, None));
        }
    }
    group
}

fn groups(text: &Text<'_>, node: &Node, faults: &mut Vec<Fault>) -> Vec<Group> {
    let Some(table) = Table::new(text, node, faults) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for field in table.fields() {
        let fine = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-';
        if field.key.is_empty() || !field.key.bytes().all(fine) {
            let hint = "letters, digits and `-`: `my-team`".to_owned();
            faults.push(text.fault(field.at, "this is not a name for a group", Some(hint)));
        }
        let mut group = group(text, &field.key, &field.node, faults);
        group.place = text.fault(field.at, String::new(), None);
        found.push(group);
    }
    found
}

fn dns(text: &Text<'_>, node: &Node, contents: &mut Contents, faults: &mut Vec<Fault>) {
    let Some(table) = Table::new(text, node, faults) else {
        return;
    };
    for (key, node) in table.known(Key::DNS, text, faults) {
        if key == Key::Answers {
            contents.answers = word(text, node, ANSWERS, faults);
        } else {
            let servers = strings(text, node, faults);
            let parse = |(at, it): (usize, &str)| match it.parse() {
                Ok(server) => Some(server),
                Err(error) => {
                    setting(text, at, error, faults);
                    None
                }
            };
            contents.servers = Some(servers.into_iter().filter_map(parse).collect());
        }
    }
}

fn upstream_proxy(text: &Text<'_>, node: &Node, contents: &mut Contents, faults: &mut Vec<Fault>) {
    let Some(table) = Table::new(text, node, faults) else {
        return;
    };
    for (key, value) in table.known(Key::UPSTREAM_PROXY, text, faults) {
        if key == Key::Url {
            let Some(url) = string(text, value, faults) else {
                continue;
            };
            if let Err(error) = settings::proxy_url(url) {
                setting(text, value.at, error, faults);
            }
            contents.proxy = Some(url.to_owned());
        } else {
            let mut entries = Vec::new();
            for (at, entry) in strings(text, value, faults) {
                if let Err(error) = settings::no_proxy(entry) {
                    setting(text, at, error, faults);
                }
                entries.push(entry.to_owned());
            }
            contents.no_proxy = Some(entries);
        }
    }
}

fn host_ports(text: &Text<'_>, node: &Node, faults: &mut Vec<Fault>) -> Vec<(u16, u16)> {
    let Value::Array(all) = &node.value else {
        let what = format!("this is a list of ports, not {}", node.value.kind());
        let hint = "write `[5432, \"6379-6380\"]`".to_owned();
        faults.push(text.fault(node.at, what, Some(hint)));
        return Vec::new();
    };
    let mut found = Vec::new();
    for node in all {
        let written = match &node.value {
            Value::Integer(it) => it.to_string(),
            Value::String(it) => it.clone(),
            other @ (Value::Float(_)
            | Value::Bool(_)
            | Value::Array(_)
            | Value::Table(_)
            | Value::Other(_)) => {
                let what = format!("a port is a number, not {}", other.kind());
                faults.push(text.fault(node.at, what, None));
                continue;
            }
        };
        match crate::rule::ports(&written) {
            Ok(range) => found.push(range),
            Err(wrong) => {
                let at = text.inside(node.at, &written, wrong.at);
                faults.push(wrong.fault(text, at));
            }
        }
    }
    found
}

fn paths(text: &Text<'_>, node: &Node, faults: &mut Vec<Fault>) -> Vec<Named> {
    let mut found = Vec::new();
    for (at, path) in strings(text, node, faults) {
        if path.is_empty() {
            faults.push(text.fault(at, "the path is empty", None));
        } else {
            found.push(Named {
                path: path.into(),
                place: text.fault(at, String::new(), None),
            });
        }
    }
    found
}

const MODES: &[(&str, Mode)] = &[("enforce", Mode::Enforce), ("audit", Mode::Audit)];

const ANSWERS: &[(&str, Answers)] = &[("synthetic", Answers::Synthetic), ("real", Answers::Real)];

/// One of a few words.
fn word<T: Copy>(
    text: &Text<'_>,
    node: &Node,
    words: &[(&str, T)],
    faults: &mut Vec<Fault>,
) -> Option<T> {
    let word = string(text, node, faults)?;
    let found = words.iter().find(|it| it.0 == word);
    if found.is_none() {
        let all: Vec<_> = words.iter().map(|it| format!("`{}`", it.0)).collect();
        let what = format!("this is {}", all.join(" or "));
        faults.push(text.fault(
            node.at,
            what,
            did_you_mean(word, words.iter().map(|it| it.0)),
        ));
    }
    found.map(|it| it.1)
}

fn string<'n>(text: &Text<'_>, node: &'n Node, faults: &mut Vec<Fault>) -> Option<&'n str> {
    if let Value::String(it) = &node.value {
        return Some(it);
    }
    let what = format!("this is a string, not {}", node.value.kind());
    faults.push(text.fault(node.at, what, None));
    None
}

/// A list of strings; one alone is written without brackets by many, and means the same.
fn strings<'n>(text: &Text<'_>, node: &'n Node, faults: &mut Vec<Fault>) -> Vec<(usize, &'n str)> {
    match &node.value {
        Value::String(it) => vec![(node.at, it)],
        Value::Array(all) => {
            let strings = all
                .iter()
                .filter_map(|it| Some((it.at, string(text, it, faults)?)));
            strings.collect()
        }
        other @ (Value::Integer(_)
        | Value::Float(_)
        | Value::Bool(_)
        | Value::Table(_)
        | Value::Other(_)) => {
            let what = format!("this is a list of strings, not {}", other.kind());
            faults.push(text.fault(node.at, what, None));
            Vec::new()
        }
    }
}

fn setting(text: &Text<'_>, at: usize, error: settings::SettingError, faults: &mut Vec<Fault>) {
    faults.push(text.fault(at, error.what, Some(error.hint.to_owned())));
}

impl Named {
    /// The fault that this path is the cause of.
    pub(crate) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault {
            what: what.into(),
            ..self.place.clone()
        }
    }
}
