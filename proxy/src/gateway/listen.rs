// SPDX-License-Identifier: MIT OR Apache-2.0
//! Accepts connections of one port and serves each with hyper behind the guard.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use firewall_common::Transport;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
};

use super::{
    Gateway, Link,
    guard::{Guarded, Verdicts},
    stack,
};

/// How long accepting rests when the kernel has no descriptor or no memory left: it would say so again
/// at once.
const REST: Duration = Duration::from_millis(50);

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
    let mut connections = JoinSet::new();
    loop {
        let accepted = async {
            // Room first: a connection that cannot be served waits in the kernel's queue.
            let permit = Arc::clone(&room).acquire_owned().await;
            (permit, listener.accept().await)
        };
        tokio::select! {
            (permit, accepted) = accepted => match accepted {
                Ok((stream, _)) => {
                    let connection = connection(Arc::clone(&gateway), stream, draining.clone());
                    connections.spawn(async move {
                        connection.await;
                        drop(permit);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(REST).await;
                }
            },
            Some(_ended) = connections.join_next(), if !connections.is_empty() => {}
            () = drained(draining.clone()) => break,
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
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
    let service = service_fn(move |request| {
        let answer = stack::answer(Arc::clone(&link), request);
        async move { Ok::<_, Infallible>(answer.await) }
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

/// Waits until there is to be drained, or whoever could say so is gone.
async fn drained(mut draining: watch::Receiver<bool>) {
    if draining.wait_for(|it| *it).await.is_err() {
        tracing::debug!("the server is gone");
    }
}
