// SPDX-License-Identifier: MIT OR Apache-2.0
//! Hosts as the data files name them.

/// Whether `host` (lower case) is what `pattern` says: the host itself; `*.x` for every name below `x`; a
/// `*` between dots for one label.
pub(crate) fn is_host(pattern: &str, host: &str) -> bool {
    if let Some(suffix) = pattern.strip_prefix('*') {
        return host.len() > suffix.len() && host.ends_with(suffix);
    }
    let (mut own, mut asked) = (pattern.split('.'), host.split('.'));
    loop {
        match (own.next(), asked.next()) {
            (None, None) => return true,
            (Some(label), Some(found)) if label == found || (label == "*" && !found.is_empty()) => {
            }
            _ => return false,
        }
    }
}

/// Whether this is such a pattern. A star alone, or one within a label, is not.
pub(crate) fn is_host_pattern(pattern: &str) -> bool {
    let plain = |it: u8| it.is_ascii_lowercase() || it.is_ascii_digit() || it == b'-' || it == b'_';
    let label = |it: &str| it == "*" || (!it.is_empty() && it.bytes().all(plain));
    // What a pattern names has at least two labels of its own at the end: no whole top-level domain.
    let own = pattern.rsplit('.').take_while(|it| *it != "*").count();
    pattern.split('.').all(label) && (own >= 2 || !pattern.contains('*'))
}

/// Stands for a region, as one label, in the hosts of a service.
pub(super) const REGION: &str = "{region}";

/// Whether `host` is what `pattern` says, and which region it names; `*` in front is any number of labels.
pub(super) fn region_in<'h>(pattern: &str, host: &'h str) -> Option<Option<&'h str>> {
    let mut region = None;
    let mut asked = host.rsplit('.');
    let mut own = pattern.rsplit('.').peekable();
    while let Some(label) = own.next() {
        let found = asked.next().filter(|it| !it.is_empty())?;
        match label {
            REGION => region = Some(found),
            "*" if own.peek().is_none() => return Some(region),
            _ if label == found => {}
            _ => return None,
        }
    }
    asked.next().is_none().then_some(region)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_one_label() {
        let usual = "svc.{region}.aws.test";
        for (pattern, host, region) in [
            (usual, "svc.eu-west-1.aws.test", Some(Some("eu-west-1"))),
            (usual, "svc.aws.test", None),
            (usual, "x.svc.eu-west-1.aws.test", None),
            (usual, "svc.eu-west-1.aws.test.evil.test", None),
            (usual, "svc..aws.test", None),
            (
                "*.svc.{region}.aws.test",
                "a.b.svc.x.aws.test",
                Some(Some("x")),
            ),
            ("*.svc.{region}.aws.test", "svc.x.aws.test", None),
            ("svc.aws.test", "svc.aws.test", Some(None)),
        ] {
            assert_eq!(region_in(pattern, host), region, "{pattern} {host}");
        }
    }

    #[test]
    fn stars_are_whole_labels() {
        for (pattern, host, fits) in [
            ("a.test", "a.test", true),
            ("a.test", "b.a.test", false),
            ("*.a.test", "b.a.test", true),
            ("*.a.test", "c.b.a.test", true),
            ("*.a.test", "a.test", false),
            ("*.a.test", "ba.test", false),
            ("x.*.a.test", "x.y.a.test", true),
            ("x.*.a.test", "x.a.test", false),
            ("x.*.a.test", "x.y.z.a.test", false),
            ("x.*.a.test", "y.x.a.test", false),
        ] {
            assert_eq!(is_host(pattern, host), fits, "{pattern} {host}");
        }
        for pattern in [
            "",
            "*",
            "*.com",
            "A.test",
            "a*.b.test",
            "a..b",
            ".a.test",
            "a b",
        ] {
            assert!(!is_host_pattern(pattern), "{pattern}");
        }
        for pattern in ["a.test", "*.a.test", "x.*.a.test", "localhost"] {
            assert!(is_host_pattern(pattern), "{pattern}");
        }
    }
}
