// SPDX-License-Identifier: MIT OR Apache-2.0
//! Carries out the mode on one stream.

use bytes::{Bytes, BytesMut};

use super::{Finding, stream::Scan};

/// What holds a finding is to be stopped.
#[derive(Debug)]
pub(crate) struct Stop;

/// Lets a stream through, or stops it. What could be the beginning of a finding is kept until it is clear, which is
/// nothing most of the time; all else goes on at once.
pub(crate) struct Filter {
    scan: Scan,
    blocks: bool,
    /// Everything behind this was not passed on.
    kept: BytesMut,
    found: Option<Finding>,
}

impl Filter {
    pub(super) fn new(scan: Scan, blocks: bool) -> Self {
        Self {
            scan,
            blocks,
            kept: BytesMut::new(),
            found: None,
        }
    }

    /// Takes a piece; gives what can go on, which may be nothing.
    ///
    /// # Errors
    ///
    /// When the stream is to be stopped.
    pub(crate) fn pass(&mut self, piece: Bytes) -> Result<Bytes, Stop> {
        // One finding is enough to say so.
        if self.found.is_some() {
            return self.stop_or(piece);
        }
        self.scan.follow();
        self.found = self.scan.feed(&piece);
        if !self.blocks || self.found.is_some() {
            return self.stop_or(piece);
        }
        let open = self.scan.open();
        if self.kept.is_empty() && open == 0 {
            return Ok(piece);
        }
        self.kept.extend_from_slice(&piece);
        let clear = self.kept.len().saturating_sub(open);
        Ok(self.kept.split_to(clear).freeze())
    }

    /// The stream is over: gives what was kept.
    ///
    /// # Errors
    ///
    /// When the stream is to be stopped.
    pub(crate) fn finish(&mut self) -> Result<Bytes, Stop> {
        if self.found.is_none() {
            self.found = self.scan.finish();
        }
        let kept = self.kept.split().freeze();
        self.stop_or(kept)
    }

    /// How much was not passed on.
    pub(crate) fn kept(&self) -> usize {
        self.kept.len()
    }

    /// What was found.
    pub(crate) fn found(&self) -> Option<&Finding> {
        self.found.as_ref()
    }

    fn stop_or(&self, piece: Bytes) -> Result<Bytes, Stop> {
        match &self.found {
            Some(_) if self.blocks => Err(Stop),
            Some(_) | None => Ok(piece),
        }
    }
}
