// SPDX-License-Identifier: MIT OR Apache-2.0
//! Whether the machine had time for this process: where many compile at once, it may have none for seconds, and what waits
//! for an answer then gives up for no fault of its own.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::time::sleep;

/// What takes longer hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// A look that comes so late tells of a stall.
const STALL: Duration = Duration::from_secs(1);

/// How long what waited through one may take to give up: longer than any limit of the gateway's.
const AFTERWARDS: Duration = Duration::from_secs(60);

static LAST: Mutex<Option<Instant>> = Mutex::new(None);
static LONGEST: AtomicU64 = AtomicU64::new(0);

/// Waits for the next look, and notes how late it comes.
pub(super) async fn watch() {
    let began = Instant::now();
    sleep(LOOK).await;
    let late = began.elapsed().saturating_sub(LOOK);
    LONGEST.fetch_max(late.as_secs(), Ordering::Relaxed);
    if late >= STALL {
        *LAST.lock().unwrap() = Some(Instant::now());
    }
}

pub(super) fn lately() -> bool {
    LAST.lock()
        .unwrap()
        .is_some_and(|it| it.elapsed() < AFTERWARDS)
}

/// In seconds.
pub(super) fn longest() -> u64 {
    LONGEST.load(Ordering::Relaxed)
}
