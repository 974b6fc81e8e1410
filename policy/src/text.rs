// SPDX-License-Identifier: MIT OR Apache-2.0
//! A text that people wrote, and the places in it.

use crate::{Fault, Origin, fault::Excerpt};

/// A text and its name.
#[derive(Debug)]
pub(crate) struct Text<'a> {
    source: &'a str,
    text: &'a str,
    is_file: bool,
    /// The bytes at which lines begin.
    lines: Vec<usize>,
}

impl<'a> Text<'a> {
    /// A file's text. `source` is its path as it was given.
    pub(crate) fn file(source: &'a str, text: &'a str) -> Self {
        Self::new(source, text, true)
    }

    /// A flag's value, which has no lines that are worth counting.
    pub(crate) fn flag(source: &'a str, text: &'a str) -> Self {
        Self::new(source, text, false)
    }

    fn new(source: &'a str, text: &'a str, is_file: bool) -> Self {
        let begin = text.match_indices('\n').map(|it| it.0 + 1);
        Self {
            source,
            text,
            is_file,
            lines: std::iter::once(0).chain(begin).collect(),
        }
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// Line and column of a byte, each from 1, and the line.
    fn place(&self, byte: usize) -> (usize, usize, &'a str) {
        let mut byte = byte.min(self.text.len());
        while !self.text.is_char_boundary(byte) {
            byte -= 1;
        }
        let number = self.line(byte);
        let start = self.lines[number - 1];
        let line = self.text[start..].split('\n').next().unwrap_or_default();
        let column = self.text[start..byte].chars().count() + 1;
        (number, column, line.strip_suffix('\r').unwrap_or(line))
    }

    /// The line of a byte, from 1.
    pub(crate) fn line(&self, byte: usize) -> usize {
        self.lines.partition_point(|it| *it <= byte)
    }

    /// The byte of a line and a column in characters, each from 1.
    pub(crate) fn byte(&self, line: usize, column: usize) -> usize {
        let start = line.checked_sub(1).and_then(|it| self.lines.get(it));
        let start = start.copied().unwrap_or(self.text.len());
        let before = self.text[start..].chars().take(column.saturating_sub(1));
        start + before.map(char::len_utf8).sum::<usize>()
    }

    /// Where a byte is.
    pub(crate) fn origin(&self, byte: usize) -> Origin {
        let (line, column, _) = self.place(byte);
        let number = |it| u32::try_from(it).unwrap_or(u32::MAX);
        Origin {
            source: self.source.to_owned(),
            line: if self.is_file { number(line) } else { 0 },
            column: number(column),
            group: None,
        }
    }

    /// A fault at a byte, with its line.
    pub(crate) fn fault(
        &self,
        byte: usize,
        what: impl Into<String>,
        hint: Option<String>,
    ) -> Fault {
        let (_, column, line) = self.place(byte);
        Fault {
            origin: self.origin(byte),
            what: what.into(),
            hint,
            excerpt: Some(Box::new(Excerpt::new(line, column))),
        }
    }

    /// Where the characters of a value stand that begins at `start`: those before `characters` have to be written there
    /// as they are. If they are not (escapes), it is where the value begins.
    pub(crate) fn inside(&self, start: usize, value: &str, characters: usize) -> usize {
        let before: usize = value.chars().take(characters).map(char::len_utf8).sum();
        match self.text.get(start..) {
            Some(written) if written.starts_with(&value[..before]) => start + before,
            Some(_) | None => start,
        }
    }
}
