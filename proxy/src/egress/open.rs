// SPDX-License-Identifier: MIT OR Apache-2.0
//! The connections that are open, so that a new policy can end them and `keyward top` can show them.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU16, AtomicU64, Ordering},
    },
    time::Instant,
};

use firewall_common::Reason;
use keyward_policy::Policy;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::{
    Egress,
    judge::{Permit, lets_through},
    line::{Carried, scheme},
};
use crate::status::OpenConnection;

/// Totals, and what is open.
#[derive(Debug, Default)]
pub(crate) struct Open {
    connections: Mutex<HashMap<u64, Arc<State>>>,
    next: AtomicU64,
    pub(crate) allowed: AtomicU64,
    pub(crate) denied: AtomicU64,
    pub(crate) bytes_up: AtomicU64,
    pub(crate) bytes_down: AtomicU64,
}

/// One open connection.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) permit: Permit,
    pub(crate) since: Instant,
    pub(crate) up: AtomicU64,
    pub(crate) down: AtomicU64,
    ended: CancellationToken,
}

/// An open connection, in the hands of who carries it. Dropped, it is over and written down.
pub(crate) struct Connection {
    egress: Arc<Egress>,
    id: u64,
    state: Arc<State>,
    upstream: OnceLock<SocketAddr>,
    failed: OnceLock<Reason>,
    status: AtomicU16,
}

impl Open {
    /// Judges everything that is open by a new policy, and ends what it does not allow.
    pub(super) fn judge_again(&self, policy: &Policy) -> usize {
        let connections = self.lock();
        connections
            .values()
            .filter(|it| it.is_denied_by(policy))
            .map(|it| it.ended.cancel())
            .count()
    }

    /// What is open now.
    pub(crate) fn now(&self) -> Vec<Arc<State>> {
        self.lock().values().cloned().collect()
    }

    pub(super) fn count_denied(&self) {
        self.denied.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_allowed(&self, carried: &Carried) {
        self.allowed.fetch_add(1, Ordering::Relaxed);
        self.bytes_up.fetch_add(carried.up, Ordering::Relaxed);
        self.bytes_down.fetch_add(carried.down, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<State>>> {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// As `keyward top` shows it.
    pub(crate) fn shown(&self) -> OpenConnection {
        let question = self.permit.question();
        let peer = question.peer.as_ref();
        OpenConnection {
            door: question.door.name().to_owned(),
            host: question.host.to_string(),
            port: question.port,
            scheme: scheme(question.scheme).to_owned(),
            comm: peer.map(|it| it.comm.clone()).unwrap_or_default(),
            pid: peer.map_or(0, |it| it.pid),
            bytes_up: self.up.load(Ordering::Relaxed),
            bytes_down: self.down.load(Ordering::Relaxed),
            age_ms: u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn is_denied_by(&self, policy: &Policy) -> bool {
        let question = self.permit.question();
        policy.decide(&question.asked()).outcome.is_err() && !lets_through(policy, &question.host)
    }
}

impl Egress {
    /// Registers a connection that is about to be carried.
    pub(crate) fn begin_connection(self: &Arc<Self>, permit: Permit) -> Connection {
        let id = self.open.next.fetch_add(1, Ordering::Relaxed);
        let state = Arc::new(State {
            permit,
            since: Instant::now(),
            up: AtomicU64::new(0),
            down: AtomicU64::new(0),
            ended: CancellationToken::new(),
        });
        self.open.lock().insert(id, Arc::clone(&state));
        // A policy that came in since the judgement has not seen it.
        let policy = self.policy();
        if !Arc::ptr_eq(&policy, &state.permit.policy) && state.is_denied_by(&policy) {
            state.ended.cancel();
        }
        Connection {
            egress: Arc::clone(self),
            id,
            state,
            upstream: OnceLock::new(),
            failed: OnceLock::new(),
            status: AtomicU16::new(0),
        }
    }
}

impl Connection {
    pub(crate) fn permit(&self) -> &Permit {
        &self.state.permit
    }

    pub(super) fn egress(&self) -> &Arc<Egress> {
        &self.egress
    }

    /// Notes where it is carried to.
    pub(crate) fn reached(&self, upstream: SocketAddr) {
        self.upstream.get_or_init(|| upstream);
    }

    /// Notes why it came to nothing. The first reason is the one.
    pub(crate) fn failed(&self, reason: Reason) {
        self.failed.get_or_init(|| reason);
    }

    /// Notes the status that plain HTTP was answered with.
    pub(crate) fn answered(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// Counts bytes from the workload.
    pub(crate) fn add_up(&self, bytes: u64) {
        self.state.up.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes to the workload.
    pub(crate) fn add_down(&self, bytes: u64) {
        self.state.down.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Becomes ready when a new policy ends it: drop both sides at once then.
    pub(crate) async fn ended(&self) {
        self.state.ended.cancelled().await;
    }

    /// The same, for what lives by itself.
    pub(crate) fn end(&self) -> WaitForCancellationFutureOwned {
        self.state.ended.clone().cancelled_owned()
    }

    /// Whether a new policy ended it.
    pub(crate) fn has_ended(&self) -> bool {
        self.state.ended.is_cancelled()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.egress.open.lock().remove(&self.id);
        let carried = Carried {
            up: self.state.up.load(Ordering::Relaxed),
            down: self.state.down.load(Ordering::Relaxed),
            duration: self.state.since.elapsed(),
            upstream: self.upstream.get().copied(),
            status: Some(self.status.load(Ordering::Relaxed)).filter(|it| *it > 0),
        };
        let failed = if self.state.ended.is_cancelled() {
            Some(Reason::PolicyChanged)
        } else {
            self.failed.get().copied()
        };
        self.egress
            .write_allowed(&self.state.permit, &carried, failed.map(Reason::name));
    }
}
