// SPDX-License-Identifier: MIT OR Apache-2.0
//! Plain HTTP: which methods and paths.
//!
//! A path is judged in one spelling. One that some server could read in another way (dot segments, `//`, `\`, `;`,
//! encoded slashes, a second encoding) has none: no rule allows it, and every rule that blocks a path blocks it.

use std::borrow::Cow;

use super::pattern::glob;

/// Requests that a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Requests {
    /// Methods, in capitals. All, if it is empty.
    pub(crate) methods: Vec<String>,
    /// Path; `*` in it is any run of characters, `/` too. All, if there is nothing.
    pub(crate) path: Option<String>,
}

impl Requests {
    /// Whether they have this one. `target` is a path with its query, which is not looked at.
    pub(crate) fn allow(&self, method: &str, target: &str) -> bool {
        self.has_method(method)
            && self.path.as_ref().is_none_or(|pattern| {
                spelling(path_of(target)).is_some_and(|path| glob(pattern, &path))
            })
    }

    /// The same for a block list: where there is doubt, it is blocked.
    pub(crate) fn block(&self, method: &str, target: &str) -> bool {
        self.has_method(method)
            && self.path.as_ref().is_none_or(|pattern| {
                spelling(path_of(target)).is_none_or(|path| glob(pattern, &path))
            })
    }

    fn has_method(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|it| it == method)
    }
}

fn path_of(target: &str) -> &str {
    target.split_once('?').map_or(target, |it| it.0)
}

/// A path in the spelling in which it is compared: what needs no escape has none, other escapes are in capitals.
/// `None` if it is ambiguous.
pub(crate) fn spelling(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') || !path.bytes().all(|it| it.is_ascii_graphic()) {
        return None;
    }
    let path = if path.contains('%') {
        Cow::Owned(decode_unreserved(path)?)
    } else {
        Cow::Borrowed(path)
    };
    let ambiguous = path.contains("//")
        || path.contains(['\\', ';', '#', '?'])
        || path.split('/').any(|it| matches!(it, "." | ".."));
    (!ambiguous).then_some(path)
}

/// Decodes escapes of characters that never need one (RFC 3986, section 6.2.2.2).
fn decode_unreserved(path: &str) -> Option<String> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path.chars();
    while let Some(character) = rest.next() {
        if character != '%' {
            decoded.push(character);
            continue;
        }
        let (high, low) = (rest.next()?.to_digit(16)?, rest.next()?.to_digit(16)?);
        match char::from_u32(high * 16 + low)? {
            plain @ ('a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' | '~') => {
                decoded.push(plain);
            }
            // Slashes, what ends a segment elsewhere, line ends, NUL, and the percent sign of a second encoding.
            '/' | '\\' | ';' | '%' | '?' | '#' | '\0'..='\x1f' | '\x7f' => return None,
            _ => {
                decoded.push('%');
                for digit in [high, low] {
                    decoded.extend(char::from_digit(digit, 16).map(|it| it.to_ascii_uppercase()));
                }
            }
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_one_spelling_or_none() {
        for (path, one) in [
            ("/", Some("/")),
            ("/a/b.c", Some("/a/b.c")),
            ("/%61/%7e%c3%a9", Some("/a/~%C3%A9")),
            ("/a..b/...", Some("/a..b/...")),
            ("", None),
            ("a", None),
            ("*", None),
            ("/a/../b", None),
            ("/a/.", None),
            ("/a/%2e%2E/b", None),
            ("/a/..%2fb", None),
            ("/a%5cb", None),
            ("/a\\b", None),
            ("//a", None),
            ("/a//b", None),
            ("/a;/b", None),
            ("/a/..;/b", None),
            ("/a%3bb", None),
            ("/a%252e", None),
            ("/a%00", None),
            ("/a%0d%0a", None),
            ("/a%", None),
            ("/a%2", None),
            ("/a%zz", None),
            ("/a%+1", None),
            ("/a b", None),
            ("/\u{e9}", None),
        ] {
            assert_eq!(spelling(path).as_deref(), one, "{path}");
        }
    }

    #[test]
    fn doubt_denies_on_either_list() {
        let requests = Requests {
            methods: vec!["GET".to_owned()],
            path: Some("/pub/*".to_owned()),
        };
        assert!(requests.allow("GET", "/pub/a?x=/../"));
        assert!(!requests.allow("GET", "/pub/../secret"));
        assert!(requests.block("GET", "/pub/../secret"));
        assert!(!requests.allow("get", "/pub/a"));
        assert!(!requests.allow("POST", "/pub/a"));
        assert!(!requests.block("POST", "/pub/a"));
        assert!(!requests.block("GET", "/other"));
    }
}
