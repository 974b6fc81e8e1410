// SPDX-License-Identifier: MIT OR Apache-2.0
//! A WebSocket between the workload and its provider.
//!
//! The tunnel opens only after the upstream has proven that it accepted this very handshake. Any other
//! answer is relayed once, over a connection that is then closed on both sides: bytes that the
//! workload sends behind its handshake stay in the guard, and reach nobody. A proxy that pipes whatever
//! the status is lets a workload talk HTTP of its own down an authenticated connection.

mod counted;
mod judged;
mod watch;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::oneshot,
};

use self::{
    counted::Counted,
    judged::{Held, farewell},
    watch::Watch,
};
use super::{
    Link,
    body::{RequestBody, ResponseBody},
    current::InForce,
    forward::mask_answer,
    mask::Masked,
    request_id, strip,
    websocket::Handshake,
};
use crate::{
    patience::Patience,
    refusal::{Fault, Refusal, UpstreamFault},
    request_log::Record,
    scan::Scanned,
    spend::Judge,
    upstream::to_origin_form,
};

/// Longest wait for the upstream's answer to a handshake. Clients give up after 15 s, and take no
/// answer worse than a bad one.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// Buffer of each direction.
const BUFFER: usize = 16 * 1024;

/// How long the upstream has to finish a frame in a tunnel that a refusal ends.
const LAST_FRAME: Duration = Duration::from_secs(5);

/// Asks the upstream, and opens the tunnel if it accepts. With a judge, it judges each of the
/// workload's messages.
pub(super) async fn open(
    link: Arc<Link>,
    credential: &InForce,
    handshake: Handshake,
    mut parts: Parts,
    judge: Option<Judge>,
    mut record: Box<Record>,
) -> Result<Response<ResponseBody>, (Fault, Box<Record>)> {
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
    // Compressed messages could be neither judged nor read.
    parts.headers.remove(header::SEC_WEBSOCKET_EXTENSIONS);
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
        return Ok(relay_once(response, &link, credential, record));
    }
    let upstream = hyper::upgrade::on(&mut response);
    let (mut head, _) = response.into_parts();
    strip::strip_response(&mut head.headers);
    mask_answer(credential, &mut head.headers, &mut record);
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    head.headers
        .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    head.extensions.clear();
    // From here on the guard lets everything through; hyper takes it only after it sent the 101.
    link.verdicts.open_tunnel();
    let limits = &link.shared().limits;
    let held = judge.map(|judge| Held::new(judge, limits.body));
    let masked = credential.injector.mask().cloned().map(Masked::plain);
    let watch = Watch::new(record, link.provider().dialect);
    tokio::spawn(carry(
        downstream,
        upstream,
        Arc::clone(&link),
        held,
        masked,
        watch,
    ));
    Ok(Response::from_parts(
        head,
        ResponseBody::own(Bytes::new(), None),
    ))
}

/// The upstream's refusal, and then the end. The upstream's connection belongs to this exchange alone
/// and goes when the body has been read.
fn relay_once(
    response: Response<Incoming>,
    link: &Link,
    credential: &InForce,
    mut record: Box<Record>,
) -> Response<ResponseBody> {
    let (mut head, incoming) = response.into_parts();
    strip::strip_response(&mut head.headers);
    let masked = mask_answer(credential, &mut head.headers, &mut record);
    // A 101 that is not one was refused before; what else is informational is not an answer.
    if head.status.is_informational() {
        head.status = StatusCode::BAD_GATEWAY;
    }
    head.headers
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    head.extensions.clear();
    let limits = &link.shared().limits;
    let patience =
        Patience::new(limits.upstream_idle).until(tokio::time::Instant::now() + limits.total);
    Response::from_parts(
        head,
        ResponseBody::relayed((None, incoming), None, patience, masked, record),
    )
}

