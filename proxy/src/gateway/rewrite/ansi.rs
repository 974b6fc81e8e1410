// SPDX-License-Identifier: MIT OR Apache-2.0
//! Terminal escape sequences (ECMA-48), which cost tokens and say nothing to a model. Pure.

use super::object::{quoted, string};

const ESCAPE: char = '\u{1b}';

/// JSON text without the sequences in its strings; member names stay. `None`: there are none.
///
/// It is read from string to string, not as a tree: depth costs nothing.
pub(super) fn stripped(json: &str) -> Option<String> {
    let mut out = String::new();
    let mut done = 0;
    let mut at = 0;
    while let Some(start) = json.get(at..)?.find('"').map(|it| it + at) {
        let end = start + literal(json.get(start..)?)?;
        at = end;
        let text = json.get(start..end)?;
        // A control character is always escaped in JSON.
        if !text.contains("\\u001b") && !text.contains("\\u001B") {
            continue;
        }
        if json.get(end..)?.trim_start().starts_with(':') {
            continue;
        }
        let Some(plain) = string(text) else { continue };
        if !plain.contains(ESCAPE) {
            continue;
        }
        out.push_str(json.get(done..start)?);
        out.push_str(&quoted(&without(&plain)));
        done = end;
    }
    if done == 0 {
        return None;
    }
    out.push_str(json.get(done..)?);
    Some(out)
}

/// The length of the string that `json` begins with, its quotes included.
pub(super) fn literal(json: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in json.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Text without the sequences. One that never ends loses its escape alone, so that no text goes with it.
fn without(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut parts = text.split(ESCAPE);
    out.push_str(parts.next().unwrap_or_default());
    let mut rest = text.get(out.len()..).unwrap_or_default();
    while let Some(behind) = rest.strip_prefix(ESCAPE) {
        let behind = behind
            .get(sequence(behind).unwrap_or(0)..)
            .unwrap_or_default();
        let next = behind.find(ESCAPE).unwrap_or(behind.len());
        out.push_str(behind.get(..next).unwrap_or_default());
        rest = behind.get(next..).unwrap_or_default();
    }
    out
}

/// The length of the sequence behind its escape.
fn sequence(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    match bytes.first()? {
        b'[' => {
            let last = bytes
                .iter()
                .skip(1)
                .position(|it| !(0x20..=0x3f).contains(it))?
                + 1;
            (0x40..=0x7e).contains(bytes.get(last)?).then_some(last + 1)
        }
        // Strings: a title, a link. They end with a bell or `ESC \`, and hold no other control character.
        b']' | b'P' | b'X' | b'^' | b'_' => {
            let last = bytes.iter().position(|it| *it < 0x20)?;
            match bytes.get(last..)? {
                [0x07, ..] => Some(last + 1),
                [0x1b, b'\\', ..] => Some(last + 2),
                _ => None,
            }
        }
        _ => {
            let last = bytes.iter().position(|it| !(0x20..=0x2f).contains(it))?;
            (0x30..=0x7e).contains(bytes.get(last)?).then_some(last + 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequences_go_and_text_stays() {
        for (text, expected) in [
            ("\u{1b}[31mred\u{1b}[0m", "red"),
            ("\u{1b}[38;5;1mé\u{1b}[K\u{1b}[?25l\n", "é\n"),
            ("\u{1b}]8;;http://x\u{1b}\\link\u{1b}]8;;\u{7}!", "link!"),
            ("\u{1b}(Ba\u{1b}7b", "ab"),
            ("a\u{1b}]title\nmore", "a]title\nmore"),
            ("a\u{1b}[31", "a[31"),
            ("a\u{1b}", "a"),
            ("\u{1b}é", "é"),
            ("\u{1b}\u{1b}[1mx", "x"),
            ("plain [31m", "plain [31m"),
        ] {
            assert_eq!(without(text), expected, "{text:?}");
        }
    }

    #[test]
    fn only_strings_that_hold_one_are_touched() {
        let json = r#"[ {"a\u001b[1m" : "\u001b[1mx\"\u001B[0m", "n": 1.0e2 , "b":"\/ \u001c"} ]"#;
        assert_eq!(
            stripped(json).unwrap(),
            r#"[ {"a\u001b[1m" : "x\"", "n": 1.0e2 , "b":"\/ \u001c"} ]"#
        );
        assert_eq!(stripped(r#"["x", "\\u001b[1m"]"#), None);
        assert_eq!(stripped(r#""\u001b[1m\ud800""#), None);
        assert_eq!(stripped(r#"["\u001b[1m"]"#).as_deref(), Some(r#"[""]"#));
    }

    /// At the start of the text there is nothing in front that was done.
    #[test]
    fn a_string_alone_is_stripped() {
        assert_eq!(stripped(r#""\u001b[1mx""#).as_deref(), Some(r#""x""#));
    }
}
