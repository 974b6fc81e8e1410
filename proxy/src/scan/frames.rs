// SPDX-License-Identifier: MIT OR Apache-2.0
//! The same for a WebSocket, whose client masks what it says (RFC 6455, section 5.2).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use super::{Finding, Scanner, filter::Stop, stream::Scan};
use crate::frame;

/// Lets a client's frames through, or stops them.
pub(crate) struct Frames {
    /// What messages hold, however they are cut into frames.
    data: Scan,
    /// What pings and the like hold: those may stand between the frames of a message.
    control: Scan,
    blocks: bool,
    found: Option<Finding>,
    header: frame::Reader,
    mask: [u8; 4],
    /// Of the frame's payload: read, and to come.
    read: usize,
    left: u64,
    is_control: bool,
    kept: BytesMut,
    /// For each byte that is kept, whether a message holds it.
    marks: VecDeque<bool>,
}

impl Frames {
    pub(crate) fn new(scanner: &Scanner) -> Self {
        let scan = || Scan::new(&scanner.known);
        Self {
            data: scan(),
            control: scan(),
            blocks: scanner.blocks,
            found: None,
            header: frame::Reader::default(),
            mask: [0; 4],
            read: 0,
            left: 0,
            is_control: false,
            kept: BytesMut::new(),
            marks: VecDeque::new(),
        }
    }

    /// Takes a piece; gives what can go on.
    pub(super) fn pass(&mut self, piece: Bytes) -> Result<Bytes, Stop> {
        if self.found.is_some() {
            return self.stop_or(piece);
        }
        self.data.follow();
        self.control.follow();
        for byte in &piece {
            let data = self.step(*byte);
            if self.found.is_some() {
                return self.stop_or(piece);
            }
            if self.blocks {
                self.marks.push_back(data);
            }
        }
        if !self.blocks {
            return Ok(piece);
        }
        self.kept.extend_from_slice(&piece);
        let open = self.open();
        let clear = self.kept.len() - open;
        self.marks.drain(..clear);
        Ok(self.kept.split_to(clear).freeze())
    }

    /// The stream is over.
    pub(super) fn finish(&mut self) -> Result<Bytes, Stop> {
        if self.found.is_none() {
            self.found = self.data.finish();
        }
        let kept = self.kept.split().freeze();
        self.marks.clear();
        self.stop_or(kept)
    }

    pub(super) fn found(&self) -> Option<&Finding> {
        self.found.as_ref()
    }

    /// Reads a byte; says whether a message holds it.
    fn step(&mut self, byte: u8) -> bool {
        if self.left == 0 {
            if let Some(header) = self.header.push(byte) {
                self.left = header.length;
                self.mask = header.mask.unwrap_or_default();
                self.is_control = header.opcode & 0x08 != 0;
                self.read = 0;
            }
            return false;
        }
        self.left -= 1;
        let mask = self.mask.get(self.read % 4).copied().unwrap_or_default();
        self.read = (self.read + 1) % 4;
        let scan = match self.is_control {
            true => &mut self.control,
            false => &mut self.data,
        };
        self.found = scan.feed(&[byte ^ mask]);
        !self.is_control
    }

    /// How many of the kept bytes could be, or stand in, the beginning of something.
    fn open(&self) -> usize {
        let mut data = self.data.open();
        let mut open = 0;
        for mark in self.marks.iter().rev() {
            if data == 0 {
                break;
            }
            data -= usize::from(*mark);
            open += 1;
        }
        open
    }

    fn stop_or(&self, piece: Bytes) -> Result<Bytes, Stop> {
        match &self.found {
            Some(_) if self.blocks => Err(Stop),
            Some(_) | None => Ok(piece),
        }
    }
}
