// SPDX-License-Identifier: MIT OR Apache-2.0
//! Names with `*` in them.
//!
//! `*.` in front stands for one or more labels. Anywhere else a `*` stays within its label: it is any run of characters
//! but dots, also none; a label that is nothing but `*` is any one label. The last two labels are always fixed (see
//! `parse`), so every pattern is found by how it ends.

/// Labels, some of them with `*`. Anchored at both ends; matches nothing but lower case, as names are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern {
    /// Whether more labels, one at least, stand in front.
    deep: bool,
    /// The labels behind those, from the left.
    labels: Vec<Box<str>>,
    /// The last of them, as many as have no `*`, joined.
    suffix: Box<str>,
}

impl Pattern {
    /// From labels in lower case, `*` in some of them.
    pub(crate) fn new(labels: &[String]) -> Self {
        let (deep, labels) = match labels {
            [first, rest @ ..] if first == "*" => (true, rest),
            _ => (false, labels),
        };
        let fixed = labels.iter().rev().take_while(|it| !it.contains('*'));
        let suffix = labels[labels.len() - fixed.count()..].join(".");
        Self {
            deep,
            labels: labels.iter().map(|it| it.as_str().into()).collect(),
            suffix: suffix.into(),
        }
    }

    /// The fixed labels at its end.
    pub(crate) fn suffix(&self) -> &str {
        &self.suffix
    }

    /// Whether a name fits.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let mut asked = name.rsplit('.');
        let fits = |label: &str| asked.next().is_some_and(|it| glob(label, it));
        if !self.labels.iter().rev().map(|it| &**it).all(fits) {
            return false;
        }
        asked.next().is_some() == self.deep
    }
}

/// Whether a text fits a pattern in which `*` is any run of characters.
///
/// Takes the shortest run that lets the next piece fit: what that leaves is no less than what any other choice leaves.
pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let mut pieces = rest.split('*');
    let last = pieces.next_back().unwrap_or_default();
    for piece in pieces {
        let Some((_, behind)) = text.split_once(piece) else {
            return false;
        };
        text = behind;
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, name: &str) -> bool {
        let labels: Vec<_> = pattern.split('.').map(str::to_owned).collect();
        Pattern::new(&labels).matches(name)
    }

    #[test]
    fn a_star_in_front_is_any_depth_and_others_are_one_label() {
        for (pattern, name, fits) in [
            ("*.a.example.com", "x.a.example.com", true),
            ("*.a.example.com", "x.y.a.example.com", true),
            ("*.a.example.com", "a.example.com", false),
            ("*.a.example.com", "xa.example.com", false),
            ("*.*.example.com", "a.b.example.com", true),
            ("*.*.example.com", "a.b.c.example.com", true),
            ("*.*.example.com", "b.example.com", false),
            ("a.*.example.com", "a.b.example.com", true),
            ("a.*.example.com", "a.b.c.example.com", false),
            ("a.*.example.com", "a.example.com", false),
            ("a.*.example.com", "x.a.b.example.com", false),
            ("api-*.example.com", "api-1.example.com", true),
            ("api-*.example.com", "api-.example.com", true),
            ("api-*.example.com", "api-1.x.example.com", false),
            ("api-*.example.com", "x.api-1.example.com", false),
            ("*.api-*.example.com", "x.y.api-1.example.com", true),
            ("*.api-*.example.com", "api-1.example.com", false),
            ("*-eu.example.com", "a-eu.example.com", true),
            ("*-eu.example.com", "x.a-eu.example.com", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn a_glob_is_anchored() {
        for (pattern, text, fits) in [
            ("a*b", "ab", true),
            ("a*b", "axb", true),
            ("a*b", "axbx", false),
            ("a*ab", "ab", false),
            ("a*a", "a", false),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "xab", false),
            ("a*b*c", "abbbc", true),
            ("a*b*bc", "abc", false),
            ("*", "", true),
            ("/pub/*", "/pub/a/b", true),
            ("/pub/*", "/pub", false),
        ] {
            assert_eq!(glob(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn the_suffix_is_what_is_fixed() {
        let suffix = |pattern: &str| {
            let labels: Vec<_> = pattern.split('.').map(str::to_owned).collect();
            Pattern::new(&labels).suffix().to_owned()
        };
        assert_eq!(suffix("*.a-*.b.example.com"), "b.example.com");
        assert_eq!(suffix("*.b.example.com"), "b.example.com");
    }
}
