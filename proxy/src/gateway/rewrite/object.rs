// SPDX-License-Identifier: MIT OR Apache-2.0
//! A JSON object taken apart by one level: its members in their order, each value as the text that it was. What no
//! rule changes keeps its bytes: numbers their digits, strings their escapes. Pure.

use std::{borrow::Cow, fmt};

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The members of an object, in order.
pub(super) struct Object<'a>(pub(super) Vec<(String, Cow<'a, str>)>);

impl<'a> Object<'a> {
    /// `None`: it is no object.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// The last member of this name, which is the one that counts for most readers.
    pub(super) fn of(&self, name: &str) -> Option<&str> {
        let mut found = self.0.iter().rev();
        Some(&*found.find(|it| it.0 == name)?.1)
    }

    /// The text of a member that is a string.
    pub(super) fn string(&self, name: &str) -> Option<String> {
        string(self.of(name)?)
    }

    /// The object again.
    pub(super) fn text(&self) -> String {
        let mut out = String::from("{");
        for (index, (name, value)) in self.0.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(&quoted(name));
            out.push(':');
            out.push_str(value);
        }
        out.push('}');
        out
    }
}

/// The elements of a list. `None`: it is no list.
pub(super) fn list(text: &str) -> Option<Vec<&str>> {
    let all: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(all.into_iter().map(RawValue::get).collect())
}

/// The list again.
pub(super) fn listed<T: AsRef<str>>(elements: &[T]) -> String {
    let all: Vec<&str> = elements.iter().map(AsRef::as_ref).collect();
    format!("[{}]", all.join(","))
}

/// The text of a string. `None`: it is no string.
pub(super) fn string(text: &str) -> Option<String> {
    serde_json::from_str(text).ok()
}

/// A string as JSON has it.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((name, Cow::Borrowed(value.get())));
                }
                Ok(Object(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}
