// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a body may pause.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep};

/// A limit on each pause. The timer is made at the first pause and moved only when it fires: a stream
/// of events does not touch it.
pub(crate) struct Patience {
    time: Duration,
    /// When patience is over, whatever happens.
    end: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Whether a pause is going on; if so, since at most the timer's deadline less `time`.
    waiting: bool,
}

impl Patience {
    pub(crate) fn new(time: Duration) -> Self {
        Self {
            time,
            end: None,
            timer: None,
            waiting: false,
        }
    }

    /// Patience that is over at `end`, too.
    pub(crate) fn until(self, end: Instant) -> Self {
        Self {
            end: Some(end),
            ..self
        }
    }

    /// Whether it is the end that came, not a pause.
    pub(crate) fn is_at_end(&self) -> bool {
        self.end.is_some_and(|it| it <= Instant::now())
    }

    /// The pause is over.
    pub(crate) fn stop(&mut self) {
        self.waiting = false;
    }

    /// A pause goes on.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let (time, end) = (self.time, self.end);
        let next = || {
            let pause = Instant::now() + time;
            end.map_or(pause, |end| end.min(pause))
        };
        let timer = self.timer.get_or_insert_with(|| {
            self.waiting = true;
            Box::pin(tokio::time::sleep_until(next()))
        });
        while timer.as_mut().poll(cx).is_ready() {
            if self.waiting || end.is_some_and(|it| it <= Instant::now()) {
                return Poll::Ready(());
            }
            // There was progress since the timer was set; the pause is measured from now on, so that
            // it may last up to twice the limit and never less than it.
            timer.as_mut().reset(next());
            self.waiting = true;
        }
        Poll::Pending
    }
}
