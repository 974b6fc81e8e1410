// SPDX-License-Identifier: MIT OR Apache-2.0
//! One connection: hyper behind the guard, and what it may become.

use std::{convert::Infallible, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::sync::watch;

use super::{Arrived, Face, Link, stack};
use crate::{
    accept::drained,
    egress::{Door, Egress},
    gateway::guard::{Guarded, Verdicts},
};

/// Most that hyper keeps of an answer that the workload does not read, and of a request; beyond it
/// waits the upstream, or the workload.
const BUFFER: usize = 64 * 1024;

pub(super) async fn connection(
    egress: Arc<Egress>,
    door: Door,
    face: Face,
    arrived: Arrived,
    draining: watch::Receiver<bool>,
) {
    let Arrived { stream, read, peer } = arrived;
    // What is small is wanted now.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY");
    }
    let limits = egress.limits;
    let verdicts = Arc::new(Verdicts::default());
    let guarded = Guarded::accepting(face.accepts(), stream, read, Arc::clone(&verdicts), limits);
    let link = Link::new(egress, verdicts, door, face, peer, draining.clone());
    let link = Arc::new(link);
    let service = {
        let link = Arc::clone(&link);
        // Boxed: hyper keeps room for what it awaits as long as the connection lives.
        service_fn(move |request| {
            let link = Arc::clone(&link);
            Box::pin(async move { Ok::<_, Infallible>(stack::answer(link, request).await) })
        })
    };
    // Boxed, as is what may follow: an open tunnel is to hold no room for requests.
    let mut served = Box::pin(
        http1::Builder::new()
            // The guard knows about time; hyper would count the pause between requests as slowness.
            .header_read_timeout(None)
            // No smaller than a head may be: the guard has measured it already.
            .max_buf_size(BUFFER.max(limits.head + 8 * 1024))
            .preserve_header_case(true)
            .serve_connection(TokioIo::new(guarded), service)
            .with_upgrades(),
    );
    let ended = tokio::select! {
        ended = &mut served => ended,
        () = drained(draining) => {
            served.as_mut().graceful_shutdown();
            served.as_mut().await
        }
    };
    drop(served);
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
    if let Some(after) = link.take_after() {
        drop(link);
        Box::pin(after.run()).await;
    }
}
