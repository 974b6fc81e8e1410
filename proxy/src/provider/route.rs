// SPDX-License-Identifier: MIT OR Apache-2.0
//! One thing that a workload may ask of a provider.

use std::fmt;

/// `METHOD /path`, or `METHOD /path/*` for it and all that lies below. A `*` elsewhere stands for anything
/// within one segment: `POST /models/*:generateContent`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    method: String,
    /// Without a slash at the end.
    path: String,
    below: bool,
}

impl Route {
    /// Reads a route. `None`: it is not one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (method, path) = text.split_once(' ')?;
        if method.is_empty() || !method.bytes().all(|it| it.is_ascii_uppercase()) {
            return None;
        }
        // These are not requests of an API, and the gateway refuses them before any route is asked.
        if method == "CONNECT" || method == "TRACE" {
            return None;
        }
        let (path, below) = match path.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (path, false),
        };
        let plain = |it: u8| it.is_ascii_alphanumeric() || b"-._~:@!$&'()*+,=".contains(&it);
        let segment = |it: &str| {
            !matches!(it, "" | "." | "..")
                && it.bytes().all(plain)
                && it.bytes().filter(|byte| *byte == b'*').count() <= 1
        };
        let segments = path.strip_prefix('/')?;
        segments.split('/').all(segment).then(|| Self {
            method: method.to_owned(),
            path: path.to_owned(),
            below,
        })
    }

    /// The method, in upper case.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// The path, with its version if it is for one version only.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Whether what lies below [`path`](Self::path) is meant, too.
    #[must_use]
    pub fn below(&self) -> bool {
        self.below
    }

    /// Whether `path` is at (or, if it says so, below) this route's path, from which the first
    /// `skipped` bytes were taken.
    pub(crate) fn covers(&self, path: &str, skipped: usize) -> bool {
        let mut asked = path.split('/').skip(1);
        let own = self.path.get(skipped..).unwrap_or_default();
        for pattern in own.split('/').skip(1) {
            let Some(segment) = asked.next() else {
                return false;
            };
            let fits = match pattern.split_once('*') {
                None => segment == pattern,
                Some((front, back)) => {
                    segment.len() > front.len() + back.len()
                        && segment.starts_with(front)
                        && segment.ends_with(back)
                }
            };
            if !fits {
                return false;
            }
        }
        match asked.next() {
            None => true,
            Some("") if !self.below => asked.next().is_none(),
            Some(_) => self.below,
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = if self.below { "/*" } else { "" };
        write!(f, "{} {}{below}", self.method, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_read_and_written() {
        for text in ["GET /v1/models/*", "POST /models/*:generateContent"] {
            assert_eq!(Route::parse(text).unwrap().to_string(), text);
        }
        for text in [
            "",
            "GET",
            "GET v1",
            "get /v1",
            "GET /",
            "GET /a/../b",
            "GET /a//b",
            "GET /a/",
            "GET /a?b",
            "GET /**",
            "CONNECT /x",
        ] {
            assert_eq!(Route::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_star_stays_within_its_segment() {
        let route = Route::parse("POST /models/*:generateContent").unwrap();
        assert!(route.covers("/models/gemini-2.5:generateContent", 0));
        assert!(!route.covers("/models/:generateContent", 0));
        assert!(!route.covers("/models/a/b:generateContent", 0));
        assert!(!route.covers("/models/gemini:streamGenerateContent", 0));
        assert!(!route.covers("/models/gemini:generateContent/x", 0));
    }
}
