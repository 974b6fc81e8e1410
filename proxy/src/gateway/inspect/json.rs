// SPDX-License-Identifier: MIT OR Apache-2.0
//! The models that a JSON document names, and where. Pure.
//!
//! Readers differ in what they make of a name that occurs twice, or in other letters: such a document is refused. What
//! lies deeper is skipped without recursion, however deep it is.

use std::{borrow::Cow, fmt, ops::Range};

use serde::de::{Deserialize, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Models, each with its place: a string with its quotes.
type Models = Vec<(String, Range<usize>)>;

/// What a message on a WebSocket is about.
pub(crate) struct Message {
    /// It asks for an answer.
    pub(crate) asks: bool,
    /// The answer is to be worked on in the background.
    pub(crate) background: bool,
    /// The models that it names.
    pub(crate) models: Models,
}

/// What a request's body says at its top.
pub(super) struct Body {
    /// `model`, and the alternatives in `models`.
    pub(super) models: Models,
    /// The answer is to be worked on in the background.
    pub(super) background: bool,
}

/// Reads a request's body.
pub(super) fn body(bytes: &[u8]) -> Result<Body, &'static str> {
    let text = str::from_utf8(bytes).map_err(|_error| "the body is not UTF-8")?;
    let mut models = Vec::new();
    let top = add_models(text, text, &mut models)?;
    Ok(Body {
        models,
        background: is_background(&top),
    })
}

fn is_background(members: &Members<'_>) -> bool {
    let said = members.of("background").map(RawValue::get);
    !matches!(said, None | Some("false" | "null"))
}

/// What a client's message says: its type, and the models at its top and in `response` and `session`.
pub(crate) fn message(bytes: &[u8]) -> Result<Message, &'static str> {
    let text = str::from_utf8(bytes).map_err(|_error| "the message is not UTF-8")?;
    let mut models = Vec::new();
    let top = add_models(text, text, &mut models)?;
    let kind: &str = top.of("type").map_or("null", RawValue::get);
    let kind: Option<String> =
        serde_json::from_str(kind).map_err(|_error| "the message's type is not text")?;
    let mut background = is_background(&top);
    for name in ["response", "session"] {
        if let Some(inner) = top.of(name)
            && inner.get().starts_with('{')
        {
            let inner = add_models(text, inner.get(), &mut models)?;
            background |= is_background(&inner);
        }
    }
    Ok(Message {
        background,
        asks: kind.as_deref() == Some("response.create"),
        models,
    })
}

/// `text` with other strings in places; `None` if there are no changes.
pub(crate) fn replaced<'a>(
    text: &[u8],
    changes: impl Iterator<Item = (Range<usize>, &'a str)>,
) -> Option<Vec<u8>> {
    let mut changes: Vec<_> = changes.collect();
    // From the back, so that the places in front stay where they are.
    changes.sort_by_key(|it| std::cmp::Reverse(it.0.start));
    let mut out = (!changes.is_empty()).then(|| text.to_vec())?;
    for (at, name) in changes {
        let string = serde_json::to_vec(name).unwrap_or_default();
        out.splice(at, string);
    }
    Some(out)
}

/// Adds the models of the object `text`, which lies within `whole`.
fn add_models<'a>(
    whole: &str,
    text: &'a str,
    models: &mut Models,
) -> Result<Members<'a>, &'static str> {
    let members: Members<'a> =
        serde_json::from_str(text).map_err(|error| match error.to_string() {
            it if it.starts_with(AMBIGUOUS) => AMBIGUOUS,
            _ => "this is not a JSON object",
        })?;
    if let Some(raw) = members.of("model") {
        models.push(named(whole, raw)?);
    }
    if let Some(raw) = members.of("models") {
        let all: Vec<&RawValue> =
            serde_json::from_str(raw.get()).map_err(|_error| "models is not a list")?;
        for raw in all {
            models.push(named(whole, raw)?);
        }
    }
    Ok(members)
}

fn named(whole: &str, raw: &RawValue) -> Result<(String, Range<usize>), &'static str> {
    let name = serde_json::from_str(raw.get()).map_err(|_error| "a model is not text")?;
    let start = raw.get().as_ptr().addr() - whole.as_ptr().addr();
    Ok((name, start..start + raw.get().len()))
}

/// The members of an object that matter here.
const KNOWN: [&str; 6] = [
    "model",
    "models",
    "type",
    "response",
    "session",
    "background",
];

const AMBIGUOUS: &str = "a member is named twice, or in other letters";

struct Members<'a>([Option<&'a RawValue>; KNOWN.len()]);

