// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection of the workload: what the steps of its requests know of it and tell each other.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use keyward_policy::{Host, Scheme};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, sync::watch};

use super::forward::Kept;
use crate::{
    egress::{Door, Egress, Question},
    gateway::guard::{Guarded, Verdicts, head::Accepts},
    peers::Peer,
    refusal::Refusal,
    scan::Finding,
};

/// Whom the workload believes to talk to.
pub(crate) enum Face {
    /// One of these hosts, at this port.
    Server { hosts: Vec<Host>, port: u16 },
    /// A proxy, at its own address.
    Proxy { own: SocketAddr },
}

impl Face {
    pub(super) fn accepts(&self) -> Accepts {
        match self {
            Self::Server { .. } => Accepts::Server,
            Self::Proxy { .. } => Accepts::Proxy,
        }
    }
}

/// One connection. Its requests come one after the other.
pub(crate) struct Link {
    pub(crate) egress: Arc<Egress>,
    pub(crate) verdicts: Arc<Verdicts>,
    pub(super) face: Face,
    pub(crate) peer: Option<Peer>,
    pub(crate) draining: watch::Receiver<bool>,
    door: Door,
    requests: AtomicU64,
    /// The upstream connection of the last request.
    kept: Mutex<Option<Kept>>,
    after: Mutex<Option<After>>,
    /// What the last body was stopped for.
    finding: Mutex<Option<Finding>>,
}

/// What becomes of the connection when hyper is done with it.
pub(crate) enum After {
    /// A request that could have been upgraded was not. hyper leaves such a connection to whoever asked for it.
    Close(OnUpgrade),
    /// It is carried on.
    Carry(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl After {
    pub(super) async fn run(self) {
        match self {
            Self::Carry(carried) => carried.await,
            Self::Close(upgrade) => {
                if let Ok(upgraded) = upgrade.await {
                    let mut io = TokioIo::new(upgraded);
                    if let Err(error) = io.shutdown().await {
                        tracing::debug!(%error, "connection not closed in order");
                    }
                }
            }
        }
    }
}

impl Link {
    pub(super) fn new(
        egress: Arc<Egress>,
        verdicts: Arc<Verdicts>,
        door: Door,
        face: Face,
        peer: Option<Peer>,
        draining: watch::Receiver<bool>,
    ) -> Self {
        Self {
            egress,
            verdicts,
            face,
            peer,
            draining,
            door,
            requests: AtomicU64::new(0),
            kept: Mutex::default(),
            after: Mutex::default(),
            finding: Mutex::default(),
        }
    }

    /// Numbers a request, as the guard numbers heads; says whether it is one that the guard refused.
    pub(super) fn next_request(&self) -> Option<Refusal> {
        let index = self.requests.fetch_add(1, Ordering::Relaxed);
        self.verdicts.refused(index)
    }

    /// Whether the request that was numbered last asks for an upgrade that the guard waits for.
    pub(super) fn awaits_tunnel(&self) -> bool {
        let last = self.requests.load(Ordering::Relaxed).checked_sub(1);
        last.is_some_and(|it| self.verdicts.awaits_tunnel(it))
    }

    /// The question whether a host may be reached from here.
    pub(crate) fn question(
        &self,
        host: Host,
        port: u16,
        scheme: Scheme,
        request: Option<(String, String)>,
    ) -> Question {
        Question {
            door: self.door,
            host,
            port,
            scheme,
            request,
            peer: self.peer.clone(),
        }
    }

    /// The question for what says nothing, or nothing acceptable, of whom it is for.
    pub(super) fn unnamed(&self) -> Question {
        let (host, port) = match &self.face {
            Face::Server { hosts, port } => (hosts.first().cloned(), *port),
            Face::Proxy { own } => (Some(Host::Address(own.ip().to_canonical())), own.port()),
        };
        let nobody = Host::Address(std::net::Ipv4Addr::UNSPECIFIED.into());
        self.question(host.unwrap_or(nobody), port, Scheme::Http, None)
    }

    pub(super) fn take_kept(&self) -> Option<Kept> {
        lock(&self.kept).take()
    }

    pub(super) fn keep(&self, kept: Kept) {
        *lock(&self.kept) = Some(kept);
    }

    /// Notes what a body is stopped for. Nothing else comes on the connection.
    pub(super) fn stopped_for(&self, finding: Finding) {
        *lock(&self.finding) = Some(finding);
    }

    /// What a body was stopped for.
    pub(super) fn finding(&self) -> Option<Finding> {
        lock(&self.finding).clone()
    }

    /// Says what becomes of the connection when hyper is done with it. The last one to say so is the one.
    pub(crate) fn then(&self, after: After) {
        *lock(&self.after) = Some(after);
    }

    pub(super) fn take_after(&self) -> Option<After> {
        lock(&self.after).take()
    }
}

/// The workload's connection, given back by hyper, and what was read of it.
pub(crate) fn regain(upgraded: Upgraded) -> Option<(TcpStream, BytesMut)> {
    let parts = upgraded.downcast::<TokioIo<Guarded<TcpStream>>>().ok()?;
    let (stream, behind) = parts.io.into_inner().into_parts();
    let mut read = BytesMut::from(&parts.read_buf[..]);
    read.extend_from_slice(&behind);
    Some((stream, read))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
