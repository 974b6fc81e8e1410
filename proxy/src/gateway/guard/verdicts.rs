// SPDX-License-Identifier: MIT OR Apache-2.0
//! What the guard and the service behind hyper tell each other, past hyper.

use std::sync::{
    OnceLock,
    atomic::{AtomicBool, Ordering},
};

use crate::refusal::Refusal;

/// What the guard and the service tell each other about one connection.
#[derive(Debug, Default)]
pub(crate) struct Verdicts {
    /// The request that is refused, counted from 0, and why.
    refused: OnceLock<(u64, Refusal)>,
    /// Why the body of the current request broke, if the guard broke it.
    body: OnceLock<Refusal>,
    /// Whether the request to upgrade was granted.
    tunnel: AtomicBool,
    /// Which request, counted from 0, asks for an upgrade.
    awaits: OnceLock<u64>,
    /// Whether an answer is under way.
    busy: AtomicBool,
}

impl Verdicts {
    /// Refuses request number `index`. Says whether it is the first to be refused: there is only one.
    pub(super) fn refuse(&self, index: u64, refusal: Refusal) -> bool {
        self.refused.set((index, refusal)).is_ok()
    }

    /// Why request number `index` is refused, if it is.
    pub(crate) fn refused(&self, index: u64) -> Option<Refusal> {
        self.refused.get().filter(|it| it.0 == index).map(|it| it.1)
    }

    /// Why the guard ended a body early.
    pub(crate) fn broken_body(&self) -> Option<Refusal> {
        self.body.get().copied()
    }

    /// Notes why a body ends early. The first reason is the one.
    pub(crate) fn break_body(&self, refusal: Refusal) {
        self.body.get_or_init(|| refusal);
    }

    /// Lets what follows the request to upgrade through, as it comes.
    pub(crate) fn open_tunnel(&self) {
        self.tunnel.store(true, Ordering::Release);
    }

    /// Notes that an answer is under way, or no longer.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// Whether request number `index` asks for an upgrade, so that the guard reads nothing behind it until it is granted.
    pub(crate) fn awaits_tunnel(&self, index: u64) -> bool {
        self.awaits.get() == Some(&index)
    }

    /// Request number `index` asks for an upgrade: there is none behind it.
    pub(super) fn await_tunnel(&self, index: u64) {
        self.awaits.get_or_init(|| index);
    }

    pub(super) fn is_tunnel(&self) -> bool {
        self.tunnel.load(Ordering::Acquire)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }
}
