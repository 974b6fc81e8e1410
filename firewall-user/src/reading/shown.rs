// SPDX-License-Identifier: GPL-3.0-or-later
//! Text that the workload chose, on a terminal.
//!
//! A command name may hold escape sequences that repaint the screen, a path may hold characters that turn the
//! direction of writing around: printed as they are, a line in the log could look like another one.

use std::fmt::{self, Write as _};

/// Shows a text with everything that is not plainly visible written as an escape.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A width is honoured, as for any text in a table.
        if formatter.width().is_some() || formatter.precision().is_some() {
            let mut text = String::new();
            self.write_to(&mut text)?;
            return formatter.pad(&text);
        }
        self.write_to(formatter)
    }
}

/// Controls (C0, DEL, C1), and what moves or hides its neighbours: direction marks, zero-width characters, line
/// separators, tags, variation selectors.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

impl Shown<'_> {
    fn write_to(self, out: &mut impl fmt::Write) -> fmt::Result {
        for character in self.0.chars() {
            match character {
                '\\' => out.write_str("\\\\")?,
                '\n' => out.write_str("\\n")?,
                '\t' => out.write_str("\\t")?,
                it if is_unseen(it) => write!(out, "{}", it.escape_unicode())?,
                it => out.write_char(it)?,
            }
        }
        Ok(())
    }

    /// The text in JSON, made safe to print: what [`Shown`] escapes is escaped in JSON's own way.
    pub fn in_json(json: &str) -> String {
        let mut safe = String::with_capacity(json.len());
        for character in json.chars() {
            if is_unseen(character) {
                let mut units = [0; 2];
                for unit in character.encode_utf16(&mut units) {
                    // Writing into memory does not fail.
                    write!(safe, "\\u{unit:04x}").unwrap_or_default();
                }
            } else {
                safe.push(character);
            }
        }
        safe
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_terminal_is_told_nothing() {
        let evil = "\u{1b}[2Jnpm\u{7}\u{9b}31m\r\n\u{202e}moc\\ é 漢";
        assert_eq!(
            Shown(evil).to_string(),
            r"\u{1b}[2Jnpm\u{7}\u{9b}31m\u{d}\n\u{202e}moc\\ é 漢"
        );
        assert_eq!(format!("{:<6}|", Shown("a\n")), "a\\n   |");
    }

    proptest! {
        #[test]
        fn nothing_unseen_is_left(text in any::<String>()) {
            prop_assert!(!Shown(&text).to_string().chars().any(is_unseen));
        }

        #[test]
        fn json_means_the_same(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            let safe = Shown::in_json(&json);
            prop_assert!(!safe.chars().any(is_unseen));
            prop_assert_eq!(serde_json::from_str::<String>(&safe).unwrap(), text);
        }
    }
}
