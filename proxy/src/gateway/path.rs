// SPDX-License-Identifier: MIT OR Apache-2.0
//! A request target, brought to the one spelling in which it is judged and sent. Pure.
//!
//! Dot segments are collapsed before anything is compared with a route or a base path goes in front, so
//! that nothing climbs above it. What some server could read as a dot segment although this does not
//! (`..%2f`, `%252e`, `..;`) is refused rather than guessed at.

use std::borrow::Cow;

use crate::{
    provider::{Route, Versions},
    refusal::Refusal,
};

/// A request target in its one spelling.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Normal<'a> {
    /// Path: starts with `/`, has no dot segments, escapes nothing that needs no escape.
    pub path: Cow<'a, str>,
    /// Query without its question mark.
    pub query: Option<&'a str>,
}

/// Splits and normalises a target that the head guard let through (it starts with one slash and holds
/// plain ASCII).
///
/// # Errors
///
/// [`Refusal::NotRelative`] for what is not a path, [`Refusal::BadPath`] for an ambiguous one.
pub fn normalise(target: &str) -> Result<Normal<'_>, Refusal> {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    if !path.starts_with('/') || path.starts_with("//") {
        return Err(Refusal::NotRelative);
    }
    // The guard sees to it already; what is sent must not hang on that alone.
    if !target.bytes().all(|it| it.is_ascii_graphic()) {
        return Err(Refusal::BadPath);
    }
    // Almost every path: nothing to decode, nothing to collapse.
    if !path.bytes().any(|it| matches!(it, b'%' | b'\\' | b'#'))
        && !path.contains("/.")
        && !path.contains(';')
    {
        return Ok(Normal {
            path: Cow::Borrowed(path),
            query,
        });
    }
    let decoded = decode_unreserved(path)?;
    refuse_hidden_dots(&decoded)?;
    Ok(Normal {
        path: Cow::Owned(collapse(&decoded)?),
        query,
    })
}

/// Decodes escapes of characters that never need one (RFC 3986, section 6.2.2.2), and writes the
/// others in upper case.
fn decode_unreserved(path: &str) -> Result<String, Refusal> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let digits = rest.next().and_then(hex).zip(rest.next().and_then(hex));
                let (high, low) = digits.ok_or(Refusal::BadPath)?;
                let value = char::from(high * 16 + low);
                match value {
                    'a'..='z' | 'A'..='Z' | '0'..='9' | '-' | '.' | '_' | '~' => {
                        decoded.push(value)
                    }
                    // NUL and line ends have no business in a path, in whatever spelling.
                    '\0' | '\r' | '\n' => return Err(Refusal::BadPath),
                    _ => {
                        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                        decoded.push('%');
                        for digit in [high, low] {
                            decoded.push(char::from(DIGITS[usize::from(digit & 15)]));
                        }
                    }
                }
            }
            b'\\' | b'#' => return Err(Refusal::BadPath),
            0x21..=0x7e => decoded.push(char::from(byte)),
            _ => return Err(Refusal::BadPath),
        }
    }
    Ok(decoded)
}

/// Refuses a path in which another reader could find a dot segment that is not one here: behind an
/// encoded slash or backslash, behind a second decoding, or before a semicolon.
fn refuse_hidden_dots(path: &str) -> Result<(), Refusal> {
    let mut current = Cow::Borrowed(path);
    // Each round takes away one level of `%25`; the path gets shorter, so this ends.
    loop {
        let plain = current.replace("%2F", "/").replace("%2f", "/");
        let plain = plain.replace("%5C", "/").replace("%5c", "/");
        let hidden = |segment: &str| {
            let name = segment.split_once(';').map_or(segment, |it| it.0);
            matches!(name, "." | "..")
        };
        // Dot segments as such are not hidden: they are collapsed.
        let open = |segment: &str| matches!(segment, "." | "..");
        let all = plain.split('/').filter(|it| hidden(it)).count();
        let collapsed = path.split('/').filter(|it| open(it)).count();
        if all > collapsed {
            return Err(Refusal::BadPath);
        }
        let Some(next) = decode_once(&current) else {
            return Ok(());
        };
        current = Cow::Owned(next);
    }
}

/// One more decoding of dots and percent signs; `None` if it changes nothing.
fn decode_once(path: &str) -> Option<String> {
    let next = path
        .replace("%2E", ".")
        .replace("%2e", ".")
        .replace("%25", "%");
    (next != path).then_some(next)
}

