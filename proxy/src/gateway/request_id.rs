// SPDX-License-Identifier: MIT OR Apache-2.0
//! The identifier that a request has here, upstream, in the answer and in the log.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::settings::is_identifier;

pub(super) const NAME: HeaderName = HeaderName::from_static("x-request-id");

/// Longest identifier that is kept.
const LONGEST: usize = 128;

/// The workload's own identifier if it is harmless, else a new one.
pub(super) fn of(headers: &HeaderMap) -> HeaderValue {
    let mut given = headers.get_all(NAME).iter();
    match (given.next(), given.next()) {
        (Some(id), None) if id.to_str().is_ok_and(|it| is_identifier(it, LONGEST)) => id.clone(),
        _ => new(),
    }
}

/// A new identifier.
pub(super) fn new() -> HeaderValue {
    let mut text = uuid::Uuid::encode_buffer();
    let text = uuid::Uuid::new_v4().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmless_ones_are_kept() {
        let kept = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(NAME, HeaderValue::from_str(value).unwrap());
            }
            of(&headers).to_str().unwrap().to_owned()
        };
        assert_eq!(kept(&["a-B_c.9"]), "a-B_c.9");
        assert_eq!(kept(&[&"x".repeat(128)]), "x".repeat(128));
        for bad in [
            &["x".repeat(129).as_str()][..],
            &["a b"],
            &["a\"b"],
            &[""],
            &["a", "b"],
            &[],
        ] {
            assert_eq!(kept(bad).len(), 36, "{bad:?}");
        }
    }
}
