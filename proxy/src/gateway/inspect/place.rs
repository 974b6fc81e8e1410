// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which requests are inference, and where a path names the model. Pure.

use std::ops::Range;

use http::Method;

use crate::provider::Dialect;

/// What a request is to the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It counts.
    Inference,
    /// Tokens are counted, none are used: the rules for models hold, nothing else.
    Counting,
    /// Neither.
    Other,
}

/// What a request is. A `POST` that is not known to be anything else is inference.
pub(super) fn kind(method: &Method, path: &str) -> Kind {
    if method != Method::POST {
        return Kind::Other;
    }
    let path = path.trim_end_matches('/');
    let last = path.rsplit('/').next().unwrap_or_default();
    match last {
        // Copilot's client asks for its tools there.
        "readonly" if path.ends_with("/mcp/readonly") => Kind::Other,
        "cancel" if path.contains("/responses/") => Kind::Other,
        "count_tokens" | "count-tokens" | "input_tokens" => Kind::Counting,
        _ if last.ends_with(":countTokens") => Kind::Counting,
        _ => Kind::Inference,
    }
}

/// Where in a path a model is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The name alone.
    pub(super) name: Range<usize>,
    /// With what it stands under, unless that says nothing.
    pub(super) full: Range<usize>,
}

/// Finds the model in the path of a request.
pub(super) fn model(dialect: Dialect, path: &str) -> Option<Place> {
    let mut segments = Vec::new();
    let mut at = 0;
    for segment in path.split('/') {
        segments.push((at, segment));
        at += segment.len() + 1;
    }
    // The last of several: what stands in front of it can be a base path.
    (1..segments.len()).rev().find_map(|index| {
        let (start, segment) = *segments.get(index)?;
        let (under, before) = *segments.get(index - 1)?;
        let with_verb = || {
            segment
                .rsplit_once(':')
                .or_else(|| segment.rsplit_once("%3A"))
        };
        let name = match (dialect, before) {
            (Dialect::Gemini | Dialect::Anthropic, "models" | "tunedModels" | "endpoints") => {
                with_verb()?.0
            }
            (Dialect::Bedrock, "model") | (Dialect::Openai, "deployments") => segment,
            _ => return None,
        };
        let maker = || {
            segments
                .get(index.checked_sub(3)?)
                .filter(|it| it.1 == "publishers")
        };
        let from = match before {
            "models" => maker().map_or(start, |it| it.0),
            "tunedModels" | "endpoints" => under,
            _ => start,
        };
        let end = start + name.len();
        (!name.is_empty()).then_some(Place {
            name: start..end,
            full: from..end,
        })
    })
}

/// A part of a path without its escapes. `None`: it is no text.
pub(super) fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                let value = digit()? * 16 + digit()?;
                bytes.push(u8::try_from(value).ok()?);
            }
            _ => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).ok()
}

/// A name as a segment of a path.
pub(super) fn encoded(name: &str) -> String {
    let plain = |it: u8| it.is_ascii_alphanumeric() || b"-._~@".contains(&it);
    let each = name.bytes().map(|it| match plain(it) {
        true => char::from(it).to_string(),
        false => format!("%{it:02X}"),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_found_in_paths() {
        use Dialect::{Anthropic, Bedrock, Gemini, Openai, Other};
        for (dialect, path, name, full) in [
            (
                Gemini,
                "/v1beta/models/gemini-2.5-pro:generateContent",
                "gemini-2.5-pro",
                "gemini-2.5-pro",
            ),
            (
                Gemini,
                "/v1/publishers/google/models/gemini-3:streamGenerateContent",
                "gemini-3",
                "publishers/google/models/gemini-3",
            ),
            (
                Gemini,
                "/v1beta/tunedModels/mine:generateContent",
                "mine",
                "tunedModels/mine",
            ),
            (
                Bedrock,
                "/model/anthropic.claude-v1%3A0/converse",
                "anthropic.claude-v1%3A0",
                "anthropic.claude-v1%3A0",
            ),
            (
                Openai,
                "/openai/deployments/gpt-5/chat/completions",
                "gpt-5",
                "gpt-5",
            ),
            (
                Anthropic,
                "/v1/projects/p/locations/l/publishers/anthropic/models/claude@1:rawPredict",
                "claude@1",
                "publishers/anthropic/models/claude@1",
            ),
            (Gemini, "/models/a:x/models/b:generateContent", "b", "b"),
        ] {
            let place = model(dialect, path).unwrap();
            assert_eq!((&path[place.name], &path[place.full]), (name, full));
        }
        for (dialect, path) in [
            (Gemini, "/v1beta/models"),
            (Gemini, "/v1beta/openai/chat/completions"),
            (Openai, "/v1/models/gpt-5"),
            (Anthropic, "/v1/messages"),
            (Other, "/model/x/y"),
            (Bedrock, "/model//converse"),
        ] {
            assert_eq!(model(dialect, path), None, "{path}");
        }
        assert_eq!(decoded("a%3A0%2Fb").unwrap(), "a:0/b");
        assert_eq!(decoded("%ff"), None);
        assert_eq!(encoded("a:0/b"), "a%3A0%2Fb");
    }

    #[test]
    fn what_is_not_known_is_inference() {
        for (path, expected) in [
            ("/v1/responses", Kind::Inference),
            ("/v1/responses/compact", Kind::Inference),
            ("/v1/responses/resp_1/cancel", Kind::Other),
            ("/v1/messages/count_tokens", Kind::Counting),
            ("/v1beta/models/m:countTokens", Kind::Counting),
            ("/v1beta/models/m:generateContent", Kind::Inference),
            ("/anything", Kind::Inference),
        ] {
            assert_eq!(kind(&Method::POST, path), expected, "{path}");
        }
        assert_eq!(kind(&Method::GET, "/v1/models"), Kind::Other);
    }
}
