// SPDX-License-Identifier: MIT OR Apache-2.0
//! The sections of a policy file that are the gateway's, the sandbox's or the view's of the file system: kept as they are written, each part with its place.
//!
//! What may stand in them is for those to say; here it is only seen to that nothing is said twice.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value as Json};

use crate::{
    Fault, Origin,
    text::Text,
    tree::{Node, Value},
};

/// The section with a row for each provider.
const PROVIDER: &str = "provider";

/// What policy files say of the gateway, by section.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sections {
    values: Map<String, Json>,
    places: BTreeMap<String, Place>,
}

/// Where something stands: faults to complain with.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    key: Fault,
    value: Fault,
}

impl Sections {
    /// Each section as it is written, by name. `provider` is always a table by the providers' names.
    #[must_use]
    pub fn values(&self) -> &Map<String, Json> {
        &self.values
    }

    /// A fault at the value of the longest path that is known and that `path` begins with: `provider.groq.target`,
    /// `models.allow[1]`. What is left of the path then comes first in the text. `None`: no file says anything of it.
    #[must_use]
    pub fn fault(&self, path: &str, what: &str) -> Option<Fault> {
        let (place, rest) = self.place(path)?;
        Some(Fault {
            what: match rest {
                "" => what.to_owned(),
                rest => format!("{rest}: {what}"),
            },
            ..place.value.clone()
        })
    }

    /// Where the value of exactly this path stands.
    #[must_use]
    pub fn origin(&self, path: &str) -> Option<&Origin> {
        self.places.get(path).map(|it| &it.value.origin)
    }

    /// A fault at a key.
    #[must_use]
    pub fn key_fault(&self, path: &str, what: &str) -> Option<Fault> {
        let (place, _) = self.place(path)?;
        Some(Fault {
            what: what.to_owned(),
            ..place.key.clone()
        })
    }

    fn place<'p>(&self, path: &'p str) -> Option<(&Place, &'p str)> {
        let mut end = path.len();
        loop {
            if let Some(place) = self.places.get(&path[..end]) {
                return Some((place, path[end..].trim_start_matches('.')));
            }
            end = path[..end].rfind(['.', '['])?;
        }
    }

    /// Takes a section of a file. `at` is where its key stands.
    pub(crate) fn add(
        &mut self,
        text: &Text<'_>,
        name: &str,
        (at, node): (usize, &Node),
        faults: &mut Vec<Fault>,
    ) {
        if name == PROVIDER {
            return self.add_providers(text, (at, node), faults);
        }
        if !matches!(node.value, Value::Table(_)) {
            let what = format!("this is a table, not {}", node.value.kind());
            faults.push(text.fault(node.at, what, None));
            return;
        }
        let mut reader = Reader { text, faults };
        let value = reader.read(name, (at, node), &mut self.places);
        self.values.insert(name.to_owned(), value);
    }

    /// `[provider.NAME]`, or `[[provider]]` with a `name` in each.
    fn add_providers(
        &mut self,
        text: &Text<'_>,
        (at, node): (usize, &Node),
        faults: &mut Vec<Fault>,
    ) {
        let mut rows: Vec<(&str, usize, Node)> = Vec::new();
        match &node.value {
            Value::Table(fields) => {
                rows.extend(
                    fields
                        .iter()
                        .map(|it| (it.key.as_str(), it.at, it.node.clone())),
                );
            }
            Value::Array(all) => rows.extend(all.iter().filter_map(|it| named(text, it, faults))),
            other @ (Value::String(_)
            | Value::Integer(_)
            | Value::Float(_)
            | Value::Bool(_)
            | Value::Other(_)) => {
                let what = format!("this is a list of tables, not {}", other.kind());
                faults.push(text.fault(node.at, what, None));
                return;
            }
        }
        let mut reader = Reader { text, faults };
        let mut known = Map::new();
        self.places
            .insert(PROVIDER.to_owned(), reader.place(at, at));
        for (name, at, node) in rows {
            let path = format!("{PROVIDER}.{name}");
            if !matches!(node.value, Value::Table(_)) {
                let what = format!("this is a table, not {}", node.value.kind());
                reader.faults.push(text.fault(node.at, what, None));
            } else if let Some(other) = self.places.get(&path) {
                let fault = twice(&reader.place(at, at), other, &format!("provider `{name}`"));
                reader.faults.push(fault);
            } else {
                let value = reader.read(&path, (at, &node), &mut self.places);
                known.insert(name.to_owned(), value);
            }
        }
        self.values.insert(PROVIDER.to_owned(), Json::Object(known));
    }

    /// Adds what a file says to what the files before it say.
    pub(crate) fn merge(&mut self, later: Self, faults: &mut Vec<Fault>) {
        let Self { values, mut places } = later;
        for (name, value) in values {
            let both = |path: &str| self.places.get(path).zip(places.get(path));
            match (name == PROVIDER, self.values.get_mut(&name), value) {
                (true, Some(Json::Object(known)), Json::Object(rows)) => {
                    for (row, value) in rows {
                        let path = format!("{PROVIDER}.{row}");
                        if let Some((other, place)) = both(&path) {
                            faults.push(twice(place, other, &format!("provider `{row}`")));
                        }
                        known.insert(row, value);
                    }
                }
                (false, Some(_), _) => {
                    if let Some((other, place)) = both(&name) {
                        faults.push(twice(place, other, &format!("`{name}`")));
                    }
                }
                (_, _, value) => {
                    self.values.insert(name, value);
                }
            }
        }
        self.places.append(&mut places);
    }
}

