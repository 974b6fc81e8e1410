// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content codings, undone piece by piece into a sink: memory is the coding's own window.
//!
//! A body is exactly one stream in one coding. What is left behind its end could be read by another reader as more of it,
//! and is a fault.

mod brotli;
mod inflate;
mod zstd;

use std::io::{self, Write};

use flate2::write::GzDecoder;

use self::{brotli::Brotli, inflate::Inflate, zstd::Zstd};

/// The codings that are undone as fast as they come, by their names in `Accept-Encoding`. Of zstd the library gives away
/// what lies in the window only at the end, which is too late to stop an answer.
pub(crate) const NAMES: [&str; 4] = ["gzip", "deflate", "br", "identity"];

/// Undoes one coding.
pub(crate) enum Decoder<W: Write> {
    Identity(W),
    Gzip(Box<GzDecoder<W>>),
    Deflate(Box<Inflate<W>>),
    Brotli(Box<Brotli<W>>),
    Zstd(Box<Zstd<W>>),
}

impl<W: Write> Decoder<W> {
    /// By a `Content-Encoding`. `None`: it cannot be undone.
    pub(crate) fn new(coding: &str, sink: W) -> Option<Self> {
        let coding = coding.trim();
        let is = |name: &str| coding.eq_ignore_ascii_case(name);
        match () {
            () if is("") || is("identity") => Some(Self::Identity(sink)),
            () if is("gzip") || is("x-gzip") => Some(Self::Gzip(Box::new(GzDecoder::new(sink)))),
            () if is("deflate") => Some(Self::Deflate(Box::new(Inflate::new(sink)))),
            () if is("br") => Some(Self::Brotli(Box::new(Brotli::new(sink)))),
            () if is("zstd") => Some(Self::Zstd(Box::new(Zstd::new(sink)))),
            () => None,
        }
    }

    /// Decodes a piece.
    ///
    /// # Errors
    ///
    /// It is not in this coding, or the sink's error.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Identity(sink) => sink.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Deflate(decoder) => decoder.push(bytes),
            Self::Brotli(decoder) => decoder.push(bytes),
            Self::Zstd(decoder) => decoder.push(bytes),
        }
    }

    /// Hands over what can be read by now.
    ///
    /// # Errors
    ///
    /// The sink's.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        match self {
            // It keeps what the last piece made until the next one comes.
            Self::Gzip(decoder) => decoder.flush(),
            Self::Identity(_) | Self::Deflate(_) | Self::Brotli(_) | Self::Zstd(_) => Ok(()),
        }
    }

    /// Hands over what is still held back of a body that broke off.
    ///
    /// # Errors
    ///
    /// The sink's.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.flush(),
            Self::Zstd(decoder) => decoder.flush(),
            Self::Identity(_) | Self::Deflate(_) | Self::Brotli(_) => Ok(()),
        }
    }

    /// The body is over.
    ///
    /// # Errors
    ///
    /// Its end is missing, or does not fit the rest.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        let ended = match self {
            Self::Identity(_) => true,
            Self::Gzip(decoder) => return decoder.try_finish(),
            Self::Deflate(decoder) => decoder.ended,
            Self::Brotli(decoder) => decoder.ended,
            Self::Zstd(decoder) => decoder.ended(),
        };
        match ended {
            true => Ok(()),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Where it goes.
    pub(crate) fn sink(&self) -> &W {
        match self {
            Self::Identity(sink) => sink,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Deflate(decoder) => &decoder.sink,
            Self::Brotli(decoder) => &decoder.sink,
            Self::Zstd(decoder) => &decoder.sink,
        }
    }
}

/// Decoded at a time.
const PIECE: usize = 8 * 1024;

#[cfg(test)]
pub(crate) mod tests;