/// Removes dot segments (RFC 3986, section 5.2.4).
fn collapse(path: &str) -> Result<String, Refusal> {
    let mut segments: Vec<&str> = Vec::new();
    let mut all = path.split('/').skip(1).peekable();
    while let Some(segment) = all.next() {
        let last = all.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    segments.pop();
                }
                if last {
                    segments.push("");
                }
            }
            _ => segments.push(segment),
        }
    }
    let collapsed = format!("/{}", segments.join("/"));
    // `/.//x` would become a path that begins like an authority.
    if collapsed.starts_with("//") {
        Err(Refusal::NotRelative)
    } else {
        Ok(collapsed)
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|it| u8::try_from(it).ok())
}

/// Where a path leads: what it is called in the routes, and what is sent to the target.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ApiPath<'a> {
    version: &'a str,
    rest: &'a str,
    sent_version: &'a str,
    base: &'a str,
}

impl<'a> ApiPath<'a> {
    /// Understands `path` (normalised) at a target with this base path: a base path that the workload
    /// sent along is not doubled, and neither is a version.
    #[must_use]
    pub fn new(path: &'a str, base: &'a str, versions: &'a Versions) -> Self {
        let mut rest = path;
        if !base.is_empty() {
            rest = strip_segments(rest, base).unwrap_or(rest);
        }
        let mut found = None;
        while let Some((version, behind)) = strip_version(rest, versions) {
            found = Some(version);
            rest = behind;
        }
        let base_has_version = versions.known.iter().any(|it| base.ends_with(it.as_str()));
        let sent_version = match found {
            _ if base_has_version => "",
            Some(version) => version,
            None if versions.always => &versions.default,
            None => "",
        };
        Self {
            version: found.unwrap_or(&versions.default),
            rest,
            sent_version,
            base,
        }
    }

    /// Whether this is where `route` leads.
    #[must_use]
    pub fn is_at(&self, route: &Route) -> bool {
        // A route without a version is the same in all of them.
        let skipped = match strip_segments(route.path(), self.version) {
            Some(_) => self.version.len(),
            None => 0,
        };
        route.covers(self.rest, skipped)
    }

    /// Appends the path as it is sent to the target.
    pub fn write_to(&self, out: &mut String) {
        out.push_str(self.base);
        out.push_str(self.sent_version);
        out.push_str(self.rest);
        if self.base.is_empty() && self.sent_version.is_empty() && self.rest.is_empty() {
            out.push('/');
        }
    }
}

/// `path` without the leading segments `prefix`; what is left is empty or begins with a slash.
fn strip_segments<'a>(path: &'a str, prefix: &str) -> Option<&'a str> {
    let rest = path.strip_prefix(prefix)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