/// Carries bytes both ways until one side ends, both are silent for too long, or something breaks.
async fn carry(
    downstream: OnUpgrade,
    upstream: OnUpgrade,
    link: Arc<Link>,
    held: Option<Held>,
    masked: Option<Masked>,
    mut watch: Watch,
) {
    let idle = link.shared().limits.websocket_idle;
    let (down, up) = match tokio::try_join!(downstream, upstream) {
        Ok(both) => both,
        Err(error) => {
            tracing::debug!(%error, "upgrade failed");
            watch.record.broke(UpstreamFault::Reset.into());
            return;
        }
    };
    let from = Arc::new(AtomicU64::new(0));
    let to = Arc::new(AtomicU64::new(0));
    let gone = Arc::new(AtomicBool::new(false));
    let down = Counted {
        io: TokioIo::new(down),
        read: Arc::clone(&from),
        masked: None,
        ready: Bytes::new(),
        watch: None,
        ended: Arc::clone(&gone),
    };
    let scanner = link.shared().scanner.as_ref();
    let found = Arc::clone(&link);
    let mut down = Scanned::frames(down, scanner, move |finding| found.found(finding));
    let mut up = Counted {
        io: TokioIo::new(up),
        read: Arc::clone(&to),
        masked,
        ready: Bytes::new(),
        watch: Some(watch),
        ended: Arc::default(),
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
            ended = both_ways(&mut down, &mut up, held) => ended,
            () = silent => Ok(Some(UpstreamFault::IdleTimedOut.into())),
        }
    };
    let ended = carried.await;
    let Some(Watch { mut record, .. }) = up.watch else {
        return;
    };
    match ended {
        Ok(None) => record.complete(),
        Ok(Some(fault)) => record.broke(fault),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            record.broke(Refusal::SecretLeak.into());
        }
        // It was over then: that the upstream, told so, breaks off is no fault of the upstream's, unless of what it said. A
        // record that is neither complete nor broken says that the workload is gone.
        Err(error)
            if gone.load(Ordering::Relaxed) && error.kind() != io::ErrorKind::InvalidData =>
        {
            tracing::debug!(%error, "the workload left its tunnel");
        }
        Err(error) => {
            tracing::debug!(%error, "tunnel broke");
            record.broke(UpstreamFault::BodyBroken.into());
        }
    }
    record.tunnelled(from.load(Ordering::Relaxed), to.load(Ordering::Relaxed));
}

/// Carries bytes until both sides have ended. Says what ended it early.
async fn both_ways(
    down: &mut (impl AsyncRead + AsyncWrite + Unpin),
    up: &mut Counted,
    held: Option<Held>,
) -> io::Result<Option<Fault>> {
    let Some(held) = held else {
        tokio::io::copy_bidirectional_with_sizes(down, up, BUFFER, BUFFER).await?;
        return Ok(None);
    };
    let between = up.watch.as_ref().map(Watch::between);
    let (from_workload, to_workload) = tokio::io::split(down);
    let (from_upstream, to_upstream) = tokio::io::split(up);
    let (refused, refusal) = oneshot::channel();
    let (ended, ()) = tokio::try_join!(
        judged(from_workload, to_upstream, held, refused),
        answered(
            from_upstream,
            to_workload,
            between.unwrap_or_default(),
            refusal
        ),
    )?;
    Ok(ended.map(Fault::from))
}

/// The workload's direction. A refusal is told to the upstream, and through `refused` to the other
/// direction.
async fn judged(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut held: Held,
    refused: oneshot::Sender<Refusal>,
) -> io::Result<Option<Refusal>> {
    let (mut buffer, mut out) = ([0; BUFFER], Vec::new());
    loop {
        let count = from.read(&mut buffer).await?;
        if count == 0 {
            to.shutdown().await?;
            return Ok(None);
        }
        let verdict = held.push(buffer.get(..count).unwrap_or_default(), &mut out);
        if let Err(refusal) = verdict {
            out.extend(farewell(refusal, true));
            if refused.send(refusal).is_err() {
                // The other direction ended before.
                return Ok(Some(refusal));
            }
            // It may be gone already.
            drop(to.write_all(&out).await);
            drop(to.shutdown().await);
            // A connection that is closed with bytes unread takes what was sent with it.
            let rest = async { while from.read(&mut buffer).await.is_ok_and(|it| it > 0) {} };
            drop(tokio::time::timeout(LAST_FRAME, rest).await);
            return Ok(Some(refusal));
        }
        to.write_all(&out).await?;
        to.flush().await?;
        out.clear();
        out.shrink_to(BUFFER);
    }
}

