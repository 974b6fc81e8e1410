// SPDX-License-Identifier: MIT OR Apache-2.0
//! An event stream without end: an event at a steady pace, each with its number and the time when it was made, so that
//! whoever reads it knows how long it was under way and whether one is missing.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::time::{Instant, Sleep};

/// The events of one stream.
#[derive(Debug)]
pub(crate) struct Ticker {
    every: Duration,
    next: Pin<Box<Sleep>>,
    number: u64,
}

impl Ticker {
    /// The first event comes at once. The second comes within one period, at another time for each stream: many
    /// streams together have no beat.
    pub(crate) fn new(every: Duration) -> Self {
        static STREAMS: AtomicU64 = AtomicU64::new(0);
        // 13/21 is near the golden ratio, whose multiples are spread most evenly.
        let phase = STREAMS.fetch_add(1, Ordering::Relaxed) * 130_037 % 210_011;
        let phase = u32::try_from(phase).unwrap_or_default();
        let before = every * phase / 210_011;
        let first = Instant::now();
        Self {
            every,
            // One period later is the second.
            next: Box::pin(tokio::time::sleep_until(first + before)),
            number: 0,
        }
    }

    /// The next event, once it is time.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        if self.number > 0 {
            std::task::ready!(self.next.as_mut().poll(context));
            let due = self.next.deadline() + self.every;
            self.next.as_mut().reset(due);
        }
        let number = self.number;
        self.number += 1;
        let made = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_nanos();
        Poll::Ready(Bytes::from(format!(
            "event: response.output_text.delta\n\
             data: {{\"type\":\"response.output_text.delta\",\"item_id\":\"msg_1\",\"output_index\":0,\
             \"content_index\":0,\"delta\":\"some words of an answer\",\"sequence_number\":{number},\"made\":{made}}}\n\n"
        )))
    }
}
