// SPDX-License-Identifier: MIT OR Apache-2.0
//! Watches an answer pass, and says what it cost. Nothing waits for it, and nothing fails with it: what
//! it cannot read, it does not read.

use std::{
    fmt,
    io::{self, Write},
};

use super::{Usage, event_stream::EventStream, fields::Fields, json::Json, sse::Sse};
use crate::{coding::Decoder, provider::Dialect};

/// Most bytes of an answer that are read, decoded: an answer that unfolds to more is none of a model's.
const MOST: u64 = 1 << 30;

/// Reads one answer.
pub struct Reader {
    /// `None`: it could not be decoded further.
    decoder: Decoder<Sink>,
    lost: bool,
}

impl Reader {
    /// For an answer with these headers. `None`: there is nothing to be read from it.
    #[must_use]
    pub fn new(dialect: Dialect, content_type: &str, content_encoding: &str) -> Option<Self> {
        if dialect == Dialect::Other {
            return None;
        }
        let sink = Sink {
            format: Format::of(content_type)?,
            fields: Fields::default(),
            left: MOST,
        };
        Some(Self {
            decoder: Decoder::new(content_encoding, sink)?,
            lost: false,
        })
    }

    /// Whether an answer of this type comes in events.
    #[must_use]
    pub fn is_streaming(content_type: &str) -> bool {
        matches!(
            Format::of(content_type),
            Some(Format::Sse(_) | Format::EventStream(_))
        )
    }

    /// Looks at the next bytes of the answer.
    pub fn push(&mut self, bytes: &[u8]) {
        if !self.lost {
            self.lost = self.decoder.push(bytes).is_err();
        }
    }

    /// What it cost, as far as it was said.
    #[must_use]
    pub fn finish(mut self) -> Option<Usage> {
        // An answer that broke off has said what it has said.
        drop(self.decoder.flush());
        self.decoder.sink().fields.usage()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Reader");
        f.field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// How documents follow each other.
enum Format {
    /// Nothing said; the first byte tells.
    Unknown,
    Json(Json),
    Sse(Sse),
    EventStream(EventStream),
}

impl Format {
    fn of(content_type: &str) -> Option<Self> {
        let end = content_type.find(';').unwrap_or(content_type.len());
        let name = content_type.get(..end).unwrap_or_default().trim();
        let name = name.to_ascii_lowercase();
        match name.as_str() {
            "" => Some(Self::Unknown),
            "text/event-stream" => Some(Self::Sse(Sse::new())),
            "application/vnd.amazon.eventstream" => Some(Self::EventStream(EventStream::new())),
            "application/json" | "application/x-ndjson" | "application/jsonl" | "text/json" => {
                Some(Self::Json(Json::new()))
            }
            _ if name.ends_with("+json") => Some(Self::Json(Json::new())),
            _ => None,
        }
    }
}

/// Where decoded bytes go.
struct Sink {
    format: Format,
    fields: Fields,
    left: u64,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.left = self
            .left
            .checked_sub(length)
            .ok_or(io::ErrorKind::FileTooLarge)?;
        if matches!(self.format, Format::Unknown)
            && let Some(first) = bytes.iter().find(|it| !it.is_ascii_whitespace())
        {
            self.format = match first {
                b'{' | b'[' => Format::Json(Json::new()),
                _ => Format::Sse(Sse::new()),
            };
        }
        let lost = match &mut self.format {
            Format::Unknown => false,
            Format::Json(json) => {
                json.push(bytes, &mut self.fields);
                json.is_lost()
            }
            Format::Sse(sse) => {
                sse.push(bytes, &mut self.fields);
                false
            }
            Format::EventStream(stream) => {
                stream.push(bytes, &mut self.fields);
                stream.is_lost()
            }
        };
        match lost {
            true => Err(io::ErrorKind::InvalidData.into()),
            false => Ok(bytes.len()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
