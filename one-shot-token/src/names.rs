// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which variables are meant. Pure.

/// Names the others, with commas between them.
pub(crate) const VARIABLE: &[u8] = b"KEYWARD_ONE_SHOT";

/// The names of a list. What cannot be the name of a variable is none.
pub(crate) fn parse(list: &[u8]) -> Vec<Box<[u8]>> {
    let names = list.split(|it| *it == b',').map(<[u8]>::trim_ascii);
    let plain = |it: &&[u8]| !it.is_empty() && !it.contains(&b'=') && *it != VARIABLE;
    names.filter(plain).map(Box::from).collect()
}

/// The value, if `entry` (`NAME=value`) is of this name.
pub(crate) fn value<'e>(entry: &'e [u8], name: &[u8]) -> Option<&'e [u8]> {
    entry.strip_prefix(name)?.strip_prefix(b"=")
}

/// Whether `entry` is one of these.
pub(crate) fn is_one(entry: &[u8], names: &[Box<[u8]>]) -> bool {
    names.iter().any(|it| value(entry, it).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_whole() {
        let names = parse(b" A_TOKEN,,B ,C=1,KEYWARD_ONE_SHOT,");
        assert_eq!(
            names,
            [Box::from(*b"A_TOKEN") as Box<[u8]>, Box::from(*b"B")]
        );
        assert!(parse(b"").is_empty());
        for (entry, one) in [
            ("A_TOKEN=x", true),
            ("A_TOKEN=", true),
            ("B==", true),
            ("A_TOKEN", false),
            ("A_TOKEN2=x", false),
            ("XA_TOKEN=x", false),
            ("a_token=x", false),
            ("", false),
        ] {
            assert_eq!(is_one(entry.as_bytes(), &names), one, "{entry}");
        }
        assert_eq!(value(b"B=x=y", b"B"), Some(&b"x=y"[..]));
    }
}