fn twice(place: &Place, other: &Place, what: &str) -> Fault {
    Fault {
        what: format!("{what} is set up a second time"),
        hint: Some(format!(
            "the first time is at {}; put both together",
            other.key.origin
        )),
        ..place.key.clone()
    }
}

/// A row of `[[provider]]`: its name, the name's place, and the rest of it.
fn named<'n>(
    text: &Text<'_>,
    node: &'n Node,
    faults: &mut Vec<Fault>,
) -> Option<(&'n str, usize, Node)> {
    let Value::Table(fields) = &node.value else {
        let what = format!("this is a table, not {}", node.value.kind());
        faults.push(text.fault(node.at, what, None));
        return None;
    };
    let name = fields.iter().find(|it| it.key == "name");
    let Some(name) = name else {
        faults.push(text.fault(node.at, "the provider has no `name`", None));
        return None;
    };
    let Value::String(text_of_name) = &name.node.value else {
        let what = format!("this is a string, not {}", name.node.value.kind());
        faults.push(text.fault(name.node.at, what, None));
        return None;
    };
    let rest = fields.iter().filter(|it| it.key != "name").cloned();
    let value = Value::Table(rest.collect());
    let at = name.node.at;
    Some((text_of_name, at, Node { at, value }))
}

struct Reader<'r, 't> {
    text: &'r Text<'t>,
    faults: &'r mut Vec<Fault>,
}

impl Reader<'_, '_> {
    fn place(&self, key: usize, value: usize) -> Place {
        let fault = |at| self.text.fault(at, String::new(), None);
        Place {
            key: fault(key),
            value: fault(value),
        }
    }

    fn read(
        &mut self,
        path: &str,
        (at, node): (usize, &Node),
        places: &mut BTreeMap<String, Place>,
    ) -> Json {
        // Where a table begins says less than its key does: in TOML it may have none of its own.
        let begins = if matches!(node.value, Value::Table(_)) {
            at
        } else {
            node.at
        };
        places.insert(path.to_owned(), self.place(at, begins));
        match &node.value {
            Value::String(it) => Json::String(it.clone()),
            Value::Integer(it) => Json::Number((*it).into()),
            Value::Float(it) => Number::from_f64(*it).map_or(Json::Null, Json::Number),
            Value::Bool(it) => Json::Bool(*it),
            Value::Array(all) => {
                let all = all.iter().enumerate().map(|(index, it)| {
                    let path = format!("{path}[{index}]");
                    self.read(&path, (it.at, it), places)
                });
                Json::Array(all.collect())
            }
            Value::Table(fields) => {
                let fields = fields.iter().map(|it| {
                    let path = format!("{path}.{}", it.key);
                    (it.key.clone(), self.read(&path, (it.at, &it.node), places))
                });
                Json::Object(fields.collect())
            }
            Value::Other(kind) => {
                let what = format!("{kind} means nothing here");
                self.faults.push(self.text.fault(node.at, what, None));
                Json::Null
            }
        }
    }
}
