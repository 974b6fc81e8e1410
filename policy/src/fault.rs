// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is wrong with what people wrote: where, why, and what to write instead.

use std::{borrow::Cow, fmt};

use crate::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Fault {
    /// Where.
    pub origin: Origin,
    /// What.
    pub what: String,
    /// What to write instead.
    pub hint: Option<String>,
    /// The line, where it can be shown.
    pub excerpt: Option<Box<Excerpt>>,
}

impl Fault {
    /// A fault of which no line can be shown.
    pub(crate) fn new(origin: Origin, what: impl Into<String>) -> Self {
        Self {
            origin,
            what: what.into(),
            hint: None,
            excerpt: None,
        }
    }

    /// The same with something to do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Everything that is wrong, by file, in the order in which it stands there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl std::error::Error for Faults {}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, fault) in self.0.iter().enumerate() {
            if at > 0 {
                formatter.write_str("\n")?;
            }
            fault.fmt(formatter)?;
        }
        Ok(())
    }
}

/// ```text
/// keyward.toml:3:22: there is no port 0
///   |
/// 3 | allow = ["example.com:0"]
///   |                       ^
///   = hint: …
/// ```
impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin {
            source,
            line,
            column,
            group,
        } = &self.origin;
        formatter.write_str(&plain(source))?;
        match (line, column) {
            (0, 0) => {}
            (0, column) => write!(formatter, ", character {column}")?,
            (line, column) => write!(formatter, ":{line}:{column}")?,
        }
        if let Some(group) = group {
            write!(formatter, " ({})", plain(group))?;
        }
        write!(formatter, ": {}", plain(&self.what))?;
        let number = if *line > 0 {
            line.to_string()
        } else {
            String::new()
        };
        let margin = " ".repeat(number.len());
        if let Some(excerpt) = &self.excerpt {
            let (text, caret) = excerpt.shown();
            let gutter = if *line > 0 {
                format!("{number} ")
            } else {
                " ".to_owned()
            };
            write!(
                formatter,
                "\n{margin} |\n{gutter}| {text}\n{margin} | {caret}^"
            )?;
        }
        if let Some(hint) = &self.hint {
            write!(formatter, "\n{margin} = hint: {}", plain(hint))?;
        }
        Ok(())
    }
}

/// A line of what people wrote, and a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    line: String,
    /// From 0, in characters.
    at: usize,
}

/// Characters that are shown before and behind the place.
const AROUND: usize = 60;

impl Excerpt {
    pub(crate) fn new(line: &str, column: usize) -> Self {
        Self {
            line: without_passwords(line).into_owned(),
            at: column.saturating_sub(1),
        }
    }

    /// The part of the line around the place, and what stands before the caret below it.
    fn shown(&self) -> (String, String) {
        let characters: Vec<char> = self.line.chars().collect();
        let from = self.at.saturating_sub(AROUND);
        let to = self.at.saturating_add(AROUND).min(characters.len());
        let (cut, end) = (from > 0, to < characters.len());
        let mut text = String::from(if cut { "…" } else { "" });
        let mut caret = String::from(if cut { " " } else { "" });
        for (at, it) in characters.iter().enumerate().take(to).skip(from) {
            text.push(visible(*it));
            if at < self.at {
                caret.push(if *it == '\t' { '\t' } else { ' ' });
            }
        }
        text.push_str(if end { "…" } else { "" });
        (text, caret)
    }
}

/// A text that no terminal obeys: faults quote what people wrote, and parsers quote it, too.
fn plain(text: &str) -> String {
    text.chars().map(visible).collect()
}

/// One character in place of each that a terminal would obey.
fn visible(character: char) -> char {
    match character {
        '\t' => '\t',
        '\0'..='\x1f' => char::from_u32(0x2400 + u32::from(character)).unwrap_or('\u{fffd}'),
        '\x7f'..='\u{9f}'
        | '\u{ad}'
        | '\u{200b}'..='\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}' => '\u{fffd}',
        it => it,
    }
}

/// Hides what stands between `://` and `@`, at the same width.
fn without_passwords(line: &str) -> Cow<'_, str> {
    if !line.contains('@') {
        return line.into();
    }
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(slashes) = rest.find("://") {
        let (before, behind) = rest.split_at(slashes + "://".len());
        shown.push_str(before);
        let end = behind
            .find(|it: char| it.is_whitespace() || matches!(it, '"' | '\'' | ',' | '/'))
            .unwrap_or(behind.len());
        let userinfo = behind[..end].rfind('@').unwrap_or(0);
        shown.extend(behind[..userinfo].chars().map(|_| '*'));
        rest = &behind[userinfo..];
    }
    shown.push_str(rest);
    shown.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(line: u32, text: &str, column: u32) -> String {
        let at = usize::try_from(column).unwrap();
        Fault {
            origin: Origin {
                source: "keyward.toml".to_owned(),
                line,
                column,
                group: None,
            },
            what: "there is no port 0".to_owned(),
            hint: Some("another".to_owned()),
            excerpt: Some(Box::new(Excerpt::new(text, at))),
        }
        .to_string()
    }

    #[test]
    fn a_fault_shows_its_place() {
        insta::assert_snapshot!(fault(12, "allow = [\"example.com:0\"]", 23), @r#"
        keyward.toml:12:23: there is no port 0
           |
        12 | allow = ["example.com:0"]
           |                       ^
           = hint: another
        "#);
    }

    #[test]
    fn a_long_line_is_cut_and_controls_are_not_obeyed() {
        let line = format!("{}\u{1b}[31m\u{202e}{}", "a".repeat(100), "b".repeat(100));
        let shown = fault(1, &line, 101);
        assert_eq!(plain("a\u{1b}[31m\u{9b}"), "a\u{241b}[31m\u{fffd}");
        assert!(!shown.contains('\u{1b}') && !shown.contains('\u{202e}'));
        let lines: Vec<_> = shown.lines().collect();
        let caret = lines[3].chars().position(|it| it == '^');
        let place = lines[2].chars().position(|it| it == '\u{241b}');
        assert_eq!(caret, place);
        assert!(lines[2].chars().count() < 140);
    }

    #[test]
    fn passwords_are_not_shown() {
        let line = "url = \"http://user:p@ss@proxy.test:0\" # https://a@b";
        let shown = without_passwords(line);
        assert_eq!(
            shown,
            "url = \"http://*********@proxy.test:0\" # https://*@b"
        );
    }
}
