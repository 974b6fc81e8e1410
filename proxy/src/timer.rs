// SPDX-License-Identifier: MIT OR Apache-2.0
//! A timer for waits that follow each other, and of which next to none ever lasts too long.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// One timer for everything that somebody waits for, one thing after the other, touched as little as possible: a wait
/// that ends in time leaves it as it is; the sleeping timer finds out when it wakes.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    sleep: Option<Pin<Box<Sleep>>>,
    wait: Option<Wait>,
}

/// What is waited for now.
#[derive(Clone, Copy, Debug)]
struct Wait {
    time: Duration,
    due: Instant,
}

impl Timer {
    /// The wait is over.
    pub(crate) fn stop(&mut self) {
        self.wait = None;
    }

    /// Waits for `time` from the first call since [`Timer::stop`].
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>, time: Duration) -> Poll<()> {
        let due = match self.wait {
            Some(wait) if wait.time <= time => wait.due,
            // A shorter wait than the one that is under way takes its place.
            wait => {
                let due = Instant::now() + time;
                let due = wait.map_or(due, |it| it.due.min(due));
                self.wait = Some(Wait { time, due });
                due
            }
        };
        self.poll_until(cx, due)
    }

    /// Waits until `due`.
    pub(crate) fn poll_until(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= due {
                // The next wait begins anew.
                self.wait = None;
                self.sleep = None;
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}
