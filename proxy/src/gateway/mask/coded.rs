// SPDX-License-Identifier: MIT OR Apache-2.0
//! Looks for the credential inside a content coding.

use std::{
    io::{self, Write},
    sync::Arc,
};

use super::Mask;
use crate::coding::Decoder;

/// One body, which is undone beside its way.
pub(super) struct Coded {
    decoder: Decoder<Sink>,
    /// It is not in this coding after all: the workload cannot read it either.
    lost: bool,
}

/// Where decoded bytes go.
struct Sink {
    mask: Arc<Mask>,
    /// The last bytes, which may begin what ends in the next ones.
    before: Vec<u8>,
    found: bool,
}

impl Coded {
    /// `None`: the coding cannot be undone.
    pub(super) fn new(coding: &str, mask: &Arc<Mask>) -> Option<Self> {
        let sink = Sink {
            mask: Arc::clone(mask),
            before: Vec::new(),
            found: false,
        };
        Some(Self {
            decoder: Decoder::new(coding, sink)?,
            lost: false,
        })
    }

    /// Whether the credential stands in what can be read by the end of this piece.
    pub(super) fn holds(&mut self, piece: &[u8]) -> bool {
        if !self.lost {
            let read = self.decoder.push(piece).and_then(|()| self.decoder.sync());
            self.lost = read.is_err();
        }
        self.decoder.sink().found
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.before.extend_from_slice(bytes);
        self.found |= self.mask.is_in(&self.before);
        let old = self.before.len().saturating_sub(self.mask.reach());
        self.before.drain(..old);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
