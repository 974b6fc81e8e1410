// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accepts connections of one port and serves each with hyper behind the guard.

use std::{convert::Infallible, pin::pin, sync::Arc};

use firewall_common::Transport;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
};

use super::{
    Gateway, Link,
    guard::{Guarded, Verdicts},
    stack,
};
use crate::accept::{self, drained};

/// Most that hyper keeps of an answer that the workload does not read, and of a request; beyond it
/// waits the upstream, or the workload.
const BUFFER: usize = 64 * 1024;

/// Serves `listener` until `draining` becomes true, then waits for the connections to end by
/// themselves. Dropping the future ends everything at once.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    room: Arc<Semaphore>,
    draining: watch::Receiver<bool>,
) {
    let serve_one = |stream, _| connection(Arc::clone(&gateway), stream, draining.clone());
    accept::serve(listener, room, draining.clone(), serve_one).await;
}

/// Serves one connection to its end.
async fn connection(gateway: Arc<Gateway>, stream: TcpStream, draining: watch::Receiver<bool>) {
    // Events are small, and each is wanted now.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let shared = &gateway.shared;
    let peer = stream
        .peer_addr()
        .ok()
        .and_then(|address| shared.peers.find(Transport::Tcp, address));
    let limits = shared.limits;
    let verdicts = Arc::new(Verdicts::default());
    let guarded = Guarded::new(stream, Arc::clone(&verdicts), limits);
    let link = Arc::new(Link::new(gateway, verdicts, peer));
    // Boxed: hyper keeps room for what it awaits as long as the connection lives, and streams live long.
    let service = service_fn(move |request| {
        let link = Arc::clone(&link);
        Box::pin(async move { Ok::<_, Infallible>(stack::answer(link, request).await) })
    });
    let served = http1::Builder::new()
        // The guard knows about time; hyper would count the pause between requests as slowness.
        .header_read_timeout(None)
        // No smaller than a head may be: the guard has measured it already.
        .max_buf_size(BUFFER.max(limits.head + 8 * 1024))
        .serve_connection(TokioIo::new(guarded), service)
        .with_upgrades();
    let mut served = pin!(served);
    let ended = tokio::select! {
        // What has something to do is asked first.
        biased;
        ended = &mut served => ended,
        () = drained(draining) => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}
