// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long the guard waits.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// One timer for everything that the guard waits for, touched as little as possible: a wait that ends
/// in time only moves `due`; the sleeping timer finds out when it wakes.
#[derive(Debug, Default)]
pub(super) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    due: Option<Instant>,
}

impl Timer {
    /// The wait is over.
    pub(super) fn stop(&mut self) {
        self.due = None;
    }

    /// Waits for `time` from the first call since [`Timer::stop`].
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, time: Duration) -> Poll<()> {
        let now = Instant::now();
        let due = self.due.unwrap_or(now + time);
        // A shorter wait than the one that is under way takes its place.
        let due = due.min(now + time);
        self.due = Some(due);
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                // The next wait begins anew.
                self.due = None;
                self.sleep = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}
