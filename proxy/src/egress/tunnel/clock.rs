// SPDX-License-Identifier: MIT OR Apache-2.0
//! How long a tunnel may live, and be silent.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::{Instant, sleep_until};

use crate::settings::Limits;

/// Time since a tunnel began, and since a byte last went through it in either direction.
pub(super) struct Clock {
    began: Instant,
    /// Milliseconds from the beginning to the last byte.
    last: AtomicU64,
    idle: Duration,
    total: Duration,
}

impl Clock {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            began: Instant::now(),
            last: AtomicU64::new(0),
            idle: limits.tunnel_idle,
            total: limits.tunnel_total,
        }
    }

    /// A byte went through.
    pub(super) fn touch(&self) {
        let now = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.last.store(now, Ordering::Relaxed);
    }

    /// Waits until the tunnel was silent, or there, for too long.
    pub(super) async fn run_out(&self) {
        let total = self.began + self.total;
        loop {
            let last = Duration::from_millis(self.last.load(Ordering::Relaxed));
            let end = total.min(self.began + last + self.idle);
            if end <= Instant::now() {
                return;
            }
            sleep_until(end).await;
        }
    }
}
