// SPDX-License-Identifier: MIT OR Apache-2.0
//! Content codings, undone piece by piece into a sink: memory is the coding's own window.

use std::io::{self, Write};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

/// Undoes one coding.
pub(super) enum Decoder<W: Write> {
    Identity(W),
    Gzip(Box<MultiGzDecoder<W>>),
    Deflate(Deflate<W>),
    Brotli(Box<Brotli<W>>),
}

impl<W: Write> Decoder<W> {
    /// By a `Content-Encoding`. `None`: it cannot be undone.
    pub(super) fn new(coding: &str, sink: W) -> Option<Self> {
        let coding = coding.trim();
        let is = |name: &str| coding.eq_ignore_ascii_case(name);
        match () {
            () if is("") || is("identity") => Some(Self::Identity(sink)),
            () if is("gzip") || is("x-gzip") => {
                Some(Self::Gzip(Box::new(MultiGzDecoder::new(sink))))
            }
            () if is("deflate") => Some(Self::Deflate(Deflate::Unknown(sink))),
            () if is("br") => Some(Self::Brotli(Box::new(Brotli::new(sink)))),
            () => None,
        }
    }

    /// Decodes a piece.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Identity(sink) => sink.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes),
            Self::Deflate(decoder) => decoder.push(bytes),
            Self::Brotli(decoder) => decoder.push(bytes),
        }
    }

    /// Hands over what is still held back.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.flush(),
            Self::Deflate(Deflate::Zlib(decoder)) => decoder.flush(),
            Self::Deflate(Deflate::Raw(decoder)) => decoder.flush(),
            Self::Identity(_) | Self::Brotli(_) | Self::Deflate(_) => Ok(()),
        }
    }

    /// Where it goes.
    pub(super) fn sink(&self) -> Option<&W> {
        match self {
            Self::Identity(sink) => Some(sink),
            Self::Gzip(decoder) => Some(decoder.get_ref()),
            Self::Deflate(Deflate::Unknown(sink)) => Some(sink),
            Self::Deflate(Deflate::Zlib(decoder)) => Some(decoder.get_ref()),
            Self::Deflate(Deflate::Raw(decoder)) => Some(decoder.get_ref()),
            Self::Deflate(Deflate::Moved) => None,
            Self::Brotli(decoder) => Some(&decoder.sink),
        }
    }
}

/// `deflate` is a zlib stream (RFC 9110, section 8.4.1.2), except with servers that leave zlib's
/// header out. Its first byte tells: no raw stream of a server begins with one that says "deflate with a window".
pub(super) enum Deflate<W: Write> {
    Unknown(W),
    Zlib(Box<ZlibDecoder<W>>),
    Raw(Box<DeflateDecoder<W>>),
    /// Between two of the others.
    Moved,
}

impl<W: Write> Deflate<W> {
    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(first) = bytes.first() else {
            return Ok(());
        };
        if matches!(self, Self::Unknown(_))
            && let Self::Unknown(sink) = std::mem::replace(self, Self::Moved)
        {
            *self = match first & 0x8f == 0x08 {
                true => Self::Zlib(Box::new(ZlibDecoder::new(sink))),
                false => Self::Raw(Box::new(DeflateDecoder::new(sink))),
            };
        }
        match self {
            Self::Zlib(decoder) => decoder.write_all(bytes),
            Self::Raw(decoder) => decoder.write_all(bytes),
            Self::Unknown(_) | Self::Moved => Ok(()),
        }
    }
}

/// Decoded at a time.
const PIECE: usize = 8 * 1024;

/// Brotli, with windows of up to 16 MiB: the larger ones are not for the web.
pub(super) struct Brotli<W> {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    sink: W,
    ended: bool,
}

impl<W: Write> Brotli<W> {
    fn new(sink: W) -> Self {
        let alloc = StandardAlloc::default;
        Self {
            state: BrotliState::new_strict(alloc(), alloc(), alloc()),
            sink,
            ended: false,
        }
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut piece = [0; PIECE];
        let (mut left, mut at) = (bytes.len(), 0);
        while !self.ended {
            let (mut room, mut filled, mut total) = (PIECE, 0, 0);
            let result = BrotliDecompressStream(
                &mut left,
                &mut at,
                bytes,
                &mut room,
                &mut filled,
                &mut piece,
                &mut total,
                &mut self.state,
            );
            self.sink
                .write_all(piece.get(..filled).unwrap_or_default())?;
            match result {
                BrotliResult::ResultSuccess => self.ended = true,
                BrotliResult::NeedsMoreOutput => {}
                BrotliResult::NeedsMoreInput => return Ok(()),
                BrotliResult::ResultFailure => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Ok(())
    }
}
