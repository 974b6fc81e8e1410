// SPDX-License-Identifier: MIT OR Apache-2.0
//! Zstandard (RFC 8878), one frame. The library decodes whole blocks, so bytes are held until a block is there; a server
//! that flushes ends one. It gives away what has left the window, and the rest at the frame's end.

use std::io::{self, Write};

use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};

/// Largest window: what RFC 9659 allows for this use.
const WINDOW: u64 = 8 << 20;

/// Largest content of a block.
const BLOCK: usize = 128 << 10;

/// Magic number and descriptor.
const PREFIX: usize = 5;

/// Of a block's header.
const HEADER: usize = 3;

/// Of the checksum behind the last block.
const CHECKSUM: usize = 4;

/// An empty block that is the last one, and no checksum.
const END: [u8; HEADER + CHECKSUM] = [1, 0, 0, 0, 0, 0, 0];

pub(crate) struct Zstd<W> {
    frame: FrameDecoder,
    /// The frame's header or a block, as far as it came.
    held: Vec<u8>,
    at: At,
    pub(super) sink: W,
}

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Header,
    Block { checksum: bool },
    End,
}

impl<W: Write> Zstd<W> {
    pub(super) fn new(sink: W) -> Self {
        let mut frame = FrameDecoder::new();
        frame.set_max_window_size(WINDOW);
        Self {
            frame,
            held: Vec::new(),
            at: At::Header,
            sink,
        }
    }

    pub(super) fn ended(&self) -> bool {
        self.at == At::End
    }

    pub(super) fn push(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let missing = self.length()?.saturating_sub(self.held.len());
            let (piece, rest) = bytes.split_at(missing.min(bytes.len()));
            self.held.extend_from_slice(piece);
            bytes = rest;
            // Its first bytes may say that it is longer.
            if self.held.len() < self.length()? {
                continue;
            }
            match self.at {
                At::Header => self.begin()?,
                At::Block { checksum } => self.block(checksum)?,
                At::End => {}
            }
            self.held.clear();
        }
        Ok(())
    }

    /// How many bytes the header or block has, as far as is known.
    fn length(&self) -> io::Result<usize> {
        match (self.at, self.held.as_slice()) {
            (At::Header, [_, _, _, _, descriptor, ..]) => {
                let single = descriptor & 0x20 != 0;
                let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
                let size = match descriptor >> 6 {
                    0 => usize::from(single),
                    flag => 1 << flag,
                };
                Ok(PREFIX + usize::from(!single) + dictionary + size)
            }
            (At::Header, _) => Ok(PREFIX),
            (At::Block { checksum }, [first, second, third, ..]) => {
                let header = u32::from_le_bytes([*first, *second, *third, 0]);
                let (is_last, is_repeated) = (header & 1 == 1, header >> 1 & 3 == 1);
                let content = match is_repeated {
                    true => 1,
                    false => usize::try_from(header >> 3).unwrap_or(usize::MAX),
                };
                if content > BLOCK {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                let trailer = if is_last && checksum { CHECKSUM } else { 0 };
                Ok(HEADER + content + trailer)
            }
            (At::Block { .. }, _) => Ok(HEADER),
            (At::End, _) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.frame
            .init(self.held.as_slice())
            .map_err(io::Error::other)?;
        let descriptor = self.held.get(PREFIX - 1);
        let checksum = descriptor.is_some_and(|it| it & 4 != 0);
        self.at = At::Block { checksum };
        Ok(())
    }

    fn block(&mut self, checksum: bool) -> io::Result<()> {
        let one = BlockDecodingStrategy::UptoBlocks(1);
        let decoded = self.frame.decode_blocks(self.held.as_slice(), one);
        if decoded.map_err(io::Error::other)? {
            self.at = At::End;
        }
        self.frame.collect_to_writer(&mut self.sink)?;
        let (said, found) = (
            self.frame.get_checksum_from_data(),
            self.frame.get_calculated_checksum(),
        );
        match self.at == At::End && checksum && said != found {
            true => Err(io::ErrorKind::InvalidData.into()),
            false => Ok(()),
        }
    }

    /// What is still in the window comes with the frame's end.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let At::Block { checksum } = self.at else {
            return Ok(());
        };
        self.at = At::End;
        let length = if checksum { END.len() } else { HEADER };
        let end = END.get(..length).unwrap_or_default();
        let all = BlockDecodingStrategy::All;
        let decoded = self.frame.decode_blocks(end, all);
        decoded.map_err(io::Error::other)?;
        self.frame.collect_to_writer(&mut self.sink).map(drop)
    }
}
