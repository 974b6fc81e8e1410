// SPDX-License-Identifier: MIT OR Apache-2.0
//! What TOML, YAML and JSON have in common: values, each with the place where it stands.
//!
//! A policy is read from this and not from the three formats, so that it means the same in each, every fault has a
//! place, and all faults come at once.

mod json;
mod toml;
mod yaml;

use crate::{Fault, text::Text};

/// A value, and the byte at which its text begins: behind the quotes, for a string.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) value: Value,
}

/// What a policy file is made of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    String(String),
    Integer(i64),
    /// Finite. Of the policy itself nothing is one, but limits may be.
    Float(f64),
    Bool(bool),
    Array(Vec<Node>),
    /// In the order of the file.
    Table(Vec<Field>),
    /// Null, numbers that are too large, dates: nothing that a policy has. By its name, for people.
    Other(&'static str),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) at: usize,
    pub(crate) key: String,
    pub(crate) node: Node,
}

impl Value {
    /// Its kind, for people.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "a number",
            Self::Float(_) => "a number with a fraction",
            Self::Bool(_) => "true or false",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Other(kind) => kind,
        }
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `.toml`.
    Toml,
    /// `.yaml`, `.yml`.
    Yaml,
    /// `.json`.
    Json,
}

impl Format {
    /// By a path's extension.
    #[must_use]
    pub fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Self::Toml),
            "yaml" | "yml" => Some(Self::Yaml),
            "json" => Some(Self::Json),
            _ => None,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Toml => "TOML",
            Self::Yaml => "YAML",
            Self::Json => "JSON",
        }
    }
}

/// How deep values may be in each other. A policy needs four.
const DEEPEST: usize = 16;

/// Reads a text in a format.
pub(crate) fn read(text: &Text<'_>, format: Format) -> Result<Node, Fault> {
    match format {
        Format::Toml => toml::read(text),
        Format::Yaml => yaml::read(text),
        Format::Json => json::read(text),
    }
}

