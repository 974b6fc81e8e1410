// SPDX-License-Identifier: GPL-3.0-or-later
//! Text in HTML.

use std::fmt::{self, Write as _};

use crate::reading::Shown;

/// Shows a text as text, in an element or in a quoted attribute: nothing in it is markup, nothing in it is invisible.
#[derive(Clone, Copy, Debug)]
pub(super) struct Html<'a>(pub(super) &'a str);

impl fmt::Display for Html<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in Shown(self.0).to_string().chars() {
            match character {
                '&' => formatter.write_str("&amp;")?,
                '<' => formatter.write_str("&lt;")?,
                '>' => formatter.write_str("&gt;")?,
                '"' => formatter.write_str("&quot;")?,
                '\'' => formatter.write_str("&#39;")?,
                it => formatter.write_char(it)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn nothing_of_markup_is_left(text in any::<String>()) {
            let safe = Html(&text).to_string();
            prop_assert!(!safe.contains(['<', '>', '"', '\'']));
            let entities = ["&amp;", "&lt;", "&gt;", "&quot;", "&#39;"];
            let rest = entities.iter().fold(safe, |it, entity| it.replace(entity, ""));
            prop_assert!(!rest.contains('&'));
        }
    }
}
