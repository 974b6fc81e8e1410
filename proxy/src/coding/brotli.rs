// SPDX-License-Identifier: MIT OR Apache-2.0
//! Brotli (RFC 7932), with windows of up to 16 MiB: the larger ones are not for the web.

use std::io::{self, Write};

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};

use super::PIECE;

pub(crate) struct Brotli<W> {
    state: BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>,
    pub(super) sink: W,
    pub(super) ended: bool,
}

impl<W: Write> Brotli<W> {
    pub(super) fn new(sink: W) -> Self {
        let alloc = StandardAlloc::default;
        Self {
            state: BrotliState::new_strict(alloc(), alloc(), alloc()),
            sink,
            ended: false,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
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
        match left {
            0 => Ok(()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}