/// Reads a text of which nobody says how it is written. One that begins with `{` is JSON; else it is TOML if it can be
/// read so, and YAML if only that can. If neither: what TOML finds wrong, or YAML where the first line looks like it.
pub(crate) fn detect(text: &Text<'_>) -> Result<(Node, Format), (Fault, Format)> {
    if text.text().trim_start().starts_with('{') {
        let format = Format::Json;
        return read(text, format)
            .map(|it| (it, format))
            .map_err(|it| (it, format));
    }
    let fault = match read(text, Format::Toml) {
        Ok(node) => return Ok((node, Format::Toml)),
        Err(fault) => fault,
    };
    match read(text, Format::Yaml) {
        // Any text is a YAML string.
        Ok(node) if matches!(node.value, Value::Table(_)) => Ok((node, Format::Yaml)),
        Ok(_) => Err((fault, Format::Toml)),
        Err(other) => {
            let mut lines = text.text().lines().map(str::trim);
            let first = lines.find(|it| !it.is_empty() && !it.starts_with('#'));
            let colon = first.is_some_and(|it| !it.contains('=') && it.contains(':'));
            Err(if colon {
                (other, Format::Yaml)
            } else {
                (fault, Format::Toml)
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every string with line and column, and every key.
    fn places(text: &str, format: Format) -> Vec<String> {
        fn walk(text: &Text<'_>, node: &Node, found: &mut Vec<String>) {
            let at = |byte| {
                let origin = text.origin(byte);
                format!("{}:{}", origin.line, origin.column)
            };
            match &node.value {
                Value::String(it) => found.push(format!("{} {it}", at(node.at))),
                Value::Integer(it) => found.push(format!("{} {it}", at(node.at))),
                Value::Array(all) => all.iter().for_each(|it| walk(text, it, found)),
                Value::Table(fields) => {
                    for field in fields {
                        found.push(format!("{} {} =", at(field.at), field.key));
                        walk(text, &field.node, found);
                    }
                }
                Value::Bool(it) => found.push(format!("{} {it}", at(node.at))),
                Value::Float(it) => found.push(format!("{} {it}", at(node.at))),
                Value::Other(kind) => found.push(format!("{} {kind}", at(node.at))),
            }
        }
        let text = Text::file("x", text);
        let mut found = Vec::new();
        walk(&text, &read(&text, format).unwrap(), &mut found);
        found
    }

    #[test]
    fn places_are_right_in_each_format() {
        let toml = "# \u{e9}\nallow = [\"a.b\", 'c.d', { rule = \"\u{e9}.f\", methods = [\"GET\"] }]\r\nn = 0x10\n[groups]\n\"my\" = [\n  \"\"\"g\"\"\", true]\n[a.b]\nc.d = 1\n";
        assert_eq!(
            places(toml, Format::Toml),
            [
                "2:1 allow =",
                "2:11 a.b",
                "2:18 c.d",
                "2:26 rule =",
                "2:34 \u{e9}.f",
                "2:40 methods =",
                "2:52 GET",
                "3:1 n =",
                "3:5 16",
                "4:2 groups =",
                "5:2 my =",
                "6:6 g",
                "6:12 true",
                "7:2 a =",
                "7:4 b =",
                "8:1 c =",
                "8:3 d =",
                "8:7 1",
            ]
        );
        let yaml = "# \u{e9}\nallow:\n  - a.b\n  - 'c.d'\n  - { rule: \"\u{e9}.f\", methods: [GET] }\nn: 0x10\ngroups:\n  \"my\": [ g, true ]\n";
        assert_eq!(
            places(yaml, Format::Yaml),
            [
                "2:1 allow =",
                "3:5 a.b",
                "4:6 c.d",
                "5:7 rule =",
                "5:14 \u{e9}.f",
                "5:20 methods =",
                "5:30 GET",
                "6:1 n =",
                "6:4 16",
                "7:1 groups =",
                "8:4 my =",
                "8:11 g",
                "8:14 true",
            ]
        );
        let json = "{\r\n  \"allow\": [\"a.b\", {\"rule\": \"\u{e9}.f\",\n \"methods\": [ \"GET\" ]}],\n\"n\": 16, \"x\": [null, 1.5]}\n";
        assert_eq!(
            places(json, Format::Json),
            [
                "2:4 allow =",
                "2:14 a.b",
                "2:22 rule =",
                "2:30 \u{e9}.f",
                "3:3 methods =",
                "3:16 GET",
                "4:2 n =",
                "4:6 16",
                "4:11 x =",
                "4:16 null",
                "4:22 1.5",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_has_a_place() {
        for (text, format, place) in [
            ("allow = [\"a\"\nx = 1", Format::Toml, (2, 1)),
            ("a = 1\na = 2", Format::Toml, (2, 1)),
            ("allow: [a\nb: c", Format::Yaml, (2, 2)),
            ("a: 1\na: 2", Format::Yaml, (2, 1)),
            ("{\"a\": 1,\n}", Format::Json, (2, 1)),
            ("{\"a\": 1,\n\"a\": 2}", Format::Json, (2, 2)),
            ("{\"a\": 1}\n x", Format::Json, (2, 2)),
        ] {
            let text = Text::file("x", text);
            let fault = read(&text, format).unwrap_err();
            assert_eq!((fault.origin.line, fault.origin.column), place, "{fault}");
        }
    }

    #[test]
    fn what_is_too_deep_is_refused() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for (text, format) in [
            (deep.clone(), Format::Json),
            (deep.clone(), Format::Yaml),
            (format!("a = {deep}"), Format::Toml),
            ("{\"a\":".repeat(20) + "1" + &"}".repeat(20), Format::Json),
        ] {
            let text = Text::file("x", &text);
            assert!(read(&text, format).is_err());
        }
    }
}