fn strip_version<'a>(path: &'a str, versions: &'a Versions) -> Option<(&'a str, &'a str)> {
    versions
        .known
        .iter()
        .find_map(|it| strip_segments(path, it).map(|rest| (it.as_str(), rest)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn v1(always: bool) -> Versions {
        Versions {
            known: vec!["/v1".to_owned()],
            default: "/v1".to_owned(),
            always,
        }
    }

    #[test]
    fn paths_have_one_spelling() {
        for (target, path, query) in [
            ("/v1/responses", "/v1/responses", None),
            ("/v1/responses?a=b?c", "/v1/responses", Some("a=b?c")),
            ("/?", "/", Some("")),
            ("/a/../b", "/b", None),
            ("/a/%2e%2E/b", "/b", None),
            ("/a/.%2e/b/.", "/b/", None),
            ("/../../a", "/a", None),
            ("/a/b/..", "/a/", None),
            ("/%76%31/models", "/v1/models", None),
            ("/v1/models/org%2fmodel", "/v1/models/org%2Fmodel", None),
            ("/v1/models/a%3Ab", "/v1/models/a%3Ab", None),
            ("/a...b/.c/..d", "/a...b/.c/..d", None),
            ("/a//b", "/a//b", None),
            ("/a?x=/../y", "/a", Some("x=/../y")),
        ] {
            let normal = normalise(target).expect(target);
            assert_eq!((&*normal.path, normal.query), (path, query), "{target}");
        }
    }

    #[test]
    fn ambiguous_paths_are_refused() {
        for target in [
            "/v1/models/..%2f..%2ffiles",
            "/v1/models/x%2f..%2f..%2ffiles",
            "/v1/models/%2e%2e%2ffiles",
            "/v1/models/..%5cfiles",
            "/v1/models/%252e%252e/files",
            "/v1/models/%25252e%25252e/files",
            "/v1/models/x%252f%252e%252e",
            "/v1/models/..;/files",
            "/v1/models/..;x=y/files",
            "/v1/models/%2e%2e;/files",
            "/v1/%",
            "/v1/%4",
            "/v1/%zz",
            "/v1/%00",
            "/v1/x%0d%0ay",
            "/v1\\files",
            "/v1/#x",
            "/v1/x y",
            "/v1/x\ny",
            "/v1/\u{e9}",
            "/v1/x?a b",
        ] {
            assert_eq!(normalise(target), Err(Refusal::BadPath), "{target}");
        }
        for target in ["", "x", "*", "http://x/", "//x", "/.//x", "/a/..//x", "?x"] {
            assert_eq!(normalise(target), Err(Refusal::NotRelative), "{target}");
        }
    }

    fn sent(path: &str, base: &str, versions: &Versions) -> String {
        let mut out = String::new();
        ApiPath::new(path, base, versions).write_to(&mut out);
        out
    }

    #[test]
    fn one_base_url_serves_every_client() {
        for (path, base, expected) in [
            ("/responses", "/v1", "/v1/responses"),
            ("/v1/responses", "/v1", "/v1/responses"),
            ("/v1/v1/responses", "/v1", "/v1/responses"),
            ("/v1x", "/v1", "/v1/v1x"),
            ("/", "/v1", "/v1/"),
            ("/v1", "/v1", "/v1"),
            ("/responses", "", "/responses"),
            ("/v1/responses", "", "/v1/responses"),
            ("/responses", "/openai/v1", "/openai/v1/responses"),
            ("/v1/responses", "/openai/v1", "/openai/v1/responses"),
            ("/openai/v1/responses", "/openai/v1", "/openai/v1/responses"),
            ("/v1/responses", "/gw", "/gw/v1/responses"),
            ("/responses", "/gw", "/gw/responses"),
        ] {
            assert_eq!(sent(path, base, &v1(false)), expected, "{path} at {base:?}");
        }
        for (path, base, expected) in [
            ("/messages", "", "/v1/messages"),
            ("/v1/messages", "", "/v1/messages"),
            ("/v1/v1/messages", "", "/v1/messages"),
            ("/v1/messages", "/anthropic", "/anthropic/v1/messages"),
            ("/messages", "/anthropic/v1", "/anthropic/v1/messages"),
        ] {
            assert_eq!(sent(path, base, &v1(true)), expected, "{path} at {base:?}");
        }
    }

    #[test]
    fn routes_are_whole_segments() {
        let versions = v1(false);
        let at = |path, route: &str, below| {
            let all = if below { "/*" } else { "" };
            let route = Route::parse(&format!("GET {route}{all}")).unwrap();
            ApiPath::new(path, "/v1", &versions).is_at(&route)
        };
        assert!(at("/v1/responses", "/v1/responses", false));
        assert!(at("/responses/", "/v1/responses", false));
        assert!(at("/responses/x", "/v1/responses", true));
        assert!(!at("/responses/x", "/v1/responses", false));
        assert!(!at("/responsesx", "/v1/responses", true));
        assert!(!at("/v2/responses", "/v1/responses", true));
        assert!(!at("/", "/v1/responses", true));
    }

    proptest! {
        /// Whatever is sent has no dot segment, begins with the base path, and means the same when it
        /// is normalised once more.
        #[test]
        fn nothing_climbs(target in "/([a-z.%/;?2eEfF5cC]{0,40}|(\\.\\./|%2e%2e/|v1/|\\./|x/){0,12})") {
            if let Ok(normal) = normalise(&target) {
                let out = sent(&normal.path, "/base/v1", &v1(false));
                prop_assert!(out.starts_with("/base/v1"));
                prop_assert!(out.split('/').all(|it| it != "." && it != ".."), "{out}");
                let again = normalise(&normal.path).unwrap();
                prop_assert_eq!(&again.path, &normal.path);
            }
        }
    }
}
