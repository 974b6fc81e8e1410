// SPDX-License-Identifier: MIT OR Apache-2.0
//! Bodies on their way: passed on piece by piece, counted, never collected. A new policy ends both.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use firewall_common::Reason;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::{Link, forward::Kept};
use crate::{
    egress::Connection,
    patience::Patience,
    refusal::Refusal,
    scan::{Filter, Scanner, Stop},
};

/// Why a body broke off. hyper then breaks off the message it belongs to, instead of ending it as if
/// it were whole.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the sender's body broke off")]
    Sender(#[source] hyper::Error),
    #[error("the policy does not allow it any more")]
    PolicyChanged,
    #[error("it holds a secret")]
    SecretLeak,
    #[error("the upstream stopped sending")]
    Idle,
}

/// The request's body, from the workload to the upstream.
pub(crate) struct RequestBody(Option<Sent>);

struct Sent {
    incoming: Incoming,
    connection: Arc<Connection>,
    link: Arc<Link>,
    /// Looks for secrets, and may keep a few bytes back.
    filter: Option<Filter>,
    /// Whether a finding was written down.
    reported: bool,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, connection: &Arc<Connection>, link: &Arc<Link>) -> Self {
        if Body::is_end_stream(&incoming) {
            return Self(None);
        }
        Self(Some(Sent {
            incoming,
            connection: Arc::clone(connection),
            link: Arc::clone(link),
            filter: connection.scanner().map(Scanner::filter),
            reported: false,
        }))
    }

    /// No body at all.
    pub(super) fn empty() -> Self {
        Self(None)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let Some(sent) = &mut self.get_mut().0 else {
            return Poll::Ready(None);
        };
        loop {
            let frame = ready!(Pin::new(&mut sent.incoming).poll_frame(cx));
            let frame = frame.transpose().map_err(Broken::Sender);
            let frame = match frame {
                // After the wait: what came meanwhile does not leave.
                Ok(_) if sent.connection.has_ended() => Err(Broken::PolicyChanged),
                Ok(frame) => sent.look(frame),
                Err(broken) => Err(broken),
            };
            match frame {
                Ok(Some(frame)) => {
                    // Nothing of it can go on yet.
                    if frame.data_ref().is_some_and(Bytes::is_empty) {
                        continue;
                    }
                    sent.connection.add_up(length(&frame));
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(None) => return Poll::Ready(None),
                Err(broken) => return Poll::Ready(Some(Err(broken))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0
            .as_ref()
            .is_none_or(|it| it.filter.is_none() && it.incoming.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0
            .as_ref()
            .map_or(SizeHint::with_exact(0), Sent::size_hint)
    }
}

impl Sent {
    /// What can go on of a piece, or of what was kept if there is none any more.
    fn look(&mut self, frame: Option<Frame<Bytes>>) -> Result<Option<Frame<Bytes>>, Broken> {
        let Some(filter) = &mut self.filter else {
            return Ok(frame);
        };
        let is_last = frame.is_none();
        let passed = match frame.map(Frame::into_data) {
            Some(Ok(data)) => filter.pass(data),
            // Trailers could hold what nobody looks at.
            Some(Err(_trailers)) => Ok(Bytes::new()),
            None => filter.finish(),
        };
        if let Some(finding) = filter.found()
            && !self.reported
        {
            self.reported = true;
            self.connection.report()(finding);
        }
        let passed = passed.map_err(|Stop| filter.found().cloned());
        if is_last {
            self.filter = None;
        }
        match passed {
            Ok(data) if is_last && data.is_empty() => Ok(None),
            Ok(data) => Ok(Some(Frame::data(data))),
            Err(finding) => {
                if let Some(finding) = finding {
                    self.link.stopped_for(finding);
                }
                self.link.verdicts.break_body(Refusal::SecretLeak);
                self.connection.failed(Reason::SecretLeak);
                Err(Broken::SecretLeak)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        let kept = self.filter.as_ref().map_or(0, Filter::kept);
        let kept = u64::try_from(kept).unwrap_or(u64::MAX);
        let mut hint = self.incoming.size_hint();
        // The upper bound first: it may not be below the lower one.
        if let Some(upper) = hint.upper() {
            hint.set_upper(upper + kept);
        }
        hint.set_lower(hint.lower() + kept);
        hint
    }
}

/// Notes that an answer is under way, for as long as it lives.
pub(super) struct Busy(Arc<Link>);

impl Busy {
    pub(super) fn new(link: &Arc<Link>) -> Self {
        link.verdicts.set_busy(true);
        Self(Arc::clone(link))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.verdicts.set_busy(false);
    }
}

/// The answer's body, from the upstream or from here to the workload. With it ends what is known of the request.
pub(crate) struct ResponseBody {
    source: Source,
    busy: Busy,
}

enum Source {
    /// Our own words.
    Own(Option<Bytes>),
    /// The upstream's.
    Relayed(Box<Relayed>),
}

struct Relayed {
    incoming: Incoming,
    connection: Arc<Connection>,
    end: Pin<Box<WaitForCancellationFutureOwned>>,
    /// The connection that it comes over, to be kept when it ends well.
    kept: Option<Kept>,
    patience: Patience,
}

impl ResponseBody {
    pub(super) fn own(bytes: Bytes, busy: Busy) -> Self {
        let source = Source::Own(Some(bytes).filter(|it| !it.is_empty()));
        Self { source, busy }
    }

    /// Relays `incoming`; when it ended cleanly, `kept` is kept for the next request.
    pub(super) fn relayed(
        incoming: Incoming,
        connection: Arc<Connection>,
        kept: Option<Kept>,
        idle: Duration,
        busy: Busy,
    ) -> Self {
        let end = Box::pin(connection.end());
        let source = Source::Relayed(Box::new(Relayed {
            incoming,
            connection,
            end,
            kept,
            patience: Patience::new(idle),
        }));
        Self { source, busy }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        let relayed = match &mut this.source {
            Source::Own(bytes) => {
                return Poll::Ready(bytes.take().map(|it| Ok(Frame::data(it))));
            }
            Source::Relayed(relayed) => relayed,
        };
        if relayed.end.as_mut().poll(cx).is_ready() {
            relayed.kept = None;
            return Poll::Ready(Some(Err(Broken::PolicyChanged)));
        }
        match Pin::new(&mut relayed.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                relayed.patience.stop();
                relayed.connection.add_down(length(&frame));
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                relayed.connection.failed(Reason::Unreachable);
                relayed.kept = None;
                Poll::Ready(Some(Err(Broken::Sender(error))))
            }
            Poll::Ready(None) => {
                relayed.ended(&this.busy.0);
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(relayed.patience.poll(cx));
                relayed.connection.failed(Reason::Unreachable);
                relayed.kept = None;
                Poll::Ready(Some(Err(Broken::Idle)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Own(bytes) => bytes.is_none(),
            Source::Relayed(relayed) => relayed.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Own(bytes) => {
                let length = bytes.as_ref().map_or(0, Bytes::len);
                SizeHint::with_exact(u64::try_from(length).unwrap_or(u64::MAX))
            }
            Source::Relayed(relayed) => relayed.incoming.size_hint(),
        }
    }
}

impl Relayed {
    fn ended(&mut self, link: &Link) {
        if let Some(kept) = self.kept.take() {
            link.keep(kept);
        }
    }
}

impl Drop for ResponseBody {
    /// hyper does not ask again for a body that says that it is at its end.
    fn drop(&mut self) {
        if let Source::Relayed(relayed) = &mut self.source
            && relayed.incoming.is_end_stream()
        {
            relayed.ended(&self.busy.0);
        }
    }
}

fn length(frame: &Frame<Bytes>) -> u64 {
    let length = frame.data_ref().map_or(0, Bytes::len);
    u64::try_from(length).unwrap_or(u64::MAX)
}