/// The upstream's direction. After a refusal, it ends with the next frame.
async fn answered(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    between: Arc<AtomicBool>,
    refused: oneshot::Receiver<Refusal>,
) -> io::Result<()> {
    let mut buffer = [0; BUFFER];
    // A direction that ended without a refusal never tells one.
    let refused = async {
        match refused.await {
            Ok(refusal) => refusal,
            Err(_ended) => std::future::pending().await,
        }
    };
    tokio::pin!(refused);
    let refusal = loop {
        let count = tokio::select! {
            refusal = &mut refused => break refusal,
            count = from.read(&mut buffer) => count?,
        };
        if count == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..count).unwrap_or_default())
            .await?;
        to.flush().await?;
    };
    let finished = async {
        while !between.load(Ordering::Relaxed) {
            let count = from.read(&mut buffer).await?;
            if count == 0 {
                break;
            }
            to.write_all(buffer.get(..count).unwrap_or_default())
                .await?;
        }
        to.write_all(&farewell(refusal, false)).await?;
        to.shutdown().await
    };
    // Late: the connection goes as it is.
    tokio::time::timeout(LAST_FRAME, finished)
        .await
        .unwrap_or(Ok(()))
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex, split};

    use super::{
        super::frames::{self, Kind},
        *,
    };

    fn message(text: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frames::write(&mut bytes, Kind::Text, text, Some([1, 2, 3, 4]));
        bytes
    }

    type Halves = (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>);

    /// Both directions between two streams, with a judge that refuses `bad`.
    fn tunnel(
        between: &Arc<AtomicBool>,
    ) -> (Halves, Halves, tokio::task::JoinHandle<Option<Refusal>>) {
        let judge: Judge = Arc::new(|text| match text {
            b"bad" => Err(Refusal::PathNotAllowed),
            _ => Ok(None),
        });
        let ((workload, down), (up, upstream)) = (duplex(1024), duplex(1024));
        let between = Arc::clone(between);
        let task = tokio::spawn(async move {
            let ((from, to), (answers, asked)) = (split(down), split(up));
            let (refused, refusal) = oneshot::channel();
            let (ended, ()) = tokio::try_join!(
                judged(from, asked, Held::new(judge, 100), refused),
                answered(answers, to, between, refusal),
            )
            .unwrap();
            ended
        });
        (split(workload), split(upstream), task)
    }

    #[tokio::test]
    async fn a_refused_message_ends_the_tunnel_with_a_close_frame_between_two_frames() {
        let between = Arc::new(AtomicBool::new(true));
        let ((mut from_tunnel, mut to_tunnel), (mut asked, mut answer), task) = tunnel(&between);
        to_tunnel.write_all(&message(b"good")).await.unwrap();
        let mut arrived = [0; 10];
        asked.read_exact(&mut arrived).await.unwrap();
        let (mut held, mut text) = (frames::Frames::of_client(), Vec::new());
        let piece = held.next(&mut &arrived[..]).unwrap().unwrap();
        piece.unmask(&mut text);
        assert_eq!(text, b"good");

        // The upstream is in the middle of a frame: ours comes behind it.
        between.store(false, Ordering::Relaxed);
        answer.write_all(b"half").await.unwrap();
        let mut half = [0; 4];
        from_tunnel.read_exact(&mut half).await.unwrap();
        to_tunnel.write_all(&message(b"bad")).await.unwrap();
        let mut rest = Vec::new();
        asked.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest[0], 0x88);
        assert!(!rest.windows(3).any(|it| it == b"bad"));
        between.store(true, Ordering::Relaxed);
        answer.write_all(b"other half").await.unwrap();
        drop(to_tunnel);
        let mut last = Vec::new();
        from_tunnel.read_to_end(&mut last).await.unwrap();
        let farewell = last.strip_prefix(b"other half").unwrap();
        assert_eq!(farewell[..4], [0x88, 18, 0x03, 0xf0]);
        assert_eq!(&farewell[4..], b"path_not_allowed");
        drop((from_tunnel, answer));
        assert_eq!(task.await.unwrap(), Some(Refusal::PathNotAllowed));
    }

    #[tokio::test]
    async fn what_is_not_refused_ends_when_both_sides_end() {
        let between = Arc::new(AtomicBool::new(true));
        let ((mut from_tunnel, mut to_tunnel), (mut asked, mut answer), task) = tunnel(&between);
        to_tunnel.write_all(&message(b"good")).await.unwrap();
        to_tunnel.shutdown().await.unwrap();
        let mut all = Vec::new();
        asked.read_to_end(&mut all).await.unwrap();
        assert_eq!(all.len(), 10);
        answer.write_all(b"answer").await.unwrap();
        answer.shutdown().await.unwrap();
        let mut all = Vec::new();
        from_tunnel.read_to_end(&mut all).await.unwrap();
        assert_eq!(all, b"answer");
        assert_eq!(task.await.unwrap(), None);
    }
}
