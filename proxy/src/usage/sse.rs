// SPDX-License-Identifier: MIT OR Apache-2.0
//! Event streams: the data of each event is a document.

use memchr::memchr2;

use super::{fields::Fields, json::Json};

/// Where in a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Line {
    /// So many bytes of `data:` were seen.
    Name(usize),
    /// Behind it.
    Data,
    /// In a line that says something else.
    Other,
}

const NAME: &[u8] = b"data:";

/// Reads events in pieces of any size.
#[derive(Debug)]
pub(super) struct Sse {
    line: Line,
    json: Json,
    /// Whether the last byte was a carriage return: a line feed behind it belongs to it.
    returned: bool,
}

impl Sse {
    pub(super) const fn new() -> Self {
        Self {
            line: Line::Name(0),
            json: Json::new(),
            returned: false,
        }
    }

    /// Reads a piece.
    pub(super) fn push(&mut self, mut bytes: &[u8], fields: &mut Fields) {
        while let Some((first, rest)) = bytes.split_first() {
            if std::mem::take(&mut self.returned) && *first == b'\n' {
                bytes = rest;
                continue;
            }
            if let Line::Name(seen) = self.line
                && !matches!(first, b'\r' | b'\n')
            {
                self.line = match NAME.get(seen) == Some(first) {
                    true if seen + 1 == NAME.len() => Line::Data,
                    true => Line::Name(seen + 1),
                    false => Line::Other,
                };
                bytes = rest;
                continue;
            }
            let end = memchr2(b'\r', b'\n', bytes);
            let (text, behind) = bytes.split_at(end.unwrap_or(bytes.len()));
            if self.line == Line::Data {
                self.json.push(text, fields);
            }
            bytes = behind;
            if let Some((newline, behind)) = behind.split_first() {
                match self.line {
                    // An empty line: the event is over.
                    Line::Name(0) => self.json.restart(),
                    // An event's lines of data belong together.
                    Line::Data => self.json.push(b"\n", fields),
                    Line::Name(_) | Line::Other => {}
                }
                self.returned = *newline == b'\r';
                self.line = Line::Name(0);
                bytes = behind;
            }
        }
    }
}