impl<'a> Members<'a> {
    fn of(&self, name: &str) -> Option<&'a RawValue> {
        let at = KNOWN.iter().position(|it| *it == name)?;
        self.0.get(at).copied().flatten()
    }
}

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
        let mut members = Members([None; KNOWN.len()]);
        while let Some(name) = map.next_key::<Name<'de>>()? {
            let slot = KNOWN.iter().position(|it| it.eq_ignore_ascii_case(&name.0));
            let Some(slot) = slot.and_then(|at| Some((at, members.0.get_mut(at)?))) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let (at, slot) = slot;
            if slot.is_some() || KNOWN.get(at).copied() != Some(&*name.0) {
                return Err(A::Error::custom(AMBIGUOUS));
            }
            *slot = Some(map.next_value()?);
        }
        Ok(members)
    }
}

/// A member's name, borrowed if it has no escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, &'static str> {
        body(text.as_bytes()).map(|it| it.models.into_iter().map(|it| it.0).collect())
    }

    #[test]
    fn the_model_is_found_wherever_it_stands() {
        for (text, expected) in [
            (r#"{"model":"a"}"#, &["a"][..]),
            (
                r#" { "input" : [{"model":"x"}], "mod\u0065l" : "\u0061" } "#,
                &["a"],
            ),
            (r#"{"models":["a","b"],"model":"c"}"#, &["c", "a", "b"]),
            (r#"{"input":"\"model\":\"x\""}"#, &[]),
            ("{}", &[]),
        ] {
            assert_eq!(names(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for text in [
            r#"{"model":"a","model":"b"}"#,
            r#"{"model":"a","mod\u0065l":"b"}"#,
            r#"{"model":"a","Model":"b"}"#,
            r#"{"MODEL":"a"}"#,
            r#"{"model":null}"#,
            r#"{"model":["a"]}"#,
            r#"{"models":"a"}"#,
            r#"{"models":[1]}"#,
            r#"[{"model":"a"}]"#,
            r#"{"model":"a"} x"#,
            r#"{"model":"a"}{"model":"b"}"#,
            r#"{"model":"a",}"#,
            r#"{"model":"a","x":NaN}"#,
            "\u{feff}{\"model\":\"a\"}",
            "model=a",
            "",
        ] {
            assert!(names(text).is_err(), "{text}");
        }
        assert!(body(b"{\"model\":\"a\",\"x\":\"\xff\"}").is_err());
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!(
            r#"{{"x":{}{},"model":"a"}}"#,
            "[".repeat(1_000_000),
            "]".repeat(1_000_000)
        );
        assert_eq!(names(&deep).unwrap(), ["a"]);
        let open = format!(r#"{{"model":"a","x":{}"#, "{\"a\":".repeat(1_000_000));
        assert!(names(&open).is_err());
    }

    #[test]
    fn a_response_in_the_background_is_seen() {
        let background = |text: &str| body(text.as_bytes()).unwrap().background;
        assert!(background(r#"{"background":true}"#));
        assert!(background(r#"{"background":1}"#));
        for text in ["{}", r#"{"background":false}"#, r#"{"background": null}"#] {
            assert!(!background(text), "{text}");
        }
        let inner = br#"{"type":"response.create","response":{"background":true}}"#;
        assert!(message(inner).unwrap().background);
    }

    #[test]
    fn nothing_but_the_name_changes() {
        let text = r#"{ "x":1.0e5 , "model" : "fast", "models":["b","fast"] }"#;
        let found = body(text.as_bytes()).unwrap();
        let changes = found.models.iter().filter(|it| it.0 == "fast");
        let out = replaced(text.as_bytes(), changes.map(|it| (it.1.clone(), "a\"b"))).unwrap();
        let expected = r#"{ "x":1.0e5 , "model" : "a\"b", "models":["b","a\"b"] }"#;
        assert_eq!(out, expected.as_bytes());
        assert_eq!(replaced(b"{}", std::iter::empty()), None);
    }

    #[test]
    fn messages_are_understood() {
        let read = |text: &str| message(text.as_bytes()).map(|it| (it.asks, it.models.len()));
        assert_eq!(
            read(r#"{"type":"response.create","model":"a"}"#),
            Ok((true, 1))
        );
        assert_eq!(
            read(r#"{"type":"response.create","response":{"model":"a"}}"#),
            Ok((true, 1))
        );
        assert_eq!(
            read(r#"{"type":"session.update","session":{"model":"a"}}"#),
            Ok((false, 1))
        );
        assert_eq!(read(r#"{"type":"response.cancel"}"#), Ok((false, 0)));
        for text in [
            r#"{"type":"x","type":"response.create"}"#,
            r#"{"Type":"response.create"}"#,
            r#"{"type":1}"#,
            r#"{"type":"response.create","response":{"model":"a","model":"b"}}"#,
            "hello",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
