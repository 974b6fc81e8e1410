// SPDX-License-Identifier: MIT OR Apache-2.0
//! A WebSocket between the workload and its provider.
//!
//! The tunnel opens only after the upstream has proven that it accepted this very handshake. Any other
//! answer is relayed once, over a connection that is then closed on both sides: bytes that the
//! workload sends behind its handshake stay in the guard, and reach nobody. A proxy that pipes whatever
//! the status is lets a workload talk HTTP of its own down an authenticated connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use hyper::{
    body::Incoming,
    upgrade::{OnUpgrade, Upgraded},
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    Link,
    body::{RequestBody, ResponseBody},
    request_id, strip,
    websocket::Handshake,
};
use crate::{
    refusal::{Fault, Refusal, UpstreamFault},
    request_log::Record,
    scan::Scanned,
    upstream::to_origin_form,
};

/// Longest wait for the upstream's answer to a handshake. Clients give up after 15 s, and take no
/// answer worse than a bad one.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Buffer of each direction.
const BUFFER: usize = 8 * 1024;

/// Asks the upstream, and opens the tunnel if it accepts.
pub(super) async fn open(
    link: Arc<Link>,
    handshake: Handshake,
    mut parts: Parts,
    mut record: Record,
) -> Result<Response<ResponseBody>, (Fault, Record)> {
    let Some(serving) = &link.gateway.serving else {
        return Err((Fault::Internal("a tunnel without a provider"), record));
    };
    let Some(downstream) = parts.extensions.remove::<OnUpgrade>() else {
        return Err((
            Fault::Internal("a handshake that cannot be upgraded"),
            record,
        ));
    };
    parts.extensions.clear();
    if link.shared().scanner.is_some() {
        // What is compressed could not be looked at.
        parts.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
    }
    let mut request = Request::from_parts(parts, RequestBody::empty());
    to_origin_form(&mut request);
    let asked = async {
        let (mut sender, address) = serving.pool.connector().connect_for_upgrade().await?;
        let response = sender.send_request(request).await.map_err(|error| {
            tracing::debug!(%error, "handshake not answered");
            UpstreamFault::Reset
        })?;
        Ok((response, address))
    };
    let (mut response, address) = match tokio::time::timeout(HANDSHAKE_TIME, asked).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(fault)) => return Err((Fault::Upstream(fault), record)),
        Err(_late) => return Err((UpstreamFault::FirstByteTimedOut.into(), record)),
    };
    let accepted = match handshake.accepted(response.status(), response.headers()) {
        Ok(accepted) => accepted,
        Err(fault) => return Err((fault.into(), record)),
    };
    let theirs = response
        .headers_mut()
        .insert(request_id::NAME, record.request_id.clone());
    record.forwarded(response.status(), address, theirs);
    if !accepted {
        return Ok(relay_once(response, &link, record));
    }
    let upstream = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    strip::strip_response(&mut head.headers);
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers
        .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    head.extensions.clear();
    // From here on the guard lets everything through; hyper takes it only after it sent the 101.
    link.verdicts.open_tunnel();
    tokio::spawn(carry(downstream, upstream, Arc::clone(&link), record));
    Ok(Response::from_parts(
        head,
        ResponseBody::own(bytes::Bytes::new(), None),
    ))
}

/// The upstream's refusal, and then the end. The upstream's connection belongs to this exchange alone
/// and goes when the body has been read.
fn relay_once(response: Response<Incoming>, link: &Link, record: Record) -> Response<ResponseBody> {
    let (mut head, incoming) = response.into_parts();
    strip::strip_response(&mut head.headers);
    // A 101 that is not one was refused before; what else is informational is not an answer.
    if head.status.is_informational() {
        head.status = StatusCode::BAD_GATEWAY;
    }
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    head.extensions.clear();
    let idle = link.shared().limits.upstream_idle;
    Response::from_parts(head, ResponseBody::relayed(incoming, None, idle, record))
}

/// Carries bytes both ways until one side ends, both are silent for too long, or something breaks.
async fn carry(downstream: OnUpgrade, upstream: OnUpgrade, link: Arc<Link>, mut record: Record) {
    let idle = link.shared().limits.websocket_idle;
    let (down, up) = match tokio::try_join!(downstream, upstream) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "upgrade failed");
            record.broke(UpstreamFault::Reset.into());
            return;
        }
    };
    let from = Arc::new(AtomicU64::new(0));
    let to = Arc::new(AtomicU64::new(0));
    let down = Counted {
        io: TokioIo::new(down),
        read: Arc::clone(&from),
    };
    let scanner = link.shared().scanner.as_ref();
    let found = Arc::clone(&link);
    let mut down = Scanned::frames(down, scanner, move |finding| found.found(finding));
    let mut up = Counted {
        io: TokioIo::new(up),
        read: Arc::clone(&to),
    };
    let total = || from.load(Ordering::Relaxed) + to.load(Ordering::Relaxed);
    let silent = async {
        let mut before = total();
        loop {
            tokio::time::sleep(idle).await;
            let now = total();
            if now == before {
                return;
            }
            before = now;
        }
    };
    let carried = async {
        tokio::select! {
            ended = tokio::io::copy_bidirectional_with_sizes(&mut down, &mut up, BUFFER, BUFFER) => {
                ended.map(|_| true)
            }
            () = silent => Ok(false),
        }
    };
    match carried.await {
        Ok(true) => record.complete(),
        Ok(false) => record.broke(UpstreamFault::IdleTimedOut.into()),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            record.broke(Refusal::SecretLeak.into());
        }
        Err(error) => {
            tracing::debug!(%error, "tunnel broke");
            record.broke(UpstreamFault::BodyBroken.into());
        }
    }
    record.tunnelled(from.load(Ordering::Relaxed), to.load(Ordering::Relaxed));
}

/// Counts what is read.
struct Counted {
    io: TokioIo<Upgraded>,
    read: Arc<AtomicU64>,
}

impl AsyncRead for Counted {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.io).poll_read(cx, buffer))?;
        let count = u64::try_from(buffer.filled().len() - before).unwrap_or(u64::MAX);
        this.read.fetch_add(count, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Counted {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
