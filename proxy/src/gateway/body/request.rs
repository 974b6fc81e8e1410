// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the workload to the upstream.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::sync::OwnedSemaphorePermit;

use super::{Broken, broken};
use crate::{
    gateway::{Link, retry::Copied},
    refusal::{Fault, Refusal},
    scan::{Filter, Stop},
};

/// The request's body.
pub(crate) struct RequestBody {
    stream: Option<Stream>,
    /// What was sent before, whole; then there is no stream.
    again: Bytes,
    /// For what was collected.
    _room: Option<OwnedSemaphorePermit>,
}

struct Stream {
    incoming: Incoming,
    link: Arc<Link>,
    /// Read ahead, and not yet passed on.
    first: Option<Bytes>,
    /// Where a copy goes, if the request may have to be sent again.
    copied: Option<Arc<Copied>>,
    /// Looks for secrets, and may keep a few bytes back. Boxed: few runs have one.
    filter: Option<Box<Filter>>,
}

impl RequestBody {
    pub(in crate::gateway) fn new(incoming: Incoming, link: &Arc<Link>) -> Self {
        if Body::is_end_stream(&incoming) {
            return Self::empty();
        }
        let stream = Stream {
            incoming,
            link: Arc::clone(link),
            first: None,
            copied: None,
            filter: link
                .shared()
                .scanner
                .as_ref()
                .map(|it| Box::new(it.filter())),
        };
        Self {
            stream: Some(stream),
            again: Bytes::new(),
            _room: None,
        }
    }

    /// The body of a request that is sent again.
    pub(in crate::gateway) fn again(bytes: Bytes) -> Self {
        Self {
            stream: None,
            again: bytes,
            _room: None,
        }
    }

    /// What passes from now on is copied.
    pub(in crate::gateway) fn copy_to(&mut self, copied: Arc<Copied>) {
        if let Some(stream) = &mut self.stream {
            stream.copied = Some(copied);
        } else {
            copied.add(&self.again);
            copied.end();
        }
    }

    /// Waits for the first piece, so that it leaves together with the head: one packet and one TLS
    /// record instead of two. And a body that is bad from the start is never begun upstream.
    pub(in crate::gateway) async fn read_ahead(&mut self) -> Result<(), Fault> {
        let Some(stream) = &mut self.stream else {
            return Ok(());
        };
        if stream.first.is_some() {
            return Ok(());
        }
        match std::future::poll_fn(|cx| stream.poll_data(cx)).await {
            Some(Ok(data)) => stream.first = Some(data),
            Some(Err(Broken(fault))) => return Err(fault),
            None => self.stream = None,
        }
        Ok(())
    }

    /// Waits for all of it, within the limit, and keeps it to be passed on. Only for a rule that has to read it, or a
    /// signature that covers it.
    pub(in crate::gateway) async fn collect(&mut self) -> Result<Bytes, Fault> {
        let Some(stream) = &mut self.stream else {
            return Ok(self.again.clone());
        };
        let shared = Arc::clone(stream.link.gateway());
        let most = stream.incoming.size_hint().upper();
        let most = most.unwrap_or(u64::MAX).min(shared.limits.body);
        let room = u32::try_from(most.div_ceil(1024)).unwrap_or(u32::MAX);
        let room = Arc::clone(&shared.room_for_bodies).acquire_many_owned(room);
        // It is never closed.
        let room = room
            .await
            .map_err(|_closed| Fault::Internal("room for bodies"))?;
        let mut all = BytesMut::from(stream.first.take().unwrap_or_default());
        while let Some(next) = std::future::poll_fn(|cx| stream.poll_data(cx)).await {
            match next {
                Ok(data) => all.extend_from_slice(&data),
                Err(Broken(fault)) => return Err(fault),
            }
        }
        let all = all.freeze();
        *self = Self {
            _room: Some(room),
            ..Self::again(all.clone())
        };
        Ok(all)
    }

    /// Passes `bytes` on in place of what was collected.
    pub(in crate::gateway) fn replace(&mut self, bytes: Bytes) {
        self.again = bytes;
    }

    /// No body at all.
    pub(in crate::gateway) fn empty() -> Self {
        Self::again(Bytes::new())
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let Some(stream) = &mut this.stream else {
            let again = std::mem::take(&mut this.again);
            return Poll::Ready((!again.is_empty()).then(|| Ok(Frame::data(again))));
        };
        let next = match stream.first.take() {
            Some(first) => Some(Ok(first)),
            None => ready!(stream.poll_data(cx)),
        };
        if let Some(copied) = &stream.copied {
            if let Some(Ok(data)) = &next {
                copied.add(data);
            }
            // Behind the last piece of a known length nobody asks again.
            if next.is_none() || (stream.filter.is_none() && stream.incoming.is_end_stream()) {
                copied.end();
            }
        }
        Poll::Ready(next.map(|it| it.map(Frame::data)))
    }

    fn is_end_stream(&self) -> bool {
        match &self.stream {
            Some(it) => it.first.is_none() && it.filter.is_none() && it.incoming.is_end_stream(),
            None => self.again.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        let Some(stream) = &self.stream else {
            let length = u64::try_from(self.again.len()).unwrap_or(u64::MAX);
            return SizeHint::with_exact(length);
        };
        let kept = stream.filter.as_ref().map_or(0, |it| it.kept());
        let ahead = kept + stream.first.as_ref().map_or(0, Bytes::len);
        let ahead = u64::try_from(ahead).unwrap_or(u64::MAX);
        let mut hint = stream.incoming.size_hint();
        // The upper bound first: it may not be below the lower one.
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + ahead);
        }
        hint.set_lower(hint.lower() + ahead);
        hint
    }
}

impl Stream {
    /// What can go on. Never an empty piece.
    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        loop {
            let next = ready!(self.poll_incoming(cx));
            let Some(filter) = &mut self.filter else {
                return Poll::Ready(next);
            };
            let is_last = next.is_none();
            let passed = match next {
                Some(Ok(data)) => filter.pass(data),
                Some(Err(broken)) => return Poll::Ready(Some(Err(broken))),
                None => filter.finish(),
            };
            if let Some(finding) = filter.found() {
                self.link.found(finding);
            }
            if is_last {
                self.filter = None;
            }
            match passed {
                Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                Ok(_) if is_last => return Poll::Ready(None),
                Ok(_) => {}
                Err(Stop) => {
                    self.link.verdicts.break_body(Refusal::SecretLeak);
                    return broken(Refusal::SecretLeak.into());
                }
            }
        }
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Broken>>> {
        let link = &self.link;
        let frame = match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            Some(Err(_broken)) => {
                let refusal = link.verdicts.broken_body();
                return broken(refusal.map_or(Fault::Internal("request body"), Fault::from));
            }
            None => return Poll::Ready(None),
        };
        // Trailers could carry what was stripped from the head.
        let Ok(data) = frame.into_data() else {
            return Poll::Ready(None);
        };
        let received = link.receive(u64::try_from(data.len()).unwrap_or(u64::MAX));
        if received > link.shared().limits.body {
            link.verdicts.break_body(Refusal::BodyTooLarge);
            return broken(Refusal::BodyTooLarge.into());
        }
        Poll::Ready(Some(Ok(data)))
    }
}
