// SPDX-License-Identifier: MIT OR Apache-2.0
//! Watches what the upstream sends through a tunnel: each message that says what an answer cost is
//! counted when it passes. What is no frame ends the watching, and nothing else.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use super::super::frames::Frames;
use crate::{provider::Dialect, request_log::Record, usage::Messages};

/// Watches one direction, and keeps the tunnel's record.
pub(super) struct Watch {
    pub(super) record: Box<Record>,
    frames: Frames,
    messages: Option<Messages>,
    /// When this answer's first message came, and how much of the answer came by now.
    began: Option<Instant>,
    bytes: u64,
    lost: bool,
    between: Arc<AtomicBool>,
}

impl Watch {
    pub(super) fn new(record: Box<Record>, dialect: Dialect) -> Self {
        Self {
            record,
            frames: Frames::of_server(),
            messages: (dialect != Dialect::Other).then(Messages::new),
            began: None,
            bytes: 0,
            lost: false,
            between: Arc::new(AtomicBool::new(true)),
        }
    }

    /// Whether a frame of our own may come next.
    pub(super) fn between(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.between)
    }

    /// Looks at the next bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if let Some(ticket) = self.record.ticket() {
            ticket.sent(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        self.look(bytes);
        let between = !self.lost && self.frames.is_between();
        self.between.store(between, Ordering::Relaxed);
    }

    fn look(&mut self, mut bytes: &[u8]) {
        while !self.lost {
            let piece = match self.frames.next(&mut bytes) {
                Ok(Some(piece)) => piece,
                Ok(None) => return,
                Err(_bad) => {
                    self.lost = true;
                    return;
                }
            };
            let Some(messages) = self.messages.as_mut().filter(|_| !piece.kind.is_control()) else {
                continue;
            };
            let began = *self.began.get_or_insert_with(Instant::now);
            self.bytes += u64::try_from(piece.payload.len()).unwrap_or(u64::MAX);
            messages.push(piece.payload);
            if piece.ends_message
                && let Some(usage) = messages.end()
            {
                self.record.answer_in_tunnel(&usage, began, self.bytes);
                (self.began, self.bytes) = (None, 0);
            }
        }
    }
}
