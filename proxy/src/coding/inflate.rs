// SPDX-License-Identifier: MIT OR Apache-2.0
//! `deflate` is a zlib stream (RFC 9110, section 8.4.1.2), except with servers that leave zlib's header out. Its first
//! byte tells: no raw stream of a server begins with one that says "deflate with a window".

use std::io::{self, Write};

use flate2::{Decompress, FlushDecompress, Status};

use super::PIECE;

pub(crate) struct Inflate<W> {
    /// Since the first byte.
    state: Option<Decompress>,
    pub(super) sink: W,
    pub(super) ended: bool,
}

impl<W: Write> Inflate<W> {
    pub(super) const fn new(sink: W) -> Self {
        Self {
            state: None,
            sink,
            ended: false,
        }
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let Some(first) = bytes.first() else {
            return Ok(());
        };
        if self.ended {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let with_header = first & 0x8f == 0x08;
        let state = self
            .state
            .get_or_insert_with(|| Decompress::new(with_header));
        let mut piece = [0; PIECE];
        loop {
            let (read, written) = (state.total_in(), state.total_out());
            let status = state.decompress(bytes, &mut piece, FlushDecompress::None)?;
            let count = |now: u64, before| usize::try_from(now - before).unwrap_or(usize::MAX);
            let (read, written) = (
                count(state.total_in(), read),
                count(state.total_out(), written),
            );
            bytes = bytes.get(read..).unwrap_or_default();
            self.sink
                .write_all(piece.get(..written).unwrap_or_default())?;
            if status == Status::StreamEnd {
                self.ended = true;
                return match bytes {
                    [] => Ok(()),
                    _ => Err(io::ErrorKind::InvalidData.into()),
                };
            }
            // A piece that is not full means that there is no more.
            if bytes.is_empty() && written < PIECE {
                return Ok(());
            }
            if read == 0 && written == 0 {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}
