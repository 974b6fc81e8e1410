// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection of the workload: what the layers know of it and tell each other.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::Poll,
};

use http::StatusCode;
use tokio::time::Instant;

use super::{Gateway, Shared, guard::Verdicts};
use crate::{
    peers::Peer,
    provider::Provider,
    refusal::{Fault, Refusal},
    scan::Finding,
    timer::Timer,
};

/// One connection. Its requests come one after the other, so counters of the current request live
/// here, too, and cost no allocation.
pub(crate) struct Link {
    pub(super) gateway: Arc<Gateway>,
    pub(super) verdicts: Arc<Verdicts>,
    peer: Option<Peer>,
    requests: AtomicU64,
    /// Bytes of the current request's body.
    received: AtomicU64,
    /// What was found in the current request.
    finding: Mutex<Option<Finding>>,
    /// For answers that are waited for.
    timer: Mutex<Timer>,
}

impl Link {
    pub(super) fn new(gateway: Arc<Gateway>, verdicts: Arc<Verdicts>, peer: Option<Peer>) -> Self {
        let (requests, received) = (AtomicU64::new(0), AtomicU64::new(0));
        Self {
            gateway,
            verdicts,
            peer,
            requests,
            received,
            finding: Mutex::default(),
            timer: Mutex::default(),
        }
    }

    /// Numbers a request, as the guard numbers heads; says whether it is one that the guard refused.
    pub(super) fn next_request(&self) -> Option<Refusal> {
        let index = self.requests.fetch_add(1, Ordering::Relaxed);
        self.verdicts.refused(index)
    }

    /// A request's answer is under way.
    pub(crate) fn begin(&self) {
        self.received.store(0, Ordering::Relaxed);
        *self.finding.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.verdicts.set_busy(true);
        self.shared().metrics.begin(self.provider());
    }

    /// The answer is over, or there will be none (`status` is `None`).
    pub(crate) fn end(
        &self,
        status: Option<StatusCode>,
        fault: Option<Fault>,
        received: u64,
        sent: u64,
    ) {
        self.verdicts.set_busy(false);
        self.shared()
            .metrics
            .end(self.provider(), status, fault, received, sent);
    }

    /// Waits for what is asked of the upstream, until `due`. `None`: it did not come in time.
    pub(super) async fn await_until<T>(
        &self,
        due: Instant,
        asked: impl Future<Output = T>,
    ) -> Option<T> {
        let mut asked = pin!(asked);
        poll_fn(|cx| match asked.as_mut().poll(cx) {
            Poll::Ready(came) => Poll::Ready(Some(came)),
            Poll::Pending => {
                let mut timer = self.timer.lock().unwrap_or_else(PoisonError::into_inner);
                timer.poll_until(cx, due).map(|()| None)
            }
        })
        .await
    }

    /// Counts bytes of the request's body; returns how many there are so far.
    pub(super) fn receive(&self, bytes: u64) -> u64 {
        self.received.fetch_add(bytes, Ordering::Relaxed) + bytes
    }

    /// Notes that the current request holds a secret. The first one is the one.
    pub(super) fn found(&self, finding: &Finding) {
        let mut found = self.finding.lock().unwrap_or_else(PoisonError::into_inner);
        found.get_or_insert_with(|| finding.clone());
    }

    /// What was found in the current request.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let found = self.finding.lock().unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }

    /// Bytes of the request's body so far.
    pub(crate) fn request_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// What all connections share, to keep.
    pub(super) fn gateway(&self) -> &Arc<Shared> {
        &self.gateway.shared
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.gateway.shared
    }

    pub(crate) fn provider(&self) -> &Provider {
        &self.gateway.provider
    }

    pub(crate) fn peer(&self) -> Option<&Peer> {
        self.peer.as_ref()
    }
}
